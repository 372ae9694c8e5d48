"""Ways to break a contract on the ledger that no message could: gone, throwing, endless, or with other code and data.

The money of what is replaced stays at its address; what vanishes with a removed account is booked as lost.
"""

from __future__ import annotations

from collections.abc import Callable

from pytoniq_core import Address, Builder, Cell

from cocoon_sandbox.account import AccountView, empty_account
from cocoon_sandbox.boc import count_cells, to_boc
from cocoon_sandbox.ledger import Ledger

__all__ = ["DEATHS", "install", "make_endless", "make_throwing", "remove", "small_order_keys"]

THROWS = Builder().store_bytes(b"\xf2\x2a").end_cell()  # 42 THROW
ENDLESS = Builder().store_bytes(b"\x90\xea").end_cell()  # an empty continuation, AGAIN


def install(ledger: Ledger, address: Address, code: Cell, data: Cell, balance: int | None = None) -> None:
    """Make `address` an active account with this code and data, whatever it was; its balance stays if None."""
    old = ledger.account(address)
    nano = old.balance if balance is None else balance
    ledger.minted += nano - old.balance
    head = Builder().store_bits("1").store_address(address)
    cells, bits = (sum(pair) for pair in zip(count_cells(code), count_cells(data), strict=True))
    head.store_var_uint(cells + 1, 3).store_var_uint(bits + 400, 3).store_bits("000")
    head.store_uint(ledger.now, 32).store_bits("0").store_uint(old.last_lt + 1, 64).store_coins(nano).store_bits("0")
    head.store_bits("1").store_bits("00").store_bits("1").store_ref(code).store_bits("1").store_ref(data).store_bits(
        "0"
    )
    shard = Builder().store_ref(head.end_cell()).store_bytes(old.last_hash).store_uint(old.last_lt, 64)
    ledger.accounts[address] = AccountView(address, to_boc(shard.end_cell()))


def remove(ledger: Ledger, address: Address) -> None:
    """No account at `address` any more; what it held is lost."""
    ledger.lost += ledger.balance(address)
    ledger.accounts[address] = empty_account(address)


def make_throwing(ledger: Ledger, address: Address) -> None:
    """Whatever it receives, `address` throws 42 at once."""
    install(ledger, address, THROWS, Cell.empty())


def make_endless(ledger: Ledger, address: Address) -> None:
    """Whatever it receives, `address` computes until the gas is gone."""
    install(ledger, address, ENDLESS, Cell.empty())


DEATHS: dict[str, Callable[[Ledger, Address], None]] = {
    "absent": remove,
    "throws": make_throwing,
    "out of gas": make_endless,
}


def small_order_keys() -> dict[str, int]:
    """All encodings of the eight points of order 1, 2, 4 and 8 on Ed25519, as TVM integers; non-canonical ones
    included."""
    p = 2**255 - 19
    order_8 = int.from_bytes(
        bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
    )
    found = {}
    for name, y in {
        "y=0": 0,
        "y=1": 1,
        "y=-1": p - 1,
        "y=p": p,
        "y=p+1": p + 1,
        "y8": order_8,
        "-y8": p - order_8,
    }.items():
        for sign in (0, 1):
            found[f"{name} sign {sign}"] = int.from_bytes((y | sign << 255).to_bytes(32, "little"), "big")
    return found
