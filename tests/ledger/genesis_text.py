"""A street's genesis as the TOML text that an installer would have, with keys that follow from names."""

from __future__ import annotations

from ledger.base.crypto import ED25519
from tests.ledger.streets import seed_of


def public(name: str) -> str:
    """The public key, hex, whose seed follows from `name`."""
    return ED25519.public(seed_of(name)).hex()


def genesis_toml(homes: int = 2, *, created_ms: int = 1, origin_ms: int = 10_000, slot_count: int = 4) -> str:
    """root - one bus a home; a connection meter each, a school and a pool at the root."""
    names = [f"home{i}" for i in range(1, homes + 1)]
    share, rest = divmod(10_000, homes)
    shares = ", ".join(f"{name} = {share + (i < rest)}" for i, name in enumerate(names))
    tsl = ", ".join(f"{name} = {20_000 // homes}" for name in names)
    parts = [
        f"""[street]
name = "Test street"
currency = "EUR"
day = "2021-03-24"
[time]
created_ms = {created_ms}
origin_ms = {origin_ms}
slot_ms = 1500
slot_count = {slot_count}
grace_ms = 1500
stale_ms = 500
[consensus]
timeout_ms = 300
timeout_factor_max = 8
min_interval_orders_ms = 100
min_interval_readings_ms = 100
heartbeat_ms = 600000
expiry_max = 10000
[tariff]
retail = "0.30"
feed_in = "0.08"
[market]
grid_cash = "1000.00"
[[bus]]
id = "root"
"""
    ]
    for name in names:
        parts.append(
            f"""[[bus]]
id = "{name}"
parent = "root"
fee = "0.01"
[[home]]
name = "{name}"
owner_key = "{public(name + " owner")}"
node_key = "{public(name + " node")}"
transport_key = "{public(name + " transport")}"
bus = "{name}"
cash = "100.00"
[[device]]
name = "{name}"
key = "{public(name + " meter")}"
role = "connection"
owner = "{name}"
bus = "{name}"
"""
        )
    parts.append(
        f"""[[device]]
name = "school"
key = "{public("school meter")}"
role = "generator"
owner = "gen:school"
bus = "root"
[[device]]
name = "pool"
key = "{public("pool meter")}"
role = "pool"
owner = "pool:pool"
bus = "root"
[[generator]]
name = "school"
device = "school"
shares = {{ {shares} }}
[[pool]]
name = "pool"
device = "pool"
capacity_wh = 20000
power_w = 5000
efficiency = "0.90"
cash = "50.00"
shares = {{ {shares} }}
tsl_wh = {{ {tsl} }}
"""
    )
    return "".join(parts)
