"""Which messages come back when their receiver fails, which must not, and how much they carry.

What pays a person never bounces, because the ledger that paid has already advanced. What asks a contract of the
protocol bounces, so that the asker can undo. Answers do not: nobody waits for what an answer leads to.
"""

from __future__ import annotations

from dataclasses import replace

from actors import actor, key
from channel import DEPOSIT, MAX_FEE, RESPONSE, Channel
from stages import market_world
from test_slashing import report
from world import MODEL, TON, WorkerSide, World

from cocoon.bench.scenario import sandbox_prices
from cocoon.fees import Fees
from cocoon.wire.attestation import UpdateAttestationPolicy, VerifyQuote
from cocoon.wire.codec import Struct
from cocoon.wire.common import Excesses, Payment, PaymentReason
from cocoon.wire.escrow import BindConfirmed, BindRefused, DeliverJob, JobRefused, KeysRenewed, MissRecorded
from cocoon.wire.registry import (
    CancelChange,
    ChangeAttestationPolicy,
    ChangePolicy,
    ConfirmBind,
    OfferOwnership,
    ProposeChange,
)
from cocoon.wire.worker import (
    AdmitJob,
    BeginUnbond,
    BindEscrow,
    CreditVolume,
    InitWorker,
    PauseWorker,
    RebindEscrow,
    ReportMiss,
    ResumeWorker,
    SettleJob,
    SlashWorker,
    TopUpStake,
    UpdatePolicy,
    WithdrawStake,
)
from cocoon_sandbox.ledger import Ledger
from cocoon_sandbox.transaction import Transaction

RETURN: dict[type[Struct], bool] = {
    # To people, and the last word to a contract.
    Excesses: False,
    Payment: False,
    BindRefused: False,
    JobRefused: False,
    KeysRenewed: False,
    MissRecorded: False,
    # The Registry's confirmation comes back as rent should the escrow be gone.
    BindConfirmed: True,
    # Somebody waits for what these lead to.
    AdmitJob: True,
    BindEscrow: True,
    ConfirmBind: True,
    CreditVolume: True,
    InitWorker: True,
    RebindEscrow: True,
    ReportMiss: True,
    SettleJob: True,
    SlashWorker: True,
    UpdateAttestationPolicy: True,
    UpdatePolicy: True,
    VerifyQuote: True,
}


# What an Escrow sends on is the receiver's to spend, to the nanoTON: the way there is paid beside it.
CARRIED: dict[type[Struct], str] = {
    AdmitJob: "admissionValue",
    BindEscrow: "handshakeValue",
    CreditVolume: "creditValue",
    RebindEscrow: "rebindValue",
    ReportMiss: "reportValue",
    SettleJob: "settlementValue",
}


def test_every_message_to_a_worker_carries_what_was_priced_for_it(ledger: Ledger) -> None:
    """B.16, E-9: the formulas that price an operation are the values that travel."""
    seen: set[tuple[int | None, int]] = set()
    opcodes = {kind.PREFIX[0] for kind in CARRIED}
    world = market_world(ledger)
    ledger.observer = lambda transaction: seen.update(
        (message.opcode, message.value)
        for message in transaction.out_msgs
        if message.opcode in opcodes and not message.bounced
    )
    walk(world)
    ledger.observer = None
    fees = Fees(sandbox_prices())
    assert seen == {(kind.PREFIX[0], fees.call(name)) for kind, name in CARRIED.items()}


def test_refund_of_a_refused_job_pays_its_own_way(channel: Channel) -> None:
    """E-9: out of the job's money, not out of the deposit's rent."""
    ledger = channel.world.ledger
    channel.worker.set_offer(slots=0).assert_succeeded()
    done = channel.post()
    funds = MAX_FEE + Fees(sandbox_prices()).call("settlementFees")
    assert done.paid(channel.client, PaymentReason.REFUND) == funds - ledger.prices().forward.lump


def test_every_message_bounces_as_its_receiver_requires(ledger: Ledger) -> None:
    """B.3, B.5: every kind of message that any contract sends, seen at least once."""
    seen: set[tuple[int | None, bool]] = set()

    def note(transaction: Transaction) -> None:
        seen.update((message.opcode, message.bounce) for message in transaction.out_msgs if not message.bounced)

    world = market_world(ledger)
    ledger.observer = note
    walk(world)
    ledger.observer = None
    assert seen == {(kind.PREFIX[0], bounces) for kind, bounces in RETURN.items()}


def walk(world: World) -> None:
    """Everything the protocol does, once."""
    first, second = world.workers
    channel = world.open_channel(first)
    world.open_channel(first, "other").begin_close().assert_succeeded()
    world.channel(first, "third").open(channel.opening(model_id=MODEL + 1))
    talk(channel)
    jobs(channel)
    channel.finish_close(actor("anyone"))
    world.register("newcomer")
    world.sync(first).assert_succeeded()
    world.govern(ProposeChange(1, OfferOwnership(actor("next")).to_cell())).assert_succeeded()
    world.govern(CancelChange(2)).assert_succeeded()
    second.by_owner(PauseWorker(1)).assert_succeeded()
    second.by_owner(ResumeWorker(1)).assert_succeeded()
    second.by_owner(TopUpStake(1, TON, TON), 3 * TON).assert_succeeded()
    world.adopt(ChangePolicy(world.policy(2))).assert_succeeded()
    world.adopt(ChangeAttestationPolicy(world.attestation_policy(2))).assert_succeeded()
    world.sync_attestation().assert_succeeded()
    second.attest().assert_succeeded()
    world.channel(second, "under an outdated policy").open()
    second.by_owner(BeginUnbond(1)).assert_succeeded()
    report(channel).assert_succeeded()
    world.ledger.advance(world.rules.unbonding_sec)
    second.by_owner(WithdrawStake(1)).assert_succeeded()


def talk(channel: Channel) -> None:
    anyone = actor("anyone")
    channel.claim(DEPOSIT // 4).assert_succeeded()
    channel.send(anyone, replace(channel.voucher(DEPOSIT // 2), excess_to_payout=True), TON).assert_succeeded()
    channel.count_volume(TON // 10).assert_succeeded()


def jobs(channel: Channel) -> None:
    worker = channel.worker
    channel.post().assert_succeeded()
    channel.send(actor("anyone"), DeliverJob(1, True, channel.forced_receipt(), RESPONSE), TON).assert_succeeded()
    channel.post().assert_succeeded()
    channel.deliver().assert_succeeded()
    channel.post().assert_succeeded()
    channel.reject().assert_succeeded()
    channel.post().assert_succeeded()
    channel.pass_deadline()
    channel.expire().assert_succeeded()
    channel.post().assert_succeeded()
    worker.attest(key("after a reboot")).assert_succeeded()
    channel.rebind().assert_succeeded()
    worker.set_offer(slots=0).assert_succeeded()
    channel.post()
    worker.set_offer().assert_succeeded()


def test_change_of_a_withdrawal_is_the_callers_to_the_nano(worker: WorkerSide) -> None:
    """A.14, B.21: what was attached less the priced gas, the fee of the payment and its own; nothing of anybody's."""
    world = worker.world
    worker.by_owner(BeginUnbond(1)).assert_succeeded()
    world.ledger.advance(world.rules.unbonding_sec)
    fees = Fees(sandbox_prices())
    done = worker.by_owner(WithdrawStake(2), TON).assert_succeeded()
    gas = fees.call("gasFee", fees.constant("GAS_WORKER_MANAGE"))
    assert done.change(worker.owner) == TON - gas - 2 * fees.call("paymentFee")


def test_acknowledgement_of_a_miss_carries_what_is_left_of_the_report(job: Channel) -> None:
    """B.21, E-9: the report's value less the priced gas, the fees of two payments and its own."""
    fees = Fees(sandbox_prices())
    job.pass_deadline()
    done = job.expire().assert_succeeded()
    (report,) = [message for message in done.messages if message.opcode == ReportMiss.PREFIX[0]]
    (answer,) = [message for message in done.messages if message.opcode == MissRecorded.PREFIX[0]]
    gas = fees.call("gasFee", fees.constant("GAS_WORKER_MISS"))
    assert answer.value == report.value - gas - 3 * fees.call("paymentFee")
