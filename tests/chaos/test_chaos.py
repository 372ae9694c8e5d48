"""Everything goes wrong at once, with real contracts and the real code of both sides; then the money is counted.

Five workers (two honest ones that are killed again and again, one that stalls, garbles and truncates, one that signs
false receipts, one that signs numbers twice) serve fifty clients that ask, leave, vanish, stop paying and come back,
while lite servers go away. What happens is drawn from a seed. `COCOON_CHAOS_SEC` sets how long it lasts by the chain's
clock, `COCOON_CHAOS_SEED` what is drawn.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from agent_world import TON
from chaos_chain import BeatingChain, View
from chaos_clients import Customer, Line, Meter
from chaos_kernel import MODEL
from chaos_workers import PRICES, QUANTUM, Host, Lie, install, overcharge, truncated, wrong_chunk, wrong_usage
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pytoniq_core import Address
from simulated_network import SIMULATION, simulated_rules

from cocoon.agent.views import read_worker
from cocoon.chain.wallet import Wallet
from cocoon.client import Client
from cocoon.deploying import plan
from cocoon.deployment import Deployment
from cocoon.errors import ClientError
from cocoon.fees import Fees
from cocoon.signer.table import Slot
from cocoon.wire.common import WorkerRoles
from cocoon.wire.escrow import EscrowStatus
from cocoon.wire.registry import RegisterWorker
from cocoon.wire.worker import WorkerStatus, WorkerStorage
from cocoon_sandbox.config import SANDBOX_GLOBAL_ID
from cocoon_sandbox.ledger import Ledger

_SECONDS = int(os.environ.get("COCOON_CHAOS_SEC", "600"))  # of the chain's time
_SEED = os.environ.get("COCOON_CHAOS_SEED", "7")
_BLOCK_SEC = 7  # with some ten blocks a second, ten minutes pass in ten seconds
_CLIENTS = 50
_STAKE, _BOND, _DEPOSIT = 10 * TON, 2 * TON, 6 * TON
_HONEST, _STALLER, _FALSE, _DOUBLE = (0, 1), 2, 3, 4
_SLASHABLE = (_FALSE, _DOUBLE)


@dataclass
class Stage:
    """Everybody, and the one ledger they share."""

    ledger: Ledger
    chain: BeatingChain
    deployment: Deployment
    hosts: list[Host]
    customers: list[Customer]

    @property
    def lines(self) -> list[tuple[Customer, Line]]:
        return [(customer, line) for customer in self.customers for line in customer.lines]

    def worker(self, host: Host) -> WorkerStorage:
        data = self.ledger.account(host.address).data
        assert data is not None
        return WorkerStorage.from_cell(data)


def _key(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"chaos {name}".encode()).digest())


def _dice(name: str) -> random.Random:
    return random.Random(f"{_SEED} {name}")


@pytest.fixture
async def stage(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    owner = ledger.treasury("owner", 1000 * TON)
    deployment = Deployment.of(rules := simulated_rules(owner.address))
    for planned in plan(rules).transfers():
        owner.send(ledger, planned.to, planned.value, planned.body, state_init=planned.state_init)
    wallets = [Wallet(_key(f"operator {number}")) for number in range(5)]
    buyers = [Wallet(_key(f"client {number}")) for number in range(_CLIENTS)]
    for wallet in (*wallets, *buyers):
        ledger.credit(wallet.address, 50 * TON)
    payouts = [Address((0, hashlib.sha256(f"payout {number}".encode()).digest())) for number in range(5)]
    for wallet, payout in zip(wallets, payouts, strict=True):
        body = RegisterWorker(1, _STAKE, _BOND, WorkerRoles(wallet.address, payout, SIMULATION.measurement)).to_cell()
        owner.send(ledger, deployment.registry, _STAKE + _BOND + TON, body)

    chain = BeatingChain(ledger, global_id=SANDBOX_GLOBAL_ID, block_sec=_BLOCK_SEC)
    lies: dict[int, tuple[Lie, ...]] = {_STALLER: (wrong_chunk, truncated), _FALSE: (overcharge, wrong_usage)}
    hosts = [
        Host(
            number, View(chain), deployment, wallets[number], payouts[number], tmp_path / f"worker {number}",
            _dice(f"worker {number}"), lies.get(number, ()), number == _DOUBLE,
        )
        for number in range(5)
    ]  # fmt: skip
    install(monkeypatch, hosts)
    meter = Meter(monkeypatch)
    customers = [
        Customer(
            number, Client(view := View(chain), buyers[number], deployment, allow_simulated_tee=True), view, meter,
            _dice(f"client {number}"),
        )
        for number in range(_CLIENTS)
    ]  # fmt: skip
    async with chain.beating():
        made = Stage(ledger, chain, deployment, hosts, customers)
        for host in hosts:
            host.start()
        try:
            await _until(lambda: all(_ready(made, host) for host in hosts), "the workers' registration")
            yield made
        finally:
            for customer in customers:
                await customer.leave(politely=False)
                customer.client.close()
            for host in hosts:
                if host.agent is not None:
                    await host.kill()


def _ready(stage: Stage, host: Host) -> bool:
    view = read_worker(stage.chain._accounts[host.address])
    assert view is not None
    return host.url is not None and view.models == {MODEL: PRICES} and view.key_epoch > 0


async def _until(holds: Callable[[], bool], what: str, seconds: float = 60) -> None:
    try:
        async with asyncio.timeout(seconds):
            while not holds():  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"{what} did not happen") from None


# ---- what goes wrong ----


async def _misfortunes(stage: Stage, until: int) -> None:
    """Workers die and come back, one stalls and goes on; lite servers go away, everybody's now and then."""

    async def again(name: str, least: float, most: float, what: Callable[[random.Random], Awaitable[None]]) -> None:
        dice = _dice(name)
        while stage.ledger.now < until:
            await asyncio.sleep(dice.uniform(least, most))
            await what(dice)

    async def stall(_dice: random.Random) -> None:
        kernel = stage.hosts[_STALLER].kernel
        kernel.stalled = True
        await asyncio.sleep(1.2)
        kernel.stalled = False

    async def lite_server(dice: random.Random) -> None:
        views = [host.chain for host in stage.hosts] + [customer.view for customer in stage.customers]
        await _away(views if dice.random() < 0.3 else dice.sample(views, 8), 0.5)

    await asyncio.gather(
        again("death of 0", 1, 3, lambda _dice: stage.hosts[0].restart()),
        again("death of 1", 1, 3, lambda _dice: stage.hosts[1].restart()),
        again("stall", 1, 3, stall),
        again("lite server", 0.5, 2, lite_server),
    )


async def _away(views: list[View], seconds: float) -> None:
    for view in views:
        view.offline = True
    await asyncio.sleep(seconds)
    for view in views:
        view.offline = False


# ---- the end: clients alone ----


async def _begin_close(customer: Customer) -> None:
    for line in customer.lines:
        await line.channel.begin_close()
        assert (await line.channel.state()).status == EscrowStatus.CLOSING


async def _take_back(stage: Stage, customer: Customer, claimed: dict[Address, int]) -> None:
    """After the dispute window: everything but what was claimed."""
    for line in customer.lines:
        address = line.channel.address
        assert stage.ledger.balance(address) > 0
        done = await line.channel.finish_close()
        assert done.received_nano >= line.deposit - claimed[address]
        assert stage.ledger.balance(address) == 0


async def _report(stage: Stage) -> dict[int, int]:
    """Hands in all evidence; worker -> how often it was slashed."""
    slashed: defaultdict[int, int] = defaultdict(int)
    for customer in stage.customers:
        for line, first, second in customer.evidence:
            key = line.host.keys.identity().session_key
            try:
                found = await line.channel.report_equivocation(first, second, session_key=key)
            except ClientError:
                assert slashed[line.host.index]  # somebody else was first
            else:
                slashed[line.host.index] += 1
                assert found.slashed_nano == _STAKE
                assert 0 < found.received_nano <= _STAKE // 5
    return dict(slashed)


@pytest.mark.timeout(600)
async def test_market_in_chaos_ends_with_every_nanoton_where_it_belongs(stage: Stage) -> None:
    """F-1, F-2, F-5, F-8, F-9, P-2, P-3, P-5."""
    await asyncio.gather(
        *(customer.open(stage.hosts[customer.number % 5], _DEPOSIT) for customer in stage.customers),
        *(customer.open(stage.hosts[(customer.number + 2) % 5], _DEPOSIT // 2) for customer in stage.customers[::2]),
    )
    until = stage.ledger.now + _SECONDS
    await asyncio.gather(_misfortunes(stage, until), *(customer.live(until) for customer in stage.customers))
    for host in stage.hosts:
        assert host.failure is None
    for customer in stage.customers:  # a third is never heard of again
        await customer.leave(politely=bool(customer.number % 3))
    await stage.hosts[1].kill()  # and one worker neither

    # It was chaos.
    ends: defaultdict[str, int] = defaultdict(int)
    for customer in stage.customers:
        for name, times in customer.ends.items():
            ends[name] += times
    assert sum(customer.done for customer in stage.customers) > _SECONDS // 15
    assert ends["StreamStalled"] > 0
    assert ends["StreamLied"] > 0
    assert ends["unpaid"] > 0
    assert sum(host.kills for host in stage.hosts) > 2
    assert {"wrong_chunk", "truncated"} <= set(stage.hosts[_STALLER].told)
    assert {"overcharge", "wrong_usage"} & set(stage.hosts[_FALSE].told)
    assert "double" in stage.hosts[_DOUBLE].told

    # Who signed twice loses the stake; nobody else can be shown to have done anything.
    assert set(await _report(stage)) == set(_SLASHABLE)
    for host in stage.hosts:
        worker = stage.worker(host)
        guilty = host.index in _SLASHABLE
        assert worker.status == (WorkerStatus.JAILED if guilty else WorkerStatus.ACTIVE)
        assert worker.stake_nano == (0 if guilty else _STAKE)
        assert (worker.bond_nano, worker.misses) == (_BOND, 0)
        if not guilty:
            by_slot = {Slot.of(signed.receipt): signed.receipt for signed in host.receipts}
            assert all(by_slot[Slot.of(signed.receipt)] == signed.receipt for signed in host.receipts)

    # Every deposit comes back without the workers' help.
    promised = {}
    for customer, line in stage.lines:
        promised[line.channel.address] = customer.client.store.voucher_nano(line.channel.address, line.epoch)
    await asyncio.gather(*(_begin_close(customer) for customer in stage.customers))
    books = {line.channel.address: await line.host.record(line.channel.address, line.epoch) for _, line in stage.lines}
    held = {address: record.cumulative for address, record in books.items()}
    cost = (await Fees.of(stage.chain)).claim()
    claimed = {}

    async def all_claimed() -> bool:
        for _, line in stage.lines:
            address = line.channel.address
            claimed[address] = (await line.channel.state()).claimed_nano
            if line.host.agent is not None and held[address] - claimed[address] >= cost:
                return False
        return True

    async with asyncio.timeout(60):
        while not await all_claimed():
            await stage.chain.next_block()
    stage.ledger.advance(2 * 86400)
    await stage.chain.next_block()
    await asyncio.gather(*(_take_back(stage, customer, claimed) for customer in stage.customers))

    # What each paid is what each got, but for a quantum.
    received = stage.customers[0].meter.received
    for _, line in stage.lines:
        address, kills = line.channel.address, line.host.kills
        assert claimed[address] <= held[address] <= promised[address] <= received[address] + QUANTUM
        assert received[address] - held[address] <= QUANTUM + kills * QUANTUM // 8
        assert books[address].earned - held[address] <= QUANTUM

    # Every nanoTON is accounted for: on the whole, by account, and by channel.
    stage.ledger.check_conservation()
    stage.chain.books.check()
    for host in stage.hosts:
        earned = {address: value for address, value in stage.chain.books.received[host.payout].items() if value}
        paid = {line.channel.address: claimed[line.channel.address] for _, line in stage.lines if line.host is host}
        assert earned == {address: value for address, value in paid.items() if value}
