"""The client for Python programs: texts, vectors, prices, refusals; the market is played by a script."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from scripted import EMBEDDER, MODEL, NAME, TERMS, ScriptedBackend, body_of

import cocoon
from cocoon.crypto.usage import Usage, price
from cocoon.gateway.backend import Delta, Finished, Quote
from cocoon.gateway.errors import BackendFailed, NoWorker
from cocoon.gateway.vectors import text_bodies
from cocoon.sdk import AnswerFailed, AsyncClient, BlockingStream, Client, RequestInvalid, TextStream, TooDear

HELLO = [{"role": "user", "content": "one two three"}]


async def test_answer_has_text_usage_price_and_a_proof() -> None:
    backend = ScriptedBackend()
    answer = await AsyncClient(backend).ask(HELLO, model=NAME, max_tokens=5, seed=7, temperature=0)
    assert (answer.text, answer.finish_reason, answer.seed) == ("one two three ", "stop", 7)
    assert answer.fee_nano == price(Usage(4, 1, 3, b""), TERMS) == answer.proof.fee_nano
    assert backend.bodies == [{"messages": HELLO, "max_tokens": 5, "seed": 7, "temperature": 0.0}]


async def test_text_is_continued_and_a_length_is_asked_for_even_if_nobody_says_one() -> None:
    backend = ScriptedBackend()
    assert (await AsyncClient(backend).ask("a b c", model=MODEL)).text == "a b c "
    assert backend.bodies[0]["prompt"] == "a b c"
    assert backend.bodies[0]["max_tokens"] > 0


async def test_stream_comes_in_pieces_and_leaving_it_ends_the_work() -> None:
    backend = ScriptedBackend()
    stream = AsyncClient(backend).stream(HELLO, model=NAME)
    assert isinstance(stream, TextStream)
    assert [piece async for piece in stream] == ["one ", "two ", "three "]
    assert stream.answer is not None
    assert stream.answer.text == "one two three "
    stream = AsyncClient(backend).stream(HELLO, model=NAME)
    assert await anext(stream) == "one "
    await stream.aclose()
    assert backend.closed == 1
    assert stream.answer is None


async def test_vectors_of_many_texts_come_back_in_order() -> None:
    backend = ScriptedBackend()
    found = await AsyncClient(backend).embed(["x" * n for n in range(1, 21)], model=EMBEDDER)
    assert [vector[0] for vector in found.vectors] == list(range(1, 21))
    assert (found.tokens, len(found.proofs), len(backend.bodies)) == (40, 3, 3)
    assert found.fee_nano == sum(proof.fee_nano for proof in found.proofs)


async def test_vectors_that_are_none_are_refused_with_what_they_cost() -> None:
    with pytest.raises(AnswerFailed, match="no embeddings") as failed:
        await AsyncClient(ScriptedBackend(vectors=["AADAfw=="])).embed(["a"], model=EMBEDDER)
    assert failed.value.spent_nano > 0


@pytest.mark.parametrize("failures", [1, 2])
async def test_part_that_fails_for_nothing_is_asked_once_more(failures: int) -> None:
    class Busy(ScriptedBackend):
        left = failures

        async def run(self, quote: Quote) -> AsyncIterator[Delta | Finished]:
            body = body_of(quote)
            if "bad" in body["input"] and self.left:
                self.left -= 1
                self.bodies.append(body)
                raise NoWorker("no worker answered: worker 3: busy")
            async for event in super().run(quote):
                yield event

    backend = Busy()
    found = AsyncClient(backend).embed(["x"] * 8 + ["bad"], model=EMBEDDER)
    if failures == 1:
        assert len((await found).vectors) == 9
    else:
        with pytest.raises(NoWorker, match="busy"):
            await found
    assert len(backend.bodies) == 3


async def test_vectors_that_are_lost_with_another_part_are_counted() -> None:
    class Broken(ScriptedBackend):
        async def run(self, quote: Quote) -> AsyncIterator[Delta | Finished]:
            body = body_of(quote)
            if "bad" in body["input"]:
                raise BackendFailed("worker 3 broke off", spent_nano=5)
            async for event in super().run(quote):
                yield event

    with pytest.raises(BackendFailed, match="broke off") as failed:
        await AsyncClient(Broken()).embed(["x"] * 8 + ["bad"], model=EMBEDDER)
    assert failed.value.spent_nano == price(Usage(16, 0, 0, b""), TERMS) + 5


@pytest.mark.parametrize(("options", "said"), [
    ({"model": "nothing"}, "nobody offers"), ({"model": NAME, "n": 2}, "one answer at a time"),
    ({"model": NAME, "temperature": 9}, "temperature must be"), ({"model": NAME, "tools": [1]}, "tools is not"),
])  # fmt: skip
async def test_request_at_fault_is_refused_unsent(options: dict[str, Any], said: str) -> None:
    backend = ScriptedBackend()
    with pytest.raises(RequestInvalid, match=said):
        await AsyncClient(backend).ask(HELLO, **options)
    assert backend.bodies == []


async def test_request_that_may_cost_more_than_allowed_is_not_sent() -> None:
    backend = ScriptedBackend()
    client = AsyncClient(backend)
    with pytest.raises(TooDear, match="ask for less, or allow more"):
        await client.ask(HELLO, model=NAME, max_tokens=100, most_nano=1000)
    with pytest.raises(TooDear):
        await client.embed(["a"] * 20, model=EMBEDDER, most_nano=1000)
    assert backend.bodies == []
    assert (await client.ask(HELLO, model=NAME, max_tokens=1, most_nano=10**9)).text == "one "


async def test_prices_that_rise_later_do_not_raise_what_a_request_may_cost() -> None:
    """Many vectors take many requests, each of which is asked at the price it was quoted at."""

    class Rising(ScriptedBackend):
        ran: list[int]

        def quote(self, body: dict[str, Any], model_id: str) -> Quote:
            quote = super().quote(body, model_id)
            return replace(quote, most_nano=quote.most_nano * (10 if self.ran else 1))

        async def run(self, quote: Quote) -> AsyncIterator[Delta | Finished]:
            self.ran.append(quote.most_nano)
            async for event in super().run(quote):
                yield event

    backend = Rising()
    backend.ran = []
    client, texts = AsyncClient(backend), ["x" * 50] * 20
    most = sum(quote.most_nano for quote in client.quotes(text_bodies(texts), EMBEDDER))
    await client.embed(texts, model=EMBEDDER, most_nano=most)
    assert len(backend.ran) > 1
    assert sum(backend.ran) == most


async def test_market_without_an_answer_says_why() -> None:
    with pytest.raises(NoWorker):
        await AsyncClient(ScriptedBackend(workers=0)).ask(HELLO, model=NAME)
    with pytest.raises(BackendFailed, match="worker 3 broke off"):
        await AsyncClient(ScriptedBackend(error=BackendFailed("worker 3 broke off"), fail_after=1)).ask(
            HELLO, model=NAME
        )


class _Opened:
    """`AsyncClient.open` without a network."""

    def __init__(self, backend: ScriptedBackend) -> None:
        self.backend, self.closed = backend, False

    async def __aenter__(self) -> AsyncClient:
        return AsyncClient(self.backend)

    async def __aexit__(self, *_: object) -> None:
        self.closed = True


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> _Opened:
    made = _Opened(ScriptedBackend())
    monkeypatch.setattr(AsyncClient, "open", lambda settings, **_: made)
    return made


def test_blocking_client_does_the_same_from_any_thread(opened: _Opened) -> None:
    with cocoon.Client("gateway.toml") as client:
        assert isinstance(client, Client)
        assert client.ask(HELLO, model=NAME).text == "one two three "
        stream = client.stream("a b", model=NAME)
        assert isinstance(stream, BlockingStream)
        assert list(stream) == ["a ", "b "]
        assert stream.answer is not None
        assert client.embed(["abc"], model=EMBEDDER).vectors == ((3.0, 0.5),)
        assert [model.workers for model in client.models()] == [2, 1]
        texts: list[str] = []
        threads = [threading.Thread(target=lambda: texts.append(client.ask("x", model=NAME).text)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert texts == ["x "] * 8
        with pytest.raises(RequestInvalid):
            client.ask(HELLO, model="nothing")
        left = client.stream("a b", model=NAME)
        assert next(left) == "a "
        left.close()
    assert opened.closed
    client.close()  # idempotent
    assert not [thread for thread in threading.enumerate() if thread.name == "cocoon"]


def test_blocking_client_that_can_not_open_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(_Opened):
        async def __aenter__(self) -> AsyncClient:
            raise BackendFailed("no network")

    monkeypatch.setattr(AsyncClient, "open", lambda settings, **_: Broken(ScriptedBackend()))
    with pytest.raises(BackendFailed, match="no network"):
        cocoon.Client("gateway.toml")
    assert not [thread for thread in threading.enumerate() if thread.name == "cocoon"]


def test_module_loads_nothing_of_the_client_until_it_is_asked() -> None:
    assert cocoon.AsyncClient is AsyncClient
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        cocoon.nothing  # noqa: B018
    assert asyncio.iscoroutinefunction(AsyncClient.ask)
