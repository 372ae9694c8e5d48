"""Telegram says no: too many requests, not modified, gone, blocked, broken. Paid answers arrive all the same."""

from __future__ import annotations

import asyncio

from bot_api import ApiFailure
from bots import ALICE, BOB, chatting_bot
from scripted import TERMS, ScriptedBackend, until

from cocoon.crypto.usage import Usage, price
from cocoon.telegram.splitting import split, units


def too_many(seconds: int) -> ApiFailure:
    return ApiFailure(429, f"Too Many Requests: retry after {seconds}", retry_after=seconds)


async def test_final_edit_waits_as_long_as_telegram_says() -> None:
    steps = asyncio.Semaphore(0)
    async with chatting_bot(ScriptedBackend(gate=steps.acquire)) as bench:
        bench.api.write(ALICE, "one two")
        await bench.api.until(lambda: bench.api.shown(ALICE) == ["one …"])
        bench.api.fail_next("editMessageText", too_many(1))
        steps.release()
        await bench.api.until(lambda: bench.api.shown(ALICE)[0].startswith("one two\n\n—"))
        edits = bench.api.named("editMessageText", chat=ALICE)
        failed = next(call for call in edits if call.error)
        after = edits[edits.index(failed) + 1]
        assert after.at - failed.until >= 1.0


async def test_first_message_is_sent_again_after_429_and_server_errors() -> None:
    async with chatting_bot() as bench:
        bench.api.fail_next("sendMessage", too_many(1), ApiFailure(502, "Bad Gateway"))
        (text,) = await bench.ask(ALICE, "hello")
        assert text.startswith("hello\n\n—")
        assert [bool(call.error) for call in bench.api.named("sendMessage", chat=ALICE)] == [True, True, False]


async def test_edit_that_changes_nothing_counts_as_shown() -> None:
    """As when an edit arrived and its answer was lost."""
    steps = asyncio.Semaphore(0)
    async with chatting_bot(ScriptedBackend(gate=steps.acquire)) as bench:
        bench.api.write(ALICE, "one two")
        await bench.api.until(lambda: bench.api.shown(ALICE) == ["one …"])
        not_modified = ApiFailure(400, "Bad Request: message is not modified: specified new message content ...")
        bench.api.fail_next("editMessageText", *[not_modified] * 5)
        steps.release()
        await until(lambda: bench.bot.answering.chat(ALICE).growing is None)
        edits = [call.fields["text"] for call in bench.api.named("editMessageText", chat=ALICE)]
        assert edits[-1].startswith("one two\n\n—")
        assert len(edits) == len(set(edits))  # none is tried again
        assert len(bench.api.named("sendMessage", chat=ALICE)) == 1


async def test_answer_whose_message_was_deleted_is_sent_anew() -> None:
    steps = asyncio.Semaphore(0)
    async with chatting_bot(ScriptedBackend(gate=steps.acquire)) as bench:
        bench.api.write(ALICE, "one two")
        await bench.api.until(lambda: bench.api.shown(ALICE) == ["one …"])
        bench.api.messages[ALICE].clear()
        steps.release()
        await bench.api.until(lambda: bool(bench.api.shown(ALICE)))
        assert bench.api.shown(ALICE)[0].startswith("one two\n\n—")


async def test_user_who_blocks_the_bot_ends_what_is_spent() -> None:
    steps = asyncio.Semaphore(0)
    async with chatting_bot(ScriptedBackend(gate=steps.acquire)) as bench:
        bench.api.write(ALICE, "one two three")
        await bench.api.until(lambda: bench.api.shown(ALICE) == ["one …"])
        bench.api.blocked.add(ALICE)
        steps.release()
        await bench.api.until(lambda: any(call.error for call in bench.api.named("editMessageText", chat=ALICE)))
        (await bench.ask(BOB, "x"))
        assert bench.backend.closed == 1
        assert bench.bot.budgets.spent(ALICE) == price(Usage(4, 0, 2), TERMS)
        assert bench.reserved() == 0


async def test_updates_that_fail_for_a_while_are_fetched_later() -> None:
    async with chatting_bot() as bench:
        bench.api.fail_next("getUpdates", ApiFailure(502, "Bad Gateway"))
        (text,) = await bench.ask(ALICE, "still there")
        assert text.startswith("still there")


def test_split_cuts_at_words_and_counts_as_telegram_does() -> None:
    text = "butterfly 🦋 " * 1000
    parts = split(text)
    assert " ".join(parts).split() == text.split()
    assert all(3500 < units(part) <= 4096 for part in parts[:-1])
    assert [len(part) for part in split("x" * 10_000)] == [4096, 4096, 1808]
    assert [units(part) for part in split("🦋" * 4096)] == [4096, 4096]
    assert split(" \n ") == []
    assert split("a" * 4096) == ["a" * 4096]
    assert split("l1\n" + "word " * 818) == ["l1\n" + ("word " * 818).strip()]


def test_split_of_a_longer_text_keeps_the_parts_before_the_last() -> None:
    text = "some words and 🦋 lines\n" * 900
    earlier: list[str] = []
    for end in range(0, len(text), 97):
        parts = split(text[:end])
        assert parts[: len(earlier) - 1] == earlier[:-1]
        earlier = parts
