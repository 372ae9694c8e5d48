"""Opening: the handshake Escrow -> Worker -> Registry -> Escrow, every refusal, and the way back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from actors import actor, blob, digest, key
from channel import DAY, DEPOSIT, Channel
from hostile import small_order_keys
from outcome import Outcome
from pytoniq_core import begin_cell
from world import MEASUREMENT, MODEL, TERMS, TON, WorkerSide, World

from cocoon.wire.common import PaymentReason
from cocoon.wire.escrow import BindConfirmed, BindRefusal, BindRefused, EscrowStatus, OpenEscrow, TopUpEscrow
from cocoon.wire.registry import AllowMeasurement, ChangePolicy, ConfirmBind, DenyMeasurement
from cocoon.wire.worker import BeginUnbond, BindEscrow, PauseWorker


def assert_refunded(channel: Channel, done: object, reason: BindRefusal) -> None:
    """The escrow is gone and the client has everything back but fees."""
    assert isinstance(done, Outcome)
    assert done.one(BindRefused).reason == reason
    assert not channel.exists
    sent = done.sent.value
    fees = sum(transaction.total_fees for transaction in done.transactions)
    back = done.paid(channel.client, PaymentReason.REFUND)
    assert sent - back >= 0
    assert back >= DEPOSIT
    assert sent - back < TON // 100, f"opening and refusal cost {sent - back}, fees {fees}"


def test_open_least_value_binds_through_worker_and_registry(world: World, worker: WorkerSide) -> None:
    """P-3, E-1: the whole cascade on exactly the least value."""
    channel = world.channel(worker)
    done = channel.open().assert_succeeded()
    assert [t.account for t in done.transactions] == [
        channel.address,
        worker.address,
        world.registry,
        channel.address,
    ]
    state = channel.state
    assert (state.status, state.deposit_nano, state.claimed_nano) == (EscrowStatus.ACTIVE, DEPOSIT, 0)
    assert state.client_key == channel.client_key.public
    assert state.epoch == done.first.lt
    assert channel.balance >= channel.owed
    binding = state.binding
    assert binding is not None
    assert binding == done.one(BindConfirmed).binding
    assert (binding.model_id, binding.key_epoch, binding.payout) == (MODEL, 1, worker.payout)
    assert binding.keys == worker.state.people.keys
    assert binding.channel_end == world.ledger.now + DAY
    assert (binding.prompt_nano, binding.cached_nano, binding.completion_nano) == (
        TERMS.prompt_nano,
        TERMS.cached_nano,
        TERMS.completion_nano,
    )
    assert (binding.floor_fee_nano, binding.min_duration_sec) == (TERMS.floor_fee_nano, TERMS.min_duration_sec)
    assert (binding.grace_sec, binding.dispute_sec) == (world.rules.grace_sec, world.rules.dispute_sec)


def test_open_address_is_the_one_the_client_computed(channel: Channel) -> None:
    identity = channel.world.ledger.get(channel.address, "get_identity")
    assert [identity[0].load_address(), identity[1].load_address(), identity[2].load_address(), identity[3]] == [
        channel.world.registry,
        channel.client,
        channel.worker.address,
        channel.salt,
    ]


def test_get_escrow_data_before_and_after_opening(world: World, worker: WorkerSide) -> None:
    channel = world.channel(worker)
    init = world.deployment.escrow_state_init(channel.client, worker.address)
    world.send(actor("anyone"), channel.address, begin_cell().end_cell(), TON, state_init=init).assert_succeeded()
    assert world.ledger.get(channel.address, "get_escrow_data")[0] == 0
    channel.open().assert_succeeded()
    assert world.ledger.get(channel.address, "get_escrow_data")[0] == EscrowStatus.ACTIVE


def test_open_one_nano_below_the_least_value_refused(world: World, worker: WorkerSide) -> None:
    """B.16."""
    channel = world.channel(worker)
    channel.open(value=DEPOSIT + channel.open_fees - 1).assert_refused(305)


def test_open_deposit_above_the_value_refused(world: World, worker: WorkerSide) -> None:
    """A.4, B.21: the ledger never starts with money that is not there."""
    channel = world.channel(worker)
    channel.open(channel.opening(deposit_nano=2**64 - 1)).assert_refused(305)


def test_open_longest_terms_price_their_rent(world: World, worker: WorkerSide) -> None:
    """B.18: rent is paid at opening for the term and the margin after it."""
    fees = [world.escrow_fees(days * DAY)[0] for days in (0, 30, 365)]
    assert fees[0] < fees[1] < fees[2]


@pytest.mark.parametrize("sender", ["thief", "worker operator", "anyone"])
def test_open_by_anyone_but_the_client_refused(world: World, worker: WorkerSide, sender: str) -> None:
    """B.2: nobody can put his own key into somebody's channel."""
    channel = world.channel(worker)
    channel.open(sender=actor(sender)).assert_refused(302)


@pytest.mark.parametrize(("name", "public"), small_order_keys().items(), ids=small_order_keys().keys())
def test_open_low_order_client_key_refused(world: World, worker: WorkerSide, name: str, public: int) -> None:
    """B.14: anybody could sign vouchers for such a key."""
    channel = world.channel(worker)
    channel.open(channel.opening(client_key=public)).assert_refused(306)


def test_open_without_deposit_refused(world: World, worker: WorkerSide) -> None:
    channel = world.channel(worker)
    channel.open(channel.opening(deposit_nano=0)).assert_refused(307)


def test_open_with_another_message_first_refused(world: World, worker: WorkerSide) -> None:
    channel = world.channel(worker)
    channel.open(TopUpEscrow(1)).assert_refused(300)


def test_open_twice_refused(channel: Channel) -> None:
    """A client cannot replace its key or reset what was claimed."""
    channel.send(channel.client, channel.opening(), 2 * TON).assert_refused(301)


@pytest.mark.parametrize("workchains", [(-1, 0), (0, -1)], ids=["client", "worker"])
def test_open_across_workchains_refused(world: World, worker: WorkerSide, workchains: tuple[int, int]) -> None:
    """B.23: payments to the masterchain cost more than a job's own money holds for them."""
    client = actor("client", workchains[0])
    address = worker.address if workchains[1] == 0 else actor("worker abroad", -1)
    init = world.deployment.escrow_state_init(client, address)
    body = OpenEscrow(1, key("client key").public, DEPOSIT, MODEL, DAY, None, TERMS)
    target = world.deployment.escrow(client, address)
    world.send(client, target, body, 2 * TON, state_init=init).assert_refused(326)


# ---- refusals ----


def test_open_worker_paused_refunded(world: World, worker: WorkerSide) -> None:
    worker.by_operator(PauseWorker(1)).assert_succeeded()
    channel = world.channel(worker)
    assert_refunded(channel, channel.open(), BindRefusal.NOT_ACTIVE)


def test_open_worker_unbonding_refunded(world: World, worker: WorkerSide) -> None:
    """W-2: no channel begins behind a stake that is leaving."""
    worker.by_owner(BeginUnbond(1)).assert_succeeded()
    channel = world.channel(worker)
    assert_refunded(channel, channel.open(), BindRefusal.NOT_ACTIVE)


def test_open_worker_pending_refunded(world: World) -> None:
    channel = world.channel(world.register())
    assert_refunded(channel, channel.open(), BindRefusal.NOT_ACTIVE)


@pytest.mark.parametrize(
    ("late", "reason"), [(-1, None), (0, BindRefusal.LEASE_EXPIRED), (1, BindRefusal.LEASE_EXPIRED)]
)
def test_open_around_the_end_of_the_lease(
    world: World, worker: WorkerSide, late: int, reason: BindRefusal | None
) -> None:
    """B.15."""
    world.ledger.advance(worker.state.lease_end - world.ledger.now + late)
    channel = world.channel(worker)
    done = channel.open()
    if reason is None:
        assert channel.state.status == EscrowStatus.ACTIVE
    else:
        assert_refunded(channel, done, reason)


def test_open_bond_below_minimum_refunded(world: World, worker: WorkerSide) -> None:
    """W-6: a worker that has paid for a miss is not bindable until it adds bond."""
    first = world.open_channel(worker)
    first.post().assert_succeeded()
    first.pass_deadline()
    first.expire().assert_succeeded()
    second = world.channel(worker, salt=1)
    assert_refunded(second, second.open(), BindRefusal.BOND_TOO_LOW)


def test_open_unknown_model_refunded(world: World, worker: WorkerSide) -> None:
    channel = world.channel(worker)
    done = channel.open(channel.opening(model_id=digest(blob("no such model"))))
    assert_refunded(channel, done, BindRefusal.UNKNOWN_MODEL)


@pytest.mark.parametrize(
    "field", ["prompt_nano", "cached_nano", "completion_nano", "floor_fee_nano", "min_duration_sec"]
)
def test_open_price_above_the_clients_maximum_refunded(world: World, worker: WorkerSide, field: str) -> None:
    """A.15: prices are agreed before anything is bound; each one counts."""
    channel = world.channel(worker)
    body = channel.opening(max_prices=replace(TERMS, **{field: getattr(TERMS, field) - 1}))
    assert_refunded(channel, channel.open(body), BindRefusal.PRICE_TOO_HIGH)


def test_open_term_beyond_the_policy_refunded(world: World, worker: WorkerSide) -> None:
    channel = world.channel(worker, term_sec=world.rules.max_term_sec + 1)
    done = channel.open()
    assert done.one(BindRefused).reason == BindRefusal.TERM_TOO_LONG
    assert not channel.exists


def test_open_longest_term_binds(world: World, worker: WorkerSide) -> None:
    world.open_channel(worker, term_sec=world.rules.max_term_sec)


def test_open_other_measurement_than_accepted_refunded(world: World, worker: WorkerSide) -> None:
    """P-1."""
    channel = world.channel(worker)
    done = channel.open(channel.opening(accepted_measurement=5))
    assert_refunded(channel, done, BindRefusal.MEASUREMENT_NOT_ACCEPTED)


def test_open_under_an_outdated_policy_refunded_until_synced(world: World, worker: WorkerSide) -> None:
    world.adopt(ChangePolicy(world.policy(2))).assert_succeeded()
    worker.attest().assert_succeeded()
    channel = world.channel(worker)
    assert_refunded(channel, channel.open(), BindRefusal.POLICY_OUTDATED)
    world.sync(worker).assert_succeeded()
    channel.open().assert_succeeded()
    assert channel.state.status == EscrowStatus.ACTIVE


@pytest.mark.parametrize(
    ("denied", "listed", "named", "reason"),
    [
        (True, False, False, BindRefusal.MEASUREMENT_DENIED),
        (True, False, True, BindRefusal.MEASUREMENT_DENIED),
        (False, False, False, BindRefusal.MEASUREMENT_NOT_LISTED),
        (False, False, True, None),
        (False, True, False, None),
    ],
)
def test_registry_judges_a_measurement(
    channel: Channel, denied: bool, listed: bool, named: bool, reason: BindRefusal | None
) -> None:
    """R-3, P-1: a client may name an unlisted measurement, never a denied one. The Worker's part is imitated."""
    world = channel.world
    if listed:
        world.adopt(AllowMeasurement(5)).assert_succeeded()
    if denied:
        world.govern(DenyMeasurement(1, 5)).assert_succeeded()
    binding = channel.state.binding
    assert binding is not None
    escrow = actor("some escrow")
    body = ConfirmBind(channel.worker.index, 9, escrow, 1, 5, named, binding)
    done = world.send(channel.worker.address, world.registry, body, TON)
    if reason is None:
        assert done.one(BindConfirmed) == BindConfirmed(9, binding)
    else:
        assert done.one(BindRefused) == BindRefused(9, reason)
    assert done.received(escrow) > TON - TON // 100


# ---- the way back ----


def test_open_absent_worker_refunded_by_bounce(world: World) -> None:
    """B.3: nobody ever registered there."""
    nobody = WorkerSide(world, 7, *(actor(x) for x in ("o", "p", "q")), key("s"), blob("h"))
    channel = world.channel(nobody)
    done = channel.open()
    assert not channel.exists
    assert done.paid(channel.client, PaymentReason.REFUND) >= DEPOSIT


def test_open_malformed_maximum_prices_refunded(world: World, worker: WorkerSide) -> None:
    """B.22: the Worker throws on trailing data and the bounce refunds."""
    channel = world.channel(worker)
    body = channel.opening().to_cell()
    longer = begin_cell().store_bits(body.bits).store_ref(begin_cell().store_cell(body.refs[0]).store_bit(1).end_cell())
    done = channel.open(longer.end_cell())
    assert not channel.exists
    assert done.paid(channel.client, PaymentReason.REFUND) >= DEPOSIT


@pytest.mark.parametrize("late", [-1, 0, 1])
def test_cancel_open_around_the_timeout(world: World, worker: WorkerSide, late: int) -> None:
    """B.15, P-2: a handshake that never ends gives everything back."""
    channel = world.channel(worker)
    reopen_stuck(channel)
    world.ledger.advance(600 + late)
    done = channel.cancel_open()
    if late < 0:
        done.assert_refused(310)
    else:
        assert done.paid(channel.client, PaymentReason.REFUND) > DEPOSIT
        assert not channel.exists


def reopen_stuck(channel: Channel) -> None:
    """OpenEscrow is processed, what it sent to the Worker is held back for good."""
    world = channel.world
    init = world.deployment.escrow_state_init(channel.client, channel.worker.address, channel.salt)
    world.put(channel.client, channel.address, channel.opening(), DEPOSIT + channel.open_fees, state_init=init)
    world.ledger.step(len(world.ledger.pending) - 1)
    world.ledger.drop(len(world.ledger.pending) - 1)
    assert channel.state.status == EscrowStatus.OPENING


def test_cancel_open_by_a_stranger_refused(world: World, worker: WorkerSide) -> None:
    channel = world.channel(worker)
    reopen_stuck(channel)
    world.ledger.advance(600)
    channel.cancel_open(sender=actor("thief")).assert_refused(302)


def test_cancel_open_when_active_refused(channel: Channel) -> None:
    channel.world.ledger.advance(600)
    channel.cancel_open().assert_refused(327)


def test_stale_confirmation_after_cancel_and_reopening_changes_nothing(world: World, worker: WorkerSide) -> None:
    """B.6, E-6: every answer carries the epoch it belongs to."""
    channel = world.open_channel(worker)
    old = channel.state
    assert old.binding is not None
    channel.begin_close().assert_succeeded()
    world.ledger.advance(world.rules.dispute_sec)
    channel.finish_close().assert_succeeded()
    reopen_stuck(channel)
    before = channel.state
    world.send(world.registry, channel.address, BindConfirmed(old.epoch, old.binding), TON).assert_succeeded()
    assert channel.state == before
    world.send(worker.address, channel.address, BindRefused(old.epoch, 1), TON).assert_succeeded()
    assert channel.state == before
    done = world.send(world.registry, channel.address, BindConfirmed(before.epoch, old.binding), TON)
    assert not done.messages
    assert channel.state.status == EscrowStatus.ACTIVE


def test_confirmation_twice_changes_nothing(channel: Channel) -> None:
    """B.6: a duplicate with another binding cannot replace the first. E-6."""
    state = channel.state
    assert state.binding is not None
    other = replace(state.binding, payout=actor("thief"))
    channel.send(channel.world.registry, BindConfirmed(state.epoch, other), TON)
    assert channel.state == state


def test_refusal_after_confirmation_changes_nothing(channel: Channel) -> None:
    """B.6: an Active channel cannot be destroyed by a late refusal."""
    state = channel.state
    for sender in (channel.worker.address, channel.world.registry):
        channel.send(sender, BindRefused(state.epoch, 1), TON).assert_succeeded()
    assert channel.state == state


@pytest.mark.parametrize("sender", ["thief", "client", "worker operator"])
def test_forged_confirmation_refused(world: World, worker: WorkerSide, sender: str) -> None:
    """B.2."""
    channel = world.channel(worker)
    reopen_stuck(channel)
    binding = replace(world.open_channel(worker, "other").state.binding, payout=actor("thief"))
    body = BindConfirmed(channel.state.epoch, binding)
    world.send(actor(sender), channel.address, body, TON).assert_refused(304)
    world.send(actor(sender), channel.address, BindRefused(channel.state.epoch, 1), TON).assert_refused(303)


def test_confirmation_by_the_worker_itself_refused(world: World, worker: WorkerSide) -> None:
    """The Registry's word is not the Worker's to give."""
    channel = world.channel(worker)
    reopen_stuck(channel)
    binding = world.open_channel(worker, "other").state.binding
    assert binding is not None
    body = BindConfirmed(channel.state.epoch, binding)
    world.send(worker.address, channel.address, body, TON).assert_refused(304)


def test_bind_from_a_forged_escrow_refused(world: World, worker: WorkerSide) -> None:
    """B.2: other code, other data, other worker: the recomputed address differs."""
    body = BindEscrow(1, actor("client"), 0, MODEL, DAY, None, TERMS)
    world.send(actor("thief"), worker.address, body, TON).assert_refused(205)
    other = world.active_worker("second")
    stranger = world.open_channel(other)
    world.send(stranger.address, worker.address, replace(body, salt=stranger.salt), TON).assert_refused(205)


def test_confirm_bind_from_anyone_but_that_worker_refused(channel: Channel) -> None:
    """B.2: another worker's index, a stranger, the escrow itself."""
    world = channel.world
    second = world.active_worker("second")
    binding = channel.state.binding
    assert binding is not None
    body = ConfirmBind(channel.worker.index, 1, channel.address, 1, MEASUREMENT, False, binding)
    for sender in (second.address, actor("thief"), channel.address):
        world.send(sender, world.registry, body, TON).assert_refused(142)


def test_open_a_second_channel_with_another_salt(world: World, worker: WorkerSide) -> None:
    first, second = world.open_channel(worker, salt=0), world.open_channel(worker, salt=1)
    assert first.address != second.address
    assert first.state.epoch != second.state.epoch


# ---- money that comes in ----


def test_top_up_credits_everything_beyond_its_gas(channel: Channel) -> None:
    """E-1."""
    balance = channel.balance
    done = channel.top_up(TON).assert_succeeded()
    assert channel.state.deposit_nano == DEPOSIT + TON
    assert channel.balance - balance >= TON - done.first.storage_fees
    assert not done.messages


def test_top_up_of_nothing_refused(channel: Channel) -> None:
    """B.16."""
    channel.send(actor("anyone"), TopUpEscrow(1), channel.top_up_fees).assert_refused(305)
    channel.send(actor("anyone"), TopUpEscrow(1), channel.top_up_fees + 1).assert_succeeded()
    assert channel.state.deposit_nano == DEPOSIT + 1


def test_top_up_while_opening_refused(world: World, worker: WorkerSide) -> None:
    """A.1."""
    channel = world.channel(worker)
    reopen_stuck(channel)
    channel.top_up(TON).assert_refused(308)


def test_top_up_while_closing_refused(channel: Channel) -> None:
    """A.1: no credit for money that is on its way out."""
    channel.begin_close().assert_succeeded()
    channel.top_up(TON).assert_refused(308)


def test_plain_transfer_is_rent_and_comes_back_at_close(channel: Channel) -> None:
    """B.24, A.14."""
    done = channel.send(actor("anyone"), begin_cell().end_cell(), TON).assert_succeeded()
    assert not done.changed
    channel.begin_close().assert_succeeded()
    channel.world.ledger.advance(channel.world.rules.dispute_sec)
    done = channel.finish_close().assert_succeeded()
    assert done.paid(channel.client) > DEPOSIT + TON - TON // 100


def test_rent_covers_term_and_margin(world: World, worker: WorkerSide) -> None:
    """B.18, E-8: with an open job the storage is at its largest."""
    channel = world.open_channel(worker, term_sec=30 * DAY)
    channel.post().assert_succeeded()
    used = world.ledger.account(channel.address).storage_used
    needed = world.ledger.prices().storage.fee(used.cells, used.bits, 120 * DAY)
    assert channel.balance - channel.owed >= needed


def test_unknown_opcode_refused(channel: Channel) -> None:
    """B.24."""
    body = begin_cell().store_uint(0x12345678, 32).store_uint(0, 64).end_cell()
    channel.send(actor("anyone"), body, TON).assert_refused(0xFFFF)
