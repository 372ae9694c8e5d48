"""Every get-method tells what the contract's data says, before and after the contract's first message."""

from __future__ import annotations

import pytest
from actors import actor
from channel import DEPOSIT, MAX_FEE, REQUEST, Channel
from pytoniq_core import Address, Cell
from world import TON, WorkerSide, World

from cocoon.contracts_build import load
from cocoon.wire.common import state_init
from cocoon.wire.registry import OfferOwnership, ProposeChange
from cocoon.wire.worker import WorkerIdentityData
from cocoon_sandbox.errors import GetterFailed


@pytest.mark.parametrize("contract", ["registry", "slashing", "worker", "escrow"])
def test_get_method_that_does_not_exist_fails(channel: Channel, contract: str) -> None:
    address = {
        "registry": channel.world.registry,
        "slashing": channel.world.slashing,
        "worker": channel.worker.address,
        "escrow": channel.address,
    }[contract]
    with pytest.raises(GetterFailed, match="threw 11"):
        channel.world.ledger.get(address, "get_no_such_thing")


def test_get_job_tells_the_open_job_and_then_the_last_one(job: Channel) -> None:
    ledger, state = job.world.ledger, job.state
    expected = [1, 1, ledger.now + 60, state.job_funds_nano, MAX_FEE, int.from_bytes(REQUEST.hash, "big")]
    assert ledger.get(job.address, "get_job") == expected
    job.deliver().assert_succeeded()
    assert ledger.get(job.address, "get_job") == [0, 1, expected[2], 0, MAX_FEE, expected[5]]


def test_get_escrow_data_tells_every_field(channel: Channel) -> None:
    channel.claim(DEPOSIT // 4).assert_succeeded()
    state = channel.state
    assert state.binding is not None
    *numbers, binding = channel.world.ledger.get(channel.address, "get_escrow_data")
    assert numbers == [2, state.epoch, channel.client_key.public, DEPOSIT, DEPOSIT // 4, 0, 0]
    assert binding.hash == state.binding.to_cell().hash
    channel.begin_close().assert_succeeded()
    closing = channel.world.ledger.get(channel.address, "get_escrow_data")
    assert (closing[0], closing[6]) == (3, channel.state.deadline)


def test_getters_of_an_escrow_before_it_is_opened(world: World, worker: WorkerSide) -> None:
    channel = world.channel(worker, salt=5)
    init = world.deployment.escrow_state_init(channel.client, worker.address, 5)
    world.send(actor("anyone"), channel.address, Cell.empty(), TON, state_init=init).assert_succeeded()
    assert world.ledger.get(channel.address, "get_escrow_data") == [0, 0, 0, 0, 0, 0, 0, None]
    registry, client, side, salt = world.ledger.get(channel.address, "get_identity")
    expected = (world.registry, channel.client, worker.address, 5)
    assert (registry.load_address(), client.load_address(), side.load_address(), salt) == expected


def test_get_worker_data_tells_every_field(worker: WorkerSide) -> None:
    state, data = worker.state, worker.world.ledger.account(worker.address).data
    assert data is not None
    models = data.refs[0]  # no job is open
    told = worker.world.ledger.get(worker.address, "get_worker_data")
    assert told == [
        state.status,
        worker.index,
        state.stake_nano,
        state.bond_nano,
        state.notice_end,
        state.unbond_at,
        state.lease_end,
        state.key_epoch,
        state.jobs,
        state.misses,
        state.rejections,
        state.key_losses,
        state.volume_nano,
        models,
        state.people.to_cell(),
    ]
    assert told[:4] == [2, 0, worker.world.rules.min_stake_nano, worker.world.rules.min_bond_nano]


def test_get_worker_data_before_the_registration(world: World) -> None:
    address = world.deployment.worker(3)
    init = state_init(load("Worker").code, WorkerIdentityData(world.registry, 3).to_cell())
    world.send(actor("anyone"), address, Cell.empty(), TON, state_init=init).assert_succeeded()
    assert world.ledger.get(address, "get_worker_data") == [0, 3] + [0] * 11 + [None, None]


def test_get_registry_data_tells_the_pending_change(world: World, worker: WorkerSide) -> None:
    owner, *before = world.ledger.get(world.registry, "get_registry_data")
    assert owner.load_address() == world.governor
    delay = world.rules.change_delay_sec
    assert before == [1, 1, delay, 0]
    change: Address = actor("next owner")
    world.govern(ProposeChange(1, OfferOwnership(change).to_cell())).assert_succeeded()
    assert world.ledger.get(world.registry, "get_registry_data")[4] == world.ledger.now + delay
