"""Every bound that more than one room needs, with its unit and the attack or board that it exists for."""

from __future__ import annotations

from typing import Final

# Numbers. Products of a price and a quantity must fit 63 bits on a 32-bit ARM board (no 128-bit integer there).
PRICE_MAX: Final = 2**31 - 1  # money units per Wh, magnitude
QUANTITY_MAX: Final = 2**32 - 1  # Wh of one order
AMOUNT_MAX: Final = 2**63 - 1  # any stored amount; SQLite's and C's signed 64 bits
TIME_MAX_MS: Final = 2**53 - 1  # a time in ms: exact in every JSON reader

# Canonical CBOR from strangers. A bomb of nested or endless arrays must cost less than the bytes it took to send.
CBOR_DEPTH_MAX: Final = 6
CBOR_ARRAY_MAX: Final = 20_000  # items of one array; the bytes bound it first
TRANSACTION_BYTES_MAX: Final = 4_096
NAME_BYTES_MAX: Final = 40  # names of homes, buses, devices, assets, instruments

# Blocks: one fits in one frame, and a frame in the memory of a Pi Zero many times over.
BLOCK_BYTES_MAX: Final = 64 * 1024
BLOCK_TRANSACTIONS_MAX: Final = 400
FRAME_BYTES_MAX: Final = 96 * 1024

# Committee: at more voters the street's Wi-Fi is full of votes (consensus design, section 3.1).
COMMITTEE_MAX: Final = 31
COMMITTEE_DEFAULT_MAX: Final = 21
HOMES_MAX: Final = 10_000
SHARES_MAX: Final = 10_000

# Mempool: what a flood of valid transactions may cost in memory, per node and per sender.
MEMPOOL_TRANSACTIONS_MAX: Final = 4_000
MEMPOOL_PER_SENDER_MAX: Final = 64
MEMPOOL_PER_FEED_MAX: Final = 3_000  # a month of slots that a home brings back after an outage

# Orders that one account may have at rest: bounds the book and the state.
ORDERS_PER_ACCOUNT_MAX: Final = 32
BOOK_CAPACITY: Final = 4_096  # orders of one instrument: more than 31 homes can have
INSTRUMENT_PRICE_MAX: Final = 200_000  # money units per Wh: 2.00 per kWh; a book costs memory for each of its ticks

# A local request to a socket of ours.
LOCAL_REQUEST_BYTES_MAX: Final = 64 * 1024
