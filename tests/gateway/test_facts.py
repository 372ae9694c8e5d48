"""What the gateway reads of the network, and what becomes of it while the network is away."""

from __future__ import annotations

import asyncio

import pytest
from ledger_chain import LedgerChain
from protocol_world import MODEL, TERMS, TON, World, make_world, named_key
from pytoniq_core import Address
from scripted import until

from cocoon.chain.wallet import Wallet
from cocoon.deployment import Deployment
from cocoon.errors import ChainUnavailable
from cocoon.gateway.errors import GatewayError
from cocoon.gateway.facts import FactsWatcher
from cocoon.gateway.flows import FlowWatcher
from cocoon_sandbox.executor import Executor
from cocoon_sandbox.ledger import Ledger


@pytest.fixture
async def world(executor: Executor) -> World:
    ledger = Ledger(executor)
    wallets = [Wallet(named_key(name)) for name in ("owner", "operator", "client")]
    for wallet in wallets:
        ledger.credit(wallet.address, 100 * TON)
    return await make_world(LedgerChain(ledger, global_id=-217), *wallets)


async def test_refresh_reads_workers_with_their_offers_and_the_owners_endpoints(world: World) -> None:
    found = await FactsWatcher(world.chain, world.deployment, {0: "ws://here"}, poll_sec=1).refresh()
    (worker,) = found.workers
    assert (worker.index, worker.status_name, worker.models) == (0, "active", {MODEL: TERMS})
    assert (worker.stake_nano, worker.measurement, worker.endpoint) == (10 * TON, 0, "ws://here")
    assert found.attestation_required is False


async def test_watcher_keeps_the_last_facts_while_the_network_is_away_and_goes_on(world: World) -> None:
    chain = world.chain
    assert isinstance(chain, LedgerChain)
    watcher = FactsWatcher(chain, world.deployment, {}, poll_sec=0.01)
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
    with pytest.raises(GatewayError, match="there is no registry"):
        await watcher.refresh()
    wrong = FactsWatcher(world.chain, Deployment(world.deployment.slashing), {}, poll_sec=1)
    with pytest.raises(GatewayError, match="something else"):
        await wrong.refresh()


async def test_flows_show_each_payment_once_with_its_name(world: World) -> None:
    accounts = {world.deployment.registry: "Registry", world.deployment.worker(0): "worker 0"}
    watcher = FlowWatcher(world.chain, lambda: accounts, poll_sec=1)
    await watcher.refresh()
    await watcher.refresh()
    said = [flow.what for flow in watcher.flows]
    assert said.count("RegisterWorker") == said.count("InitWorker") == said.count("SetIdentity") == 1
    (init,) = [flow for flow in watcher.flows if flow.what == "InitWorker"]
    assert (init.source, init.destination) == (world.deployment.registry, world.deployment.worker(0))
    assert init.nano >= 12 * TON
    assert not any(flow.failed for flow in watcher.flows)
