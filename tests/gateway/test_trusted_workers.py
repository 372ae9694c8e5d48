"""Acceptance: a worker that is not to be trusted any more is not chosen, and finishes what it holds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from market_world import MarketWorld, ledger_world, make_market
from protocol_world import ENDPOINT, TON
from scripted import until
from simulated_network import SEED, SIMULATION
from workers_in_test import finished

from cocoon.attestation.errors import AttestationError, SimulatedTeeRefused
from cocoon.attestation.platform import Publication, SimulatedIntel
from cocoon.attestation.quote import Quote
from cocoon.attestation.report_data import REPORT_DATA_SIZE
from cocoon.attestation.witness_certificates import crl
from cocoon.chain.trace import trace
from cocoon.client.evidence import Equivocated
from cocoon.client.outcomes import Answer
from cocoon.client.store import Evidence
from cocoon.client.stream import Delta
from cocoon.crypto.usage import Usage
from cocoon.errors import ChainUnavailable, ClientError
from cocoon.fees import Fees
from cocoon.gateway.errors import NoWorker
from cocoon.gateway.facts import FactsWatcher
from cocoon.wire.attestation import CrlIssuer
from cocoon.wire.blob import bytes_to_cell
from cocoon.wire.registry import DenyMeasurement
from cocoon.wire.worker import WorkerStatus
from cocoon_sandbox.ledger import Ledger

LEASE_SEC = 8 * 86400


@pytest.fixture
async def made(ledger: Ledger) -> MarketWorld:
    found = make_market(ledger, await ledger_world(ledger))
    await found.watcher.refresh()
    return found


async def lapse(made: MarketWorld, ledger: Ledger) -> str:
    ledger.advance(LEASE_SEC)
    await made.world.chain.next_block()
    return "attestation ended"


async def deny(made: MarketWorld, ledger: Ledger) -> str:
    body = DenyMeasurement(1, SIMULATION.measurement).to_cell()
    await trace(
        made.world.chain, await made.world.owner.send(made.world.chain, made.world.deployment.registry, TON, body)
    )
    return "which the network has denied"


async def revoke(made: MarketWorld, ledger: Ledger) -> str:
    """The CA lists the platform's certificate; somebody posts the list; the worker can't attest anew."""
    world, now = made.world, await made.world.chain.time()
    quote = Quote.parse(await SIMULATION.source(now, allow_simulated_tee=True).quote(bytes(REPORT_DATA_SIZE)))
    leaf, ca, *_ = quote.signature_data.pck_chain
    listed = replace(
        Publication.at(now, SIMULATION.hardware), revoked_pck=(leaf.serial,), pck_crl_number=2, crl_issued_at=now - 1
    )
    found = SimulatedIntel(SEED.encode(), now).publish(listed).pck_crl
    message = crl(found, CrlIssuer.PLATFORM_CA, ca.public_key)
    value = (await Fees.of(world.chain)).post_collateral(message.list.cells)
    done = await trace(
        world.chain, await world.client.send(world.chain, world.deployment.attestation, value, message.to_cell())
    )
    assert done[1].exit_code == 0
    with pytest.raises(AttestationError):
        await world.agent.attest()
    return await lapse(made, ledger)


@pytest.mark.parametrize("happens", [lapse, deny, revoke])
async def test_worker_no_longer_to_be_trusted_is_not_chosen_and_finishes_what_it_holds(
    made: MarketWorld, ledger: Ledger, happens: Callable[[MarketWorld, Ledger], Awaitable[str]]
) -> None:
    go_on = asyncio.Event()
    made.says[:] = [Delta("a", 1), go_on, Delta("b", 1), finished()]
    streaming = asyncio.create_task(made.answer())
    await until(lambda: bool(made.pool.channels) and made.pool.channels[0].streams == 1)
    forced = await made.client.open(
        0, deposit=TON, model_id=made.pool.channels[0].model_id, term=30 * 86400,
        max_prices=made.pool.channels[0].binding.terms,
    )  # fmt: skip
    job = await forced.post_job({"prompt": "hello"}, max_fee=TON // 5, duration=20 * 86400)

    reason = await happens(made, ledger)
    await made.watcher.refresh()
    with pytest.raises(NoWorker, match=reason):
        await made.answer()
    with pytest.raises(ClientError, match=reason):
        await made.client.check_worker(made.world.agent.address)
    assert made.asked == [ENDPOINT]

    go_on.set()
    text, end = await streaming
    assert (text, end is not None) == ("ab", True)
    await made.world.agent.deliver(forced.address, "hello to you")
    outcome = await job.result()
    assert isinstance(outcome, Answer)
    assert outcome.text == "hello to you"


async def test_network_that_turns_to_a_simulated_root_is_asked_nothing_more(made: MarketWorld) -> None:
    """Governance may change the policy while the gateway runs; its answer is a refusal, until the policy is back."""
    made.says[:] = [Delta("a", 1), finished()]
    assert (await made.answer())[0] == "a"
    made.watcher._allow_simulated_tee = False
    with pytest.raises(SimulatedTeeRefused):
        await made.watcher.refresh()
    with pytest.raises(NoWorker, match="allow-simulated-tee"):
        await made.answer()
    assert made.market.refused is not None
    made.watcher._allow_simulated_tee = True
    await made.watcher.refresh()
    assert (await made.answer())[0] == "a"


async def test_watcher_of_a_refused_network_goes_on_looking(made: MarketWorld) -> None:
    watcher = FactsWatcher(made.world.chain, made.world.deployment, {}, poll_sec=0.01)
    task = asyncio.create_task(watcher.run())
    await until(lambda: watcher.refused is not None)
    watcher._allow_simulated_tee = True
    await until(lambda: watcher.current is not None)
    assert watcher.refused is None
    task.cancel()


@pytest.mark.parametrize("report", [True, False])
async def test_worker_that_signs_two_receipts_with_one_number_is_reported_once_if_the_owner_wants(
    ledger: Ledger, report: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_market(ledger, await ledger_world(ledger), report=report)
    world = made.world
    await made.watcher.refresh()
    made.says[:] = [finished()]
    await made.answer()
    (held,) = made.pool.channels
    state, channel = await world.agent.escrow(held.channel.address)
    first, second = (
        world.agent.sign_receipt(channel, state, bytes_to_cell(text), fee_nano=10, usage=Usage(1, 0, 1))
        for text in (b"a", b"b")
    )
    sent: list[int] = []
    whole = held.channel.report_equivocation

    async def flaky(*said: object, **named: object) -> object:
        sent.append(1)
        if len(sent) == 1:
            raise ChainUnavailable("the lite server is gone")
        return await whole(*said, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(type(held.channel), "report_equivocation", lambda _self, *said, **named: flaky(*said, **named))
    before = (await world.chain.account(world.client.address)).balance
    assert state.binding is not None
    found = Evidence(held.channel.stored, state.binding.keys.session_key, first, second)
    made.says[:] = [Equivocated(held.channel, found)]
    for _ in range(2):
        with pytest.raises(NoWorker):
            await made.answer()
    made.reporter.report(0, held.channel, found)
    if report:
        await until(lambda: not made.reporter._tasks, seconds=20)
        assert made.reporter.reported == {0}
        assert len(sent) == 2  # the network was away the first time
        await made.watcher.refresh()
        assert made.watcher.current is not None
        assert made.watcher.current.workers[0].state.status == WorkerStatus.JAILED
        assert (await world.chain.account(world.client.address)).balance > before
    else:
        await made.reporter.close()
        assert (made.reporter.reported, sent) == (set(), [])
