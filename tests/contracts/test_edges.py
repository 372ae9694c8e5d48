"""Behaviour at the very edge of a rule: the last second, the last nanoTON, the last bit, the last entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from actors import actor, key
from channel import DAY, DEPOSIT, MAX_FEE, Channel
from hostile import install
from pytoniq_core import Address, Cell, begin_cell
from stages import deployed_world, market_world, open_channel
from test_bounce_bodies import Returned, confirmation, initialisation, slash
from test_carried_values import EXPECTED
from test_slashing import evidence, report
from world import MEASUREMENT, MODEL, RULES, TERMS, TON, WorkerSide, World

from cocoon.bench.scenario import sandbox_prices
from cocoon.contracts_build import load
from cocoon.fees import Fees
from cocoon.wire.common import AttestedKeys, PaymentReason, state_init
from cocoon.wire.escrow import BindRefusal, BindRefused, EscrowStatus, JobRefusal, JobRefused
from cocoon.wire.registry import (
    AcceptOwnership,
    AllowMeasurement,
    CancelChange,
    ChangePolicy,
    DenyMeasurement,
    ExecuteChange,
    OfferOwnership,
    ProposeChange,
    SyncAttestation,
    SyncPolicy,
)
from cocoon.wire.slashing import SubmitEquivocation
from cocoon.wire.worker import (
    InitWorker,
    PauseWorker,
    SlashWorker,
    TopUpStake,
    WithdrawStake,
    WorkerIdentityData,
    WorkerStatus,
)  # fmt: skip
from cocoon_sandbox.config import network_config
from cocoon_sandbox.ledger import Ledger

LEAST = EXPECTED["least values"]
RICH_BOUNCE = 0xFFFFFFFE
MOST_BITS = 157_656  # of a request of 250 cells


# ---- money ----


@pytest.mark.parametrize("claimed", [0, DEPOSIT // 2])
def test_close_with_nothing_left_to_pay_sends_the_worker_no_payment(channel: Channel, claimed: int) -> None:
    """E-7: a payment of nothing would still cost its fee."""
    if claimed:
        channel.claim(claimed).assert_succeeded()
    done = channel.close_cooperatively(claimed).assert_succeeded()
    assert not [message for message in done.messages if message.dst == channel.worker.payout]
    assert not channel.exists


def opening_refused(ledger: Ledger) -> tuple[World, Address]:
    """The Registry finds that the measurement was denied, and says so to the escrow."""
    world = deployed_world(ledger)
    channel = world.channel(world.active_worker())
    world.govern(DenyMeasurement(1, MEASUREMENT)).assert_succeeded()
    init = world.deployment.escrow_state_init(channel.client, channel.worker.address)
    world.put(channel.client, channel.address, channel.opening(), 2 * TON, state_init=init)
    return world, world.registry


def opening_confirmed(ledger: Ledger) -> tuple[World, Address]:
    world = deployed_world(ledger)
    channel = world.channel(world.active_worker())
    init = world.deployment.escrow_state_init(channel.client, channel.worker.address)
    world.put(channel.client, channel.address, channel.opening(), 2 * TON, state_init=init)
    return world, world.registry


def policy_synced(ledger: Ledger) -> tuple[World, Address]:
    world = deployed_world(ledger)
    worker = world.active_worker()
    world.put(actor("anyone"), world.registry, SyncPolicy(1, worker.index), TON)
    return world, world.registry


def attestation_synced(ledger: Ledger) -> tuple[World, Address]:
    world = market_world(ledger)
    world.put(actor("anyone"), world.registry, SyncAttestation(1), TON)
    return world, world.registry


def worker_slashed(ledger: Ledger) -> tuple[World, Address]:
    channel = open_channel(ledger)
    world = channel.world
    world.put(actor("reporter"), world.slashing, evidence(channel), TON)
    return world, world.slashing


def worker_refuses(ledger: Ledger) -> tuple[World, Address]:
    """The Worker says no to the escrow, which tells nobody else."""
    world = deployed_world(ledger)
    worker = world.active_worker()
    worker.by_operator(PauseWorker(1)).assert_succeeded()
    channel = world.channel(worker)
    init = world.deployment.escrow_state_init(channel.client, worker.address)
    world.put(channel.client, channel.address, channel.opening(), 2 * TON, state_init=init)
    return world, worker.address


@pytest.mark.parametrize(
    "flow",
    [opening_refused, opening_confirmed, policy_synced, attestation_synced, worker_slashed, worker_refuses],
    ids=lambda flow: flow.__name__,
)
def test_what_is_passed_on_is_the_messages_own_value_to_the_nanoton(
    ledger: Ledger, flow: Callable[[Ledger], tuple[World, Address]]
) -> None:
    """B.1: a contract that adds to what it passes on can be emptied by whoever makes it pass something on."""
    world, address = flow(ledger)
    passed = 0
    while world.ledger.pending:
        before = world.ledger.account(address).balance
        transaction = world.step()
        if transaction.account == address and transaction.out_msgs:
            assert world.ledger.account(address).balance == before - transaction.storage_fees
            passed += 1
    assert passed == 1


@pytest.mark.parametrize("bounce", [initialisation, slash], ids=["initialisation", "slash"])
def test_what_comes_back_is_passed_on_to_the_nanoton(ledger: Ledger, bounce: Callable[[Ledger], Returned]) -> None:
    back = bounce(ledger)
    before = ledger.account(back.contract).balance
    transaction = back.deliver(back.message.body)
    assert len(transaction.out_msgs) == 1
    assert ledger.account(back.contract).balance == before - transaction.storage_fees


@pytest.mark.parametrize(
    "bounce", [initialisation, slash, confirmation], ids=["initialisation", "slash", "confirmation"]
)
def test_bounce_with_nothing_but_its_prefix_and_what_was_sent_is_enough(
    ledger: Ledger, bounce: Callable[[Ledger], Returned]
) -> None:
    """Nothing else of a bounce is looked at."""
    back = bounce(ledger)
    least = begin_cell().store_uint(RICH_BOUNCE, 32).store_ref(back.message.body.refs[0]).end_cell()
    assert len(back.deliver(least).out_msgs) == 1


# ---- time ----


def test_rebind_at_the_second_of_the_deadline_is_a_lost_key_and_one_later_is_not(job: Channel) -> None:
    """W-9: until then the worker may still have delivered."""
    world = job.world
    world.ledger.advance(job.state.job_deadline - world.ledger.now)
    start = world.ledger.snapshot()
    job.rebind(actor("anyone")).assert_succeeded()
    world.ledger.restore(start)
    world.ledger.advance(1)
    job.rebind(actor("anyone")).assert_refused(311)


# ---- lists ----


def test_denied_measurement_makes_room_on_the_list_and_one_never_listed_does_not(world: World) -> None:
    """B.17: the count is what the list holds."""
    world.adopt(AllowMeasurement(5)).assert_succeeded()

    def counted() -> tuple[int, int]:
        found = world.registry_state.measurements
        return found.listed_count, len(found.listed)

    assert counted() == (2, 2)
    world.govern(DenyMeasurement(1, 5)).assert_succeeded()
    assert counted() == (1, 1)
    world.govern(DenyMeasurement(1, 6)).assert_succeeded()
    assert counted() == (1, 1)


def test_allowed_list_takes_its_last_entry_and_no_more(world: World) -> None:
    """B.17."""
    start = world.registry_state

    def listed(count: int) -> None:
        measurements = replace(
            start.measurements, listed_count=count, listed={number << 8: None for number in range(1, count + 1)}
        )
        install(
            world.ledger, world.registry, load("Registry").code, replace(start, measurements=measurements).to_cell()
        )

    listed(31)
    world.govern(ProposeChange(1, AllowMeasurement(5).to_cell())).assert_succeeded()
    listed(32)
    world.govern(ProposeChange(1, AllowMeasurement(5).to_cell()), TON).assert_refused(151)


def test_cancelled_change_is_gone(world: World) -> None:
    """R-2."""
    world.govern(ProposeChange(1, AllowMeasurement(5).to_cell())).assert_succeeded()
    world.govern(CancelChange(2)).assert_succeeded()
    assert world.registry_state.proposal is None


def test_every_message_of_governance_returns_its_change(world: World) -> None:
    """B.16."""
    successor = actor("successor")
    for body in (
        ProposeChange(1, AllowMeasurement(5).to_cell()), CancelChange(2), DenyMeasurement(3, 6),
        ProposeChange(4, OfferOwnership(successor).to_cell()),
    ):  # fmt: skip
        assert world.govern(body, TON).assert_succeeded().change(world.governor) > TON * 99 // 100
    world.ledger.advance(world.rules.change_delay_sec)
    for sender, last in ((actor("anyone"), ExecuteChange(5)), (successor, AcceptOwnership(6))):
        done = world.send(sender, world.registry, last, TON).assert_succeeded()
        assert done.change(sender) > TON * 99 // 100


_BOUNDS = [
    ({"volume_burn_bps": 10}, True), ({"volume_burn_bps": 9}, False),
    ({"volume_burn_bps": 10_000}, True), ({"volume_burn_bps": 10_001}, False),
    ({"notice_sec": 30 * DAY, "max_term_sec": 30 * DAY}, True),
    ({"notice_sec": 30 * DAY + 1, "max_term_sec": 30 * DAY}, False),
    ({"miss_penalty_nano": 0, "key_loss_nano": 0}, False), ({"miss_penalty_nano": 1, "key_loss_nano": 0}, True),
    ({"max_term_sec": 0, "notice_sec": 0}, False), ({"max_term_sec": 1, "notice_sec": 1}, True),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "taken"), _BOUNDS, ids=lambda value: str(value))
def test_policy_is_taken_up_to_its_bounds_and_not_beyond(world: World, changes: dict[str, int], taken: bool) -> None:
    """B.15, B.21."""
    proposed = world.govern(ProposeChange(1, ChangePolicy(world.policy(2, **changes)).to_cell()), TON)
    if taken:
        proposed.assert_succeeded()
    else:
        proposed.assert_refused(149)


# ---- states ----


def test_opened_channel_begins_with_nothing_but_its_deposit(channel: Channel) -> None:
    """E-1."""
    state = channel.state
    assert (state.deadline, state.job_seq, state.job_deadline, state.job_funds_nano) == (0, 0, 0, 0)
    assert (state.job_max_fee_nano, state.job_request_digest, state.claimed_nano, state.counted_nano) == (0, 0, 0, 0)


def test_deposit_of_one_nanoton_opens_a_channel(world: World, worker: WorkerSide) -> None:
    channel = world.channel(worker)
    channel.open(channel.opening(deposit_nano=1)).assert_succeeded()
    assert channel.state.deposit_nano == 1


def test_refusal_that_comes_late_closes_nothing(channel: Channel) -> None:
    """E-6: a channel that is open stays so, whoever of its own network says what."""
    for sender in (channel.worker.address, channel.world.registry):
        done = channel.send(sender, BindRefused(channel.state.epoch, 1), TON)
        assert done.first.success
        assert not done.changed
        assert channel.exists


def test_body_of_slashing_is_known_by_its_first_32_bits(world: World) -> None:
    opcode = SubmitEquivocation.PREFIX[0]

    def sent(bits: int) -> int | None:
        body = begin_cell().store_uint(opcode >> (32 - bits), bits).end_cell()
        return world.send(actor("anyone"), world.slashing, body, TON).exit_code

    assert sent(31) == 0xFFFF
    assert sent(32) == 9  # it is a report, of which the rest is missing


def test_silent_escrow_keeps_its_slot_to_the_last_second_and_one_goes_for_one_that_comes(
    world: World, worker: WorkerSide
) -> None:
    """B.17: an admission frees one slot, not all."""
    silent = [world.open_channel(worker, f"silent {number}", term_sec=20 * DAY) for number in range(2)]
    for channel in silent:
        channel.post().assert_succeeded()
    lapses_at = max(job.lapses_at for job in worker.state.open_jobs.values())
    world.ledger.advance(lapses_at - world.ledger.now)
    worker.attest().assert_succeeded()
    comer = world.open_channel(worker, "comer")
    assert world.ledger.now == lapses_at
    assert comer.post().one(JobRefused).reason == JobRefusal.NO_FREE_SLOT
    world.ledger.advance(1)
    comer = world.open_channel(worker, "another comer")
    comer.post().assert_succeeded()
    assert worker.state.open_count == len(worker.state.open_jobs) == 2


def test_compensation_of_one_nanoton_is_a_payment(ledger: Ledger) -> None:
    """W-6: the client's share of a miss, however small."""
    world = World(ledger, replace(RULES, miss_penalty_nano=5, key_loss_nano=0)).deploy()
    job = world.open_channel(world.active_worker())
    job.post().assert_succeeded()
    job.pass_deadline()
    done = job.expire()
    assert [paid.nano for paid in done.payments() if paid.reason == PaymentReason.MISS_COMPENSATION] == [1]


def test_slot_of_a_silent_escrow_is_taken_only_when_it_is_wanted(world: World, worker: WorkerSide) -> None:
    """W-7: while another is free, the silent escrow may still come back."""
    world.open_channel(worker, "silent", term_sec=20 * DAY).post().assert_succeeded()
    world.ledger.advance(world.rules.unbonding_sec + 1)
    worker.attest().assert_succeeded()
    world.open_channel(worker, "comer").post().assert_succeeded()
    assert worker.state.open_count == len(worker.state.open_jobs) == 2


def test_retired_key_is_kept_to_its_last_second(worker: WorkerSide) -> None:
    """W-4, B.15: its statements could still be held against the worker."""
    ledger = worker.world.ledger
    for number in range(4):
        worker.attest(key(f"rotated {number}")).assert_succeeded()
    lapses_at = min(worker.state.people.slashable.old_keys.values())
    ledger.advance(lapses_at - ledger.now)
    worker.by_operator(worker.quote(key("one more")), worker.attest_fees).assert_refused(212)
    ledger.advance(1)
    worker.by_operator(worker.quote(key("one more")), worker.attest_fees)
    assert worker.state.people.awaited is not None


def test_registered_worker_begins_with_nothing_but_its_stake(world: World) -> None:
    """W-1."""
    state = world.register().state
    assert (state.open_jobs, state.open_count, state.jobs, state.misses, state.rejections) == ({}, 0, 0, 0, 0)
    assert (state.key_losses, state.volume_nano, state.status, state.forced_slots) == (0, 0, WorkerStatus.PENDING, 0)
    assert (state.lease_end, state.key_epoch, state.notice_end, state.unbond_at, state.models) == (0, 0, 0, 0, {})
    people = state.people
    assert (people.attest_seq, people.block_seqno, people.tcb_date, people.awaited) == (0, 0, 0, None)
    assert people.keys == AttestedKeys(0, 0, 0)
    assert (people.slashable.adopted, people.slashable.old_keys) == (None, {})


@pytest.mark.parametrize("short", [0, 1], ids=["least", "one less"])
def test_registration_needs_what_is_on_record_at_either_door(world: World, short: int) -> None:
    """B.16: at the Registry, and should that be wrong, at the Worker."""
    fees = Fees(sandbox_prices())
    body = world.registration()
    pots = body.stake_nano + body.bond_nano
    registry_takes = pots + LEAST["Registry"][0]
    done = world.send(actor("worker owner"), world.registry, body, registry_takes - short)
    assert done.first.success is (short == 0)
    address = world.deployment.worker(7)
    init = state_init(load("Worker").code, WorkerIdentityData(world.registry, 7).to_cell())
    first = InitWorker(1, actor("owner"), body.stake_nano, body.bond_nano, body.roles, world.policy(1))
    gas = fees.call("gasFee", fees.constant("GAS_WORKER_INIT"))
    worker_takes = pots + fees.call("workerRent") + gas + fees.call("paymentFee")
    done = world.send(world.registry, address, first, worker_takes - short, state_init=init)
    assert done.exit_code == (207 if short else 0)
    if not short:
        assert [message.value for message in done.messages] == [0]  # the change: what is left pays for its way


@pytest.mark.parametrize("short", [0, 1], ids=["least", "one less"])
def test_opening_needs_what_is_on_record(world: World, worker: WorkerSide, short: int) -> None:
    """B.16, E-8: rent of the largest account for term and margin included."""
    channel = world.channel(worker, term_sec=DAY)
    done = channel.open(value=DEPOSIT + LEAST["Escrow"][0] - short)
    assert done.exit_code == (305 if short else 0)


def test_offer_of_one_second_is_an_offer(worker: WorkerSide) -> None:
    terms = replace(TERMS, min_duration_sec=1)
    worker.set_offer({MODEL: terms}).assert_succeeded()
    assert worker.state.models == {MODEL: terms}
    worker.set_offer({MODEL: replace(TERMS, min_duration_sec=0)}).assert_refused(215)


def chain_of_cells(count: int, bits: int) -> Cell:
    """`count` different cells in a row, of `bits` bits in all, the first ones full."""
    made: Cell | None = None
    for number in reversed(range(count)):
        here = min(1000, max(32, bits - 1000 * number)) if bits > 1000 * number else 32
        builder = begin_cell().store_uint(number, 32).store_bits("0" * (here - 32))
        made = (builder if made is None else builder.store_ref(made)).end_cell()
    assert made is not None
    return made


def test_request_may_be_as_large_as_its_price_says_and_not_a_bit_larger(channel: Channel) -> None:
    """B.16: measured by what the network took for carrying it."""
    start = channel.world.ledger.snapshot()
    for bits, code in ((MOST_BITS, 0), (MOST_BITS + 1, 316)):
        channel.world.ledger.restore(start)
        assert channel.post(chain_of_cells(250, bits), extra=TON).exit_code == code


@pytest.mark.parametrize("pot", [0, 1, 2])
def test_withdrawal_pays_what_there_is_and_of_nothing_no_payment(worker: WorkerSide, pot: int) -> None:
    """W-2."""
    state = replace(worker.state, stake_nano=0, bond_nano=pot, status=WorkerStatus.UNBONDING, unbond_at=1)
    install(worker.world.ledger, worker.address, load("Worker").code, state.to_cell())
    done = worker.by_owner(WithdrawStake(1)).assert_succeeded()
    assert [paid.nano for paid in done.payments()] == [pot] * (pot > 0)


def test_withdrawal_after_rent_ate_into_the_pots_pays_what_is_left(worker: WorkerSide) -> None:
    """W-2, B.18: and the value that came with it is not part of that."""
    state = replace(worker.state, status=WorkerStatus.UNBONDING, unbond_at=1)
    owed = state.stake_nano + state.bond_nano
    install(worker.world.ledger, worker.address, load("Worker").code, state.to_cell(), owed - TON)
    done = worker.by_owner(WithdrawStake(1), TON).assert_succeeded()
    assert [paid.nano for paid in done.payments()] == [owed - TON - done.first.storage_fees]


def test_shares_of_one_nanoton_are_paid(channel: Channel) -> None:
    """P-5: a tenth each, however small the stake that was left."""
    worker = channel.worker
    state = replace(worker.state, stake_nano=10)
    install(worker.world.ledger, worker.address, load("Worker").code, state.to_cell())
    done = report(channel)
    assert [paid.nano for paid in done.payments()] == [1, 8, 1]


def test_worker_without_keys_has_none_to_be_slashed_for(world: World) -> None:
    """S-1, B.14."""
    worker = world.register()
    body = SlashWorker(1, 0, actor("reporter"), actor("client"))
    world.send(world.slashing, worker.address, body, TON).assert_refused(218)


def test_stake_grows_by_one_nanoton(worker: WorkerSide) -> None:
    before = worker.state.stake_nano
    worker.by_owner(TopUpStake(1, 1, 0), TON).assert_succeeded()
    assert worker.state.stake_nano == before + 1


def test_job_whose_money_rising_prices_have_eaten_adds_nothing_to_the_deposit(job: Channel) -> None:
    """E-3, E-9: what the settlement costs beyond the job's money is the margin's to pay, not the deposit's to gain."""
    ledger, deposit = job.world.ledger, job.state.deposit_nano
    prices = ledger.prices()
    gas = replace(prices.gas, price=prices.gas.price * 2, flat_price=prices.gas.flat_price * 2)
    forward = replace(prices.forward, lump=prices.forward.lump * 2)
    ledger.config = network_config(prices=replace(prices, forward=forward, gas=gas))
    job.world.watch = False
    done = job.deliver(MAX_FEE)
    assert done.first.success
    assert job.state.deposit_nano == deposit


def test_worker_tells_the_registry_whether_the_client_named_the_measurement(world: World, worker: WorkerSide) -> None:
    """P-1, R-3: an unlisted program is bound to nobody who did not ask for that very one."""
    start = world.registry_state
    state = replace(start, measurements=replace(start.measurements, listed={}, listed_count=0))
    install(world.ledger, world.registry, load("Registry").code, state.to_cell())
    channel = world.channel(worker)
    assert channel.open().one(BindRefused).reason == BindRefusal.MEASUREMENT_NOT_LISTED
    assert not channel.exists
    named = world.channel(worker, salt=1)
    named.open(named.opening(accepted_measurement=worker.measurement)).assert_succeeded()
    assert named.state.status == EscrowStatus.ACTIVE


def test_bits_are_paid_for_on_the_day_the_network_prices_them(worker: WorkerSide) -> None:
    """B.16, E-8: today only cells cost rent; the sizes are written down all the same."""
    world, ledger = worker.world, worker.world.ledger
    prices = ledger.prices()
    ledger.config = network_config(prices=replace(prices, storage=replace(prices.storage, bit=1)))
    world.watch = False
    channel = world.channel(worker, term_sec=DAY)
    for short, code in ((1, 305), (0, 0)):
        assert channel.open(value=DEPOSIT + 8_827_767 - short).exit_code == code
    body = world.registration("another")
    least = body.stake_nano + body.bond_nano + 41_454_753
    for short in (1, 0):
        done = world.send(actor("another owner"), world.registry, body, least - short)
        assert done.first.success is (short == 0)
