"""Budgets, stops, failures: nobody is charged for more than was used, and nobody goes beyond a budget."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from bots import ALICE, BOB, NOTHING, chatting_bot
from scripted import NAME, TERMS, TON, ScriptedBackend, body_of

from cocoon.crypto.usage import Usage, price
from cocoon.gateway.backend import Delta, Finished, Quote
from cocoon.gateway.errors import BackendFailed, NoWorker, PoolExhausted, RequestRefused
from cocoon.gateway.estimate import Estimate
from cocoon.telegram.budgets import BudgetLimits, Budgets
from cocoon.telegram.database import open_database
from cocoon.telegram.errors import OverBudget


class SilentBackend(ScriptedBackend):
    """Its worker takes the request and never says a word. `left`: how many requests were given up."""

    left = 0

    async def run(self, quote: Quote) -> AsyncIterator[Delta | Finished]:
        body = body_of(quote)
        self.bodies.append(body)
        try:
            await asyncio.Event().wait()
            yield Delta("", 0, 0, 3)
        finally:
            self.left += 1


async def test_answer_is_settled_with_its_real_fee() -> None:
    async with chatting_bot() as bench:
        await bench.ask(ALICE, "one two three")
        fee = price(Usage(4, 1, 3), TERMS)
        assert bench.bot.budgets.spent(ALICE) == fee
        assert bench.bot.ledger.cost(ALICE, 5).spent_nano == fee
        assert bench.reserved() == 0


async def test_question_over_the_users_budget_is_refused_and_nothing_is_asked() -> None:
    async with chatting_bot(budgets={ALICE: 1000}) as bench:
        said = await bench.command(ALICE, "too dear")
        assert "0.000001 TON is left of your budget for today" in said
        assert "Nothing was spent" in said
        await bench.ask(BOB, "but not for Bob")
        assert len(bench.backend.bodies) == 1
        assert bench.bot.budgets.spent(ALICE) == 0


async def test_question_over_everybodys_budget_is_refused() -> None:
    one = price(Estimate.of({"messages": [{"content": "x"}], "max_tokens": 512}).most, TERMS)
    async with chatting_bot(all_day_nano=one + 1) as bench:
        await bench.ask(ALICE, "x")
        assert "all its users" in await bench.command(BOB, "x")
        assert len(bench.backend.bodies) == 1


async def test_stop_ends_the_answer_and_charges_what_came() -> None:
    steps = asyncio.Semaphore(1)
    async with chatting_bot(ScriptedBackend(gate=steps.acquire)) as bench:
        bench.api.write(ALICE, "one two three four")
        await bench.api.until(lambda: bench.api.shown(ALICE) == ["one two …"])
        assert bench.reserved() > 0
        bench.api.write(ALICE, "/stop")
        await bench.api.until(lambda: "You stopped this answer." in bench.api.shown(ALICE)[0])
        (text,) = bench.api.shown(ALICE)
        assert text.startswith("one two\n\n—\n")
        assert "It cost at most" in text
        assert NOTHING in text
        assert bench.backend.closed == 1
        assert (bench.bot.budgets.spent(ALICE), bench.reserved()) == (price(Usage(4, 0, 2), TERMS), 0)
        assert await bench.command(ALICE, "/stop") == "No answer is being written."
        steps.release()
        await bench.ask(ALICE, "next")  # and the chat is free again, knowing what was said
        assert [turn["content"] for turn in bench.backend.bodies[-1]["messages"]] == [
            "one two three four", "one two ", "next",
        ]  # fmt: skip


async def test_stop_before_the_first_token_charges_the_prompt_at_most() -> None:
    """The prompt is prepaid: stopping again and again must not spend the owner's money beside every budget."""
    backend = SilentBackend()
    async with chatting_bot(backend) as bench:
        bench.api.write(ALICE, "hello")
        await bench.api.until(lambda: bool(bench.api.named("sendChatAction", chat=ALICE)))
        said = await bench.command(ALICE, "/stop")
        assert "You stopped this answer." in said
        assert backend.left == 1
        prompt = price(Estimate.of({"messages": [{"content": "hello"}]}).most, TERMS)
        assert (bench.bot.budgets.spent(ALICE), bench.reserved()) == (prompt, 0)


async def test_answer_that_takes_too_long_is_ended() -> None:
    async with chatting_bot(SilentBackend(), answer_sec=0.2) as bench:
        (text,) = await bench.ask(ALICE, "hello")
        assert "took more than 0.2 seconds" in text
        assert bench.reserved() == 0


@pytest.mark.parametrize(
    ("error", "after", "said", "spent"),
    [
        (BackendFailed("worker 3 broke off: silent", spent_nano=77_000), 2, "The worker failed: worker 3", 77_000),
        (BackendFailed("worker 3 broke off"), 2, "What had come is above", price(Usage(4, 0, 2), TERMS)),
        (NoWorker("no worker answered: worker 3: it is away"), 0, "It cost nothing.", 0),
        (PoolExhausted("secret of the owner's settings"), 0, "no money left for another channel", 0),
        (RequestRefused("too_long", "5000 tokens"), 0, "/new forgets", 0),
        (BackendFailed("x" * 5000), 0, "x" * 300 + "…", 0),
    ],
)  # fmt: skip
async def test_failure_is_explained_and_costs_what_was_used(
    error: Exception, after: int, said: str, spent: int
) -> None:
    async with chatting_bot(ScriptedBackend(error=error, fail_after=after)) as bench:
        (text,) = await bench.ask(ALICE, "one two three")
        assert said in text
        assert "secret" not in text
        assert text.startswith("one two\n\n—") == (after == 2)
        assert NOTHING in text
        assert (bench.bot.budgets.spent(ALICE), bench.reserved()) == (spent, 0)
        bench.backend.error = None
        assert (await bench.ask(ALICE, "again"))[-1].startswith("again")


async def test_question_without_a_worker_is_refused_with_the_reason() -> None:
    async with chatting_bot(ScriptedBackend(workers=0)) as bench:
        assert "it is paused" in await bench.command(ALICE, "hello")
        assert bench.bot.budgets.spent(ALICE) == 0


async def test_second_question_during_an_answer_is_refused_and_other_chats_go_on() -> None:
    steps = asyncio.Semaphore(0)
    async with chatting_bot(ScriptedBackend(gate=steps.acquire), at_once=2) as bench:
        bench.api.write(ALICE, "one two")
        bench.api.write(BOB, "red blue")
        await bench.api.until(lambda: bench.api.shown(ALICE) == ["one …"] and bench.api.shown(BOB) == ["red …"])
        assert "One answer at a time" in await bench.command(ALICE, "impatient")
        assert "Too many people" in await bench.command(1003, "hello")
        steps.release()
        steps.release()
        await bench.api.until(lambda: all("—" in bench.api.shown(chat)[0] for chat in (ALICE, BOB)))
        assert len(bench.backend.bodies) == 2
        assert bench.reserved() == 0


async def test_bot_that_is_stopped_settles_and_says_so() -> None:
    steps = asyncio.Semaphore(0)
    db = open_database(None)
    async with chatting_bot(ScriptedBackend(gate=steps.acquire), db=db) as bench:
        bench.api.write(ALICE, "one two")
        await bench.api.until(lambda: bench.api.shown(ALICE) == ["one …"])
        await bench.bot.answering.close()
        (text,) = bench.api.shown(ALICE)
        assert "The bot is being stopped" in text
        assert (bench.bot.budgets.spent(ALICE), bench.reserved()) == (price(Usage(4, 0, 1), TERMS), 0)
    db.close()


async def test_answer_cancelled_in_its_first_step_leaves_no_reservation() -> None:
    from cocoon.gateway.backend import Model

    async with chatting_bot(SilentBackend()) as bench:
        chat = bench.bot.answering.chat(ALICE)
        model = next(found for found in bench.backend.models() if NAME in found.names)
        assert isinstance(model, Model)
        bench.bot.answering.begin(chat, ALICE, model, "hello")
        assert bench.bot.answering.stop(chat, "at once")
        await bench.api.until(lambda: bool(bench.api.shown(ALICE)))
        assert "at once" in bench.api.shown(ALICE)[0]
        assert bench.reserved() == 0


def test_budget_of_a_day_is_new_on_the_next_and_settles_on_its_own() -> None:
    now = 1_800_000_000.0
    budgets = Budgets(open_database(None), BudgetLimits(100, 1000), clock=lambda: now)
    late = budgets.reserve(ALICE, 80)
    with pytest.raises(OverBudget, match="your budget"):
        budgets.reserve(ALICE, 21)
    now += 86400
    budgets.reserve(ALICE, 100)
    budgets.settle(late, 30)
    assert budgets.spent(ALICE) == 100
    now -= 86400
    assert (budgets.spent(ALICE), budgets.left(ALICE)) == (30, 70)


def test_budgets_recovered_after_a_crash_count_what_was_reserved(tmp_path: Path) -> None:
    limits = BudgetLimits(TON, 2 * TON)
    Budgets(open_database(tmp_path / "t.sqlite"), limits).reserve(ALICE, 600)
    again = Budgets(open_database(tmp_path / "t.sqlite"), limits)
    again.recover()
    assert (again.spent(ALICE), again.left(ALICE)) == (600, TON - 600)
    assert (tmp_path / "t.sqlite").stat().st_mode & 0o077 == 0
