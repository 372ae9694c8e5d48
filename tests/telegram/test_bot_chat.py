"""Chats over real HTTP calls: streaming by edits, context, commands, what is said about confidentiality."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from pathlib import Path

import pytest
from bot_api import ApiFailure, bot_api
from bots import ALICE, BOB, NOTHING, chatting_bot
from click.testing import CliRunner
from scripted import EMBEDDER, MODEL, NAME, ScriptedBackend

from cocoon.attestation.trust import SIMULATED_BANNER
from cocoon.cli import main
from cocoon.telegram.database import open_database


async def test_question_is_answered_by_a_message_that_grows(tmp_path: Path) -> None:
    steps = asyncio.Semaphore(0)
    async with chatting_bot(ScriptedBackend(gate=steps.acquire)) as bench:
        bench.api.write(ALICE, "one two three")
        await bench.api.until(lambda: bench.api.shown(ALICE) == ["one …"])
        steps.release()
        await bench.api.until(lambda: bench.api.shown(ALICE) == ["one two …"])
        steps.release()
        await bench.api.until(lambda: "—" in bench.api.shown(ALICE)[0])
        (text,) = bench.api.shown(ALICE)
        assert text.startswith("one two three\n\n—\n")
        (entry,) = bench.bot.ledger.cost(ALICE, 5).last
        assert entry.receipt_id in text
        assert NOTHING in text
        sent = bench.api.named("sendMessage", chat=ALICE)
        assert len(sent) == 1
        assert json.loads(sent[0].fields["link_preview_options"]) == {"is_disabled": True}
        edits = bench.api.named("editMessageText", chat=ALICE)
        assert {edit.fields["message_id"] for edit in edits} == {str(next(iter(bench.api.messages[ALICE])))}
        assert bench.api.named("sendChatAction", chat=ALICE)[0].at < sent[0].at


async def test_edits_in_one_chat_are_a_second_apart_and_the_final_one_comes() -> None:
    words = 60

    async def step() -> None:
        await asyncio.sleep(0.05)

    async with chatting_bot(ScriptedBackend(gate=step), edit_sec=1.0) as bench:
        answers = await asyncio.gather(
            bench.ask(ALICE, " ".join(map(str, range(words)))), bench.ask(BOB, " ".join(map(str, range(words))))
        )
        for chat, (text,) in zip((ALICE, BOB), answers, strict=True):
            assert text.startswith(" ".join(map(str, range(words))) + "\n\n—\n")
            shown = bench.api.named("sendMessage", "editMessageText", chat=chat)
            assert len(shown) >= 4
            gaps = [later.at - earlier.at for earlier, later in pairwise(shown)]
            assert min(gaps) >= 1.0
        first = [bench.api.named("sendMessage", chat=chat)[0] for chat in (ALICE, BOB)]
        assert abs(first[0].at - first[1].at) < 1.0  # one chat does not wait for the other


async def test_chat_remembers_its_last_turns_and_new_forgets_them() -> None:
    async with chatting_bot(context_turns=2) as bench:
        for text in ("first", "second", "third", "fourth"):
            await bench.ask(ALICE, text)
        said = [turn["content"].strip() for turn in bench.backend.bodies[-1]["messages"]]
        assert said == ["second", "second", "third", "third", "fourth"]
        assert [turn["role"] for turn in bench.backend.bodies[-1]["messages"]] == ["user", "assistant"] * 2 + ["user"]
        await bench.ask(BOB, "mine")
        assert [turn["content"] for turn in bench.backend.bodies[-1]["messages"]] == ["mine"]
        assert "Forgotten" in await bench.command(ALICE, "/new")
        await bench.ask(ALICE, "fifth")
        assert [turn["content"] for turn in bench.backend.bodies[-1]["messages"]] == ["fifth"]


async def test_new_during_an_answer_forgets_that_answer_as_well() -> None:
    steps = asyncio.Semaphore(0)
    async with chatting_bot(ScriptedBackend(gate=steps.acquire)) as bench:
        bench.api.write(ALICE, "old words")
        await bench.api.until(lambda: bench.api.shown(ALICE) == ["old …"])
        bench.api.write(ALICE, "/new")
        await bench.api.until(lambda: len(bench.api.shown(ALICE)) == 2)
        steps.release()
        await bench.api.until(lambda: "—" in bench.api.shown(ALICE)[0])
        await bench.ask(ALICE, "fresh")
        assert [turn["content"] for turn in bench.backend.bodies[-1]["messages"]] == ["fresh"]


async def test_context_beyond_its_bytes_is_dropped_oldest_first() -> None:
    async with chatting_bot(context_bytes=100) as bench:
        for text in ("a" * 30, "b" * 30, "c" * 60, "d"):
            await bench.ask(ALICE, text)
        lengths = [len(body["messages"]) for body in bench.backend.bodies]
        assert lengths == [1, 3, 3, 1]  # the third alone is 121 bytes with its answer: not kept


async def test_answer_longer_than_a_message_is_split_without_losing_a_character() -> None:
    words = [f"word{number}" if number % 3 else "🦋🦋🦋" for number in range(1500)]
    async with chatting_bot(max_tokens=2000) as bench:
        parts = await bench.ask(ALICE, " ".join(words))
        assert len(parts) >= 3
        body = "\n".join(parts)
        assert body[: body.index("—")].split() == words
        assert max(len(part.encode("utf-16-le")) // 2 for part in parts) <= 4096
        assert not [call for call in bench.api.calls if call.error]


async def test_long_answer_that_streams_grows_over_several_messages() -> None:
    gate = asyncio.Event()

    async def step() -> None:
        await (asyncio.sleep(0.001) if not gate.is_set() else asyncio.sleep(0))

    words = " ".join("w" * 40 for _ in range(150))
    async with chatting_bot(ScriptedBackend(gate=step), edit_sec=0.01) as bench:
        parts = await bench.ask(ALICE, words)
        assert len(parts) == 2
        assert len(bench.api.named("sendMessage", chat=ALICE)) == 2
        assert parts[0] + " " + parts[1][: parts[1].index("\n\n—")] == words


async def test_start_names_who_can_read_the_chat_under_a_simulated_tee() -> None:
    async with chatting_bot() as bench:
        said = await bench.command(ALICE, "/start")
        assert said.startswith("SIMULATED TEE: NOTHING IS CONFIDENTIAL")
        assert "Telegram's servers hold yours" in said
        assert "Whoever runs the worker that answers" in said
        assert "sealed to an enclave" not in said


async def test_start_and_footer_under_real_hardware_say_what_is_protected() -> None:
    async with chatting_bot(banner=lambda: None) as bench:
        said = await bench.command(ALICE, "/start")
        assert "Telegram's servers hold yours" in said
        assert "neither its host nor the network can read them" in said
        assert NOTHING not in said
        (text,) = await bench.ask(ALICE, "hello")
        assert NOTHING not in text


@pytest.mark.parametrize(("asked_under", "ended_under"), [(SIMULATED_BANNER, None), (None, SIMULATED_BANNER)])
async def test_footer_of_a_network_that_changes_during_the_answer_says_nothing_is_confidential(
    asked_under: str | None, ended_under: str | None
) -> None:
    banner, steps = asked_under, asyncio.Semaphore(0)
    async with chatting_bot(ScriptedBackend(gate=steps.acquire), banner=lambda: banner) as bench:
        bench.api.write(ALICE, "one two")
        await bench.api.until(lambda: bench.api.shown(ALICE) == ["one …"])
        banner = ended_under
        steps.release()
        await bench.api.until(lambda: "—\n" in bench.api.shown(ALICE)[0])
        assert NOTHING in bench.api.shown(ALICE)[0]


async def test_model_shows_offers_and_the_chosen_one_answers_after_a_restart() -> None:
    async with bot_api() as api:
        db = open_database(None)
        async with chatting_bot(db=db, api=api) as bench:
            said = await bench.command(ALICE, "/model")
            assert f"* {NAME}: 1 TON / 4 TON, 2 workers" in said
            assert EMBEDDER in said
            assert "There is no model 'nope'" in await bench.command(ALICE, "/model nope")
            assert EMBEDDER in await bench.command(ALICE, f"/model {EMBEDDER}")
            assert f"* {EMBEDDER}" in await bench.command(ALICE, "/model")
        async with chatting_bot(db=db, api=api) as bench:
            assert f"* {EMBEDDER}" in await bench.command(ALICE, "/model")
            assert f"* {NAME}" in await bench.command(BOB, "/model")
            assert NAME in await bench.command(ALICE, f"/model {MODEL}")
        db.close()


async def test_cost_lists_receipts_that_the_receipt_command_sends_and_that_verify(tmp_path: Path) -> None:
    async with chatting_bot() as bench:
        await bench.ask(ALICE, "one two")
        await bench.ask(ALICE, "three")
        found = bench.bot.ledger.cost(ALICE, 5)
        said = await bench.command(ALICE, "/cost")
        assert "for 2 answers" in said
        assert all(entry.receipt_id in said for entry in found.last)
        wanted = found.last[0].receipt_id
        bench.api.write(ALICE, f"/receipt {wanted}")
        await bench.api.until(lambda: bool(bench.api.named("sendDocument", chat=ALICE)))
        ((name, content),) = bench.api.named("sendDocument", chat=ALICE)[0].files.items()
        (tmp_path / name).write_bytes(content)
        told = await asyncio.to_thread(
            CliRunner().invoke, main, ["receipt", "verify", "--offline", str(tmp_path / name)]
        )
        assert told.exit_code == 3, told.output  # nothing fails, and only the chain knows whose key it is
        assert "ok   signature" in told.output
        assert "no such receipt" in await bench.command(BOB, f"/receipt {wanted}")  # it is Alice's


async def test_help_and_what_is_no_question_are_replied_to_without_cost() -> None:
    async with chatting_bot() as bench:
        assert "/stop" in await bench.command(ALICE, "/help")
        assert "no such command" in await bench.command(ALICE, "/nothing")
        bench.api.write(ALICE, None)
        await bench.api.until(lambda: "I can read text only." in bench.api.shown(ALICE))
        assert bench.backend.bodies == []


async def test_stranger_is_told_their_number_and_nothing_is_spent() -> None:
    async with chatting_bot(users=frozenset({ALICE})) as bench:
        assert str(BOB) in await bench.command(BOB, "hello")
        await bench.ask(ALICE, "hello")
        assert len(bench.backend.bodies) == 1


async def test_message_in_a_group_is_left_alone() -> None:
    async with chatting_bot() as bench:
        bench.api.write(-500, "hello", user=ALICE, kind="group")
        await bench.ask(ALICE, "mine")
        assert len(bench.backend.bodies) == 1
        assert bench.api.named("sendMessage", chat=-500) == []


async def test_messages_that_came_while_the_bot_was_away_are_all_answered_once_and_in_order() -> None:
    """They come in one piece, and only the last one's number is remembered: each must be taken before the next."""
    async with bot_api() as api:
        names = [f"model-{number}" for number in range(7)]
        for name in names:
            api.write(ALICE, f"/model {name}")
        async with chatting_bot(api=api) as bench:
            await bench.api.until(lambda: len(bench.api.shown(ALICE)) == len(names))
            said = [text.split("'")[1] for text in bench.api.shown(ALICE)]
            assert said == names


async def test_message_that_telegram_delivers_again_is_answered_once() -> None:
    db = open_database(None)
    async with bot_api() as api:
        async with chatting_bot(db=db, api=api) as bench:
            await bench.ask(ALICE, "pay once")
            message = {
                "message_id": 1, "date": 1, "chat": {"id": ALICE, "type": "private"}, "text": "pay once",
                "from": {"id": ALICE, "is_bot": False, "first_name": "U"},
            }  # fmt: skip
            api.deliver(message)
            await bench.ask(ALICE, "another")
        async with chatting_bot(db=db, api=api) as again:  # and after a restart
            api.deliver(message)
            await again.ask(ALICE, "a third")
            assert [body["messages"][-1]["content"] for body in again.backend.bodies] == ["a third"]
        assert len(bench.backend.bodies) == 2
    db.close()


async def test_bot_whose_token_telegram_does_not_know_does_not_start() -> None:
    from cocoon.telegram.errors import BotError

    async with bot_api() as api:
        api.fail_next("getMe", ApiFailure(401, "Unauthorized"))
        with pytest.raises(BotError, match="does not know this token"):
            async with chatting_bot(api=api):
                raise AssertionError("it started")
