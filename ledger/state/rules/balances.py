"""Who has what: the only functions that change balances and supply, and the check that nothing appeared or vanished."""

from __future__ import annotations

from ledger.base.errors import Refused
from ledger.base.limits import AMOUNT_MAX

from ..state import State
from ..tables import BALANCE, SUPPLY, Balance, Supply

NOTHING = Balance(0, 0)


def balance(state: State, account: bytes, asset: str) -> Balance:
    """What an account holds of an asset, free and escrowed."""
    return state.get(BALANCE, (account, asset)) or NOTHING


def free(state: State, account: bytes, asset: str) -> int:
    """What an account may spend of an asset."""
    return balance(state, account, asset).free


def _set(state: State, account: bytes, asset: str, new: Balance) -> None:
    assert 0 <= new.free <= AMOUNT_MAX and 0 <= new.escrowed <= AMOUNT_MAX, "a balance lies within 0 and 2^63"
    if new == NOTHING:
        state.delete(BALANCE, (account, asset))
    else:
        state.put(BALANCE, (account, asset), new)


def credit(state: State, account: bytes, asset: str, amount: int) -> None:
    """Add to the free balance; somebody else is debited, or it is minted."""
    old = balance(state, account, asset)
    _set(state, account, asset, Balance(old.free + amount, old.escrowed))


def debit(state: State, account: bytes, asset: str, amount: int) -> None:
    """Take from the free balance. Raises `Refused` if it is short."""
    old = balance(state, account, asset)
    if old.free < amount:
        raise Refused("insufficient_funds", f"{asset}: {old.free} free units are less than the {amount} needed")
    _set(state, account, asset, Balance(old.free - amount, old.escrowed))


def move(state: State, payer: bytes, payee: bytes, asset: str, amount: int) -> None:
    """From one free balance to another. Raises `Refused` if it is short."""
    debit(state, payer, asset, amount)
    credit(state, payee, asset, amount)


def escrow(state: State, account: bytes, asset: str, amount: int) -> None:
    """Set aside for an order. Raises `Refused` if it is short."""
    debit(state, account, asset, amount)
    old = balance(state, account, asset)
    _set(state, account, asset, Balance(old.free, old.escrowed + amount))


def release(state: State, account: bytes, asset: str, amount: int) -> None:
    """Give back what was set aside."""
    old = balance(state, account, asset)
    _set(state, account, asset, Balance(old.free + amount, old.escrowed - amount))


def spend_escrow(state: State, account: bytes, payee: bytes, asset: str, amount: int) -> None:
    """Pay from what was set aside."""
    old = balance(state, account, asset)
    _set(state, account, asset, Balance(old.free, old.escrowed - amount))
    credit(state, payee, asset, amount)


def mint(state: State, account: bytes, asset: str, amount: int) -> None:
    """Bring units into being, for a reason that the caller's rule states."""
    _supply(state, asset, amount)
    credit(state, account, asset, amount)


def burn(state: State, account: bytes, asset: str, amount: int) -> None:
    """Destroy free units. Raises `Refused` if they are not there."""
    debit(state, account, asset, amount)
    _supply(state, asset, -amount)


def burn_escrowed(state: State, account: bytes, asset: str, amount: int) -> None:
    """Destroy units that rest in an order (a haircut)."""
    old = balance(state, account, asset)
    _set(state, account, asset, Balance(old.free, old.escrowed - amount))
    _supply(state, asset, -amount)


def supply(state: State, asset: str) -> int:
    """Issued less burned."""
    row = state.get(SUPPLY, (asset,))
    return 0 if row is None else row.amount


def _supply(state: State, asset: str, change: int) -> None:
    amount = supply(state, asset) + change
    assert 0 <= amount <= AMOUNT_MAX, "a supply lies within 0 and 2^63"
    state.put(SUPPLY, (asset,), Supply(amount))


def conservation_breach(state: State) -> str | None:
    """The first asset whose supply is not the sum of all balances, in words; None when all is conserved."""
    totals: dict[str, int] = {str(key[0]): 0 for key, _ in state.scan(SUPPLY)}
    for (_, asset), held in state.scan(BALANCE):
        totals[str(asset)] = totals.get(str(asset), 0) + held.free + held.escrowed
    for asset, total in totals.items():
        if total != supply(state, asset):
            return f"{asset}: balances add up to {total}, the supply is {supply(state, asset)}"
    return None


def holders(state: State, asset: str) -> list[tuple[bytes, Balance]]:
    """Every account that holds the asset, in order of accounts."""
    found: list[tuple[bytes, Balance]] = []
    for (account, held_asset), held in state.scan(BALANCE):
        if held_asset == asset:
            assert isinstance(account, bytes), "balances are keyed by account"
            found.append((account, held))
    return found
