"""What the chain demands of an enclave: governance proposes it, the delay passes, anyone brings it to Attestation."""

from __future__ import annotations

from dataclasses import replace

import pytest
from actors import actor
from channel import DAY
from hostile import DEATHS
from pytoniq_core import begin_cell
from world import MEASUREMENT, TON, World

from cocoon.deployment import attestation_policy
from cocoon.wire.attestation import UpdateAttestationPolicy
from cocoon.wire.registry import (
    AllowMeasurement,
    ChangeAttestationPolicy,
    ChangePolicy,
    ProposeChange,
    SyncAttestation,
)

DEBUG, MIGRATABLE, SEPT_VE_DISABLE = 1 << 56, 1 << 37, 1 << 36
RESERVED, PERFMON = 0x00FFFF0FFFFFFF7F, 0x80


def proposal(world: World, version: int = 2, **changes: int) -> ProposeChange:
    return ProposeChange(1, ChangeAttestationPolicy(world.attestation_policy(version, **changes)).to_cell())


# ---- on its way ----


def test_sync_brings_the_policy_to_attestation_with_the_least_value(world: World) -> None:
    """B.16, R-8: by anyone; the Registry keeps nothing of it and changes nothing."""
    policy = world.attestation_policy(2, lease_sec=DAY)
    world.adopt(ChangeAttestationPolicy(policy)).assert_succeeded()
    assert world.attestation_state.policy.version == 1
    before, held = world.registry_state, world.ledger.balance(world.attestation)
    body = SyncAttestation(7)
    world.send(actor("anyone"), world.registry, body, world.registry_fees[3] - 1).assert_refused(143)
    done = world.send(actor("anyone"), world.registry, body, world.registry_fees[3]).assert_succeeded()
    (sent,) = done.first.out_msgs
    assert (sent.dst, sent.bounce) == (world.attestation, True)
    assert UpdateAttestationPolicy.from_cell(sent.body) == UpdateAttestationPolicy(
        7, world.attestation_policy(2, lease_sec=DAY)
    )
    assert world.attestation_state.policy == world.attestation_policy(2, lease_sec=DAY)
    assert world.registry_state == before
    assert world.ledger.balance(world.attestation) >= held


def test_sync_twice_is_refused_by_attestation_and_costs_the_sender_alone(world: World) -> None:
    """R-8: there is nothing newer to bring; the bounce is rent of the Registry's."""
    before = world.attestation_state
    done = world.sync_attestation()
    assert [step.exit_code for step in done.of(world.attestation)] == [502]
    assert world.attestation_state == before
    assert done.balance_after >= done.balance_before - sum(step.storage_fees for step in done.of(world.registry))


@pytest.mark.parametrize("death", list(DEATHS))
def test_sync_to_an_attestation_that_does_not_answer_changes_nothing(world: World, death: str) -> None:
    """B.3: not deployed yet, or broken."""
    DEATHS[death](world.ledger, world.attestation)
    before = world.registry_state
    done = world.sync_attestation()
    assert world.registry_state == before
    assert done.balance_after >= done.balance_before - sum(step.storage_fees for step in done.of(world.registry))


def test_getters_name_the_policy_and_the_address(world: World) -> None:
    (policy,) = world.ledger.get(world.registry, "get_attestation_policy")
    assert policy.hash == attestation_policy(world.rules).to_cell().hash
    (address,) = world.ledger.get(world.registry, "get_attestation_address")
    assert address.load_address() == world.attestation
    assert world.ledger.get(world.registry, "get_measurement", MEASUREMENT) == [-1, 0]


def test_measurements_of_the_deployment_are_in_the_first_data_the_address_commits_to(world: World) -> None:
    """R-3: whoever checks the Registry's address has seen what was allowed from the start."""
    other = replace(world.rules, measurements=(MEASUREMENT, 5))
    assert World(world.ledger, other).registry != world.registry


# ---- how it changes ----


def test_change_waits_out_the_delay_and_leaves_lists_and_rebuilders(world: World) -> None:
    """R-1, R-8, P-6."""
    world.govern(proposal(world, accepted_statuses=1)).assert_succeeded()
    world.ledger.advance(world.rules.change_delay_sec - 1)
    world.execute().assert_refused(148)
    world.ledger.advance(1)
    before = world.registry_state
    world.execute().assert_succeeded()
    changed = replace(before.measurements, attestation=world.attestation_policy(2, accepted_statuses=1))
    assert world.registry_state == replace(before, measurements=changed, proposal=None)
    (policy,) = world.ledger.get(world.registry, "get_attestation_policy")
    assert policy.hash == changed.attestation.to_cell().hash


def test_other_changes_leave_the_attestation_policy(world: World) -> None:
    before = world.registry_state.measurements.attestation
    world.adopt(AllowMeasurement(5)).assert_succeeded()
    world.adopt(ChangePolicy(world.policy(2))).assert_succeeded()
    assert world.registry_state.measurements.attestation == before


@pytest.mark.parametrize("sender", ["thief", "worker operator", "anyone"])
def test_change_proposed_by_a_stranger_refused(world: World, sender: str) -> None:
    """B.1, R-8."""
    world.send(actor(sender), world.registry, proposal(world), TON).assert_refused(140)


@pytest.mark.parametrize("version", [0, 1, 3, 2**32 - 1])
def test_change_to_another_version_than_the_next_refused(world: World, version: int) -> None:
    world.govern(proposal(world, version), TON).assert_refused(150)


def test_change_after_another_one_needs_the_next_version(world: World) -> None:
    """R-8: counted apart from the policy's version; checked again when it executes."""
    world.adopt(ChangePolicy(world.policy(2))).assert_succeeded()
    world.adopt(ChangeAttestationPolicy(world.attestation_policy(2))).assert_succeeded()
    world.govern(proposal(world, 2), TON).assert_refused(150)
    world.adopt(ChangeAttestationPolicy(world.attestation_policy(3))).assert_succeeded()
    world.sync_attestation().assert_succeeded()
    assert world.attestation_state.policy.version == 3


@pytest.mark.parametrize(
    "change",
    [
        {"lease_sec": 0},
        {"lease_sec": 366 * DAY + 1},
        {"max_block_age": 1601},
        {"accepted_statuses": 1 << 6},
        {"accepted_statuses": 1 << 7},
        {"forbidden_attributes": SEPT_VE_DISABLE},
        {"forbidden_attributes": PERFMON, "required_attributes": PERFMON},
        {"required_attributes": DEBUG},
        {"required_attributes": MIGRATABLE},
        {"required_attributes": RESERVED & -RESERVED},
        {"required_attributes": 1 << 55},
    ],
    ids=str,
)
def test_change_out_of_bounds_refused(world: World, change: dict[str, int]) -> None:
    """R-8, A-3: whatever governance decides, no debug or movable enclave, no revoked platform, no lease without end."""
    world.govern(proposal(world, **change), TON).assert_refused(149)


@pytest.mark.parametrize(
    "change",
    [
        {"lease_sec": 1},
        {"lease_sec": 366 * DAY},
        {"max_block_age": 1600},
        {"accepted_statuses": 0b111111},
        {"required_attributes": SEPT_VE_DISABLE | PERFMON, "forbidden_attributes": RESERVED},
    ],
    ids=str,
)
def test_change_at_the_bounds_reaches_attestation(world: World, change: dict[str, int]) -> None:
    """B.15: bounds are inclusive, and the same in both contracts."""
    world.adopt(ChangeAttestationPolicy(world.attestation_policy(2, **change))).assert_succeeded()
    world.sync_attestation().assert_succeeded()
    assert world.attestation_state.policy == world.attestation_policy(2, **change)


@pytest.mark.parametrize("where", ["change", "policy"])
def test_change_with_trailing_data_refused(world: World, where: str) -> None:
    """B.22, B.26."""
    policy = begin_cell().store_cell(world.attestation_policy(2).to_cell())
    if where == "policy":
        policy.store_bit(1)
    change = begin_cell().store_uint(5, 8).store_ref(policy.end_cell())
    if where == "change":
        change.store_bit(1)
    world.govern(ProposeChange(1, change.end_cell()), TON).assert_refused(9)


def test_change_with_rebuilds_refused(world: World) -> None:
    world.govern(proposal(world)).assert_succeeded()
    world.ledger.advance(world.rules.change_delay_sec)
    world.execute(world.rebuilds(5)).assert_refused(161)


def test_root_that_is_no_point_of_the_curve_is_refused_by_attestation_and_can_be_corrected(world: World) -> None:
    """R-8: the Registry does not compute on curves; a slip there leaves the policy of before in force."""
    world.adopt(ChangeAttestationPolicy(world.attestation_policy(2, root_key_x=5))).assert_succeeded()
    done = world.sync_attestation()
    assert [step.exit_code for step in done.of(world.attestation)] == [512]
    assert world.attestation_state.policy.version == 1
    world.adopt(ChangeAttestationPolicy(world.attestation_policy(3))).assert_succeeded()
    world.sync_attestation().assert_succeeded()
    assert world.attestation_state.policy.version == 3
