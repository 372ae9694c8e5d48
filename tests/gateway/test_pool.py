"""The channel pool over the real contracts: what it opens, tops up, reuses, rebinds and closes, and where it stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hostile import make_endless
from market_world import ledger_world
from protocol_world import MODEL, TON, World
from pytoniq_core import Address

from cocoon.chain.trace import trace
from cocoon.chain.wallet import Wallet
from cocoon.client import Client
from cocoon.client.channel import Channel, Done
from cocoon.client.client import BindFailed
from cocoon.client.streamed import StreamLied
from cocoon.errors import ChainUnavailable, ClientError, WalletError
from cocoon.gateway.errors import PoolExhausted
from cocoon.gateway.facts import FactsWatcher, WorkerFacts
from cocoon.gateway.held import PoolLimits
from cocoon.gateway.pool import ChannelPool
from cocoon.wire.escrow import EscrowStatus
from cocoon_sandbox.ledger import Ledger

LIMITS = PoolLimits(
    deposit_nano=TON // 2, low_water_nano=TON // 10, top_up_nano=TON // 4, most_locked_nano=TON, most_channels=1,
    term_sec=5 * 86400, maintain_sec=0.01,
)  # fmt: skip


@dataclass
class Wire:
    """A connection of which the test says how much is promised. It agrees to no early end."""

    channel: Channel
    deposit: int
    promised: int = 0
    alive: bool = True
    lied: StreamLied | None = None
    closed: int = 0

    @property
    def available_nano(self) -> int:
        return self.deposit - self.promised

    def deposited(self, deposit_nano: int) -> None:
        self.deposit = deposit_nano

    async def end_channel(self) -> Any:
        raise ClientError("the worker does not agree")

    async def close(self) -> None:
        self.alive, self.closed = False, self.closed + 1


@dataclass
class Bench:
    world: World
    client: Client
    pool: ChannelPool
    wires: list[Wire] = field(default_factory=list)

    async def worker(self) -> WorkerFacts:
        watcher = FactsWatcher(
            self.world.chain, self.world.deployment, {0: "ws://worker"}, poll_sec=1, allow_simulated_tee=True
        )
        (found,) = (await watcher.refresh()).workers
        return found

    async def maintained(self, holds: Any) -> None:
        task = asyncio.create_task(self.pool.maintain())
        try:
            async with asyncio.timeout(20):
                while not holds():
                    await self.world.chain.next_block()
                    await asyncio.sleep(0.01)
        finally:
            task.cancel()


@pytest.fixture
async def bench(ledger: Ledger) -> AsyncIterator[Bench]:
    world = await ledger_world(ledger)
    with Client(world.chain, world.client, world.deployment, allow_simulated_tee=True) as client:
        wires: list[Wire] = []

        async def connect(channel: Channel, endpoint: str) -> Any:
            assert endpoint == "ws://worker"
            wires.append(Wire(channel, (await channel.state()).deposit_nano))
            return wires[-1]

        yield Bench(world, client, ChannelPool(client, connect, LIMITS), wires)


async def test_use_opens_one_channel_and_reuses_it_for_requests_at_once(bench: Bench) -> None:
    worker = await bench.worker()

    async def ask() -> Any:
        async with bench.pool.use(worker, MODEL, need_nano=1000) as lease:
            return lease.held

    used = await asyncio.gather(*(ask() for _ in range(5)))
    assert len({id(held) for held in used}) == len(bench.pool.channels) == len(bench.wires) == 1
    assert (used[0].deposit_nano, used[0].reserved_nano, used[0].streams) == (TON // 2, 0, 0)
    assert bench.pool.terms(MODEL) == {0: worker.models[MODEL]}
    assert used[0].opened_by is not None


async def test_use_sets_money_aside_until_it_is_sent(bench: Bench) -> None:
    worker = await bench.worker()
    async with bench.pool.use(worker, MODEL, need_nano=1000) as lease:
        assert lease.held.available_nano == TON // 2 - 1000
        lease.sent()
        assert lease.held.available_nano == TON // 2
    assert lease.held.available_nano == TON // 2


async def test_requests_at_once_never_promise_more_than_the_deposit(bench: Bench) -> None:
    """Each is sent at its leave, as the market does it; what the deposit does not hold is topped up or refused."""
    worker, need = await bench.worker(), TON // 5
    both = asyncio.Barrier(5)

    async def ask() -> bool:
        try:
            async with bench.pool.use(worker, MODEL, need_nano=need) as lease:
                await asyncio.sleep(0.01)  # the others have found the channel by now
                wire = bench.wires[0]
                assert wire.available_nano >= need  # or the connection refuses it: StreamRefused deposit
                lease.sent()
                wire.promised += need
                await both.wait()
                return True
        except PoolExhausted:
            return False

    assert sorted(await asyncio.gather(*(ask() for _ in range(6)))) == [False, *[True] * 5]
    (held,) = bench.pool.channels
    assert (held.deposit_nano, held.reserved_nano, held.streams) == (TON, 0, 0)


async def test_use_with_too_little_left_tops_up_and_stops_at_the_owners_limit(bench: Bench) -> None:
    worker = await bench.worker()
    async with bench.pool.use(worker, MODEL, need_nano=1000):
        pass
    bench.wires[0].promised = TON // 2
    async with bench.pool.use(worker, MODEL, need_nano=TON // 5) as lease:
        assert (await lease.held.channel.state()).deposit_nano == TON * 3 // 4
        assert bench.wires[0].available_nano == TON // 4
    bench.wires[0].promised = TON * 3 // 4
    with pytest.raises(PoolExhausted, match="owner allows"):
        async with bench.pool.use(worker, MODEL, need_nano=TON // 2):
            pytest.fail("there was no room")


async def test_top_up_under_way_counts_as_locked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or two channels topped up at once would lock more than the owner allows."""
    seen: list[int] = []
    top_up = Channel.top_up

    async def watched(channel: Channel, nano: int) -> Any:
        seen.append(bench.pool.locked_nano)
        return await top_up(channel, nano)

    monkeypatch.setattr(Channel, "top_up", watched)
    worker = await bench.worker()
    async with bench.pool.use(worker, MODEL, need_nano=TON // 2), bench.pool.use(worker, MODEL, need_nano=1):
        assert seen == [TON * 3 // 4] == [bench.pool.locked_nano]


async def test_maintain_tops_up_ahead_and_stops_quietly_at_the_owners_limit(bench: Bench) -> None:
    async with bench.pool.use(await bench.worker(), MODEL, need_nano=1) as lease:
        held = lease.held
    for deposit in (TON * 3 // 4, TON):
        bench.wires[0].promised = held.deposit_nano
        await bench.maintained(lambda deposit=deposit: held.deposit_nano == deposit)
        assert (await held.channel.state()).deposit_nano == deposit
    bench.wires[0].promised = TON
    task = asyncio.create_task(bench.pool.maintain())
    await asyncio.sleep(0.2)
    assert not task.done()
    task.cancel()
    assert held.deposit_nano == TON
    assert held.usable  # it is not given up for its own sake


async def test_use_after_a_lost_connection_connects_again(bench: Bench) -> None:
    worker = await bench.worker()
    for _ in range(2):
        async with bench.pool.use(worker, MODEL, need_nano=1) as lease:
            assert lease.held.fast is bench.wires[-1]
        bench.wires[-1].alive = False
    assert (len(bench.wires), len(bench.pool.channels)) == (2, 1)


async def test_use_beyond_the_number_of_channels_is_refused_and_makes_room(bench: Bench) -> None:
    worker = await bench.worker()
    async with bench.pool.use(worker, MODEL, need_nano=1):
        pass
    with pytest.raises(PoolExhausted, match="channels"):
        async with bench.pool.use(replace(worker, index=1), MODEL, need_nano=1):
            pytest.fail("there was no room")
    assert not bench.pool.channels[0].usable  # the idle one goes


async def test_use_given_up_while_opening_leaves_no_money_behind(bench: Bench) -> None:
    worker = await bench.worker()

    async def ask() -> None:
        async with bench.pool.use(worker, MODEL, need_nano=1):
            pytest.fail("it was given up before")

    task = asyncio.create_task(ask())
    await asyncio.sleep(0.004)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await bench.pool.close()  # waits for what had begun
    assert [held.deposit_nano for held in bench.pool.channels] == [TON // 2]
    assert bench.pool.locked_nano == TON // 2
    assert [(held.reserved_nano, held.streams) for held in bench.pool.channels] == [(0, 0)]


async def test_use_after_the_workers_restart_rebinds_the_channel(bench: Bench) -> None:
    async with bench.pool.use(await bench.worker(), MODEL, need_nano=1) as lease:
        before = lease.held.binding.key_epoch
    await bench.world.agent.restart()
    async with bench.pool.use(await bench.worker(), MODEL, need_nano=1) as lease:
        assert lease.held.binding.key_epoch == before + 1
    assert [wire.closed for wire in bench.wires] == [1, 0]


async def test_use_while_the_former_keys_still_serve_seals_nothing_to_them(bench: Bench) -> None:
    """The enclave that held them may be one that governance has denied since."""
    async with bench.pool.use(await bench.worker(), MODEL, need_nano=1):
        await bench.world.agent.restart()
        with pytest.raises(PoolExhausted, match="former keys"):
            async with bench.pool.use(await bench.worker(), MODEL, need_nano=1):
                pytest.fail("it was sealed to keys that are gone")
    async with bench.pool.use(await bench.worker(), MODEL, need_nano=1):
        assert [wire.closed for wire in bench.wires] == [1, 0]


async def test_retired_channel_is_closed_and_its_money_comes_back(bench: Bench) -> None:
    async with bench.pool.use(await bench.worker(), MODEL, need_nano=1) as lease:
        held = lease.held
    bench.pool.retire(0)
    await bench.maintained(lambda: held.closing_until)
    assert (await held.channel.state()).status == EscrowStatus.CLOSING
    bench.world.chain.ledger.advance(86401)  # type: ignore[attr-defined]
    await bench.maintained(lambda: not bench.pool.channels)
    assert not await held.channel.is_open()
    assert bench.pool.locked_nano == 0


async def test_recover_takes_up_open_channels_after_a_restart(bench: Bench) -> None:
    worker = await bench.worker()
    async with bench.pool.use(worker, MODEL, need_nano=1) as lease:
        escrow = lease.held.channel.address
    again = ChannelPool(bench.client, bench.pool._connect, LIMITS)
    await again.recover({worker.address.to_str(is_user_friendly=False): 0})
    async with again.use(worker, MODEL, need_nano=1) as lease:
        assert lease.held.channel.address == escrow


async def nobody_answers(bench: Bench, ledger: Ledger) -> Address:
    """The escrow of a channel whose worker took the handshake and never answered it."""
    worker = await bench.worker()
    make_endless(ledger, worker.address)
    with pytest.raises(BindFailed, match="was not answered"):
        async with bench.pool.use(worker, MODEL, need_nano=1):
            pass
    (stored,) = bench.client.store.channels()
    return stored.escrow


@pytest.mark.parametrize("restarted", [False, True])
async def test_deposit_of_a_channel_that_nobody_answers_comes_back_however_often_cancelling_it_fails(
    bench: Bench, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, restarted: bool
) -> None:
    escrow = await nobody_answers(bench, ledger)
    if restarted:
        bench.pool = ChannelPool(bench.client, bench.pool._connect, LIMITS)
        worker = bench.world.deployment.worker(0)
        await bench.pool.recover({worker.to_str(is_user_friendly=False): 0})
    assert bench.pool.locked_nano == TON // 2
    cancel, tries = Channel.cancel_open, list[int]()

    async def flaky(channel: Channel) -> Done:
        tries.append(await bench.world.chain.time())
        if len(tries) < 4:
            raise WalletError("too little money") if len(tries) % 2 else ChainUnavailable("the lite server is gone")
        return await cancel(channel)

    monkeypatch.setattr(Channel, "cancel_open", flaky)
    deadline = (await bench.client.channel(escrow).state()).deadline
    before = (await bench.world.chain.account(bench.world.client.address)).balance
    await bench.maintained(lambda: bench.pool.locked_nano == 0)
    assert len(tries) == 4
    assert tries[0] >= deadline  # nothing is tried before it can work
    assert bench.client.store.channels() == []
    assert (await bench.world.chain.account(bench.world.client.address)).balance > before + TON // 2 - TON // 20


async def test_channel_that_is_answered_after_all_is_taken_up(bench: Bench) -> None:
    """Nobody waited any more, as after two minutes without a network."""
    worker = await bench.worker()
    opened = await bench.client.open(
        0, deposit=TON // 2, model_id=MODEL, term=LIMITS.term_sec, max_prices=worker.models[MODEL]
    )
    bench.pool._unanswered.add(opened, 0, TON // 2)
    await bench.maintained(lambda: bool(bench.pool.channels))
    assert bench.pool.locked_nano == TON // 2
    async with bench.pool.use(worker, MODEL, need_nano=1) as lease:
        assert lease.held.channel.address == opened.address


async def test_deposit_whose_fate_is_unknown_stays_locked_until_the_channel_is_found(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network goes away behind the wallet's message: as many attempts as the owner's limit has room for."""

    async def cut_off(*arguments: Any, **named: Any) -> Any:
        await trace(*arguments, **named)
        raise ChainUnavailable("the lite server is gone")

    worker = await bench.worker()
    bench.pool.limits = replace(LIMITS, most_channels=8)
    with monkeypatch.context() as patched:
        patched.setattr("cocoon.client.client.trace", cut_off)
        for _ in range(LIMITS.most_locked_nano // LIMITS.deposit_nano):
            with pytest.raises(BindFailed, match="not known what became"):
                await lease(bench, worker)
        with pytest.raises(PoolExhausted, match="most_locked_nano"):
            await lease(bench, worker)
    locked = bench.pool.locked_nano
    assert locked == sum([(await channel.state()).deposit_nano for channel in await bench.client.channels()])
    await bench.maintained(lambda: bool(bench.pool.channels))
    assert bench.pool.locked_nano == locked
    await lease(bench, worker)


async def lease(bench: Bench, worker: WorkerFacts) -> None:
    async with bench.pool.use(worker, MODEL, need_nano=1):
        pass


async def test_message_that_never_arrived_frees_its_deposit_once_it_can_not_arrive_any_more(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(*arguments: Any, **named: Any) -> Any:
        raise ChainUnavailable("the lite server is gone")

    worker = await bench.worker()
    with monkeypatch.context() as patched:
        patched.setattr(Wallet, "send", lost)
        with pytest.raises(BindFailed, match="not known what became"):
            await lease(bench, worker)
    assert [answered async for answered in bench.pool._unanswered.look()] == []
    assert bench.pool.locked_nano == LIMITS.deposit_nano
    monkeypatch.setattr("cocoon.gateway.unanswered._ON_THE_WAY_SEC", 0)
    await bench.maintained(lambda: bench.pool.locked_nano == 0)
    assert bench.client.store.channels() == []


async def test_channel_answered_late_beside_another_one_is_closed(bench: Bench) -> None:
    worker = await bench.worker()
    late = await bench.client.open(
        0, deposit=TON // 2, model_id=MODEL, term=LIMITS.term_sec, max_prices=worker.models[MODEL]
    )
    await lease(bench, worker)
    bench.pool._unanswered.add(late, 0, TON // 2)
    await bench.maintained(lambda: len(bench.pool.channels) == 2)
    assert [held.channel.address for held in bench.pool.channels if held.usable] != [late.address]
    assert sum(held.usable for held in bench.pool.channels) == 1


async def test_lie_that_nobody_waited_for_is_told_to_the_next_request(bench: Bench) -> None:
    """A hedge's loser, or a client that left: without this the gateway would just connect again."""
    worker = await bench.worker()
    await lease(bench, worker)
    bench.wires[-1].alive, bench.wires[-1].lied = False, StreamLied("two receipts", receipts=())
    with pytest.raises(StreamLied, match="two receipts"):
        await lease(bench, worker)
    assert len(bench.wires) == 1
