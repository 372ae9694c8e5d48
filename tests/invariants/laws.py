"""What one transaction may do to an Escrow or a Worker, by the message that caused it; and who signed for it.

`Ledgers` is told what clients and workers signed. `check` raises AssertionError if a transaction moved money, a key
or a status
in a way that no rule names. Amounts are nanoTON.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pytoniq_core import Address

from cocoon.contracts_build import load
from cocoon.wire.attestation import QuoteVerified
from cocoon.wire.common import Payment, PaymentReason
from cocoon.wire.escrow import (
    BeginClose,
    BindConfirmed,
    BindRefused,
    CancelOpen,
    ClaimVoucher,
    CloseCooperative,
    CountVolume,
    DeliverJob,
    EscrowStatus,
    EscrowStorage,
    ExpireJob,
    FinishClose,
    JobRefused,
    KeysRenewed,
    MissRecorded,
    OpenEscrow,
    PostJob,
    RejectJob,
    ReleaseChannel,
    TopUpEscrow,
)
from cocoon.wire.worker import (
    AdmitJob,
    ApproveMeasurement,
    Attest,
    BeginUnbond,
    CreditVolume,
    PauseWorker,
    RebindEscrow,
    ReportMiss,
    ResumeWorker,
    SlashWorker,
    TopUpStake,
    WithdrawStake,
    WorkerStatus,
    WorkerStorage,
)
from cocoon_sandbox.account import AccountView
from cocoon_sandbox.transaction import Transaction

__all__ = ["Ledgers"]

Epoch = tuple[Address, int]
MAX_FORCED_SLOTS = 8


@dataclass
class Ledgers:
    """What was promised, by whom, in which incarnation of which channel."""

    vouchers: dict[Epoch, int] = field(default_factory=dict)  # greatest the client signed
    closings: dict[Epoch, set[int]] = field(default_factory=dict)  # totals both signed
    releases: dict[Epoch, int] = field(default_factory=dict)  # least total at which the worker lets the deposit go
    fees: dict[tuple[Address, int, int], set[int]] = field(default_factory=dict)  # (escrow, epoch, seq) -> fees signed
    guilty: set[Address] = field(default_factory=set)  # workers whose key signed twice

    def check(self, before: AccountView, after: AccountView, transaction: Transaction) -> None:
        """One transaction against the rules."""
        if before.code_hash is None or before.data is None or not before.data.refs:
            return
        if before.code_hash == load("Escrow").hash:
            self._check_escrow(before, after, transaction)
        elif before.code_hash == load("Worker").hash:
            self._check_worker(before, after, transaction)

    def _check_escrow(self, before: AccountView, after: AccountView, transaction: Transaction) -> None:
        cause = _cause(transaction)
        old = EscrowStorage.from_cell(before.data)
        channel: Epoch = (before.address, old.epoch)
        if after.data is None:
            self._check_ending(old, channel, cause, transaction)
            return
        new = EscrowStorage.from_cell(after.data)
        assert (new.epoch, new.client_key, new.identity) == (old.epoch, old.client_key, old.identity)
        _only(cause, new.claimed_nano != old.claimed_nano, {ClaimVoucher})
        _only(cause, new.deposit_nano != old.deposit_nano, {TopUpEscrow, DeliverJob, RejectJob})
        _only(cause, new.job_funds_nano > old.job_funds_nano or new.job_seq != old.job_seq, {PostJob})
        ends_job = {DeliverJob, RejectJob, ExpireJob, JobRefused, AdmitJob, KeysRenewed}
        _only(cause, new.job_funds_nano < old.job_funds_nano, ends_job)
        _only(cause, new.counted_nano != old.counted_nano, {CountVolume})
        assert old.counted_nano <= new.counted_nano <= new.claimed_nano
        _only(cause, new.status != old.status, {BindConfirmed, BeginClose})
        _only(cause, new.binding != old.binding, {BindConfirmed, KeysRenewed})
        _only(
            cause,
            new.job_status != old.job_status,
            {PostJob, MissRecorded, *ends_job},
        )
        if old.binding is not None and new.binding is not None and new.binding != old.binding:
            assert new.binding.key_epoch > old.binding.key_epoch
            renewed = replace(new.binding, key_epoch=old.binding.key_epoch, lease_end=old.binding.lease_end)
            assert replace(renewed, keys=old.binding.keys) == old.binding, "a rebinding changed the terms"
        if new.counted_nano > old.counted_nano:
            assert _paid(transaction, PaymentReason.BURN) * 10_000 >= new.counted_nano - old.counted_nano
        assert new.deposit_nano >= old.deposit_nano
        assert old.claimed_nano <= new.claimed_nano <= new.deposit_nano
        assert new.claimed_nano <= self.vouchers.get(channel, 0), "paid more than the client signed for"
        assert new.job_seq >= old.job_seq
        earned = _paid(transaction, PaymentReason.EARNINGS)
        if cause == DeliverJob.PREFIX[0] and transaction.success:
            fees = self.fees.get((before.address, old.epoch, old.job_seq), set())
            assert any(earned >= fee and fee <= old.job_max_fee_nano for fee in fees), "paid a fee nobody signed"
        elif cause == ClaimVoucher.PREFIX[0]:
            assert earned >= new.claimed_nano - old.claimed_nano
        else:
            assert earned == 0

    def _check_ending(self, old: EscrowStorage, channel: Epoch, cause: int | None, transaction: Transaction) -> None:
        ends = {FinishClose, CloseCooperative, ReleaseChannel, CancelOpen, BindRefused, OpenEscrow, _Bounced}
        _only(cause, True, ends)
        if cause == ReleaseChannel.PREFIX[0]:
            assert old.claimed_nano >= self.releases.get(channel, 2**64), "released before the worker let go"
        earned = _paid(transaction, PaymentReason.EARNINGS)
        refund = sum(m.value for m in transaction.out_msgs if m.dst == old.identity.client)
        assert refund >= old.deposit_nano - old.claimed_nano - earned, "the client's rest is not what was left"
        assert old.job_funds_nano == 0, "closed over an open job"
        if cause == CloseCooperative.PREFIX[0]:
            assert old.claimed_nano + earned in self.closings.get(channel, set()), "a split nobody agreed to"
        else:
            assert earned == 0
        if old.status == EscrowStatus.OPENING:
            _only(cause, True, {CancelOpen, BindRefused, _Bounced})

    def _check_worker(self, before: AccountView, after: AccountView, transaction: Transaction) -> None:
        cause = _cause(transaction)
        assert after.data is not None, "a worker never vanishes"
        old, new = WorkerStorage.from_cell(before.data), WorkerStorage.from_cell(after.data)
        assert (new.registry, new.people.index) == (old.registry, old.people.index)
        assert new.escrow_code_hash == old.escrow_code_hash
        assert (new.people.owner, new.people.payout) == (old.people.owner, old.people.payout)
        assert new.people.slashable.slashing == old.people.slashable.slashing
        _only(cause, new.stake_nano > old.stake_nano or new.bond_nano > old.bond_nano, {TopUpStake})
        _only(cause, new.stake_nano < old.stake_nano, {SlashWorker, WithdrawStake})
        _only(cause, new.bond_nano < old.bond_nano, {ReportMiss, RebindEscrow, WithdrawStake})
        _only(cause, new.key_losses != old.key_losses, {RebindEscrow})
        _only(cause, new.volume_nano != old.volume_nano, {CreditVolume})
        if old.people.slashable.adopted is not None:
            assert new.people.slashable.adopted == old.people.slashable.adopted
        _only(cause, new.misses != old.misses, {ReportMiss})
        _only(cause, len(new.open_jobs) > len(old.open_jobs), {AdmitJob})
        _only(
            cause,
            new.status != old.status,
            {QuoteVerified, PauseWorker, ResumeWorker, BeginUnbond, WithdrawStake, SlashWorker},
        )
        assert new.open_count == len(new.open_jobs) <= MAX_FORCED_SLOTS
        assert new.key_epoch >= old.key_epoch
        self._check_keys(old, new, cause, transaction)
        if old.status == WorkerStatus.JAILED:
            assert new.status == WorkerStatus.JAILED, "jail is for good"
        if new.status == WorkerStatus.JAILED:
            assert before.address in self.guilty, "an honest worker was slashed"
        if cause == ReportMiss.PREFIX[0]:
            taken = old.bond_nano - new.bond_nano
            assert taken == (min(old.policy.miss_penalty_nano, old.bond_nano) if new.misses > old.misses else 0)
            assert _paid(transaction, PaymentReason.MISS_COMPENSATION) * 5 <= taken
        if cause == RebindEscrow.PREFIX[0] and transaction.success:
            taken = old.bond_nano - new.bond_nano
            lost = new.key_losses - old.key_losses
            assert lost <= 1
            share = old.bond_nano * old.policy.miss_client_bps // 10_000
            assert taken in (0, lost * min(old.policy.key_loss_nano, share))
        if cause == SlashWorker.PREFIX[0]:
            taken = old.stake_nano - new.stake_nano
            assert taken in (0, old.stake_nano)
            assert _paid(transaction, PaymentReason.SLASH_REWARD) * 5 <= taken
            assert _paid(transaction, PaymentReason.SLASH_REWARD) + _paid(transaction, PaymentReason.BURN) == taken

    def _check_keys(self, old: WorkerStorage, new: WorkerStorage, cause: int | None, transaction: Transaction) -> None:
        """Only what the operator asked for, of the measurement the owner approved, once it is verified, once."""
        was, now = old.people, new.people
        verified = replace(was, block_seqno=now.block_seqno, tcb_date=now.tcb_date, keys=now.keys) != was
        _only(cause, verified or (new.key_epoch, new.lease_end) != (old.key_epoch, old.lease_end), {QuoteVerified})
        _only(cause, now.slashable.measurement != was.slashable.measurement, {ApproveMeasurement})
        _only(cause, now.slashable.old_keys != was.slashable.old_keys, {QuoteVerified})
        _only(cause, now.attest_seq != was.attest_seq, {Attest})
        _only(cause, now.awaited != was.awaited, {Attest, QuoteVerified, ApproveMeasurement})
        assert now.awaited is None or now.awaited.measurement == now.slashable.measurement
        if verified:
            assert now.keys == was.awaited, "keys that nobody asked for"
            assert (now.awaited, now.attest_seq) == (None, was.attest_seq)
            assert now.block_seqno > was.block_seqno
            assert old.status not in (WorkerStatus.CLOSED, WorkerStatus.JAILED)
            assert new.key_epoch - old.key_epoch == (now.keys.session_key != was.keys.session_key)
        if now.attest_seq != was.attest_seq:
            message = transaction.in_msg
            assert message is not None
            assert (message.src, now.attest_seq) == (was.operator_wallet, was.attest_seq + 1)


class _Bounced:
    """Stands for a message of the contract's own that came back."""

    PREFIX = (0xFFFFFFFF, 32)


def _cause(transaction: Transaction) -> int | None:
    """Opcode of the message; of a bounced one, that of what came back, or the bounce itself."""
    message = transaction.in_msg
    assert message is not None
    if not message.bounced:
        return message.opcode
    bits = message.body.bits
    inner = int.from_bytes(bits[32:64].tobytes(), "big") if len(bits) >= 64 else None
    return AdmitJob.PREFIX[0] if inner == AdmitJob.PREFIX[0] else _Bounced.PREFIX[0]


def _only(cause: int | None, happened: bool, allowed: set[type]) -> None:
    if happened:
        names = sorted(kind.__name__ for kind in allowed)
        assert cause in {kind.PREFIX[0] for kind in allowed}, f"{cause or 0:#x} did what only {names} may"  # type: ignore[attr-defined]


def _paid(transaction: Transaction, reason: PaymentReason) -> int:
    return sum(
        message.value
        for message in transaction.out_msgs
        if message.opcode == Payment.PREFIX[0] and Payment.from_cell(message.body).reason == reason
    )
