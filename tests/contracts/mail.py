"""Internal messages as the network would bring them: with the forward fee that their size costs."""

from __future__ import annotations

from pytoniq_core import Address, Builder, Cell

from cocoon_sandbox.ledger import Ledger
from cocoon_sandbox.message import build_internal

__all__ = ["internal"]


def internal(
    ledger: Ledger,
    src: Address,
    dst: Address,
    value: int,
    body: Cell,
    *,
    state_init: Cell | None = None,
    bounce: bool = True,
    bounced: bool = False,
) -> Cell:
    """A message from `src` that carries `value` nanoTON and the part of its forward fee that is due on delivery."""
    bare = build_internal(
        src=src, dst=dst, value=value, body=body, state_init=state_init, bounce=bounce, bounced=bounced,
        created_lt=ledger.lt, created_at=ledger.now,
    )  # fmt: skip
    below = _cells_below(bare)
    prices = ledger.prices(-1 if -1 in (src.wc, dst.wc) else 0).forward
    fee = prices.fee(len(below), sum(len(cell.bits) for cell in below))
    parsed = bare.begin_parse()
    message = Builder().store_bits(parsed.load_bits(4)).store_address(parsed.load_address())
    message.store_address(parsed.load_address()).store_coins(parsed.load_coins()).store_bits(parsed.load_bits(1))
    parsed.load_coins()
    parsed.load_coins()
    message.store_coins(0).store_coins(fee - prices.sender_part(fee))
    rest = parsed.to_cell()
    if len(rest.bits) <= message.available_bits:
        return message.store_cell(rest).end_cell()
    # The fee's own bits left no room for the inline body: it moves into a cell of its own.
    parsed = rest.begin_parse()
    message.store_bits(parsed.load_bits(64 + 32 + 1))
    parsed.load_bit()
    return message.store_bit(1).store_ref(parsed.to_cell()).end_cell()


def _cells_below(root: Cell) -> list[Cell]:
    seen: dict[bytes, Cell] = {}
    waiting = list(root.refs)
    while waiting:
        cell = waiting.pop()
        if cell.hash not in seen:
            seen[cell.hash] = cell
            waiting += cell.refs
    return list(seen.values())
