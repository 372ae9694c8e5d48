"""The stages of `stages` as fixtures. A test that asks for several gets the same network, at the furthest stage it
asked for."""

from __future__ import annotations

import pytest
from channel import Channel
from stages import admitted_job, deployed_world, open_channel
from world import WorkerSide, World

from cocoon_sandbox.ledger import Ledger


@pytest.fixture
def world(ledger: Ledger) -> World:
    """Registry and Slashing are deployed."""
    return deployed_world(ledger)


@pytest.fixture
def worker(world: World) -> WorkerSide:
    """A worker with identity and offer."""
    return world.active_worker()


@pytest.fixture
def channel(ledger: Ledger) -> Channel:
    """An open channel: deposit DEPOSIT, nothing claimed."""
    return open_channel(ledger)


@pytest.fixture
def job(ledger: Ledger) -> Channel:
    """The channel with an admitted job."""
    return admitted_job(ledger)
