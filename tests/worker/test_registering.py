"""Registering exactly once: each step is interrupted where it hurts, on a ledger that shows every nanoTON."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ledger_chain import LedgerChain
from protocol_world import TON, named_key
from pytoniq_core import Address
from simulated_network import SIMULATION, simulated_rules

from cocoon.chain.networks import NetworkName
from cocoon.chain.trace import trace
from cocoon.chain.wallet import Transfer, Wallet
from cocoon.deploying import plan
from cocoon.deployment import Deployment
from cocoon.fees import Fees, Prices
from cocoon.wire.worker import WorkerStorage
from cocoon.worker import registering
from cocoon.worker.choices import Choices
from cocoon.worker.directory import Progress, WorkerDirectory
from cocoon.worker.errors import SetupFailed, StillWaiting
from cocoon.worker.registering import begin, find_worker, send_registration, settle, wait_for_owner
from cocoon.worker.transfers import instructions, registration
from cocoon_sandbox.executor import Executor
from cocoon_sandbox.ledger import Ledger

OWNER, OTHER = Wallet(named_key("owner")), Wallet(named_key("somebody else"))
STAKE, BOND, FUND = 10 * TON, 2 * TON, TON


class Killed(Exception):
    """The process is gone."""


class Bench:
    """A set-up at the point where it registers."""

    def __init__(self, chain: LedgerChain, directory: WorkerDirectory, choices: Choices) -> None:
        self.chain, self.directory, self.choices = chain, directory, choices
        self.operator = directory.operator()[0].address

    async def register(self) -> Progress:
        """As `init` does, from whatever state is on the disk."""
        progress = self.directory.load() or self.directory.update(Progress(self.choices))
        progress = await settle(self.chain, self.directory, progress, self.operator)
        if progress.index is not None:
            return progress
        progress = await begin(self.chain, self.directory, progress)
        sent = await self.transfers(progress)
        return await send_registration(self.chain, self.directory, progress, OWNER, self.operator, sent)

    async def transfers(self, progress: Progress) -> list[Transfer]:
        fee = (await Fees.of(self.chain)).register()
        register = registration(self.choices, self.operator, SIMULATION.measurement, progress.query_id, fee)
        held = (await self.chain.account(self.operator)).balance
        fund = [Transfer(self.operator, FUND - held, bounce=False)] if held < FUND else []
        return [register, *fund]

    @property
    def registrations(self) -> int:
        """Messages from the owner to the Registry so far."""
        sent = [out for done in self.chain.history if done.account == OWNER.address for out in done.out_msgs]
        return len([out for out in sent if out.dst == self.choices.registry])

    async def check_paid_once(self, progress: Progress) -> None:
        assert progress.index == 0
        assert self.registrations == 1
        data = (await self.chain.account(Deployment(self.choices.registry).worker(0))).data
        assert data is not None
        worker = WorkerStorage.from_cell(data)
        assert (worker.stake_nano, worker.bond_nano) == (STAKE, BOND)
        assert (worker.people.operator_wallet, worker.people.payout) == (self.operator, self.choices.payout)
        assert (await self.chain.account(self.operator)).balance == FUND


@pytest.fixture
async def bench(executor: Executor, tmp_path: Path) -> Bench:
    ledger = Ledger(executor)
    for wallet in (OWNER, OTHER):
        ledger.credit(wallet.address, 100 * TON)
    chain = LedgerChain(ledger, global_id=-217)
    rules = simulated_rules(OTHER.address)
    await trace(chain, await OTHER.send_all(chain, plan(rules, await Prices.of(chain)).transfers()))
    choices = Choices(
        network=NetworkName.SANDBOX, registry=Deployment.of(rules).registry, owner=OWNER.address,
        payout=Address((0, b"\x05" * 32)), stake_nano=STAKE, bond_nano=BOND, operator_nano=FUND, model="m",
        metrics="127.0.0.1:0",
    )  # fmt: skip
    return Bench(chain, WorkerDirectory(tmp_path), choices)


async def test_register_without_interruption_pays_once(bench: Bench) -> None:
    await bench.check_paid_once(await bench.register())
    await bench.check_paid_once(await bench.register())  # and finds itself the next time


async def test_register_killed_before_the_message_left_sends_that_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(registering, "deliver", killed)
        with pytest.raises(Killed):
            await bench.register()
    kept = bench.directory.load()
    assert kept is not None
    assert kept.message is not None
    await bench.check_paid_once(await bench.register())


async def test_register_killed_after_the_message_left_sends_no_other(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def killed(chain: Any, message: Any) -> None:
        await chain.send(message)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(registering, "deliver", killed)
        with pytest.raises(Killed):
            await bench.register()
    await bench.chain.next_block()  # it is executed, and the Registry's message is under way
    await bench.check_paid_once(await bench.register())


async def test_register_whose_message_expired_unsent_signs_another(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(registering, "deliver", killed)
        with pytest.raises(Killed):
            await bench.register()
    bench.chain.ledger.advance(301)
    await bench.chain.next_block()
    await bench.check_paid_once(await bench.register())


async def test_register_with_the_state_lost_finds_the_worker_by_its_roles(bench: Bench) -> None:
    await bench.register()
    (bench.directory.path / "worker.json").unlink()
    await bench.check_paid_once(await bench.register())


async def test_register_refused_by_the_registry_gets_the_money_back(bench: Bench) -> None:
    held = (await bench.chain.account(OWNER.address)).balance
    wanted, bench.choices = bench.choices, replace(bench.choices, stake_nano=STAKE - 1)
    with pytest.raises(SetupFailed, match="did not take the worker"):
        await bench.register()
    await bench.chain.next_block()
    lost = held - (await bench.chain.account(OWNER.address)).balance
    assert FUND < lost < FUND + TON // 20  # the operator has its part
    bench.choices = wanted
    kept = bench.directory.load()
    assert kept is not None
    bench.directory.update(kept, choices=wanted)
    progress = await bench.register()
    assert progress.index == 0
    assert (await bench.chain.account(bench.operator)).balance == FUND


async def test_find_worker_ignores_those_of_other_owners_and_operators(bench: Bench) -> None:
    progress = await begin(bench.chain, bench.directory, Progress(bench.choices))
    for owner, operator in ((OTHER, bench.operator), (OWNER, OTHER.address)):
        fee = (await Fees.of(bench.chain)).register()
        sent = registration(bench.choices, operator, 1, 1, fee)
        await trace(bench.chain, await owner.send_all(bench.chain, [sent]))
    assert await find_worker(bench.chain, progress, bench.operator) is None
    assert (await bench.register()).index == 2


async def test_wait_for_an_owner_who_sends_nothing_ends_and_finds_what_comes_later(bench: Bench) -> None:
    progress = await begin(bench.chain, bench.directory, Progress(bench.choices))
    register = (await bench.transfers(progress))[0]
    with pytest.raises(StillWaiting):
        await wait_for_owner(bench.chain, bench.directory, progress, bench.operator, wait_sec=3, told=lambda _: None)
    await trace(bench.chain, await OWNER.send_all(bench.chain, [register]))
    found = await wait_for_owner(
        bench.chain, bench.directory, progress, bench.operator, wait_sec=3, told=lambda _: None
    )
    assert found.index == 0


async def test_instructions_on_mainnet_show_addresses_that_test_networks_refuse(bench: Bench) -> None:
    register = registration(bench.choices, bench.operator, 1, 1, 0)
    (real,), (test,) = (instructions(register, bench.operator, 0, test_only=flag) for flag in (False, True))
    assert real.address[0] == "E"
    assert test.address[0] == "k"
    assert Address(real.address) == Address(test.address) == bench.choices.registry


def test_state_that_cannot_be_read_stops_everything(bench: Bench) -> None:
    bench.directory.save(Progress(bench.choices, message=b"\x01", after_lt=7))
    assert bench.directory.load() == Progress(bench.choices, message=b"\x01", after_lt=7)
    (bench.directory.path / "worker.json").write_text("{")
    with pytest.raises(SetupFailed, match="it may be all that is known of a payment under way"):
        bench.directory.load()


def test_two_setups_in_one_directory_are_refused(bench: Bench) -> None:
    with (
        bench.directory.lock(),
        pytest.raises(SetupFailed, match="another set-up"),
        WorkerDirectory(bench.directory.path).lock(),
    ):
        pytest.fail("both have it")
