"""The usual stages of a test, built once per process by real messages and then copied: snapshots are cheap,
handshakes are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

from channel import Channel
from world import World

from cocoon_sandbox.ledger import Ledger, Snapshot

__all__ = ["admitted_job", "deployed_world", "market_world", "on_copy", "open_channel"]

Stage = tuple[World, Channel | None]


def _deployed() -> Stage:
    return World(Ledger()).deploy(), None


def _open() -> Stage:
    world = World(Ledger()).deploy()
    return world, world.open_channel(world.active_worker())


def _job() -> Stage:
    world, channel = _open()
    assert channel is not None
    channel.post().assert_succeeded()
    return world, channel


def _market() -> Stage:
    world = World(Ledger()).deploy()
    for number in range(2):
        world.active_worker(f"worker {number}")
    return world, None


@cache
def _built(build: Callable[[], Stage]) -> tuple[Snapshot, World, Channel | None]:
    world, channel = build()
    return world.ledger.snapshot(), world, channel


def on_copy(ledger: Ledger, build: Callable[[], Stage]) -> tuple[World, Channel | None]:
    """Put `ledger` into the stage, whose objects then speak of `ledger`."""
    snapshot, built, channel = _built(build)
    ledger.restore(snapshot)
    world = World(ledger, built.rules)
    world.workers = [replace(worker, world=world) for worker in built.workers]
    if channel is None:
        return world, None
    return world, replace(channel, world=world, worker=world.workers[channel.worker.index])


def deployed_world(ledger: Ledger) -> World:
    """Registry and Slashing."""
    return on_copy(ledger, _deployed)[0]


def market_world(ledger: Ledger) -> World:
    """Two active workers."""
    return on_copy(ledger, _market)[0]


def open_channel(ledger: Ledger) -> Channel:
    """One active worker, one open channel: deposit DEPOSIT, nothing claimed."""
    channel = on_copy(ledger, _open)[1]
    assert channel is not None
    return channel


def admitted_job(ledger: Ledger) -> Channel:
    """The same with an admitted job."""
    channel = on_copy(ledger, _job)[1]
    assert channel is not None
    return channel
