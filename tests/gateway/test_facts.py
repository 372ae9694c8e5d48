"""What the gateway reads of the network, and what becomes of it while the network is away."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from ledger_chain import LedgerChain
from market_world import ledger_world
from protocol_world import ENDPOINT, MODEL, TERMS, TON, World
from pytoniq_core import Address
from scripted import until
from simulated_network import SIMULATION

from cocoon.deployment import Deployment
from cocoon.errors import ChainUnavailable, ClientError
from cocoon.gateway.facts import FactsWatcher
from cocoon.gateway.flows import FlowWatcher
from cocoon_sandbox.ledger import Ledger


@pytest.fixture
async def world(ledger: Ledger) -> World:
    return await ledger_world(ledger)


def watching(world: World, endpoints: Mapping[int, str] | None = None, *, poll_sec: float = 1) -> FactsWatcher:
    return FactsWatcher(world.chain, world.deployment, endpoints or {}, poll_sec=poll_sec, allow_simulated_tee=True)


async def test_refresh_reads_workers_with_their_offers_and_the_owners_endpoints(world: World) -> None:
    found = await watching(world, {0: "ws://here"}).refresh()
    (worker,) = found.workers
    assert (worker.index, worker.status_name, worker.models) == (0, "active", {MODEL: TERMS})
    assert (worker.state.stake_nano, worker.measurement) == (10 * TON, SIMULATION.measurement)
    assert (worker.endpoint, worker.announced) == ("ws://here", ENDPOINT)
    assert found.trust.root == SIMULATION.root


async def test_watcher_keeps_the_last_facts_while_the_network_is_away_and_goes_on(world: World) -> None:
    chain = world.chain
    assert isinstance(chain, LedgerChain)
    watcher = watching(world, poll_sec=0.01)
    before = await watcher.refresh()
    chain.offline = True
    with pytest.raises(ChainUnavailable):
        await watcher.refresh()
    running = asyncio.create_task(watcher.run())
    await asyncio.sleep(0.05)
    assert watcher.current is before
    chain.offline = False
    await until(lambda: watcher.current is not before)
    assert not running.done()
    running.cancel()


async def test_refresh_of_a_registry_that_is_none_is_refused(world: World) -> None:
    watcher = FactsWatcher(world.chain, Deployment(Address((0, b"\1" * 32))), {}, poll_sec=1)
    with pytest.raises(ClientError, match="there is no registry"):
        await watcher.refresh()
    wrong = FactsWatcher(world.chain, Deployment(world.deployment.slashing), {}, poll_sec=1)
    with pytest.raises(ClientError, match="no Registry that this version knows"):
        await wrong.refresh()
    assert "no Registry" in str(wrong.refused)


async def test_refresh_looks_for_an_announced_endpoint_once_for_each_attestation(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher, looked = watching(world), []
    find = world.chain.transactions

    async def counting(*said: Any, **named: Any) -> Any:
        looked.append(said)
        return await find(*said, **named)

    monkeypatch.setattr(world.chain, "transactions", counting)
    for _ in range(3):
        (worker,) = (await watcher.refresh()).workers
        assert worker.endpoint == ENDPOINT
    once = len(looked)
    assert once
    await world.agent.restart()
    looked.clear()
    (worker,) = (await watcher.refresh()).workers
    assert (worker.endpoint, bool(looked)) == (ENDPOINT, True)


async def test_flows_show_each_payment_once_with_its_name(world: World) -> None:
    accounts = {world.deployment.registry: "Registry", world.deployment.worker(0): "worker 0"}
    watcher = FlowWatcher(world.chain, lambda: accounts, poll_sec=1)
    await watcher.refresh()
    await watcher.refresh()
    said = [flow.what for flow in watcher.flows]
    assert said.count("RegisterWorker") == said.count("InitWorker") == said.count("Attest") == 1
    (init,) = [flow for flow in watcher.flows if flow.what == "InitWorker"]
    assert (init.source, init.destination) == (world.deployment.registry, world.deployment.worker(0))
    assert init.nano >= 12 * TON
    assert not any(flow.failed for flow in watcher.flows)
