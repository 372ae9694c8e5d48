"""Governance: allowing waits out a public delay, denying is immediate, neither reaches into an open channel."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from actors import actor, key
from channel import DAY, Channel
from hostile import THROWS, install, small_order_keys
from pytoniq_core import Cell, HashMap, begin_cell
from world import REBUILDERS, RULES, TON, World

from cocoon.contracts_build import load
from cocoon.wire.codec import Struct
from cocoon.wire.registry import (
    AcceptOwnership,
    AllowMeasurement,
    CancelChange,
    ChangeAttestationPolicy,
    ChangePolicy,
    ChangeRebuilders,
    DenyMeasurement,
    ExecuteChange,
    OfferOwnership,
    ProposeChange,
    Rebuilders,
)
from cocoon.wire.worker import BeginUnbond, UpdatePolicy, WithdrawStake
from cocoon_sandbox.ledger import Ledger

THIEF = actor("thief")
HEIR = actor("heir")


def propose(world: World, change: Struct) -> object:
    return world.govern(ProposeChange(1, change.to_cell()))


# ---- the delay ----


def test_execute_policy_after_the_delay_by_anyone(world: World) -> None:
    """R-1, P-6."""
    changed = world.policy(2, dispute_sec=2 * DAY)
    world.adopt(ChangePolicy(changed)).assert_succeeded()
    state = world.registry_state
    assert (state.policy, state.policy_version, state.proposal) == (changed, 2, None)
    assert world.ledger.get(world.registry, "get_policy")[0].hash == changed.to_cell().hash


@pytest.mark.parametrize(("late", "ok"), [(-1, False), (0, True), (1, True)])
def test_execute_around_the_delay(world: World, late: int, ok: bool) -> None:
    """B.15, A.12, R-1: no owner changes anything in a single step."""
    world.govern(ProposeChange(1, ChangePolicy(world.policy(2)).to_cell())).assert_succeeded()
    assert world.ledger.get(world.registry, "get_registry_data")[4] == world.ledger.now + world.rules.change_delay_sec
    world.ledger.advance(world.rules.change_delay_sec + late)
    done = world.send(actor("anyone"), world.registry, ExecuteChange(2), world.registry_fees[2])
    done.assert_succeeded() if ok else done.assert_refused(148)


def test_execute_nothing_refused(world: World) -> None:
    world.send(actor("anyone"), world.registry, ExecuteChange(1), TON).assert_refused(147)


def test_execute_twice_refused(world: World) -> None:
    world.adopt(AllowMeasurement(5)).assert_succeeded()
    world.send(actor("anyone"), world.registry, ExecuteChange(1), TON).assert_refused(147)


def test_propose_while_another_is_pending_refused(world: World) -> None:
    """R-1: the announced change is the one that executes."""
    world.govern(ProposeChange(1, AllowMeasurement(5).to_cell())).assert_succeeded()
    world.govern(ProposeChange(1, AllowMeasurement(6).to_cell())).assert_refused(146)


def test_cancel_then_propose_starts_a_new_delay(world: World) -> None:
    """R-1."""
    world.govern(ProposeChange(1, AllowMeasurement(5).to_cell())).assert_succeeded()
    world.ledger.advance(world.rules.change_delay_sec)
    world.govern(CancelChange(2)).assert_succeeded()
    world.govern(ProposeChange(3, AllowMeasurement(6).to_cell())).assert_succeeded()
    world.send(actor("anyone"), world.registry, ExecuteChange(4), TON).assert_refused(148)


def test_cancel_nothing_refused(world: World) -> None:
    world.govern(CancelChange(1)).assert_refused(147)


# ---- who, and with how much ----

OWNER_MESSAGES = [
    ProposeChange(1, AllowMeasurement(5).to_cell()),
    CancelChange(1),
    DenyMeasurement(1, 5),
]


@pytest.mark.parametrize("body", OWNER_MESSAGES, ids=lambda b: type(b).__name__)
def test_govern_by_a_stranger_refused(world: World, body: Struct) -> None:
    """B.1, A.2."""
    world.send(THIEF, world.registry, body, TON).assert_refused(140)


@pytest.mark.parametrize(
    "body", [*OWNER_MESSAGES, ExecuteChange(1), AcceptOwnership(1)], ids=lambda b: type(b).__name__
)
def test_govern_one_nano_below_the_least_value_refused(world: World, body: Struct) -> None:
    """B.16."""
    world.govern(body, world.registry_fees[2] - 1).assert_refused(143)


# ---- bounds ----


@pytest.mark.parametrize(
    "change",
    [
        {"miss_client_bps": 2001},
        {"slash_reporter_bps": 1001},
        {"slash_client_bps": 2001, "slash_reporter_bps": 0},
        {"slash_client_bps": 65535, "slash_reporter_bps": 65535},
        {"min_bond_nano": 10**9 - 1},
        {"miss_penalty_nano": 0},
        {"dispute_sec": 0},
        {"max_term_sec": 0},
        {"unbonding_sec": 45 * DAY - 1},
        {"max_term_sec": 37 * DAY},
        {"evidence_sec": 14 * DAY},
        {"grace_sec": 10 * DAY},
        {"dispute_sec": 10 * DAY},
        {"max_term_sec": 2**32 - 1, "unbonding_sec": 2**32 - 1},
    ],
    ids=str,
)
def test_propose_policy_out_of_bounds_refused(world: World, change: dict[str, int]) -> None:
    """R-2, P-5: whatever governance decides, a fifth at most rewards a fault, and stake outlives every channel it
    backs."""
    world.govern(ProposeChange(1, ChangePolicy(world.policy(2, **change)).to_cell()), TON).assert_refused(149)


@pytest.mark.parametrize("seconds", [2**32 - 1, 2**31, 400 * DAY])
def test_propose_policy_freezing_times_refused(world: World, seconds: int) -> None:
    """R-2, P-4: an unbonding time that ends never would freeze every stake; `now + time` must fit 32 bits."""
    world.govern(ProposeChange(1, ChangePolicy(world.policy(2, unbonding_sec=seconds)).to_cell()), TON).assert_refused(
        149
    )


def test_execute_policy_shorter_unbonding_refused(world: World) -> None:
    """R-2, P-5: stake behind channels of today must not leave early under a policy of tomorrow."""
    short = world.policy(2, max_term_sec=1, dispute_sec=1, grace_sec=0, evidence_sec=0, unbonding_sec=2)
    world.govern(ProposeChange(1, ChangePolicy(short).to_cell()), TON).assert_refused(149)


def test_longest_policy_times_leave_everything_working(world: World) -> None:
    """R-2, P-4: at the bounds nothing overflows, and the owner still leaves."""
    worker = world.active_worker()
    longest = world.policy(2, unbonding_sec=180 * DAY, max_term_sec=150 * DAY)
    world.adopt(ChangePolicy(longest)).assert_succeeded()
    world.adopt(ChangeAttestationPolicy(world.attestation_policy(2, lease_sec=366 * DAY))).assert_succeeded()
    world.sync_attestation().assert_succeeded()
    world.sync(worker).assert_succeeded()
    worker.attest().assert_succeeded()
    channel = world.open_channel(worker, term_sec=150 * DAY)
    channel.post(duration=100 * DAY).assert_succeeded()
    channel.deliver().assert_succeeded()
    worker.by_owner(BeginUnbond(1)).assert_succeeded()
    world.ledger.advance(180 * DAY)
    worker.by_owner(WithdrawStake(2)).assert_succeeded()


@pytest.mark.parametrize("version", [0, 1, 3, 2**32 - 1])
def test_propose_policy_of_another_version_refused(world: World, version: int) -> None:
    world.govern(ProposeChange(1, ChangePolicy(world.policy(version)).to_cell()), TON).assert_refused(150)


@pytest.mark.parametrize("where", ["change", "policy", "children"])
def test_propose_change_with_trailing_data_refused(world: World, where: str) -> None:
    """B.22, B.26: a policy that workers could not parse never becomes one."""
    policy = world.policy(2)
    children = policy.children.to_cell()
    if where == "children":
        children = begin_cell().store_cell(children).store_bit(1).end_cell()
    cell = begin_cell().store_bits(policy.to_cell().bits).store_ref(children)
    if where == "policy":
        cell.store_bit(1)
    change = begin_cell().store_uint(1, 8).store_ref(cell.end_cell())
    if where == "change":
        change.store_bit(1)
    world.govern(ProposeChange(1, change.end_cell()), TON).assert_refused(9)


@pytest.mark.parametrize("prefix", [0, 4, 5, 255])
def test_propose_unknown_change_refused(world: World, prefix: int) -> None:
    done = world.govern(ProposeChange(1, begin_cell().store_uint(prefix, 8).store_uint(5, 256).end_cell()), TON)
    assert done.first.aborted
    done.assert_returned()


# ---- measurements ----


def test_allow_measurement_after_the_delay(world: World) -> None:
    """R-3, A.11."""
    assert world.ledger.get(world.registry, "get_measurement", 5) == [0, 0]
    world.adopt(AllowMeasurement(5)).assert_succeeded()
    assert world.ledger.get(world.registry, "get_measurement", 5) == [-1, 0]


def test_deny_measurement_at_once_and_for_good(world: World) -> None:
    """R-3, P-6: the safe direction needs no delay and has no way back."""
    world.adopt(AllowMeasurement(5)).assert_succeeded()
    world.govern(DenyMeasurement(1, 5)).assert_succeeded()
    assert world.ledger.get(world.registry, "get_measurement", 5) == [0, -1]
    world.govern(ProposeChange(2, AllowMeasurement(5).to_cell()), TON).assert_refused(154)


def test_deny_overtakes_a_pending_allowance(world: World) -> None:
    """R-3: what was denied meanwhile is not admitted by an old proposal."""
    world.govern(ProposeChange(1, AllowMeasurement(5).to_cell())).assert_succeeded()
    world.govern(DenyMeasurement(2, 5)).assert_succeeded()
    world.ledger.advance(world.rules.change_delay_sec)
    world.send(actor("anyone"), world.registry, ExecuteChange(3), TON).assert_refused(154)


@pytest.mark.parametrize(
    "body", [ProposeChange(1, AllowMeasurement(0).to_cell()), DenyMeasurement(1, 0)], ids=["allow", "deny"]
)
def test_measurement_zero_refused(world: World, body: Struct) -> None:
    """0 says that nothing was attested; no list may turn that into a measurement."""
    world.govern(body, TON).assert_refused(152)


def test_allow_measurement_twice_refused(world: World) -> None:
    world.adopt(AllowMeasurement(5)).assert_succeeded()
    world.govern(ProposeChange(1, AllowMeasurement(5).to_cell()), TON).assert_refused(156)


def test_deny_measurement_twice_counts_once(world: World) -> None:
    world.govern(DenyMeasurement(1, 5)).assert_succeeded()
    world.govern(DenyMeasurement(1, 5)).assert_succeeded()
    assert world.registry_state.measurements.denied_count == len(world.registry_state.measurements.denied) == 1


def test_lists_at_their_caps_leave_every_least_value_sufficient(world: World) -> None:
    """B.16, B.17, R-4: filled to the last entry, then opened through, then refused one more."""
    signers = [key(f"one of many {number}") for number in range(16)]
    many = ChangeRebuilders(Rebuilders(16, {signer.public: None for signer in signers}))
    world.adopt(many).assert_succeeded()
    worker = world.active_worker()
    for number in range(1, 32):  # one is allowed from the start
        world.govern(ProposeChange(1, AllowMeasurement(number << 240).to_cell())).assert_succeeded()
        world.ledger.advance(world.rules.change_delay_sec)
        world.execute(world.rebuilds(number << 240, *signers)).assert_succeeded()
    world.govern(ProposeChange(1, AllowMeasurement(5).to_cell()), TON).assert_refused(151)
    for number in range(256):
        world.govern(DenyMeasurement(1, (number << 248) + 1)).assert_succeeded()
    world.govern(DenyMeasurement(1, 7), TON).assert_refused(151)
    measurements = world.registry_state.measurements
    assert (len(measurements.listed), len(measurements.denied)) == (32, 256)
    world.govern(DenyMeasurement(1, 8), TON).assert_refused(151)
    world.govern(DenyMeasurement(1, 31 << 240), TON).assert_succeeded()  # listed: deniable although the list is full
    worker.attest().assert_succeeded()
    assert worker.state.lease_end > world.ledger.now
    world.open_channel(worker)
    world.govern(ProposeChange(1, ChangePolicy(world.policy(2)).to_cell())).assert_succeeded()


# ---- ownership ----


def test_ownership_moves_in_two_steps(world: World) -> None:
    """A.12, R-5: offered after the delay, taken by who it was offered to."""
    world.adopt(OfferOwnership(HEIR)).assert_succeeded()
    assert world.registry_state.owner == world.governor
    world.send(THIEF, world.registry, AcceptOwnership(1), TON).assert_refused(141)
    world.send(world.governor, world.registry, AcceptOwnership(1), TON).assert_refused(141)
    world.send(HEIR, world.registry, AcceptOwnership(1), world.registry_fees[2]).assert_succeeded()
    state = world.registry_state
    assert (state.owner, state.proposed_owner) == (HEIR, None)
    world.govern(DenyMeasurement(1, 5), TON).assert_refused(140)
    world.send(HEIR, world.registry, AcceptOwnership(2), TON).assert_refused(141)


def test_ownership_without_an_offer_refused(world: World) -> None:
    world.send(HEIR, world.registry, AcceptOwnership(1), TON).assert_refused(141)


def test_ownership_offered_to_another_replaces_the_first_offer(world: World) -> None:
    world.adopt(OfferOwnership(THIEF)).assert_succeeded()
    world.adopt(OfferOwnership(HEIR)).assert_succeeded()
    world.send(THIEF, world.registry, AcceptOwnership(1), TON).assert_refused(141)


# ---- reach ----


def test_no_policy_reaches_into_an_open_channel(world: World) -> None:
    """P-6, R-5: prices, times, payout and key of a bound channel are its own."""
    worker = world.active_worker()
    channel = world.open_channel(worker, term_sec=20 * DAY)
    bound = channel.state
    world.adopt(ChangePolicy(world.policy(2, dispute_sec=1, grace_sec=9))).assert_succeeded()
    world.sync(worker).assert_succeeded()
    assert channel.state == bound
    channel.begin_close().assert_succeeded()
    assert channel.state.deadline == world.ledger.now + world.rules.dispute_sec


def test_owner_can_touch_no_money(channel: Channel) -> None:
    """P-4, A.3, A.12: every governance message there is, with every contract's balance before and after."""
    world = channel.world
    watched = (channel.address, channel.worker.address)
    before = [world.ledger.balance(address) for address in watched]
    world.govern(DenyMeasurement(1, 5)).assert_succeeded()
    for change in (AllowMeasurement(6), ChangePolicy(replace(world.policy(2), dispute_sec=1)), OfferOwnership(THIEF)):
        world.adopt(change).assert_succeeded()
    world.send(THIEF, world.registry, AcceptOwnership(1), TON).assert_succeeded()
    assert [world.ledger.balance(address) for address in watched] == before


# ---- rebuilders ----


def proposed_measurement(world: World, measurement: int = 5) -> None:
    """An allowing that has waited out its delay."""
    world.govern(ProposeChange(1, AllowMeasurement(measurement).to_cell())).assert_succeeded()
    world.ledger.advance(world.rules.change_delay_sec)


def listed(world: World, measurement: int = 5) -> bool:
    return measurement in world.registry_state.measurements.listed


def test_allow_with_the_threshold_of_rebuilds(world: World) -> None:
    """R-6: k of n independent rebuilds, and the delay."""
    proposed_measurement(world)
    world.execute(world.rebuilds(5)).assert_succeeded()
    assert listed(world)
    assert world.ledger.get(world.registry, "get_rebuilders")[0] == 2


@pytest.mark.parametrize("count", [0, 1])
def test_allow_with_too_few_rebuilds_refused(world: World, count: int) -> None:
    """R-6: the owner alone admits nothing; the proposal waits for more signatures."""
    proposed_measurement(world)
    signed = dict(list(world.rebuilds(5, *REBUILDERS).items())[:count])
    world.execute(signed).assert_refused(160)
    world.execute(world.rebuilds(5, *REBUILDERS)).assert_succeeded()
    assert listed(world)


def test_allow_with_rebuilds_before_the_delay_refused(world: World) -> None:
    """R-1, R-6: signatures do not shorten the notice."""
    world.govern(ProposeChange(1, AllowMeasurement(5).to_cell())).assert_succeeded()
    world.execute(world.rebuilds(5)).assert_refused(148)


@pytest.mark.parametrize(
    "flaw",
    [
        {"tag": 1},
        {"kind": 6},
        {"global_id": -239},
        {"contract": actor("another registry")},
        {"epoch": 1},
        {"key_epoch": 1},
    ],
    ids=lambda flaw: next(iter(flaw)),
)
def test_allow_with_a_rebuild_signed_for_something_else_refused(world: World, flaw: dict[str, Any]) -> None:
    """B.13, R-6."""
    proposed_measurement(world)
    world.execute(world.rebuilds(5, **flaw)).assert_refused(159)


def test_allow_with_rebuilds_of_another_measurement_refused(world: World) -> None:
    """R-6."""
    proposed_measurement(world)
    world.execute(world.rebuilds(6)).assert_refused(159)


def test_allow_with_a_strangers_rebuild_refused(world: World) -> None:
    """R-6: who is no rebuilder does not count, however many sign."""
    proposed_measurement(world)
    world.execute(world.rebuilds(5, REBUILDERS[0], key("stranger"))).assert_refused(158)
    world.execute(world.rebuilds(5, key("stranger"), key("another"))).assert_refused(158)


def test_allow_with_one_rebuilder_under_two_keys_refused(world: World) -> None:
    """R-6: a signature under another rebuilder's key is no signature of that rebuilder."""
    proposed_measurement(world)
    mine = world.rebuilds(5, REBUILDERS[0])[REBUILDERS[0].public]
    world.execute({REBUILDERS[0].public: mine, REBUILDERS[1].public: mine}).assert_refused(159)


def test_rebuilds_with_another_change_refused(world: World) -> None:
    world.govern(ProposeChange(1, ChangePolicy(world.policy(2)).to_cell())).assert_succeeded()
    world.ledger.advance(world.rules.change_delay_sec)
    world.execute(world.rebuilds(5)).assert_refused(161)


def test_change_of_rebuilders_waits_and_replaces_the_set(world: World) -> None:
    """R-1, R-6."""
    others = [key(f"other rebuilder {number}") for number in range(2)]
    change = ChangeRebuilders(Rebuilders(2, {signer.public: None for signer in others}))
    world.adopt(change).assert_succeeded()
    assert world.registry_state.measurements.rebuilders == change.rebuilders
    proposed_measurement(world)
    world.execute(world.rebuilds(5)).assert_refused(158)
    world.execute(world.rebuilds(5, *others)).assert_succeeded()


@pytest.mark.parametrize(("threshold", "count"), [(0, 0), (1, 0), (0, 1), (1, 2), (2, 4), (3, 2), (17, 17), (9, 17)])
def test_propose_rebuilders_out_of_bounds_refused(world: World, threshold: int, count: int) -> None:
    """R-6: more than half of 1 to 16, so that two images of one version can't both be agreed upon."""
    keys = {key(f"rebuilder {number}").public: None for number in range(count)}
    world.govern(ProposeChange(1, ChangeRebuilders(Rebuilders(threshold, keys)).to_cell()), TON).assert_refused(157)


@pytest.mark.parametrize(("threshold", "count"), [(1, 1), (2, 3), (9, 16), (16, 16)])
def test_propose_rebuilders_at_the_bounds(world: World, threshold: int, count: int) -> None:
    keys = {key(f"rebuilder {number}").public: None for number in range(count)}
    world.govern(ProposeChange(1, ChangeRebuilders(Rebuilders(threshold, keys)).to_cell())).assert_succeeded()


def test_propose_rebuilder_with_a_key_of_small_order_refused(world: World) -> None:
    """B.14."""
    for weak in small_order_keys().values():
        change = ChangeRebuilders(Rebuilders(1, {weak: None}))
        world.govern(ProposeChange(1, change.to_cell()), TON).assert_refused(157)


# ---- policies that could be taken away ----


def as_library(cell: Cell) -> Cell:
    """What stands for `cell` where the masterchain's libraries hold it."""
    return Cell(begin_cell().store_uint(2, 8).store_bytes(cell.hash).end_cell().bits, [], 2)


def libraries(cell: Cell) -> Cell:
    """The masterchain's libraries with `cell` as the only one."""
    held = HashMap(256, value_serializer=lambda value, dest: dest.store_cell(value))
    held.set_int_key(int.from_bytes(cell.hash, "big"), begin_cell().store_uint(0, 2).store_ref(cell).end_cell())
    root: Cell = held.serialize()
    return root


def test_policy_out_of_a_library_is_kept_as_an_ordinary_cell(world: World) -> None:
    """P-4, W-2, R-7: governance takes the library away again, and everybody can still read the policy and leave."""
    worker = world.active_worker()
    policy = world.policy(2).to_cell()
    world.ledger.libs = libraries(policy)
    change = begin_cell().store_uint(1, 8).store_ref(as_library(policy)).end_cell()
    proposal = begin_cell().store_uint(ProposeChange.PREFIX[0], 32).store_uint(1, 64).store_ref(change).end_cell()
    world.govern(proposal).assert_succeeded()
    world.ledger.advance(world.rules.change_delay_sec)
    world.execute().assert_succeeded()
    world.sync(worker).assert_succeeded()
    update = begin_cell().store_uint(UpdatePolicy.PREFIX[0], 32).store_uint(1, 64).store_ref(as_library(policy))
    world.send(world.registry, worker.address, update.end_cell(), TON).assert_succeeded()
    world.ledger.libs = libraries(begin_cell().store_uint(1, 8).end_cell())
    assert world.registry_state.policy.version == worker.state.policy.version == 2
    worker.by_owner(BeginUnbond(1)).assert_succeeded()
    world.ledger.advance(world.rules.unbonding_sec)
    owed = worker.owed
    assert worker.by_owner(WithdrawStake(1)).paid(worker.owner) == owed


@pytest.mark.parametrize("prefix", [0, 6, 7, 255])
def test_propose_a_change_of_an_unknown_kind_refused(world: World, prefix: int) -> None:
    """A.12, B.26, R-7: there is no change that replaces code."""
    change = begin_cell().store_uint(prefix, 8).store_ref(THROWS).end_cell()
    world.govern(ProposeChange(1, change), TON).assert_refused(63)


# ---- bounds to the unit ----


@pytest.mark.parametrize(
    "change",
    [{"miss_penalty_nano": 1, "key_loss_nano": 0}, {"unbonding_sec": 30 * DAY + DAY + 60 + 7 * DAY}],
    ids=["least penalty", "least unbonding"],
)
def test_policy_at_its_least_is_accepted(ledger: Ledger, change: dict[str, int]) -> None:
    """B.15, B.21: bounds are inclusive where the documents say so."""
    world = World(ledger, replace(RULES, **change)).deploy()
    world.adopt(ChangePolicy(world.policy(2))).assert_succeeded()
    assert world.registry_state.policy_version == 2


def test_deny_listed_measurement_beyond_the_room_kept_for_it_refused(world: World) -> None:
    """B.17: 256, and 256 more that were listed; then the list is full for good."""
    measurements = replace(
        world.registry_state.measurements,
        listed_count=2,
        denied_count=511,
        listed={1: None, 2: None},
        denied={number << 8: None for number in range(1, 512)},
    )
    state = replace(world.registry_state, measurements=measurements)
    install(world.ledger, world.registry, load("Registry").code, state.to_cell())
    world.govern(DenyMeasurement(1, 1)).assert_succeeded()
    world.govern(DenyMeasurement(2, 2), TON).assert_refused(151)
    assert world.registry_state.measurements.denied_count == 512
