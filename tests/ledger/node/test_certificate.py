"""The certificate is one that OpenSSL takes, verifies and shows to the other end unchanged."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from ledger.base.crypto import ED25519
from ledger.node.certificate import make_certificate

SEEDS = [bytes(32), bytes(range(32)), b"\xff" * 32]


@pytest.mark.parametrize("seed", SEEDS)
def test_openssl_takes_it_and_its_own_signature_holds(seed: bytes, tmp_path: Path) -> None:
    made = make_certificate(seed)
    (tmp_path / "cert").write_bytes(made.pem)
    (tmp_path / "key").write_bytes(made.key_pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.minimum_version = ssl.TLSVersion.TLSv1_3
    server.load_cert_chain(tmp_path / "cert", tmp_path / "key")  # refused where the key is another's
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False  # but the signature and the dates are checked, unlike on a link
    client.load_verify_locations(cadata=made.pem.decode())
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = client.wrap_bio(back, there), server.wrap_bio(there, back, server_side=True)
    waits = set(ends)
    for _ in range(4):
        for end in list(waits):
            try:
                end.do_handshake()
                waits.remove(end)
            except ssl.SSLWantReadError:
                pass
    assert not waits
    assert ends[0].getpeercert(binary_form=True) == made.der == ssl.PEM_cert_to_DER_cert(made.pem.decode())


def test_it_carries_its_key_once_and_never_the_seed() -> None:
    for seed in SEEDS:
        made = make_certificate(seed)
        assert made.der.count(ED25519.public(seed)) == 1
        assert seed not in made.der
        assert made == make_certificate(seed)
    assert len({make_certificate(seed).der for seed in SEEDS}) == len(SEEDS)


def test_every_serial_number_is_positive_and_in_shortest_form() -> None:
    for number in range(300):
        der = make_certificate(number.to_bytes(32)).der
        at = der.index(b"\xa0\x03\x02\x01\x02") + 5
        assert der[at : at + 2] == b"\x02\x10"
        assert 0 < der[at + 2] < 0x80
