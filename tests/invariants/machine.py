"""All actors at once: governance, two workers, two clients, Attestation, a thief, and a network that delivers as late
as it likes.

Messages between two accounts keep their order, as TON guarantees; everything else is permuted. After every
transaction: money
adds up, every contract covers what it owes, no rule of `laws` is broken, the thief has not gained.
"""

from __future__ import annotations

from dataclasses import replace

from actors import actor, digest, key
from channel import DAY, REQUEST, RESPONSE, Channel
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from laws import Ledgers
from pytoniq_core import Address, Cell, begin_cell
from solvency import owed_by
from stages import market_world
from world import MEASUREMENT, MODEL, TERMS, TON, WorkerSide

from cocoon.wire.attestation import AttestedPlatform, QuoteRefused, QuoteVerified, VerifyQuote
from cocoon.wire.codec import Struct
from cocoon.wire.common import AttestedKeys, Kind, Payment, PaymentReason
from cocoon.wire.escrow import (
    BeginClose,
    CancelOpen,
    CountVolume,
    DeliverJob,
    EscrowStatus,
    ExpireJob,
    FinishClose,
    JobStatus,
    PostJob,
    RebindChannel,
    RetryReport,
    TopUpEscrow,
)
from cocoon.wire.registry import (
    AllowMeasurement,
    CancelChange,
    ChangePolicy,
    ChangeRebuilders,
    DenyMeasurement,
    ExecuteChange,
    ProposeChange,
    Rebuilders,
    SyncPolicy,
)
from cocoon.wire.slashing import SubmitEquivocation
from cocoon.wire.worker import (
    AdoptSlashing,
    ApproveMeasurement,
    BeginUnbond,
    PauseWorker,
    ResumeWorker,
    SetOffer,
    TopUpStake,
    WithdrawStake,
)
from cocoon_sandbox.account import AccountView
from cocoon_sandbox.ledger import Ledger
from cocoon_sandbox.message import Message
from cocoon_sandbox.transaction import Transaction

__all__ = ["Market"]

THIEF = actor("thief")
HORIZON = 85 * DAY  # rent is prepaid for 90 days beyond a channel's term: see E-8

channels = st.integers(0, 3)
workers = st.integers(0, 1)
carriers = st.sampled_from(["carrier", "thief", "worker 0 operator", "client 0"])
amounts = st.one_of(st.sampled_from([0, 1, TON // 10, TON, 2 * TON, 2**63]), st.integers(0, 3 * TON))
# How much is attached, relative to the least value that should do.
values = st.sampled_from([0, 0, 0, 0, 1, TON // 100, TON, -1, -(10**5), -(10**9)])


class Market(RuleBasedStateMachine):
    """See the module. Every run starts with everything deployed and both workers active."""

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

    # ---- the network ----

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

    @initialize(opened=st.lists(channels, min_size=1, max_size=4, unique=True))
    def open_some(self, opened: list[int]) -> None:
        for number in opened:
            self.client_opens(number, TON, 0)
        self.settle()

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

    # ---- clients ----

    @rule(number=channels, deposit=st.sampled_from([1, TON // 2, TON]), extra=values)
    def client_opens(self, number: int, deposit: int, extra: int) -> None:
        channel = self.channels[number]
        init = self.world.deployment.escrow_state_init(channel.client, channel.worker.address, channel.salt)
        body = channel.opening(deposit_nano=deposit)
        self.put(channel.client, channel.address, body, deposit + self.fees[0] + extra, init)

    @rule(number=channels, credit=amounts, who=carriers)
    def somebody_tops_up(self, number: int, credit: int, who: str) -> None:
        self.put(actor(who), self.channels[number].address, TopUpEscrow(1), min(credit, TON) + self.fees[1])

    @rule(number=channels, amount=amounts, who=carriers, extra=values, to_payout=st.booleans())
    def voucher_is_claimed(self, number: int, amount: int, who: str, extra: int, to_payout: bool) -> None:
        channel = self.ensure_open(number)
        if not self.is_open(channel):
            return
        epoch = (channel.address, channel.state.epoch)
        self.signed.vouchers[epoch] = max(amount, self.signed.vouchers.get(epoch, 0))
        body = replace(channel.voucher(amount), excess_to_payout=to_payout)
        self.put(actor(who), channel.address, body, self.fees[4] + extra)

    @rule(number=channels, fee=amounts, seconds=st.sampled_from([29, 30, 600, DAY]), extra=values)
    def client_posts(self, number: int, fee: int, seconds: int, extra: int) -> None:
        channel = self.channels[number]
        fee = min(fee, TON)
        self.put(channel.client, channel.address, PostJob(2, fee, seconds, REQUEST), fee + self.fees[2] + extra)

    @rule(number=channels, at_once=st.booleans())
    def client_posts_properly(self, number: int, at_once: bool) -> None:
        channel = self.ensure_open(number)
        self.put(channel.client, channel.address, PostJob(2, TON // 5, 60, REQUEST), TON // 5 + self.fees[2])
        if at_once:
            self.settle()

    @rule(number=channels, rarely=st.integers(0, 3))
    def client_begins_closing(self, number: int, rarely: int) -> None:
        channel = self.channels[number]
        if rarely:
            return
        self.put(channel.client, channel.address, BeginClose(3), self.fees[5])

    @rule(number=channels, who=carriers, extra=values)
    def somebody_finishes_closing(self, number: int, who: str, extra: int) -> None:
        self.put(actor(who), self.channels[number].address, FinishClose(4), self.fees[6] + extra)

    @rule(number=channels, amount=amounts, who=carriers, extra=values)
    def both_agree_to_close(self, number: int, amount: int, who: str, extra: int) -> None:
        channel = self.ensure_open(number)
        if not self.is_open(channel):
            return
        self.use_bound_key(channel)
        epoch = (channel.address, channel.state.epoch)
        self.signed.closings.setdefault(epoch, set()).add(amount)
        self.put(actor(who), channel.address, channel.closing(amount), self.fees[6] + extra)

    @rule(
        number=channels,
        who=carriers,
        extra=values,
        measurement=st.sampled_from([MEASUREMENT] * 3 + [5]),
        reboot=st.booleans(),
    )
    def channel_is_rebound(self, number: int, who: str, extra: int, measurement: int, reboot: bool) -> None:
        """With keys that are new, or not; the enclave then signs with the ones the channel is bound to."""
        if reboot and self.is_open(self.ensure_job(number)):
            self.worker_renews(number // 2, True)
            self.settle()
            self.attestation_verifies(-1, 1)
            self.settle()
        self.put(actor(who), self.channels[number].address, RebindChannel(16, measurement), self.fees[8] + extra)

    @rule(number=channels, more=amounts, who=carriers, extra=values, rarely=st.integers(0, 2))
    def worker_releases(self, number: int, more: int, who: str, extra: int, rarely: int) -> None:
        """Once it has been paid `more` than now."""
        channel = self.ensure_open(number)
        if rarely or not self.is_open(channel):
            return
        amount = channel.state.claimed_nano + more
        self.use_bound_key(channel)
        epoch = (channel.address, channel.state.epoch)
        self.signed.releases[epoch] = min(amount, self.signed.releases.get(epoch, amount))
        self.put(actor(who), channel.address, channel.releasing(amount), self.fees[6] + extra)

    @rule(number=channels, who=carriers, burned=amounts)
    def volume_is_counted(self, number: int, who: str, burned: int) -> None:
        if burned > 1:
            self.voucher_is_claimed(number, min(burned, TON), "carrier", 0, True)
            self.settle()
        self.put(actor(who), self.channels[number].address, CountVolume(17), min(burned, TON) + self.fees[9])

    @rule(number=channels)
    def client_cancels_opening(self, number: int) -> None:
        channel = self.channels[number]
        self.put(channel.client, channel.address, CancelOpen(5), TON // 100)

    # ---- jobs ----

    @rule(number=channels, fee=amounts, who=carriers, extra=values, to_payout=st.booleans())
    def answer_is_delivered(self, number: int, fee: int, who: str, extra: int, to_payout: bool) -> None:
        channel = self.ensure_job(number)
        if not self.has_job(channel):
            return
        state = channel.state
        fee = min(fee, state.job_max_fee_nano + 1)
        self.signed.fees.setdefault((channel.address, state.epoch, state.job_seq), set()).add(fee)
        body = DeliverJob(6, to_payout, channel.forced_receipt(fee), RESPONSE)
        self.put(actor(who), channel.address, body, self.fees[3] + extra)

    @rule(number=channels, reason=st.integers(0, 6), who=carriers, extra=values)
    def job_is_rejected(self, number: int, reason: int, who: str, extra: int) -> None:
        channel = self.ensure_job(number)
        if self.has_job(channel):
            self.put(actor(who), channel.address, channel.rejection(reason), self.fees[3] + extra)

    @rule(number=channels, who=carriers, extra=values, overdue=st.booleans())
    def job_is_expired(self, number: int, who: str, extra: int, overdue: bool) -> None:
        if overdue and self.has_job(self.ensure_job(number)):
            self.world.ledger.advance(122)
        self.put(actor(who), self.channels[number].address, ExpireJob(7), self.fees[3] + extra)

    @rule(number=channels, who=carriers, extra=values)
    def report_is_retried(self, number: int, who: str, extra: int) -> None:
        self.put(actor(who), self.channels[number].address, RetryReport(8), self.fees[7] + extra)

    # ---- workers ----

    @rule(number=workers, rotate=st.booleans())
    def worker_renews(self, number: int, rotate: bool) -> None:
        """A rotated key is used for signing only once it is on chain, as the agent does."""
        worker = self.world.workers[number]
        self.refresh_key(worker)
        session = key(f"worker {number} session {worker.state.key_epoch + 1}") if rotate else worker.session
        self.put(worker.operator, worker.address, worker.quote(session), self.attest_fees)

    @precondition(lambda self: self.asked)
    @rule(which=st.integers(-4, -1), later=st.sampled_from([1, 1, 1, 0, -1]))
    def attestation_verifies(self, which: int, later: int) -> None:
        """One of the last quotes that were sent on: late, twice, or after another, as it comes."""
        if not self.asked:
            return
        number, seq, keys = self.asked[max(which, -len(self.asked))]
        self.put_verdict(number, seq, keys, later)

    @precondition(lambda self: self.asked)
    @rule(which=st.integers(-4, -1))
    def attestation_refuses(self, which: int) -> None:
        number, seq, _ = self.asked[max(which, -len(self.asked))]
        refused = QuoteRefused(seq, 564)
        self.put(self.world.attestation, self.world.workers[number].address, refused, TON // 100)

    @rule(number=workers, measurement=st.sampled_from([MEASUREMENT, 5]), rarely=st.integers(0, 5))
    def owner_approves(self, number: int, measurement: int, rarely: int) -> None:
        worker = self.world.workers[number]
        body = ApproveMeasurement(19, MEASUREMENT if rarely else measurement)
        self.put(worker.owner, worker.address, body, self.manage_fees)

    @rule(number=workers, slots=st.sampled_from([0, 1, 2, 2, 8, 8, 9]), dear=st.booleans())
    def worker_offers(self, number: int, slots: int, dear: bool) -> None:
        worker = self.world.workers[number]
        terms = replace(TERMS, prompt_nano=TERMS.prompt_nano + dear)
        self.put(worker.operator, worker.address, SetOffer(9, slots, {MODEL: terms}), self.manage_fees)

    @rule(number=workers, body=st.sampled_from([PauseWorker(1), ResumeWorker(1), ResumeWorker(1), ResumeWorker(1)]))
    def worker_pauses_or_resumes(self, number: int, body: Struct) -> None:
        worker = self.world.workers[number]
        self.put(worker.operator, worker.address, body, self.manage_fees)

    @rule(number=workers, stake=st.integers(0, TON), bond=st.integers(0, TON), who=carriers, extra=values)
    def somebody_adds_stake(self, number: int, stake: int, bond: int, who: str, extra: int) -> None:
        value = stake + bond + self.manage_fees + extra
        self.put(actor(who), self.world.workers[number].address, TopUpStake(10, stake, bond), value)

    @rule(number=workers, rarely=st.integers(0, 7))
    def owner_unbonds(self, number: int, rarely: int) -> None:
        if rarely:
            return
        worker = self.world.workers[number]
        self.put(worker.owner, worker.address, BeginUnbond(11), self.manage_fees)

    @rule(number=workers, wait=st.booleans())
    def owner_withdraws(self, number: int, wait: bool) -> None:
        """Now and then the owner waits until the stake is free, while everybody else does nothing."""
        worker = self.world.workers[number]
        end = worker.state.unbond_at
        if wait and end and end - self.started < HORIZON:
            self.world.ledger.advance(max(0, end - self.world.ledger.now))
        self.put(worker.owner, worker.address, WithdrawStake(12), self.manage_fees)

    @rule(number=workers)
    def owner_adopts_slashing(self, number: int) -> None:
        worker = self.world.workers[number]
        self.put(worker.owner, worker.address, AdoptSlashing(18, self.world.slashing), self.manage_fees)

    @rule(number=channels, seq=st.integers(1, 3), who=carriers, extra=values, rarely=st.integers(0, 5))
    def worker_signs_twice(self, number: int, seq: int, who: str, extra: int, rarely: int) -> None:
        if rarely:
            return
        channel = self.channels[number]
        self.refresh_key(channel.worker)
        self.signed.guilty.add(channel.worker.address)
        receipts = [channel.receipt(fee_nano=fee, seq=seq, kind=Kind.STREAM_RECEIPT) for fee in (1, 2)]
        identity = self.world.deployment.escrow_identity(channel.client, channel.worker.address, channel.salt)
        body = SubmitEquivocation(13, channel.worker.session.public, identity, *receipts)
        self.put(actor(who), self.world.slashing, body, self.world.evidence_fees + extra)

    # ---- governance ----

    @rule(what=st.integers(0, 7))
    def governor_governs(self, what: int) -> None:
        state = self.world.registry_state
        penalty = self.world.rules.miss_penalty_nano * (1 + what % 2)
        policy = self.world.policy(state.policy_version + 1, miss_penalty_nano=penalty)
        body: Struct = [
            ProposeChange(14, ChangePolicy(policy).to_cell()),
            ProposeChange(14, ChangePolicy(replace(policy, dispute_sec=3600)).to_cell()),
            ProposeChange(14, AllowMeasurement(5).to_cell()),
            CancelChange(14),
            DenyMeasurement(14, 6),
            ExecuteChange(14),
            ExecuteChange(14, self.world.rebuilds(5)),
            ProposeChange(14, ChangeRebuilders(Rebuilders(1, {key("rebuilder 0").public: None})).to_cell()),
        ][what]
        self.put(self.world.governor, self.world.registry, body, self.govern_fees[2])

    @rule(number=workers, who=carriers)
    def somebody_syncs(self, number: int, who: str) -> None:
        self.put(actor(who), self.world.registry, SyncPolicy(15, number), self.govern_fees[1])

    # ---- the thief ----

    def targets(self) -> list[Address]:
        contracts = [self.world.registry, self.world.slashing, *(w.address for w in self.world.workers)]
        return contracts + [channel.address for channel in self.channels]

    @precondition(lambda self: self.seen)
    @rule(which=st.integers(0, 59), place=st.integers(0, 7), value=st.sampled_from([0, 10**5, 10**6, TON // 100, TON]))
    def thief_replays(self, which: int, place: int, value: int) -> None:
        """Any body that was ever delivered, replies between contracts included, to any contract."""
        body = self.seen[which % len(self.seen)]
        self.put(THIEF, self.targets()[place], body, value)

    @precondition(lambda self: self.seen)
    @rule(which=st.integers(0, 59), place=st.integers(0, 7), bit=st.integers(32, 900))
    def thief_flips_a_bit(self, which: int, place: int, bit: int) -> None:
        cell = self.seen[which % len(self.seen)]
        bits = cell.bits.copy()
        if len(bits) > 32:
            bits.invert(32 + bit % (len(bits) - 32))
        changed = begin_cell().store_bits(bits)
        for ref in cell.refs:
            changed.store_ref(ref)
        self.put(THIEF, self.targets()[place], changed.end_cell(), TON // 100)

    @rule(opcode=st.sampled_from([0xC0C00310, 0xC0C00311, 0xC0C00313, 0xC0C00314, 0xC0C00212, 0xC0C00213, 0xC0C00214,
    0xC0C00220, 0xC0C00221,
    0xFFFFFFFF]),
          place=st.integers(0, 7), epoch=st.integers(0, 3), seq=st.integers(0, 2))  # fmt: skip
    def thief_forges_a_reply(self, opcode: int, place: int, epoch: int, seq: int) -> None:
        channel = self.channels[epoch]
        known = channel.state.epoch if self.is_open(channel) else 0
        body = begin_cell().store_uint(opcode, 32).store_uint(known, 64).store_uint(seq, 32).store_uint(1, 8)
        self.put(THIEF, self.targets()[place], body.end_cell(), TON // 100)

    @rule(number=channels)
    def thief_opens_for_others(self, number: int) -> None:
        channel = self.channels[number]
        init = self.world.deployment.escrow_state_init(channel.client, channel.worker.address, channel.salt)
        body = channel.opening(client_key=key("thief").public)
        self.put(THIEF, channel.address, body, 2 * TON, init)

    @rule(number=channels, amount=amounts)
    def thief_signs_a_voucher(self, number: int, amount: int) -> None:
        channel = self.channels[number]
        if self.is_open(channel):
            body = channel.voucher(amount, signer=key("thief"))
            self.put(THIEF, channel.address, body, self.fees[4])

    @rule(number=workers, seq=st.integers(-1, 1))
    def replaced_attestation_confirms_keys_of_its_own(self, number: int, seq: int) -> None:
        """Whatever governance installs there one day: nobody asked for these keys."""
        asked = self.world.workers[number].state.people.attest_seq
        keys = AttestedKeys(key("governor's own").public, 5, MEASUREMENT)
        self.put_verdict(number, max(0, asked + seq), keys, 1)
        self.thief_signs_twice(number, "governor's own")

    @rule(number=workers)
    def thief_has_the_operators_wallet(self, number: int) -> None:
        """It asks for a key of its own, confirms it itself, and reports what it signs."""
        worker, mine = self.world.workers[number], key("thief")
        self.put(worker.operator, worker.address, worker.quote(mine), self.attest_fees)
        asked = worker.state.people.attest_seq
        platform = AttestedPlatform(0, 0, 17, 2**31, 2**31, AttestedKeys(mine.public, digest(worker.hpke), MEASUREMENT))
        self.put(THIEF, worker.address, QuoteVerified(asked + 1, 0, 0, platform), TON // 100)
        self.thief_signs_twice(number, "thief")

    def thief_signs_twice(self, number: int, name: str) -> None:
        channel, mine = self.channels[2 * number], key(name)
        receipts = [channel.receipt(fee_nano=fee, kind=Kind.STREAM_RECEIPT, signer=mine) for fee in (1, 2)]
        identity = self.world.deployment.escrow_identity(channel.client, channel.worker.address, channel.salt)
        body = SubmitEquivocation(20, mine.public, identity, *receipts)
        self.put(THIEF, self.world.slashing, body, self.world.evidence_fees)

    # ---- what holds always ----

    @invariant()
    def money_adds_up(self) -> None:
        """P-4."""
        self.world.ledger.check_conservation()

    @invariant()
    def liabilities_are_covered(self) -> None:
        """E-1, W-1."""
        for address in [channel.address for channel in self.channels] + [
            worker.address for worker in self.world.workers
        ]:
            account: AccountView = self.world.ledger.account(address)
            owed = owed_by(account)
            assert owed is None or account.balance >= owed, f"{account} owes {owed}"

    @invariant()
    def thief_has_not_gained(self) -> None:
        """P-4."""
        assert self.thief_received <= self.thief_sent

    def teardown(self) -> None:
        """Whatever happened, the end can be reached: messages run dry, jobs expire, every deposit comes home."""
        self.settle()
        for channel in self.channels:
            if not self.is_open(channel):
                continue
            if channel.state.status == EscrowStatus.OPENING:
                self.world.ledger.advance(601)
                self.put(channel.client, channel.address, CancelOpen(1), TON // 100)
                self.settle()
                continue
            if channel.job == JobStatus.OPEN:
                channel.pass_deadline()
                self.put(channel.client, channel.address, ExpireJob(1), self.fees[3])
                self.settle()
            binding = channel.state.binding
            assert binding is not None
            end = binding.channel_end + binding.dispute_sec
            self.world.ledger.advance(max(0, end - self.world.ledger.now))
            self.put(channel.client, channel.address, FinishClose(1), self.fees[6])
            self.settle()
            assert not channel.exists, f"{channel.address} cannot be closed"

    # ---- helpers ----

    def put_verdict(self, number: int, seq: int, keys: AttestedKeys, later: int) -> None:
        """From Attestation, about a block `later` than the one behind the keys of now."""
        worker, now = self.world.workers[number], self.world.ledger.now
        block = max(0, worker.state.people.block_seqno + later)
        platform = AttestedPlatform(0, 0, 17, block, now + self.world.rules.lease_sec, keys)
        self.put(self.world.attestation, worker.address, QuoteVerified(seq, 0, now, platform), TON // 100)

    def ensure_open(self, number: int) -> Channel:
        """The channel, opened (and everything in flight delivered) if it was not; the worker may have refused."""
        channel = self.channels[number]
        if not self.is_open(channel):
            self.client_opens(number, TON, 0)
            self.settle()
        return channel

    def ensure_job(self, number: int) -> Channel:
        """The channel, with a job posted (and everything in flight delivered) if there was none."""
        channel = self.ensure_open(number)
        if self.is_open(channel) and channel.state.job_status == JobStatus.NONE:
            self.client_posts_properly(number, True)
        return channel

    def is_open(self, channel: Channel) -> bool:
        data = self.world.ledger.account(channel.address).data
        return data is not None and bool(data.refs)

    def has_job(self, channel: Channel) -> bool:
        if not self.is_open(channel) or channel.state.job_status != JobStatus.OPEN:
            return False
        self.use_bound_key(channel)
        return True

    def use_bound_key(self, channel: Channel) -> None:
        """Sign with the key that this channel was bound to."""
        state = channel.state
        number = self.world.workers.index(channel.worker)
        if state.binding is not None:
            channel.worker.session = key(f"worker {number} session {state.binding.key_epoch}")

    def refresh_key(self, worker: WorkerSide) -> None:
        number = self.world.workers.index(worker)
        worker.session = key(f"worker {number} session {max(1, worker.state.key_epoch)}")
