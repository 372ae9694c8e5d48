"""The market backend: the next worker before the first token, never after; hedges; who is left alone afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from market_world import ledger_world, make_market
from protocol_world import MODEL as MODEL_IN_WORLD
from protocol_world import TERMS as PRICES
from scripted import MODEL, TON, make_proof, until
from workers_in_test import finished, market

from cocoon.client.channel import Channel
from cocoon.client.evidence import Equivocated, EvidenceRefused, Slashed, keep_evidence
from cocoon.client.store import ClientStore, Evidence, StoredChannel
from cocoon.client.stream import Delta as Piece
from cocoon.client.stream import StreamLied, StreamRefused, StreamStalled
from cocoon.crypto.payload import encode_object
from cocoon.crypto.usage import Usage
from cocoon.errors import ChainUnavailable, WalletError
from cocoon.gateway.backend import Delta, Finished
from cocoon.gateway.errors import BackendFailed, NoWorker, RequestRefused
from cocoon.gateway.facts import WorkerFacts
from cocoon.gateway.market import Market
from cocoon.gateway.reporting import Reporter
from cocoon.wire.blob import bytes_to_cell
from cocoon.wire.worker import WorkerStatus
from cocoon_sandbox.ledger import Ledger

BODY = {"prompt": "one two", "max_tokens": 10}
SAID = [Piece("a", 1), Piece("b", 1), finished()]


async def answer(made: Market, body: dict[str, Any] = BODY) -> tuple[str, list[int], Finished]:
    """(text, workers that spoke, the end)"""
    text, spoke, end = "", [], None
    async for event in made.run(made.quote(body, MODEL)):
        if isinstance(event, Delta):
            text, spoke = text + event.text, [*spoke, event.worker_index]
        else:
            end = event
    assert end is not None
    return text, spoke, end


async def test_run_with_a_willing_worker_streams_and_ends_with_its_proof() -> None:
    made, pool = market({0: SAID, 1: SAID})
    text, spoke, end = await answer(made)
    assert (text, spoke, end.proof.worker_index) == ("ab", [0, 0], 0)
    assert (pool.fast[1].asked, made.experiences[0].answers, made.experiences[0].in_flight) == (0, 1, 0)


@pytest.mark.parametrize(
    "error",
    [StreamStalled("silent"), StreamRefused("busy", "full"), StreamRefused("kernel_failed", "x"), OSError("refused")],
)
async def test_run_with_a_worker_failing_before_the_first_token_asks_the_next(error: Exception) -> None:
    made, _ = market({0: [error], 1: SAID})
    assert (await answer(made))[:2] == ("ab", [1, 1])
    assert made.experiences[0].failures == 1
    made_again = await answer(made)  # the one that failed is left alone for a while
    assert made_again[1] == [1, 1]
    assert "failed a moment ago" in str(made.why_not(made.facts.workers[0], int(MODEL, 16)))  # type: ignore[union-attr]


async def test_run_with_a_worker_failing_after_the_first_token_is_never_tried_again() -> None:
    made, pool = market({0: [Piece("a", 1), StreamStalled("silent")], 1: SAID})
    with pytest.raises(BackendFailed, match="broke off") as caught:
        await answer(made)
    assert pool.fast[1].asked == 0
    assert caught.value.spent_nano > 0


async def test_run_with_a_lying_worker_closes_its_channels_and_never_asks_it_again() -> None:
    made, pool = market({0: [StreamLied("wrong fee")], 1: SAID}, rest_sec=0)
    await answer(made)
    assert pool.retired == [0]
    await answer(made)
    assert pool.fast[0].asked == 1


async def test_run_with_a_request_at_fault_asks_nobody_else() -> None:
    made, pool = market({0: [StreamRefused("too_long", "9000 tokens")], 1: SAID})
    with pytest.raises(RequestRefused) as caught:
        await answer(made)
    assert (caught.value.reason, pool.fast[1].asked, made.experiences[0].failures) == ("too_long", 0, 0)


async def test_run_with_a_slow_worker_hedges_and_takes_the_first_to_speak() -> None:
    made, pool = market({0: [5, *SAID], 1: SAID}, hedge_sec=0.05)
    text, spoke, _ = await answer(made)
    assert (text, spoke) == ("ab", [1, 1])
    assert (pool.fast[0].asked, pool.fast[0].left) == (1, 1)  # given up, not failed
    assert made.experiences[0].failures == 0


async def test_run_with_hedging_off_waits_for_the_first() -> None:
    made, pool = market({0: [0.2, *SAID], 1: SAID}, hedge_sec=0)
    assert (await answer(made))[1] == [0, 0]
    assert pool.fast[1].asked == 0


async def test_run_with_all_workers_failing_says_why_of_each() -> None:
    made, _ = market({n: [StreamStalled(f"silent {n}")] for n in range(5)}, attempts=3)
    with pytest.raises(NoWorker, match=r"silent 0.*silent 1.*silent 2") as caught:
        await answer(made)
    assert "silent 3" not in str(caught.value)


async def test_run_with_silent_workers_gives_up_in_time_and_leaves_nothing_running() -> None:
    made, pool = market({0: [9], 1: [9]}, first_token_sec=0.2, hedge_sec=0.05)
    with pytest.raises(NoWorker, match="no worker spoke"):
        await answer(made)
    assert [pool.fast[n].left for n in (0, 1)] == [1, 1]


async def test_run_left_early_ends_the_stream() -> None:
    made, pool = market({0: [Piece("a", 1), 9, *SAID]})
    events = made.run(made.quote(BODY, MODEL))
    assert isinstance(await anext(events), Delta)
    await events.aclose()  # type: ignore[attr-defined]
    assert pool.fast[0].left == 1
    assert made.experiences[0].in_flight == 0


async def test_run_stalling_in_the_middle_is_broken_off() -> None:
    made, pool = market({0: [Piece("a", 1), 9]}, stall_sec=0.1)
    with pytest.raises(BackendFailed, match="nothing came"):
        await answer(made)
    assert pool.fast[0].left == 1


async def test_run_of_many_at_once_spreads_the_load() -> None:
    slow = [Piece("a", 1), 0.1, finished(1)]
    made, pool = market({n: list(slow) for n in range(3)}, hedge_sec=0)
    await asyncio.gather(*(answer(made) for _ in range(12)))
    assert min(pool.fast[n].asked for n in range(3)) >= 2


async def test_quote_without_fresh_facts_is_refused() -> None:
    made, _ = market({0: SAID}, stale_sec=0)
    await asyncio.sleep(0.01)
    with pytest.raises(NoWorker, match="could not be read"):
        made.quote(BODY, MODEL)


async def test_quote_covers_every_worker_that_may_be_asked() -> None:
    made, _ = market({0: SAID, 1: SAID, 2: SAID}, attempts=2)
    quoted, shorter = made.quote(BODY, MODEL), made.quote({**BODY, "max_tokens": 9}, MODEL)
    assert quoted.most_nano >= shorter.most_nano + 4000
    assert quoted.prompt_nano == shorter.prompt_nano == made.quote({**BODY, "max_tokens": 0}, MODEL).most_nano
    assert [entry.names for entry in made.models()] == [("m", MODEL)]
    assert [made.model_id(name) for name in ("m", MODEL, "other", MODEL.upper())] == [MODEL, MODEL, None, None]


async def test_request_is_checked_and_encoded_once_whatever_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[dict[str, Any]] = []

    def counted(body: dict[str, Any]) -> bytes:
        encoded.append(body)
        return encode_object(body)

    monkeypatch.setattr("cocoon.stream.asked.encode_object", counted)
    made, pool = market({0: [StreamStalled("silent")], 1: SAID}, rest_sec=0)
    quote = made.quote(BODY, MODEL)
    for _ in range(2):
        assert [event async for event in made.run(quote)][-1]
    assert (pool.fast[0].asked, pool.fast[1].asked, encoded) == (1, 2, [BODY])


# ---- a worker that signed two receipts with one number ----


def evidence(store: ClientStore) -> tuple[Channel, Evidence]:
    """Two receipts of one number over a channel of `store`."""
    first = make_proof(Usage(4, 0, 2))
    second = replace(first.signed, receipt=replace(first.signed.receipt, request_digest=99))
    stored = StoredChannel(first.channel.escrow, first.registry, first.worker, 1, b"\5" * 32)
    client = SimpleNamespace(store=store)
    return Channel(client, stored), Evidence(stored, first.session_key, first.signed, second)  # type: ignore[arg-type]


def answering(monkeypatch: pytest.MonkeyPatch, *answers: Exception | Slashed) -> list[int]:
    """Reports end like this, one after another; the last goes on. How many there were, as a list that grows."""
    asked: list[int] = []

    async def report(*_: object, session_key: int) -> Slashed:
        asked.append(session_key)
        said = answers[min(len(asked), len(answers)) - 1]
        if isinstance(said, Exception):
            raise said
        return said

    monkeypatch.setattr(Channel, "report_equivocation", report)
    return asked


AWAY, SLASHED = ChainUnavailable("the lite server is gone"), Slashed(10, 2, ())


async def test_report_that_does_not_get_through_is_tried_until_the_chain_has_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = answering(monkeypatch, WalletError("too little money"), AWAY)
    reporter, (channel, found) = Reporter(enabled=True, retry_sec=0), evidence(ClientStore())
    reporter.report(0, channel, found)
    await until(lambda: len(asked) > 70)
    assert reporter.reported == set()
    last = answering(monkeypatch, SLASHED)
    reporter.report(0, channel, found)  # it is under way
    await until(lambda: not reporter._tasks)
    assert (len(last), reporter.reported) == (1, {0})


async def test_report_refused_by_the_chain_is_not_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch, EvidenceRefused("slashed before"))
    reporter, (channel, found) = Reporter(enabled=True, retry_sec=0), evidence(ClientStore())
    for _ in range(2):
        reporter.report(0, channel, found)
        await until(lambda: not reporter._tasks)
    assert (len(asked), reporter.reported) == (1, {0})


async def test_evidence_that_was_not_reported_is_on_the_disk_and_taken_up_by_the_next_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = answering(monkeypatch, AWAY, SLASHED)
    reporter = Reporter(enabled=True, retry_sec=60)
    with ClientStore(tmp_path / "client.sqlite") as store:
        channel, found = evidence(store)
        reporter.report(0, channel, found)
        assert store.unsent_evidence() == [found]  # before anything is sent
        await until(lambda: bool(asked))
        await reporter.close()
    assert reporter.reported == set()
    workers = {found.channel.worker.to_str(is_user_friendly=False): 0}
    again = Reporter(enabled=True)
    with ClientStore(tmp_path / "client.sqlite") as store:
        again.resume(SimpleNamespace(store=store), workers)  # type: ignore[arg-type]
        await until(lambda: not again._tasks)
    assert (asked, again.reported) == ([found.session_key] * 2, {0})


async def test_evidence_of_a_channel_that_is_forgotten_slashes_the_worker_after_a_restart(ledger: Ledger) -> None:
    """Over the contracts: the row is all that is left of the channel, and is settled by the chain's word."""
    made = make_market(ledger, await ledger_world(ledger))
    world, store = made.world, made.client.store
    channel = await made.client.open(0, deposit=TON, model_id=MODEL_IN_WORLD, term=86400, max_prices=PRICES)
    state, signed = await world.agent.escrow(channel.address)
    first, second = (
        world.agent.sign_receipt(signed, state, bytes_to_cell(text), fee_nano=10, usage=Usage(1, 0, 1))
        for text in (b"a", b"b")
    )
    assert state.binding is not None
    keep_evidence(store, Evidence(channel.stored, state.binding.keys.session_key, first, second))
    store.forget_channel(channel.address)
    workers = {world.agent.address.to_str(is_user_friendly=False): 0}
    made.reporter.resume(made.client, {})  # a worker that is gone has no stake
    made.reporter.resume(made.client, workers)
    await until(lambda: not made.reporter._tasks, seconds=20)
    assert made.reporter.reported == {0}
    assert store.unsent_evidence() == []
    facts = await made.watcher.refresh()
    assert facts.workers[0].state.status == WorkerStatus.JAILED


async def test_run_with_a_worker_caught_while_connecting_reports_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch, SLASHED)
    made, pool = market({0: SAID, 1: SAID})
    use, (channel, found) = pool.use, evidence(ClientStore())

    @asynccontextmanager
    async def caught(worker: WorkerFacts, model_id: int, *, need_nano: int) -> AsyncIterator[Any]:
        if worker.index == 0:
            raise Equivocated(channel, found)
        async with use(worker, model_id, need_nano=need_nano) as lease:
            yield lease

    pool.use = caught  # type: ignore[method-assign]
    assert (await answer(made))[1] == [1, 1]
    await until(lambda: not made._reporter._tasks)
    assert (made.reported, pool.retired, asked) == ({0}, [0], [found.session_key])
