"""An in-process chain without blocks: accounts, messages in flight, and the exact sum of all money.

Transactions run one at a time in the official executor. Every nanoTON is accounted for: what the ledger was given
(`minted`) equals account balances + value and fees inside messages in flight + fees collected + what was dropped on
purpose (`lost`), after every step. Amounts are nanoTON, times are unix seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytoniq_core import Address, Cell

from .account import AccountView, empty_account
from .config import Prices, network_config
from .errors import ConservationError, ExecutorTrapped, GetterFailed, LedgerError, SandboxError
from .executor import Executor, Verbosity
from .message import Message, build_internal, format_address
from .stack import StackValue
from .transaction import Transaction
from .treasury import Treasury

__all__ = ["AccountView", "Ledger", "Snapshot"]

LT_ALIGN = 1_000_000
_MAX_CASCADE = 10_000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a ledger can be put back to."""

    now: int
    lt: int
    accounts: dict[Address, AccountView]
    pending: tuple[Message, ...]
    minted: int
    burned_fees: int
    lost: int
    treasuries: dict[str, Treasury]


class Ledger:
    """A chain of accounts at time `now`. Not for use from several threads at once.

    `lt` is the last logical time used; `pending` holds messages in flight, oldest first; `prev_blocks` (a VmStackValue
    tuple) is what PREVBLOCKSINFO shows to contracts; `libs` is the root of the masterchain's library dictionary; with a
    `verbosity` other than "short" each transaction's `vm_log` is a full trace. `observer`, if set, is called with each
    transaction as it happens.
    """

    def __init__(
        self,
        executor: Executor | None = None,
        *,
        config: Cell | None = None,
        now: int = 1_700_000_000,
        verbosity: Verbosity = "short",
        prev_blocks: Cell | bytes | None = None,
    ) -> None:
        self.executor = executor or Executor.shared()
        self.config = config or network_config()
        self.verbosity = verbosity
        self.prev_blocks = prev_blocks
        self.libs: Cell | bytes | None = None
        self.now = now
        self.lt = LT_ALIGN
        self.accounts: dict[Address, AccountView] = {}
        self.pending: list[Message] = []
        self.minted = 0
        self.burned_fees = 0
        self.lost = 0
        self.observer: Callable[[Transaction], None] | None = None
        self._treasuries: dict[str, Treasury] = {}

    def __repr__(self) -> str:
        return f"<Ledger at {self.now}, lt {self.lt}, {len(self.accounts)} accounts, {len(self.pending)} in flight>"

    def account(self, address: Address) -> AccountView:
        """The account as it is now; one that never received anything has status "nonexist"."""
        return self.accounts.get(address) or empty_account(address)

    def balance(self, address: Address) -> int:
        """Balance of `address`, 0 if it does not exist."""
        return self.account(address).balance

    def prices(self, workchain: int = 0) -> Prices:
        """The prices that this ledger's config sets."""
        return Prices.from_config(self.config, workchain)

    def credit(self, address: Address, nano: int) -> None:
        """Give `address` money out of nowhere, without a transaction; creates the account if need be."""
        if nano <= 0:
            raise LedgerError(f"a credit must be positive, got {nano}")
        self.accounts[address] = self.account(address).with_credit(nano, self.now)
        self.minted += nano

    def treasury(self, name: str, balance: int = 100_000_000_000) -> Treasury:
        """The wallet called `name`, with the same keys in every ledger. The first call funds it with `balance`."""
        if name not in self._treasuries:
            treasury = Treasury(name)
            self.credit(treasury.address, balance)
            self._treasuries[name] = treasury
        return self._treasuries[name]

    def internal(
        self,
        *,
        src: Address,
        dst: Address,
        value: int,
        body: Cell | None = None,
        state_init: Cell | None = None,
        bounce: bool = True,
        bounced: bool = False,
    ) -> Cell:
        """A message from any `src`: how tests imitate a sender. Its value is minted when it is enqueued."""
        return build_internal(
            src=src,
            dst=dst,
            value=value,
            body=body,
            state_init=state_init,
            bounce=bounce,
            bounced=bounced,
            created_lt=self.lt,
            created_at=self.now,
        )

    def enqueue(self, message: Cell | Message) -> Message:
        """Put a message in flight, behind the others. What an internal one carries counts as minted."""
        view = message if isinstance(message, Message) else Message(message)
        if view.kind == "external-out" or not isinstance(view.dst, Address):
            raise LedgerError(f"{view!r} has no account to go to; send an internal or an external inbound message")
        self.minted += _carried(view)
        self.pending.append(view)
        return view

    def drop(self, index: int = 0) -> Message:
        """Lose the message at `pending[index]`, which no real chain does; what it carries goes to `lost`."""
        message = self.pending.pop(index)
        self.lost += _carried(message)
        return message

    def step(self, index: int = 0) -> Transaction:
        """Deliver `pending[index]`. What it causes is put in flight.

        MessageRejected if it is external and not accepted. ExecutorTrapped if it crashes the executor: it is dropped
        then, and the value it carried counted as `lost`.
        """
        message = self.pending.pop(index)
        address = message.dst
        assert isinstance(address, Address)  # enqueue() sees to that, and the executor's messages are routed below
        before = self.account(address)
        lt = max(self.lt, message.created_lt, before.last_lt) + 1
        try:
            done = self.executor.run_transaction(
                config=self.config,
                shard_account=before.boc,
                message=message.cell,
                now=self.now,
                lt=lt,
                prev_blocks=self.prev_blocks,
                libs=self.libs,
                verbosity=self.verbosity,
            )
        except SandboxError as error:
            self.lost += _carried(message)
            if isinstance(error, ExecutorTrapped):
                error.add_note(f"the message was {message!r}; it has been dropped")
            raise
        after = AccountView(address, done.shard_account_boc)
        transaction = Transaction(
            done.transaction,
            workchain=address.wc,
            vm_log=done.vm_log,
            balance_before=before.balance,
            balance_after=after.balance,
        )
        self.accounts[address] = after
        self.lt = transaction.end_lt - 1
        # A delivered message's own forward fee is what the receiving side's validators earn.
        self.burned_fees += transaction.total_fees + message.fwd_fee
        self.pending += [out for out in transaction.out_msgs if out.kind == "internal"]
        if self.observer is not None:
            self.observer(transaction)
        return transaction

    def run(self) -> list[Transaction]:
        """Deliver everything in flight, oldest first, and everything that causes."""
        done: list[Transaction] = []
        while self.pending:
            if len(done) == _MAX_CASCADE:
                raise LedgerError(
                    f"{_MAX_CASCADE} transactions and no end: contracts are sending to each other forever"
                )
            done.append(self.step())
        return done

    def send(self, message: Cell | Message) -> list[Transaction]:
        """Enqueue `message` in a new block and run everything to completion. MessageRejected if it is not accepted."""
        self.lt += -self.lt % LT_ALIGN
        self.enqueue(message)
        return self.run()

    def get(self, address: Address, method: str | int, *stack: StackValue) -> list[Any]:
        """Run a get-method and return its stack, top last. GetterFailed if it throws or there is no code."""
        account = self.account(address)
        code, data = account.code, account.data
        if account.status != "active" or code is None:
            raise GetterFailed(f"{format_address(address)} is {account.status} and has no get-methods; deploy it first")
        result = self.executor.run_getter(
            config=self.config,
            code=code,
            data=data or Cell.empty(),
            address=address,
            balance=account.balance,
            now=self.now,
            method=method,
            stack=stack,
            prev_blocks=self.prev_blocks,
            verbosity=self.verbosity,
        )
        if result.exit_code not in (0, 1):
            raise GetterFailed(
                f"get-method {method} of {format_address(address)} threw {result.exit_code}",
                result.exit_code,
                result.vm_log,
            )
        return result.stack

    def advance(self, seconds: int) -> None:
        """Let time pass. Storage fees fall due with each account's next transaction."""
        if seconds < 0:
            raise LedgerError("time does not run backwards; take a snapshot and restore it instead")
        if self.now + seconds >= 1 << 32:
            raise LedgerError("the network's clock has 32 bits and ends in 2106")
        self.now += seconds
        self.lt += -self.lt % LT_ALIGN

    def snapshot(self) -> Snapshot:
        """The state now, to go back to with `restore`; cheap, since accounts are immutable."""
        return Snapshot(
            now=self.now,
            lt=self.lt,
            accounts=dict(self.accounts),
            pending=tuple(self.pending),
            minted=self.minted,
            burned_fees=self.burned_fees,
            lost=self.lost,
            treasuries=dict(self._treasuries),
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to `snapshot`, which stays valid."""
        self.now, self.lt = snapshot.now, snapshot.lt
        self.accounts, self.pending = dict(snapshot.accounts), list(snapshot.pending)
        self.minted, self.burned_fees, self.lost = snapshot.minted, snapshot.burned_fees, snapshot.lost
        self._treasuries = dict(snapshot.treasuries)

    def total_balance(self) -> int:
        """The sum of all account balances."""
        return sum(account.balance for account in self.accounts.values())

    def in_flight(self) -> int:
        """What messages in flight carry: value, and the forward fee that will be earned on delivery."""
        return sum(_carried(message) for message in self.pending)

    def check_conservation(self) -> None:
        """ConservationError unless minted == balances + in flight + fees + lost, to the nanoTON."""
        terms = {
            "balances": self.total_balance(),
            "in flight": self.in_flight(),
            "fees": self.burned_fees,
            "lost": self.lost,
        }
        if (total := sum(terms.values())) != self.minted:
            listed = ", ".join(f"{name} {value}" for name, value in terms.items())
            raise ConservationError(f"minted {self.minted}, but there is {total} ({total - self.minted:+}): {listed}")


def _carried(message: Message) -> int:
    """Money inside a message. The old IHR fee field holds flags since TVM 12, not money."""
    return message.value + message.fwd_fee
