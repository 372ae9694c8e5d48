"""Transactions and messages out of their cells, as much of them as Cocoon looks at."""

from __future__ import annotations

from dataclasses import dataclass

from pytoniq_core import Address, Cell

from ..errors import ChainError
from .base import ChainMessage, ChainTransaction
from .cells import Reader, Unreadable, items

__all__ = ["ParsedTransaction", "parse_message", "parse_transaction"]


@dataclass(frozen=True, slots=True)
class ParsedTransaction:
    """A transaction with its link to the account's previous one (lt 0: there is none)."""

    transaction: ChainTransaction
    prev_hash: bytes
    prev_lt: int


def parse_transaction(cell: Cell, workchain: int) -> ParsedTransaction:
    """Read a Transaction cell of an account in `workchain`. ChainError if it is none."""
    try:
        reader = Reader(cell)
        reader.expect(0b0111, 4, "transaction")
        account = Address((workchain, reader.raw(32)))
        lt, prev_hash, prev_lt, now = reader.uint(64), reader.raw(32), reader.uint(64), reader.uint(32)
        out_count = reader.uint(15)
        reader.skip(4)
        messages = Reader(reader.ref())
        in_cell, out_root = messages.maybe_ref(), messages.maybe_ref()
        out = tuple(parse_message(leaf.ref()) for _, leaf in items(out_root, 15))
        if len(out) != out_count:
            raise Unreadable("it counts its messages wrongly")
        fees = reader.currency()
        reader.ref()
        outcome = _outcome(Reader(reader.ref()))
        transaction = ChainTransaction(
            account=account,
            lt=lt,
            hash=cell.hash,
            now=now,
            in_msg=None if in_cell is None else parse_message(in_cell),
            out_msgs=out,
            exit_code=outcome.exit_code,
            action_code=outcome.action_code,
            aborted=outcome.aborted,
            gas_used=outcome.gas_used,
            total_fees=fees,
            forward_fees=outcome.forward_fees,
            cell=cell,
        )
    except Unreadable as error:
        raise ChainError(f"a transaction has a layout this version does not know: {error}") from error
    return ParsedTransaction(transaction, prev_hash, prev_lt)


def parse_message(cell: Cell) -> ChainMessage:
    """Read a Message cell. Unreadable if it is none."""
    reader = Reader(cell)
    value = lt = 0
    bounced = False
    if not reader.bit():
        reader.skip(2)
        bounced = reader.bit()
        src, dst = reader.address(), reader.address()
        value = reader.currency()
        reader.coins()
        reader.coins()
        lt = reader.uint(64)
        reader.skip(32)
        kind = "internal"
    elif not reader.bit():
        src, dst = reader.address(), reader.address()
        reader.coins()
        kind = "external-in"
    else:
        src, dst = reader.address(), reader.address()
        lt = reader.uint(64)
        reader.skip(32)
        kind = "external-out"
    if reader.bit():
        if reader.bit():
            reader.ref()
        else:
            _skip_state_init(reader)
    body = reader.ref() if reader.bit() else reader.rest()
    return ChainMessage(
        kind=kind,  # type: ignore[arg-type]
        src=src,
        dst=dst,
        value=value,
        body=body,
        bounced=bounced,
        created_lt=lt,
        hash=cell.hash,
    )


def _skip_state_init(reader: Reader) -> None:
    for bits in (5, 2):
        if reader.bit():
            reader.skip(bits)
    for _ in range(3):
        reader.maybe_ref()


@dataclass(frozen=True, slots=True)
class _Outcome:
    exit_code: int | None
    gas_used: int
    action_code: int | None
    forward_fees: int
    aborted: bool


def _outcome(reader: Reader) -> _Outcome:
    """What a TransactionDescr says; only ordinary and tick-tock transactions run code."""
    kind = reader.uint(4)
    if kind == 0:
        reader.skip(1)
        _skip_storage_phase(reader)
        if reader.bit():
            if reader.bit():
                reader.coins()
            reader.currency()
    elif kind >> 1 == 0b001:
        # trans_tick_tock$001 is_tock:Bool; the fourth bit read above was `is_tock`
        _storage_phase(reader)
    else:
        return _Outcome(None, 0, None, 0, aborted=False)
    exit_code, gas = _compute_phase(reader)
    action_code, forward = None, 0
    if reader.bit():
        action_code, forward = _action_phase(Reader(reader.ref()))
    return _Outcome(exit_code, gas, action_code, forward, aborted=reader.bit())


def _skip_storage_phase(reader: Reader) -> None:
    if reader.bit():
        _storage_phase(reader)


def _storage_phase(reader: Reader) -> None:
    reader.coins()
    if reader.bit():
        reader.coins()
    _skip_status_change(reader)


def _skip_status_change(reader: Reader) -> None:
    if reader.bit():
        reader.skip(1)


def _compute_phase(reader: Reader) -> tuple[int | None, int]:
    """(exit code, gas used); (None, 0) if the code did not run."""
    if not reader.bit():
        if reader.uint(2) == 0b11:
            reader.skip(1)
        return None, 0
    reader.skip(3)
    reader.coins()
    inner = Reader(reader.ref())
    gas = inner.var_uint(3)
    inner.var_uint(3)
    if inner.bit():
        inner.var_uint(2)
    inner.skip(8)
    return inner.sint(32), gas


def _action_phase(reader: Reader) -> tuple[int, int]:
    """(result code, forward fees of the messages sent)."""
    reader.skip(3)
    _skip_status_change(reader)
    forward = reader.coins() if reader.bit() else 0
    if reader.bit():
        reader.coins()
    return reader.sint(32), forward
