"""What a client reads in transactions: which message was meant, what was paid, why something was refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import IntEnum

from pytoniq_core import Address

from ..chain.base import ChainMessage, ChainTransaction
from ..wire.codec import Struct, read_body
from ..wire.common import Payment, PaymentReason

__all__ = ["burned", "enum_name", "messages_to", "paid", "succeeded"]


def succeeded(transaction: ChainTransaction) -> bool:
    """The code ran, did not throw, and its actions were carried out."""
    return transaction.exit_code == 0 and not transaction.aborted


def messages_to[T: Struct](
    transactions: Iterable[ChainTransaction], to: Address, struct: type[T]
) -> Iterator[tuple[ChainMessage, T]]:
    """Messages of the given type that `transactions` sent to `to`."""
    for transaction in transactions:
        for message in transaction.out_msgs:
            if message.dst == to and (said := read_body(message.body, struct)) is not None:
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
    payment = read_body(message.body, Payment)
    return payment is not None and payment.reason == PaymentReason.BURN


def enum_name(kind: type[IntEnum], value: int) -> str:
    """`LEASE_EXPIRED` -> "lease expired"; "reason 99" if a newer contract says something unknown."""
    try:
        return kind(value).name.lower().replace("_", " ")
    except ValueError:
        return f"reason {value}"
