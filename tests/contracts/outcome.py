"""What one message led to: the transactions of its whole cascade, and the questions tests ask about them.

Amounts are nanoTON.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from pytoniq_core import Address, Cell

from cocoon.wire.codec import Struct
from cocoon.wire.common import Excesses, Payment, PaymentReason
from cocoon_sandbox.message import Message
from cocoon_sandbox.transaction import Transaction

__all__ = ["Outcome", "Paid"]

S = TypeVar("S", bound=Struct)


class Paid(NamedTuple):
    """One `Payment` on its way: to whom, why, how much."""

    to: Address
    reason: PaymentReason
    nano: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """`sent` is the message a test sent, `transactions` all it caused, the receiver's first."""

    sent: Message
    transactions: list[Transaction]
    data_before: Cell | None
    data_after: Cell | None
    balance_before: int
    balance_after: int

    @property
    def first(self) -> Transaction:
        return self.transactions[0]

    @property
    def exit_code(self) -> int | None:
        return self.first.exit_code

    @property
    def changed(self) -> bool:
        """Whether the receiver's data differs from before, at the end of the cascade."""
        before = None if self.data_before is None else self.data_before.hash
        after = None if self.data_after is None else self.data_after.hash
        return bool(before != after)

    @property
    def messages(self) -> list[Message]:
        """Every message any transaction of the cascade sent."""
        return [message for transaction in self.transactions for message in transaction.out_msgs]

    def received(self, who: Address) -> int:
        """Value of all messages to `who`."""
        return sum(message.value for message in self.messages if message.dst == who)

    def payments(self) -> list[Paid]:
        """Payments in the order they were sent."""
        return [
            Paid(message.dst, PaymentReason(Payment.from_cell(message.body).reason), message.value)
            for message in self.messages
            if message.opcode == Payment.PREFIX[0] and not message.bounced and isinstance(message.dst, Address)
        ]

    def paid(self, who: Address, reason: PaymentReason | None = None) -> int:
        """Sum of payments to `who` (for one reason)."""
        return sum(p.nano for p in self.payments() if p.to == who and reason in (None, p.reason))

    def change(self, who: Address) -> int:
        """Excesses returned to `who`."""
        wanted = Excesses.PREFIX[0]
        return sum(m.value for m in self.messages if m.dst == who and m.opcode == wanted and not m.bounced)

    def every(self, kind: type[S]) -> list[S]:
        """Every message of the cascade that is a `kind`, decoded strictly."""
        return [kind.from_cell(m.body) for m in self.messages if m.opcode == kind.PREFIX[0] and not m.bounced]

    def one(self, kind: type[S]) -> S:
        """The only message of this kind."""
        found = self.every(kind)
        assert len(found) == 1, f"expected one {kind.__name__}, found {len(found)} in {self}"
        return found[0]

    def of(self, account: Address) -> list[Transaction]:
        """The transactions of one account."""
        return [transaction for transaction in self.transactions if transaction.account == account]

    def assert_succeeded(self) -> Outcome:
        """Every transaction ran and did all its actions; only a plain receiver without code may have skipped it."""
        for transaction in self.transactions:
            plain = transaction.compute_skipped in ("no state", "no gas") and transaction.status_before != "active"
            assert transaction.success or (plain and not transaction.bounced), f"failed: {transaction!r} in {self}"
        return self

    def assert_refused(self, exit_code: int) -> Outcome:
        """The receiver threw `exit_code`; its data stayed, the sender has its value back less the fees of its own
        message,
        and the receiver's balance did not fall but by storage fees."""
        assert self.exit_code == exit_code, f"exit {self.exit_code}, expected {exit_code}: {self}"
        assert self.first.aborted
        self.assert_returned()
        return self

    def assert_returned(self) -> Outcome:
        """The first transaction changed no data, sent nothing but its bounce, and cost the receiver only storage."""
        assert not self.changed, f"data changed: {self}"
        assert self.balance_after >= self.balance_before - self.first.storage_fees, f"balance fell: {self}"
        if self.sent.bounce and self.first.phases.bounce != "no funds":  # too little was left to pay for the way back
            assert [m.bounced and m.dst == self.sent.src for m in self.first.out_msgs] == [True], f"no bounce: {self}"
        else:
            assert not self.first.out_msgs
        return self

    def __str__(self) -> str:
        return "\n".join(["", *(f"  {transaction!r}" for transaction in self.transactions)])
