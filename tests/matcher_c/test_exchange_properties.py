"""Random streams of every kind through the C, watched from outside."""

import random

import matcher_c
from tests.matcher_c.exchange_properties import check_stream


def test_streams_of_every_kind() -> None:
    for seed in range(200):
        check_stream(random.Random(seed), matcher_c.OrderBook)
