"""From a streamed answer to money on the chain: the real agent, the real contracts, on an in-process ledger."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from agent_world import SALT, TON, World
from pairs import collect, until

from cocoon.agent.agent import Agent, Streaming
from cocoon.agent.claiming import Claimer
from cocoon.agent.vouchers import VoucherBook
from cocoon.bench.null_kernel import NullKernel
from cocoon.client.channel import Channel
from cocoon.client.store import ClientStore, StoredChannel
from cocoon.client.stream import FastChannel
from cocoon.client.trust import check_network
from cocoon.fees import Fees
from cocoon.wire.escrow import BeginClose, ClaimVoucher, EscrowStorage
from cocoon_sandbox.ledger import Ledger


@pytest.fixture
async def world(ledger: Ledger, tmp_path: Path) -> World:
    made = World(ledger)
    made.kernel = NullKernel()  # type: ignore[assignment]
    await made.run_until(made.agent(tmp_path), lambda: made.ready)
    made.settle()
    made.open()
    return made


@contextlib.asynccontextmanager
async def running(world: World, directory: Path) -> AsyncIterator[Agent]:
    """An agent that serves streams."""
    with contextlib.closing(VoucherBook(directory / "vouchers.sqlite")) as book:
        agent = world.agent(directory, streaming=Streaming(book, "127.0.0.1:0"))
        task = asyncio.create_task(agent.run())
        try:
            await until(lambda: task.done() or (agent.server is not None and agent.server.ready.is_set()))
            assert not task.done()
            yield agent
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            agent.journal.close()


def channel(world: World, store: ClientStore) -> Channel:
    hpke = world.keys.identity().hpke_key
    store.remember_key(hpke.cell_hash, hpke.raw)
    if not store.channels():
        seed = world.client_key.private_bytes_raw()
        store.add_channel(StoredChannel(world.escrow, world.deployment.registry, world.worker, SALT, seed))
    trusted = partial(check_network, world.chain, world.deployment, allow_simulated_tee=True)
    client = SimpleNamespace(
        chain=world.chain, store=store, wallet=None, deployment=world.deployment, check_network=trusted
    )
    return Channel(cast(Any, client), store.channel(world.escrow))


def state(world: World) -> EscrowStorage:
    data = world.ledger.account(world.escrow).data
    assert data is not None
    return EscrowStorage.from_cell(data)


async def test_agent_claims_a_voucher_once_fees_are_a_hundredth_of_it(world: World, tmp_path: Path) -> None:
    """Twice the same agent: what is claimed is claimed once, whatever restarts."""
    quantum = TON // 5
    before = world.ledger.account(world.payout.address).balance
    with ClientStore() as store:
        async with running(world, tmp_path) as agent:
            assert agent.server is not None
            url = f"http://127.0.0.1:{agent.server.port}"
            fast = await FastChannel.connect(channel(world, store), url, quantum_nano=quantum)
            text, _ = await collect(fast, "one two three", max_fee=TON // 2)
            assert text == "three two one"
            await until(lambda: state(world).claimed_nano == quantum, 20)
            await fast.close()
        async with running(world, tmp_path):
            await asyncio.sleep(0.2)
    assert len(world.transactions_with(world.escrow, ClaimVoucher.PREFIX[0])) == 1
    received = world.ledger.account(world.payout.address).balance - before
    assert quantum - 100 <= received <= quantum  # its own rent is taken from what it gets


async def test_agent_claims_less_when_the_channel_begins_to_close(world: World, tmp_path: Path) -> None:
    """A voucher that is not worth a hundred times its fees waits, and is claimed in the dispute window."""
    quantum = TON // 50
    with ClientStore() as store:
        async with running(world, tmp_path) as agent:
            assert agent.server is not None
            url = f"http://127.0.0.1:{agent.server.port}"
            fast = await FastChannel.connect(channel(world, store), url, quantum_nano=quantum)
            await collect(fast, "one two three", max_fee=TON // 2)
            await fast.close()
            blocks = world.chain.blocks
            await until(lambda: world.chain.blocks > blocks + 40, 20)
            assert state(world).claimed_nano == 0
            world.ledger.enqueue(world.client.message(world.ledger, world.escrow, TON // 10, BeginClose(1).to_cell()))
            await until(lambda: state(world).claimed_nano == quantum, 20)


async def test_claim_that_costs_more_than_it_brings_is_left(world: World, tmp_path: Path) -> None:
    with contextlib.closing(VoucherBook(tmp_path / "vouchers.sqlite")) as book:
        record = await book.load(world.escrow, state(world).epoch)
        record.cumulative, record.signature = 1000, b"\1" * 64
        await book.save(record)
        world.client_sends(world.escrow, TON // 10, BeginClose(1).to_cell())
        claimer = Claimer(world.chain, book, await Fees.of(world.chain))
        assert await claimer.wanted() == []
        assert len(await book.claimable()) == 1
