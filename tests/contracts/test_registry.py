"""Registration and the Registry's own answers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from actors import actor, blob
from hostile import make_throwing
from pytoniq_core import begin_cell
from world import MEASUREMENT, TON, World

from cocoon.wire.common import PaymentReason, WorkerRoles
from cocoon.wire.registry import ChangePolicy, RegisterWorker, SyncPolicy
from cocoon.wire.worker import InitWorker, UpdatePolicy, WorkerStatus
from cocoon_sandbox.boc import count_cells

OWNER = actor("worker owner")


def test_register_least_value_deploys_a_worker_with_its_stake(world: World) -> None:
    """W-1: what was sent as stake and bond is there, rent on top."""
    worker = world.register()
    state = worker.state
    assert (state.status, state.stake_nano, state.bond_nano) == (
        WorkerStatus.PENDING,
        world.rules.min_stake_nano,
        world.rules.min_bond_nano,
    )
    assert (state.people.index, state.people.owner, state.registry) == (0, worker.owner, world.registry)
    assert (state.people.operator_wallet, state.people.payout) == (worker.operator, worker.payout)
    assert worker.balance > worker.owed
    assert world.registry_state.next_index == 1


def test_register_above_the_least_value_returns_the_rest(world: World) -> None:
    """A.14: change goes back to who paid; the Registry keeps nothing of it. P-4."""
    body = world.registration()
    least = body.stake_nano + body.bond_nano + world.registry_fees[0]
    held = world.ledger.balance(world.registry)
    done = world.send(OWNER, world.registry, body, least + TON).assert_succeeded()
    assert TON - done.first.total_fees < done.change(OWNER) <= TON + world.registry_fees[0]
    assert world.ledger.balance(world.registry) == held - done.first.storage_fees


def test_register_one_nano_below_the_least_value_refused(world: World) -> None:
    """B.16."""
    body = world.registration()
    least = body.stake_nano + body.bond_nano + world.registry_fees[0]
    world.send(OWNER, world.registry, body, least - 1).assert_refused(143)
    assert world.registry_state.next_index == 0


def test_register_stake_below_minimum_refused(world: World) -> None:
    body = world.registration(stake_nano=world.rules.min_stake_nano - 1)
    world.send(OWNER, world.registry, body, 20 * TON).assert_refused(144)


def test_register_bond_below_minimum_refused(world: World) -> None:
    body = world.registration(bond_nano=world.rules.min_bond_nano - 1)
    world.send(OWNER, world.registry, body, 20 * TON).assert_refused(145)


def test_register_amounts_that_overflow_together_refused(world: World) -> None:
    """B.21: the sum is computed wide, so two huge amounts do not wrap around."""
    body = world.registration(stake_nano=2**64 - 1, bond_nano=2**64 - 1)
    world.send(OWNER, world.registry, body, 20 * TON).assert_refused(143)


def test_register_several_workers_get_addresses_of_their_index(world: World) -> None:
    workers = [world.register(f"worker {number}") for number in range(3)]
    assert [worker.index for worker in workers] == [0, 1, 2]
    for worker in workers:
        asked = world.ledger.get(world.registry, "get_worker_address", worker.index)[0].load_address()
        assert asked == worker.address == world.deployment.worker(worker.index)
        assert worker.state.people.index == worker.index


def test_get_escrow_address_equals_the_one_clients_compute(world: World) -> None:
    client, worker = actor("client"), world.deployment.worker(5)
    asked = world.ledger.get(world.registry, "get_escrow_address", client, worker, 77)[0].load_address()
    assert asked == world.deployment.escrow(client, worker, 77)


@pytest.mark.parametrize("role", ["operator_wallet", "payout"])
def test_register_masterchain_role_refused(world: World, role: str) -> None:
    """B.23: payments to the masterchain cost more than any of the contracts' fees hold."""
    roles = replace(world.registration().roles, **{role: actor("abroad", -1)})
    world.send(OWNER, world.registry, world.registration(roles=roles), 20 * TON).assert_refused(155)
    assert world.registry_state.next_index == 0


def test_register_roles_with_trailing_data_refused(world: World) -> None:
    """B.22: a nested cell is exactly two addresses."""
    body = world.registration()
    roles = begin_cell().store_cell(body.roles.to_cell()).store_bit(1).end_cell()
    forged = begin_cell().store_uint(RegisterWorker.PREFIX[0], 32).store_uint(1, 64)
    forged.store_uint(body.stake_nano, 64).store_uint(body.bond_nano, 64).store_ref(roles)
    world.send(OWNER, world.registry, forged.end_cell(), 20 * TON).assert_refused(9)


def test_register_from_the_masterchain_refused(world: World) -> None:
    """B.23: the owner's money goes straight back."""
    owner = actor("abroad", -1)
    done = world.send(owner, world.registry, world.registration(), 20 * TON).assert_refused(155)
    assert done.received(owner) > 19 * TON


def test_worker_that_refuses_its_registration_returns_all_money_to_the_owner(world: World) -> None:
    """B.7: the deployment fails in compute (somebody else's code cannot be there, an exhausted one can)."""
    make_throwing(world.ledger, world.deployment.worker(0))
    body = world.registration()
    value = body.stake_nano + body.bond_nano + world.registry_fees[0]
    done = world.send(OWNER, world.registry, body, value)
    assert done.paid(OWNER, PaymentReason.REFUND) > body.stake_nano + body.bond_nano
    assert world.registry_state.next_index == 1


def test_register_without_a_measurement_refused(world: World) -> None:
    """W-11: no enclave has the measurement 0, so the worker could never take any keys."""
    body = world.registration()
    nothing = replace(body, roles=replace(body.roles, measurement=0))
    world.send(OWNER, world.registry, nothing, 20 * TON).assert_refused(152)


def test_registration_carries_the_current_policy_cell(world: World) -> None:
    done = world.send(OWNER, world.registry, world.registration(), 20 * TON)
    init = done.one(InitWorker)
    assert init.policy == world.registry_state.policy == world.policy(1)
    assert init.owner == OWNER
    assert init.roles == WorkerRoles(actor("worker operator"), actor("worker payout"), MEASUREMENT)


def test_sync_policy_least_value_updates_the_worker(world: World) -> None:
    worker = world.active_worker()
    changed = world.policy(2, miss_penalty_nano=world.rules.miss_penalty_nano // 2)
    world.adopt(ChangePolicy(changed)).assert_succeeded()
    done = world.sync(worker).assert_succeeded()
    assert done.one(UpdatePolicy).policy == worker.state.policy == changed
    assert worker.balance > worker.owed


def test_sync_policy_one_nano_below_the_least_value_refused(world: World) -> None:
    worker = world.register()
    least = world.registry_fees[1]
    world.send(OWNER, world.registry, SyncPolicy(1, worker.index), least - 1).assert_refused(143)


def test_sync_policy_of_an_unregistered_worker_refused(world: World) -> None:
    world.register()
    world.send(OWNER, world.registry, SyncPolicy(1, 1), TON).assert_refused(153)


def test_unknown_opcode_refused(world: World) -> None:
    """B.24."""
    world.send(OWNER, world.registry, begin_cell().store_uint(0x12345678, 32).end_cell(), TON).assert_refused(0xFFFF)


def test_empty_body_is_kept_as_rent(world: World) -> None:
    """B.24."""
    done = world.send(OWNER, world.registry, begin_cell().end_cell(), TON).assert_succeeded()
    assert not done.changed
    assert not done.messages
    assert TON - done.first.total_fees == done.balance_after - done.balance_before


def test_short_body_refused(world: World) -> None:
    done = world.send(OWNER, world.registry, begin_cell().store_uint(1, 7).end_cell(), TON)
    assert done.first.aborted
    done.assert_returned()


def test_request_blob_has_the_cells_it_says() -> None:
    """The tests' own measure of a request."""
    assert [count_cells(blob("x", n))[0] for n in (1, 2, 9, 96, 97)] == [1, 2, 9, 96, 97]
