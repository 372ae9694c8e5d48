"""The usual stages of a contract test: a deployed network, an active worker, an open channel, an admitted job."""

from __future__ import annotations

import pytest
from channel import Channel
from cocoon_sandbox.ledger import Ledger

from world import WorkerSide, World


@pytest.fixture
def world(ledger: Ledger) -> World:
    """Registry and Slashing are deployed."""
    return World(ledger).deploy()


@pytest.fixture
def worker(world: World) -> WorkerSide:
    """A worker with identity and offer."""
    return world.active_worker()


@pytest.fixture
def channel(world: World, worker: WorkerSide) -> Channel:
    """An open channel: deposit DEPOSIT, nothing claimed."""
    return world.open_channel(worker)


@pytest.fixture
def job(channel: Channel) -> Channel:
    """The channel with an admitted job."""
    channel.post().assert_succeeded()
    return channel
