"""Every transaction of the run in a book by account: what came in, what went out, and to whom, to the nanoTON."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from pytoniq_core import Address

from cocoon_sandbox.ledger import Ledger
from cocoon_sandbox.transaction import Transaction

__all__ = ["Books"]


@dataclass
class Books:
    """From its making on. received[account][sender] and sent[account][receiver]: values of messages.
    paid: fees, with the messages' own.
    """

    ledger: Ledger
    opening: dict[Address, int] = field(default_factory=dict)
    received: defaultdict[Address, defaultdict[Address, int]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(int))
    )
    sent: defaultdict[Address, defaultdict[Address, int]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(int))
    )
    paid: defaultdict[Address, int] = field(default_factory=lambda: defaultdict(int))

    def __post_init__(self) -> None:
        self.opening = {address: account.balance for address, account in self.ledger.accounts.items()}

    def enter(self, done: Transaction) -> None:
        incoming = done.in_msg
        if incoming is not None and incoming.kind == "internal":
            assert isinstance(incoming.src, Address)
            self.received[done.account][incoming.src] += incoming.value
        self.paid[done.account] += done.total_fees
        for out in done.out_msgs:
            self.paid[done.account] += out.fwd_fee
            if isinstance(out.dst, Address):
                self.sent[done.account][out.dst] += out.value

    def check(self) -> None:
        """Of each account: what it had, and came, and went, is what it has. What one sent the other received."""
        for address in {*self.opening, *self.received, *self.sent}:
            expected = self.opening.get(address, 0) + sum(self.received[address].values())
            expected -= sum(self.sent[address].values()) + self.paid[address]
            assert self.ledger.balance(address) == expected, address
            for receiver, value in self.sent[address].items():
                assert self.received[receiver][address] == value, (address, receiver)
