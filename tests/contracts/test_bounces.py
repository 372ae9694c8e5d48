"""Messages that come back: every receiver killed three ways, every bounce body fuzzed, replies out of order and
twice."""

from __future__ import annotations

from dataclasses import replace

import pytest
from actors import actor
from channel import DEPOSIT, MAX_FEE, REQUEST, RESPONSE, Channel
from hostile import DEATHS
from hypothesis import given, settings
from hypothesis import strategies as st
from mail import internal
from outcome import Outcome
from pytoniq_core import Address, Cell, begin_cell
from samples import worker_messages
from stages import admitted_job
from test_authorization import actors
from test_escrow_opening import reopen_stuck
from world import MEASUREMENT, MODEL, TERMS, TON, WorkerSide, World

from cocoon.wire.common import PaymentReason
from cocoon.wire.escrow import BindRefusal, BindRefused, DeliverJob, EscrowStatus, JobStatus, PostJob
from cocoon.wire.registry import ConfirmBind
from cocoon.wire.worker import AdmitJob, BindEscrow, InitWorker, SettleJob, SlashWorker
from cocoon_sandbox.config import network_config
from cocoon_sandbox.ledger import Ledger


@pytest.fixture(params=list(DEATHS))
def death(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# ---- receivers that fail ----


def test_worker_dead_at_opening_gives_the_deposit_back(world: World, worker: WorkerSide, death: str) -> None:
    """B.3, B.7, P-2: by the bounce where there is gas for one, by CancelOpen where there is not."""
    DEATHS[death](world.ledger, worker.address)
    channel = world.channel(worker)
    done = channel.open()
    if channel.exists:
        assert death == "out of gas"
        assert channel.state.status == EscrowStatus.OPENING
        world.ledger.advance(600)
        done = channel.cancel_open()
    assert done.paid(channel.client, PaymentReason.REFUND) >= DEPOSIT
    assert not channel.exists


def test_registry_dead_at_opening_gives_the_deposit_back(world: World, worker: WorkerSide, death: str) -> None:
    """B.3, B.7, A.6: the Worker passes the bad news on."""
    DEATHS[death](world.ledger, world.registry)
    channel = world.channel(worker)
    done = channel.open()
    if channel.exists:
        assert death == "out of gas"
        world.ledger.advance(600)
        done = channel.cancel_open()
    else:
        assert done.one(BindRefused).reason == BindRefusal.REGISTRY_FAILED
    assert done.paid(channel.client, PaymentReason.REFUND) >= DEPOSIT
    assert not channel.exists


def test_worker_dead_at_posting_gives_the_jobs_money_back(channel: Channel, death: str) -> None:
    """B.3, B.7, P-2: by the bounce, or by expiry, which nobody is blamed for."""
    DEATHS[death](channel.world.ledger, channel.worker.address)
    done = channel.post()
    if channel.job == JobStatus.OPEN:
        assert death == "out of gas"
        channel.pass_deadline()
        done = channel.expire()
    assert done.paid(channel.client, PaymentReason.REFUND) >= MAX_FEE
    assert channel.job in (JobStatus.NONE, JobStatus.MISSED)
    assert channel.state.job_funds_nano == 0
    assert channel.balance >= channel.owed


@pytest.mark.parametrize("end", ["deliver", "reject"])
def test_worker_dead_at_settlement_changes_nothing_for_the_parties(job: Channel, death: str, end: str) -> None:
    """B.3, P-3: word to the Worker is a courtesy."""
    body = job.rejection() if end == "reject" else DeliverJob(1, False, job.forced_receipt(), RESPONSE)
    DEATHS[death](job.world.ledger, job.worker.address)
    done = job.send(job.worker.operator, body, job.end_job_fees)
    assert done.first.success
    assert done.paid(job.worker.payout) == (MAX_FEE // 2 if end == "deliver" else 0)
    assert job.job == JobStatus.NONE
    assert job.balance >= job.owed


def test_escrow_gone_when_its_confirmation_arrives_leaves_rent_with_the_registry(
    world: World, worker: WorkerSide, death: str
) -> None:
    """B.3: cancelled meanwhile; the value is somebody's rent, and nobody's loss."""
    channel = world.channel(worker)
    reopen_stuck(channel)
    DEATHS[death](world.ledger, channel.address)
    other = world.open_channel(worker, "other")
    assert other.state.binding is not None
    body = ConfirmBind(worker.index, 5, channel.address, 1, MEASUREMENT, False, other.state.binding)
    before = world.registry_state
    world.send(worker.address, world.registry, body, TON)
    assert world.registry_state == before


def test_escrow_gone_when_its_refusal_arrives_is_no_ones_loss(world: World, worker: WorkerSide, death: str) -> None:
    """B.3."""
    channel = world.channel(worker)
    reopen_stuck(channel)
    DEATHS[death](world.ledger, channel.address)
    before = worker.state
    body = BindEscrow(1, channel.client, channel.salt, MODEL + 1, 60, None, TERMS)
    world.send(channel.address, worker.address, body, TON)
    assert worker.state == before


def test_worker_dead_when_policy_is_synced_keeps_it_unchanged(world: World, worker: WorkerSide, death: str) -> None:
    """B.3."""
    DEATHS[death](world.ledger, worker.address)
    before = world.registry_state
    world.sync(worker)
    assert world.registry_state == before


# ---- action phases that fail ----


def test_opening_that_cannot_be_sent_on_returns_everything(world: World, worker: WorkerSide) -> None:
    """B.8: forward prices jump a thousandfold between the quote and the message: refused, nothing kept."""
    channel = world.channel(worker)
    least = channel.open_fees + DEPOSIT
    prices = world.ledger.prices()
    dear = replace(prices, forward=replace(prices.forward, lump=prices.forward.lump * 10_000))
    world.ledger.config = network_config(prices=dear)
    channel.open(value=least).assert_refused(305)


def test_job_outlives_a_rise_of_prices(job: Channel) -> None:
    """B.8, P-3, E-9: prices that doubled since the job was posted do not keep it from ending; the rent margin pays."""
    prices = job.world.ledger.prices()
    dear = replace(
        prices,
        forward=replace(prices.forward, lump=prices.forward.lump * 2),
        gas=replace(prices.gas, price=prices.gas.price * 2, flat_price=prices.gas.flat_price * 2),
    )
    job.world.ledger.config = network_config(prices=dear)
    job.world.watch = False
    done = job.deliver(MAX_FEE)
    assert done.first.success
    assert done.paid(job.worker.payout) == MAX_FEE
    assert job.balance >= job.owed


# ---- order ----


def test_bounced_opening_of_an_earlier_incarnation_changes_nothing(world: World, worker: WorkerSide) -> None:
    """B.6, E-6."""
    channel = world.open_channel(worker)
    state = channel.state
    for epoch in (state.epoch, state.epoch - 1):
        bounce(channel, worker.address, old_bounce(BindEscrow.PREFIX[0], epoch, 1))
        assert channel.state == state


@pytest.mark.parametrize(("epoch_off", "seq"), [(0, 0), (0, 2), (1, 1), (-1, 1)])
def test_bounced_admission_of_another_job_changes_nothing(job: Channel, epoch_off: int, seq: int) -> None:
    """B.6."""
    state = job.state
    bounce(job, job.worker.address, old_bounce(AdmitJob.PREFIX[0], state.epoch + epoch_off, seq))
    assert job.state == state


@pytest.mark.parametrize("sender", ["thief", "client", "registry"])
def test_bounce_from_anyone_but_the_worker_changes_nothing(job: Channel, sender: str) -> None:
    """B.4: a bounce is believed for whom it comes from."""
    state = job.state
    who = job.world.registry if sender == "registry" else actor(sender)
    bounce(job, who, old_bounce(AdmitJob.PREFIX[0], state.epoch, 1))
    assert job.state == state


def test_ordinary_message_that_looks_like_a_bounce_is_unknown(job: Channel) -> None:
    """B.4: prefixes 0xFFFFFFFF and 0xFFFFFFFE in a normal message, from the very Worker."""
    state = job.state
    for prefix in (0xFFFFFFFF, 0xFFFFFFFE):
        for opcode in (AdmitJob.PREFIX[0], BindEscrow.PREFIX[0]):
            inner = begin_cell().store_uint(opcode, 32).store_uint(state.epoch, 64).store_uint(1, 32).end_cell()
            body = begin_cell().store_uint(prefix, 32).store_cell(inner).store_ref(inner).end_cell()
            for address in (job.address, job.worker.address, job.world.registry, job.world.slashing):
                job.world.send(job.worker.address, address, body, TON).assert_refused(0xFFFF)
    assert job.state == state


@pytest.mark.parametrize("first", range(2))
def test_answers_to_two_channels_in_either_order(world: World, worker: WorkerSide, first: int) -> None:
    """B.6."""
    channels = [world.channel(worker, f"client {number}") for number in range(2)]
    for channel in channels:
        init = world.deployment.escrow_state_init(channel.client, worker.address)
        world.put(channel.client, channel.address, channel.opening(), DEPOSIT + channel.open_fees, state_init=init)
    world.step(), world.step()
    world.step(first), world.step()
    world.step(first), world.step()
    world.step(first), world.step()
    assert [channel.state.status for channel in channels] == [EscrowStatus.ACTIVE] * 2


def test_two_admissions_in_flight_take_two_slots_in_either_order(world: World, worker: WorkerSide) -> None:
    """B.6: additive, whatever the order."""
    channels = [world.open_channel(worker, salt=number) for number in range(2)]
    for channel in channels:
        world.put(channel.client, channel.address, PostJob(3, MAX_FEE, 60, REQUEST), MAX_FEE + channel.post_fees)
    world.step(), world.step()
    world.step(1), world.step()
    assert worker.state.open_count == len(worker.state.open_jobs) == 2


def test_expiry_and_delivery_in_the_same_block_end_the_job_once(job: Channel) -> None:
    """B.6, A.9: whichever comes first; money moves once."""
    job.pass_deadline()
    delivery = DeliverJob(1, False, job.forced_receipt(MAX_FEE), RESPONSE)
    start = job.world.ledger.snapshot()
    for order in ("deliver", "expire"):
        job.world.ledger.restore(start)
        owed = job.owed
        if order == "deliver":
            first, second = job.send(actor("anyone"), delivery, job.end_job_fees), job.expire()
        else:
            first, second = job.expire(), job.send(actor("anyone"), delivery, job.end_job_fees)
        assert first.first.success
        second.assert_refused(312)
        assert job.job == JobStatus.NONE
        assert job.state.job_funds_nano == 0
        assert job.owed <= owed
        assert job.worker.state.open_jobs == {}


# ---- fuzz ----


def old_bounce(opcode: int, epoch: int, seq: int) -> Cell:
    """The body of an old-style bounce: prefix and the first 256 bits of what was sent."""
    return (
        begin_cell().store_uint(0xFFFFFFFF, 32).store_uint(opcode, 32).store_uint(max(0, epoch), 64)
        .store_uint(seq, 32).store_uint(0, 128).end_cell()
    )  # fmt: skip


def bounce(channel: Channel, sender: Address, body: Cell, to: Address | None = None, value: int = TON) -> None:
    world = channel.world
    world.ledger.enqueue(internal(world.ledger, sender, to or channel.address, value, body, bounce=False, bounced=True))
    world.run()


bodies = st.one_of(
    st.binary(max_size=120).map(lambda data: begin_cell().store_bytes(data).end_cell()),
    st.tuples(
        st.sampled_from([0xFFFFFFFF, 0xFFFFFFFE]),
        st.sampled_from([k.PREFIX[0] for k in (BindEscrow, AdmitJob, SettleJob, ConfirmBind, InitWorker, SlashWorker)]),
        st.binary(max_size=110),
        st.booleans(),
    ).map(
        lambda p: (
            begin_cell().store_uint(p[0], 32).store_ref(begin_cell().store_uint(p[1], 32).store_bytes(p[2]).end_cell())
            if p[3]
            else begin_cell().store_uint(p[0], 32).store_uint(p[1], 32).store_bytes(p[2][:100])
        ).end_cell()
    ),
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(body=bodies, value=st.sampled_from([0, 10**5, 10**6, TON]), data=st.data())
def test_bounce_handlers_change_no_data_and_send_nothing_bounceable(
    body: Cell, value: int, data: st.DataObject
) -> None:
    """B.5: whatever comes back, from whomever: no ledger moves but the one named in a genuine bounce."""
    job = admitted_job(Ledger())
    world = job.world
    cast = actors(job)
    for address in (job.address, job.worker.address, world.registry, world.slashing):
        sender = cast[data.draw(st.sampled_from(sorted(cast)))]
        before = world.ledger.account(address).data
        assert before is not None
        world.ledger.enqueue(internal(world.ledger, sender, address, value, body, bounce=False, bounced=True))
        transaction = world.step()
        after = world.ledger.account(address).data
        assert after is not None
        assert after.hash == before.hash
        assert not any(message.bounce for message in transaction.out_msgs)
        assert sum(message.value for message in transaction.out_msgs) <= value
        world.run()


def test_excess_of_every_operation_returns_to_its_sender(channel: Channel) -> None:
    """A.14: ten TON too many come back to whoever sent them, from every operation that takes a value."""
    world = channel.world
    anyone = actor("anyone")
    outcomes: list[Outcome] = [
        channel.send(anyone, channel.voucher(DEPOSIT // 2), 10 * TON),
        channel.worker.by_operator(worker_messages(channel)[2], 10 * TON),
        channel.worker.by_owner(worker_messages(channel)[9], 10 * TON),
        world.send(anyone, world.registry, world.registration("rich"), 30 * TON),
    ]
    for done in outcomes:
        sent = done.sent.value
        kept = 12 * TON if sent == 30 * TON else 0
        assert isinstance(done.sent.src, Address)
        assert sent - kept - TON // 10 < done.change(done.sent.src) < sent - kept
