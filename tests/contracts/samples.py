"""One well-formed body per message of each contract, for sweeps over all of them.

Statements are signed by their real signers for the channel given, so that a body that should be refused is refused
for the
reason under test.
"""

from __future__ import annotations

from actors import actor, key
from channel import DEPOSIT, MAX_FEE, REQUEST, RESPONSE, Channel

from cocoon.wire.attestation import QuoteRefused
from cocoon.wire.codec import Struct
from cocoon.wire.escrow import (
    BeginClose,
    BindConfirmed,
    BindRefused,
    CancelOpen,
    CountVolume,
    DeliverJob,
    ExpireJob,
    FinishClose,
    JobRefused,
    KeysRenewed,
    MissRecorded,
    PostJob,
    RebindChannel,
    RetryReport,
    TopUpEscrow,
)
from cocoon.wire.registry import (
    AcceptOwnership,
    AllowMeasurement,
    CancelChange,
    ConfirmBind,
    DenyMeasurement,
    ExecuteChange,
    ProposeChange,
    SyncAttestation,
    SyncPolicy,
)
from cocoon.wire.slashing import SubmitEquivocation
from cocoon.wire.worker import (
    AdmitJob,
    AdoptSlashing,
    ApproveMeasurement,
    BeginUnbond,
    BindEscrow,
    ChangeOperator,
    CreditVolume,
    InitWorker,
    JobOutcome,
    PauseWorker,
    RebindEscrow,
    ReportMiss,
    ResumeWorker,
    SetOffer,
    SettleJob,
    SlashWorker,
    TopUpStake,
    UpdatePolicy,
    WithdrawStake,
)

__all__ = ["escrow_messages", "registry_messages", "slashing_messages", "worker_messages"]

TON = 10**9


def escrow_messages(channel: Channel) -> list[Struct]:
    """Everything an Escrow understands, for `channel` as it is now."""
    state = channel.state
    assert state.binding is not None
    seq = state.job_seq
    return [
        channel.opening(),
        PostJob(1, MAX_FEE, 60, REQUEST),
        BeginClose(1),
        CancelOpen(1),
        TopUpEscrow(1),
        channel.voucher(DEPOSIT // 4),
        DeliverJob(1, False, channel.forced_receipt(), RESPONSE),
        channel.rejection(),
        ExpireJob(1),
        RetryReport(1),
        FinishClose(1),
        channel.closing(DEPOSIT // 2),
        RebindChannel(1, channel.measurement),
        channel.releasing(0),
        CountVolume(1),
        KeysRenewed(state.epoch, 2, 2**32 - 1, state.binding.keys),
        BindConfirmed(state.epoch, state.binding),
        BindRefused(state.epoch, 1),
        JobRefused(state.epoch, seq, 1),
        MissRecorded(state.epoch, seq),
    ]


def worker_messages(channel: Channel) -> list[Struct]:
    """Everything the Worker of `channel` understands."""
    from world import MEASUREMENT, MODEL, TERMS

    worker, state, thief = channel.worker, channel.state, actor("thief")
    world = channel.world
    return [
        InitWorker(1, thief, TON, TON, world.registration().roles, world.policy(1)),
        UpdatePolicy(1, world.policy(5, slash_client_bps=1)),
        worker.quote(key("another session")),
        SetOffer(1, 1, {MODEL: TERMS}),
        PauseWorker(1),
        ResumeWorker(1),
        TopUpStake(1, TON // 10, TON // 10),
        BeginUnbond(1),
        WithdrawStake(1),
        ChangeOperator(1, thief),
        BindEscrow(state.epoch, channel.client, channel.salt, MODEL, 60, None, TERMS),
        AdmitJob(state.epoch, state.job_seq + 1, 2**32 - 1, 1, channel.client, channel.salt),
        SettleJob(state.epoch, state.job_seq, JobOutcome.DELIVERED),
        ReportMiss(state.epoch, state.job_seq, channel.client),
        RebindEscrow(state.epoch, channel.client, channel.salt, 1, 0, MEASUREMENT),
        CreditVolume(channel.client, channel.salt, TON),
        AdoptSlashing(1, thief),
        ApproveMeasurement(1, 5),
        worker.verdict(key("another session")),
        QuoteRefused(worker.state.people.attest_seq, 532),
        SlashWorker(1, worker.session.public, thief, thief),
    ]


def registry_messages(channel: Channel) -> list[Struct]:
    """Everything the Registry understands."""
    from world import MEASUREMENT

    binding = channel.state.binding
    assert binding is not None
    return [
        channel.world.registration("another"),
        ConfirmBind(channel.worker.index, channel.state.epoch, channel.address, 1, MEASUREMENT, False, binding),
        SyncPolicy(1, channel.worker.index),
        SyncAttestation(1),
        ProposeChange(1, AllowMeasurement(5).to_cell()),
        CancelChange(1),
        ExecuteChange(1, channel.world.rebuilds(7)),
        DenyMeasurement(1, 9),
        AcceptOwnership(1),
    ]


def slashing_messages(channel: Channel) -> list[Struct]:
    """Everything Slashing understands."""
    identity = channel.world.deployment.escrow_identity(channel.client, channel.worker.address, channel.salt)
    receipts = [channel.receipt(response_digest=number, seq=3) for number in (1, 2)]
    return [SubmitEquivocation(1, channel.worker.session.public, identity, *receipts)]
