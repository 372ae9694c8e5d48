"""What no worker could be asked is its sender's fault, and takes no worker from anybody else."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import ClientSession
from scripted import MODEL, NAME, served
from workers_in_test import finished, market

from cocoon.client.stream import Delta as Piece
from cocoon.client.stream import StreamRefused
from cocoon.gateway.errors import ApiError, NoWorker, RequestRefused
from cocoon.gateway.questions import chat_question, completion_question, embedding_texts

BODY = {"prompt": "one two", "max_tokens": 10}
SAID = [Piece("a", 1), finished()]
CHAT = {"model": NAME, "messages": [{"role": "user", "content": "a b"}]}


@pytest.mark.parametrize(
    ("prompt", "reason"), [("a\ud800b", "malformed"), ("x" * 70_000, "too_long"), ("\N{SNOWMAN}" * 30_000, "too_long")]
)
async def test_request_that_cannot_be_sent_is_refused_and_no_worker_is_blamed(prompt: str, reason: str) -> None:
    made, pool = market({0: SAID, 1: SAID})
    body = {**BODY, "prompt": prompt}
    with pytest.raises(RequestRefused) as quoted:
        made.quote(body, MODEL)
    assert quoted.value.reason == reason
    assert [made.experience(n).failures for n in (0, 1)] == [0, 0]
    assert [pool.fast[n].asked for n in (0, 1)] == [0, 0]
    assert made.why_not(made.facts.workers[0], int(MODEL, 16)) is None  # type: ignore[union-attr]


async def run(made: Any) -> None:
    async for _ in made.run(made.quote(BODY, MODEL)):
        pass


async def test_request_that_our_own_side_could_not_pay_for_blames_no_worker() -> None:
    made, pool = market({0: [StreamRefused("deposit", "more than the deposit has left")]})
    with pytest.raises(NoWorker):
        await run(made)
    assert (made.experience(0).failures, pool.retired) == (0, [])


async def test_channel_whose_books_do_not_fit_together_is_given_up() -> None:
    made, pool = market({0: [StreamRefused("history", "the books differ")], 1: SAID})
    await run(made)
    assert pool.retired == [0]


@pytest.mark.parametrize(
    "change",
    [
        {"reasoning_effort": "high"}, {"verbosity": "low"}, {"repetition_penalty": 1.1}, {"best_of": 3}, {"min_p": 0.1},
        {"stream": 1}, {"stream": True, "stream_options": {"include_usage": "false"}},
        {"messages": [{"role": "user", "content": "a", "name": "bob"}]},
    ],
    ids=str,
)  # fmt: skip
def test_chat_field_that_nobody_would_honour_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as caught:
        chat_question({**CHAT, **change})
    assert caught.value.status == 400


def test_chat_fields_without_effect_on_the_answer_are_taken() -> None:
    chat_question({**CHAT, "user": "me", "metadata": {"a": "b"}, "store": True, "service_tier": "auto", "min_p": None})


def test_completion_and_embedding_fields_that_nobody_would_honour_are_refused() -> None:
    completion_question({"model": NAME, "prompt": "a", "n": 2, "best_of": 2})
    for asked in ({"best_of": 1, "n": 2}, {"best_of": 2}, {"messages": []}):
        with pytest.raises(ApiError):
            completion_question({"model": NAME, "prompt": "a", **asked})
    with pytest.raises(ApiError):
        embedding_texts({"model": NAME, "input": "a", "truncate": True})


async def test_body_that_is_not_encoded_as_it_says_is_a_bad_request() -> None:
    async with served() as gateway, ClientSession() as session:
        headers = {
            "Authorization": f"Bearer {gateway.key}",
            "Content-Encoding": "gzip",
            "Content-Type": "application/json",
        }
        async with session.post(f"{gateway.base_url}/chat/completions", data=b"no gzip", headers=headers) as answer:
            assert answer.status == 400
            assert (await answer.json())["error"]["type"] == "invalid_request_error"
