"""The market backend: the next worker before the first token, never after; hedges; who is left alone afterwards."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from scripted import MODEL
from workers_in_test import finished, market

from cocoon.client.stream import Delta as Piece
from cocoon.client.stream import StreamLied, StreamRefused, StreamStalled
from cocoon.gateway.backend import Delta, Finished
from cocoon.gateway.errors import BackendFailed, NoWorker, RequestRefused
from cocoon.gateway.market import Market

BODY = {"prompt": "one two", "max_tokens": 10}
SAID = [Piece("a", 1), Piece("b", 1), finished()]


async def answer(made: Market, body: dict[str, Any] = BODY) -> tuple[str, list[int], Finished]:
    """(text, workers that spoke, the end)"""
    text, spoke, end = "", [], None
    async for event in made.run(body, MODEL, max_fee=made.quote(body, MODEL)):
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
    events = made.run(BODY, MODEL, max_fee=10**9)
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
    quoted = made.quote(BODY, MODEL)
    assert quoted >= made.quote({**BODY, "max_tokens": 9}, MODEL) + 4000
    assert [entry.names for entry in made.models()] == [("m", MODEL)]
