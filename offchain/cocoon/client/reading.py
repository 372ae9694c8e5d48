"""What a client reads in transactions: which message was meant, what was paid, why something was refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import IntEnum

from pytoniq_core import Address, Cell

from ..chain.base import ChainMessage, ChainTransaction
from ..errors import WireError
from ..wire.codec import Struct
from ..wire.common import Payment, PaymentReason

__all__ = ["burned", "enum_name", "messages_to", "paid", "read", "succeeded"]


def read[T: Struct](body: Cell, struct: type[T]) -> T | None:
    """`body` as a `struct`; None if it is something else or malformed."""
    value, bits = struct.PREFIX
    if len(body.bits) < bits or int.from_bytes(body.bits[:bits].tobytes(), "big") != value:
        return None
    try:
        return struct.from_cell(body)
    except WireError:
        return None


def succeeded(transaction: ChainTransaction) -> bool:
    """The code ran, did not throw, and its actions were carried out."""
    return transaction.exit_code == 0 and not transaction.aborted


def messages_to[T: Struct](
    transactions: Iterable[ChainTransaction], to: Address, struct: type[T]
) -> Iterator[tuple[ChainMessage, T]]:
    """Messages of the given type that `transactions` sent to `to`."""
    for transaction in transactions:
        for message in transaction.out_msgs:
            if message.dst == to and (said := read(message.body, struct)) is not None:
                yield message, said


def paid(
    transactions: Iterable[ChainTransaction], to: Address, *reasons: PaymentReason, sender: Address | None = None
) -> int:
    """nanoTON that `transactions` paid to `to` for one of `reasons`."""
    total = 0
    for message, payment in messages_to(transactions, to, Payment):
        if payment.reason in reasons and sender in (None, message.src):
            total += message.value
    return total


def burned(transactions: Iterable[ChainTransaction]) -> int:
    """nanoTON that `transactions` sent to where nobody can spend them."""
    messages = [message for transaction in transactions for message in transaction.out_msgs]
    return sum(message.value for message in messages if _is_burn(message))


def _is_burn(message: ChainMessage) -> bool:
    payment = read(message.body, Payment)
    return payment is not None and payment.reason == PaymentReason.BURN


def enum_name(kind: type[IntEnum], value: int) -> str:
    """`LEASE_EXPIRED` -> "lease expired"; "reason 99" if a newer contract says something unknown."""
    try:
        return kind(value).name.lower().replace("_", " ")
    except ValueError:
        return f"reason {value}"
