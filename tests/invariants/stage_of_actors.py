"""The accounts that act, and a network that delivers as late as it likes.

Messages between two accounts keep their order, as TON guarantees; everything else is permuted.
"""

from __future__ import annotations

from actors import actor, key
from channel import DAY, Channel
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from laws import Ledgers
from pytoniq_core import Address, Cell
from stages import market_world
from world import TON, WorkerSide

from cocoon.wire.attestation import VerifyQuote
from cocoon.wire.codec import Struct
from cocoon.wire.common import AttestedKeys, Payment, PaymentReason
from cocoon_sandbox.ledger import Ledger
from cocoon_sandbox.message import Message
from cocoon_sandbox.transaction import Transaction

__all__ = ["HORIZON", "THIEF", "Stage", "amounts", "carriers", "channels", "values", "workers"]


THIEF = actor("thief")
HORIZON = 85 * DAY  # rent is prepaid for 90 days beyond a channel's term: see E-8

channels = st.integers(0, 3)
workers = st.integers(0, 1)
carriers = st.sampled_from(["carrier", "thief", "worker 0 operator", "client 0"])
amounts = st.one_of(st.sampled_from([0, 1, TON // 10, TON, 2 * TON, 2**63]), st.integers(0, 3 * TON))
# How much is attached, relative to the least value that should do.
values = st.sampled_from([0, 0, 0, 0, 1, TON // 100, TON, -1, -(10**5), -(10**9)])


class Stage(RuleBasedStateMachine):
    """The accounts, what was signed, and the network's rules. Every run starts with everything deployed and both
    workers active.
    """

    def __init__(self) -> None:
        super().__init__()
        self.world = market_world(Ledger())
        self.channels = [
            Channel(self.world, worker, actor(f"client {number}"), key(f"client {number} key"))
            for worker in self.world.workers
            for number in range(2)
        ]
        self.signed = Ledgers()
        self.started = self.world.ledger.now
        self.thief_sent = self.thief_received = 0
        self.seen: list[Cell] = []
        self.fees = self.world.escrow_fees(DAY)
        self.govern_fees = self.world.registry_fees
        self.manage_fees = self.world.workers[0].manage_fees
        self.attest_fees = self.world.workers[0].attest_fees
        self.asked: list[tuple[int, int, AttestedKeys]] = []

    def put(
        self, sender: Address, to: Address, body: Struct | Cell, value: int, state_init: Cell | None = None
    ) -> None:
        value = max(value, 0)
        if sender == THIEF:
            self.thief_sent += value
        self.world.put(sender, to, body, value, state_init=state_init)

    def eligible(self) -> list[int]:
        """Oldest message of each pair of accounts."""
        first: dict[tuple[str, str], int] = {}
        for index, message in enumerate(self.world.ledger.pending):
            first.setdefault((str(message.src), str(message.dst)), index)
        return list(first.values())

    def deliver_one(self, choice: int) -> Transaction:
        ready = self.eligible()
        index = ready[choice % len(ready)]
        message = self.world.ledger.pending[index]
        assert isinstance(message.dst, Address)
        before = self.world.ledger.account(message.dst)
        transaction = self.world.step(index)
        self.signed.check(before, self.world.ledger.account(message.dst), transaction)
        self._record(message, transaction)
        return transaction

    def _record(self, message: Message, transaction: Transaction) -> None:
        if len(self.seen) < 60 and not message.bounced and message.opcode is not None:
            self.seen.append(message.body)
        for out in transaction.out_msgs:
            if out.opcode == VerifyQuote.PREFIX[0] and not out.bounced:
                self._note_quote(out)
            if out.dst == THIEF:
                rewarded = (
                    out.opcode == Payment.PREFIX[0] and Payment.from_cell(out.body).reason == PaymentReason.SLASH_REWARD
                )
                self.thief_received += 0 if rewarded else out.value

    def _note_quote(self, message: Message) -> None:
        """What a Worker awaits from now on; the quote of a thief is one that no Attestation accepts."""
        for number, worker in enumerate(self.world.workers):
            people = worker.state.people
            asked = people.awaited
            if worker.address == message.src and asked is not None and asked.session_key != key("thief").public:
                self.asked.append((number, people.attest_seq, asked))

    def settle(self) -> None:
        while self.world.ledger.pending:
            self.deliver_one(0)

    @rule(choices=st.lists(st.integers(0, 7), min_size=1, max_size=8))
    def network_delivers(self, choices: list[int]) -> None:
        for choice in choices:
            if self.world.ledger.pending:
                self.deliver_one(choice)

    @rule()
    def network_catches_up(self) -> None:
        self.settle()

    @rule(choice=st.integers(0, 7), rarely=st.integers(0, 3))
    def network_loses_a_message(self, choice: int, rarely: int) -> None:
        """TON loses none; whatever can go wrong at a receiver is tried by having the message disappear with what it
        carried. A payment is the receiver's own affair, so those arrive."""
        ready = self.eligible()
        if rarely or not ready:
            return
        index = ready[choice % len(ready)]
        if self.world.ledger.pending[index].opcode != Payment.PREFIX[0]:
            self.world.ledger.drop(index)

    @rule(seconds=st.sampled_from([1, 30, 61, 121, 601]))
    def moments_pass(self, seconds: int) -> None:
        self.world.ledger.advance(seconds)

    @rule(seconds=st.sampled_from([3600, DAY, DAY + 1, 8 * DAY, 45 * DAY]), rarely=st.integers(0, 3))
    def days_pass(self, seconds: int, rarely: int) -> None:
        if not rarely and self.world.ledger.now + seconds - self.started < HORIZON:
            self.world.ledger.advance(seconds)

    def is_open(self, channel: Channel) -> bool:
        data = self.world.ledger.account(channel.address).data
        return data is not None and bool(data.refs)

    def use_bound_key(self, channel: Channel) -> None:
        """Sign with the key that this channel was bound to."""
        state = channel.state
        number = self.world.workers.index(channel.worker)
        if state.binding is not None:
            channel.worker.session = key(f"worker {number} session {state.binding.key_epoch}")

    def refresh_key(self, worker: WorkerSide) -> None:
        number = self.world.workers.index(worker)
        worker.session = key(f"worker {number} session {max(1, worker.state.key_epoch)}")
