"""The official SDK, unmodified, against the gateway's HTTP side; the market is played by a script."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import sqlite3
import struct
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import openai
import pytest
from scripted import EMBEDDER, MODEL, NAME, TERMS, TON, ScriptedBackend, served, until

from cocoon.crypto.usage import Usage, price
from cocoon.gateway.context import HttpLimits
from cocoon.gateway.errors import BackendFailed, RequestRefused

HELLO = [{"role": "user", "content": "one two three"}]
FEE = price(Usage(4, 1, 3), TERMS)


async def test_chat_whole_answer_has_text_usage_cost_and_receipt() -> None:
    async with served() as gateway, gateway.client() as client:
        raw = await client.chat.completions.with_raw_response.create(
            model=NAME, messages=HELLO, temperature=0.5, top_p=0.9, seed=7, stop=["x"], max_tokens=5
        )
        answer = raw.parse()
        assert answer.choices[0].message.content == "one two three "
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage is not None
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (5, 3, 8)
        assert answer.usage.prompt_tokens_details is not None
        assert answer.usage.prompt_tokens_details.cached_tokens == 1
        assert answer.usage.model_extra == {"cost_nano": FEE, "cost_ton": f"{FEE / 1e9:.9f}"}
        assert answer.system_fingerprint == "fp_" + "ee" * 8
        receipts = raw.headers["X-Cocoon-Receipt"].split(", ")
        assert answer.model_extra is not None
        assert answer.model_extra["cocoon"]["receipts"] == receipts
        assert gateway.backend.bodies == [
            {"messages": HELLO, "temperature": 0.5, "top_p": 0.9, "seed": 7, "stop": ["x"], "max_tokens": 5}
        ]
        assert gateway.spent() == (FEE, 0)


async def test_chat_stream_pieces_arrive_before_the_answer_has_ended() -> None:
    gate = asyncio.Event()
    async with served(ScriptedBackend(gate=gate.wait)) as gateway, gateway.client() as client:
        stream = await client.chat.completions.create(
            model=MODEL, messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        chunks = [await anext(stream), await anext(stream)]
        assert chunks[0].choices[0].delta.role == "assistant"
        assert chunks[1].choices[0].delta.content == "one "
        assert gateway.spent() == (0, price(Usage(13 + 16 + 96, 0, 512, b""), TERMS))
        gate.set()
        chunks += [chunk async for chunk in stream]
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text == "one two three "
        assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["stop"]
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.total_tokens == 8
        assert len({chunk.id for chunk in chunks}) == 1
        assert gateway.spent() == (FEE, 0)


async def test_chat_n_choices_each_have_their_seed_and_receipt() -> None:
    async with served() as gateway, gateway.client() as client:
        answer = await client.chat.completions.create(model=NAME, messages=HELLO, n=3, seed=-1)
        assert [choice.index for choice in answer.choices] == [0, 1, 2]
        assert sorted(body["seed"] for body in gateway.backend.bodies) == [0, 1, (1 << 64) - 1]
        assert answer.model_extra is not None
        assert len(set(answer.model_extra["cocoon"]["receipts"])) == 3
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 9
        assert gateway.spent() == (3 * FEE, 0)
        stream = await client.chat.completions.create(model=NAME, messages=HELLO, n=2, stream=True)
        texts = {0: "", 1: ""}
        async for chunk in stream:
            texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
        assert texts == {0: "one two three ", 1: "one two three "}


async def test_chat_without_seed_or_limits_gets_ones_that_make_it_replayable() -> None:
    async with served() as gateway, gateway.client() as client:
        answer = await client.chat.completions.create(model=NAME, messages=HELLO)
        (body,) = gateway.backend.bodies
        assert answer.model_extra is not None
        assert body["seed"] == answer.model_extra["cocoon"]["seed"]
        assert (body["temperature"], body["max_tokens"]) == (1.0, 512)


async def test_completions_prompts_and_stream_have_the_older_shape() -> None:
    async with served() as gateway, gateway.client() as client:
        answer = await client.completions.create(model=NAME, prompt=["a b", "c"], max_tokens=1)
        assert (answer.object, [choice.text for choice in answer.choices]) == ("text_completion", ["a ", "c "])
        stream = await client.completions.create(model=NAME, prompt="a b", stream=True)
        assert "".join([chunk.choices[0].text async for chunk in stream]) == "a b "


async def test_embeddings_float_and_packed_are_the_same_numbers() -> None:
    async with served() as gateway, gateway.client() as client:
        found = await client.embeddings.create(model=EMBEDDER, input=["abc", "de"])  # the SDK asks for base64
        assert [entry.embedding for entry in found.data] == [[3.0, 0.5], [2.0, 0.5]]
        assert found.usage.prompt_tokens == 4
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {gateway.key}"}) as session:
            asked = {"model": EMBEDDER, "input": "abc", "encoding_format": "base64"}
            async with session.post(f"{gateway.base_url}/embeddings", json=asked) as answer:
                packed = (await answer.json())["data"][0]["embedding"]
        assert struct.unpack("<2f", base64.b64decode(packed)) == (3.0, 0.5)


async def test_many_texts_are_asked_for_in_parts_and_come_back_in_order() -> None:
    backend = ScriptedBackend()
    async with served(backend) as gateway, gateway.client() as client:
        texts = ["x" * (n + 1) for n in range(20)]
        raw = await client.embeddings.with_raw_response.create(model=EMBEDDER, input=texts)
        assert [entry.embedding[0] for entry in raw.parse().data] == [len(text) for text in texts]
        assert sorted(len(body["input"]) for body in backend.bodies) == [4, 8, 8]
        receipts = raw.headers["X-Cocoon-Receipt"].split(", ")
        assert len(set(receipts)) == 3
        for receipt in receipts:
            assert await client.get(f"/receipts/{receipt}", cast_to=object)


@pytest.mark.parametrize(
    "vectors", [[], "AAAA", ["AAAAAA=="] * 2, [1], ["AAAA"], [""], ["!"], ["AADAfw=="], ["AACAfw=="], [[0.5]]]
)
async def test_answer_that_holds_no_vector_for_each_text_is_an_upstream_failure(vectors: Any) -> None:
    async with served(ScriptedBackend(vectors=vectors)) as gateway, gateway.client() as client:
        with pytest.raises(openai.APIStatusError, match="holds no embeddings") as refused:
            await client.embeddings.create(model=EMBEDDER, input=["abc"])
        assert refused.value.status_code == 502


async def test_models_list_has_live_prices_and_workers() -> None:
    async with served() as gateway, gateway.client() as client:
        found = [entry async for entry in client.models.list()]
        assert [entry.id for entry in found] == [NAME, EMBEDDER]
        one = await client.models.retrieve(NAME)
        assert one.model_extra is not None
        assert one.model_extra["cocoon"]["workers"] == 2
        assert one.model_extra["cocoon"]["prices"]["completion_nano"] == TERMS.completion_nano


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"logprobs": True}, "logprobs"), ({"frequency_penalty": 1.0}, "frequency_penalty"),
        ({"reasoning_effort": "high"}, "reasoning_effort"), ({"extra_body": {"min_p": 0.1}}, "min_p"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"temperature": 3}, "temperature"), ({"max_tokens": 0}, "max_tokens"), ({"n": 99}, "n"),
        ({"seed": 1 << 65}, "seed"), ({"stop": ["a"] * 5}, "stop"), ({"top_p": -1}, "top_p"),
        ({"temperature": 10**400}, "temperature"), ({"top_p": -(10**400)}, "top_p"),
    ],
)  # fmt: skip
async def test_chat_field_no_kernel_honours_is_refused_by_name(asked: dict[str, object], param: str) -> None:
    async with served() as gateway, gateway.client() as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(model=NAME, messages=HELLO, **asked)  # type: ignore[call-overload]
        assert caught.value.param == param
        assert caught.value.type == "invalid_request_error"
        assert gateway.backend.bodies == []
        assert gateway.spent() == (0, 0)


async def test_chat_neutral_values_of_unsupported_fields_are_accepted() -> None:
    async with served() as gateway, gateway.client() as client:
        parts = [{"type": "text", "text": "a "}, {"type": "text", "text": "b"}]
        answer = await client.chat.completions.create(
            model=NAME, messages=[{"role": "developer", "content": "s"}, {"role": "user", "content": parts}],
            frequency_penalty=0, presence_penalty=0.0, logit_bias={}, tools=[], user="me", logprobs=False,
            response_format={"type": "text"}, store=False, metadata={"a": "b"},
        )  # fmt: skip
        assert answer.choices[0].message.content == "a b "
        assert gateway.backend.bodies[0]["messages"][0] == {"role": "system", "content": "s"}


async def test_chat_unknown_key_is_401_and_unknown_model_404() -> None:
    async with served() as gateway:
        async with gateway.client(api_key="sk-cocoon-wrong") as client:
            with pytest.raises(openai.AuthenticationError) as refused:
                await client.chat.completions.create(model=NAME, messages=HELLO)
            assert refused.value.code == "invalid_api_key"
        async with gateway.client() as client:
            with pytest.raises(openai.NotFoundError) as missing:
                await client.chat.completions.create(model="gpt-9", messages=HELLO)
            assert missing.value.code == "model_not_found"


async def test_chat_without_worker_is_503_that_says_why() -> None:
    async with served(ScriptedBackend(workers=0)) as gateway, gateway.client() as client:
        with pytest.raises(openai.InternalServerError) as caught:
            await client.chat.completions.create(model=NAME, messages=HELLO)
        assert (caught.value.status_code, caught.value.code) == (503, "no_worker")
        assert "it is paused" in str(caught.value)


async def test_chat_beyond_budget_is_insufficient_quota_and_not_repeated() -> None:
    async with served(budget=1000) as gateway, gateway.client(max_retries=5) as client:
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(model=NAME, messages=HELLO)
        assert (caught.value.type, caught.value.code) == ("insufficient_quota", "insufficient_quota")
        assert gateway.backend.bodies == []
        shown = gateway.context.metrics.show(live=0, channels=0, locked_nano=0, wallet_nano=0).decode()
        assert 'requests_total{endpoint="/v1/chat/completions",status="429"} 1.0' in shown


async def test_chat_concurrent_requests_never_spend_more_than_the_budget() -> None:
    most = price(Usage(13 + 16 + 96, 0, 10, b""), TERMS)
    async with served(budget=5 * most) as gateway, gateway.client() as client:
        asked = [client.chat.completions.create(model=NAME, messages=HELLO, max_tokens=10) for _ in range(40)]
        results = await asyncio.gather(*asked, return_exceptions=True)
        answered = [result for result in results if not isinstance(result, BaseException)]
        assert len(answered) >= 5
        assert all(isinstance(result, openai.RateLimitError) for result in results if result not in answered)
        assert gateway.spent() == (len(answered) * FEE, 0)


async def test_chat_worker_failing_before_the_first_token_is_502_and_costs_nothing() -> None:
    async with (
        served(ScriptedBackend(error=BackendFailed("worker 3 broke off"))) as gateway,
        gateway.client() as client,
    ):
        for stream in (False, True):
            with pytest.raises(openai.InternalServerError) as caught:
                await client.chat.completions.create(model=NAME, messages=HELLO, stream=stream)
            assert caught.value.status_code == 502
        assert gateway.spent() == (0, 0)


async def test_chat_request_refused_by_the_worker_is_the_clients_error() -> None:
    backend = ScriptedBackend(error=RequestRefused("too_long", "9000 tokens, 2048 fit"))
    async with served(backend) as gateway, gateway.client() as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(model=NAME, messages=HELLO)
        assert caught.value.code == "context_length_exceeded"


@pytest.mark.parametrize(
    ("error", "said"),
    [(BackendFailed("worker 3 broke off"), "broke off"), (RuntimeError("a fault of ours"), "its log says more")],
)
async def test_chat_stream_broken_off_later_ends_with_an_error_and_is_charged_for_what_came(
    error: Exception, said: str
) -> None:
    backend = ScriptedBackend(error=error, fail_after=2)
    async with served(backend) as gateway, gateway.client() as client:
        stream = await client.chat.completions.create(model=NAME, messages=HELLO, stream=True)
        texts = []

        async def read() -> None:
            async for chunk in stream:
                texts.append(chunk.choices[0].delta.content)

        with pytest.raises(openai.APIError, match=said):
            await read()
        assert texts == ["", "one ", "two "]
        assert gateway.spent() == (price(Usage(4, 0, 2, b""), TERMS), 0)
        assert gateway.context.board.ended[0].state == "failed"


async def test_chat_answer_whose_receipt_can_not_be_kept_is_given_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*arguments: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    async with served() as gateway, gateway.client() as client:
        monkeypatch.setattr(gateway.context.archive, "put", full)
        answer = await client.chat.completions.create(model=NAME, messages=HELLO)
        assert answer.choices[0].message.content == "one two three "


async def test_chat_client_that_leaves_ends_the_work_and_is_charged_for_what_came() -> None:
    never = asyncio.Event()
    async with served(ScriptedBackend(gate=never.wait)) as gateway, gateway.client() as client:
        stream = await client.chat.completions.create(model=NAME, messages=HELLO, stream=True)
        await anext(stream)
        await anext(stream)
        await stream.close()
        await until(lambda: gateway.backend.closed == 1 and not gateway.context.board.live)
        assert gateway.spent() == (price(Usage(4, 0, 1, b""), TERMS), 0)
        assert gateway.context.board.ended[0].state == "failed"


async def test_chat_answer_that_takes_too_long_is_504() -> None:
    never = asyncio.Event()
    limits = HttpLimits(request_sec=0.2)
    async with served(ScriptedBackend(gate=never.wait), limits=limits) as gateway, gateway.client() as client:
        with pytest.raises(openai.InternalServerError) as caught:
            await client.chat.completions.create(model=NAME, messages=HELLO)
        assert (caught.value.status_code, caught.value.code) == (504, "timeout")
        assert gateway.backend.closed == 1


async def test_chat_stream_ends_in_one_piece() -> None:
    """Each piece costs a system call here and one at the client."""
    asked = {"model": NAME, "messages": HELLO, "stream": True, "stream_options": {"include_usage": True}}
    async with served() as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(gateway.base_url).port)
        body = json.dumps(asked).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {gateway.key}\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        said = await reader.read()
        writer.close()
    *_, last, zero, _, _ = said.partition(b"\r\n\r\n")[2].split(b"\r\n")
    end, totals, *rest = last.split(b"\n\n")
    assert json.loads(end.removeprefix(b"data: "))["choices"][0]["finish_reason"] == "stop"
    assert json.loads(totals.removeprefix(b"data: "))["usage"]["completion_tokens"] == 3
    assert (rest, zero) == ([b"data: [DONE]", b""], b"0")


async def test_chat_request_larger_than_allowed_is_413() -> None:
    async with served(limits=HttpLimits(body_bytes=1000)) as gateway, gateway.client() as client:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.chat.completions.create(model=NAME, messages=[{"role": "user", "content": "x" * 2000}])
        assert caught.value.status_code == 413


async def test_chat_more_at_once_than_allowed_are_told_to_come_again() -> None:
    gate, limits = asyncio.Event(), HttpLimits(at_once=1)
    async with served(ScriptedBackend(gate=gate.wait), limits=limits) as gateway, gateway.client() as client:
        first = asyncio.create_task(client.chat.completions.create(model=NAME, messages=HELLO))
        await until(lambda: bool(gateway.backend.bodies))
        with pytest.raises(openai.InternalServerError) as caught:
            await client.chat.completions.create(model=NAME, messages=HELLO)
        assert (caught.value.status_code, caught.value.code) == (503, "overloaded")
        gate.set()
        assert (await first).choices[0].message.content == "one two three "


async def test_chat_of_a_key_with_too_many_under_way_is_told_to_come_again_and_other_keys_are_not() -> None:
    gate, limits = asyncio.Event(), HttpLimits(at_once=4, at_once_per_key=2)
    async with served(ScriptedBackend(gate=gate.wait), limits=limits) as gateway, gateway.client() as client:
        first = [asyncio.create_task(client.chat.completions.create(model=NAME, messages=HELLO)) for _ in range(2)]
        await until(lambda: len(gateway.backend.bodies) == 2)
        with pytest.raises(openai.RateLimitError, match="2 requests under way") as caught:
            await client.chat.completions.create(model=NAME, messages=HELLO)
        assert (caught.value.code, caught.value.type) == ("rate_limit_exceeded", "requests")
        assert caught.value.response.headers["x-should-retry"] == "true"
        with pytest.raises(openai.RateLimitError):
            await client.embeddings.create(model=EMBEDDER, input="a")
        async with gateway.client(api_key=gateway.context.keys.add("other", TON)) as other:
            theirs = asyncio.create_task(other.chat.completions.create(model=NAME, messages=HELLO))
            await until(lambda: len(gateway.backend.bodies) == 3)
            gate.set()
            for answer in (*first, theirs):
                assert (await answer).choices[0].message.content == "one two three "
        assert await client.chat.completions.create(model=NAME, messages=HELLO)  # there is room again


async def test_receipt_is_given_to_the_key_that_asked_and_to_no_other() -> None:
    async with served() as gateway, gateway.client() as client:
        raw = await client.chat.completions.with_raw_response.create(model=NAME, messages=HELLO)
        url = f"{gateway.base_url}/receipts/{raw.headers['X-Cocoon-Receipt']}"
        other = gateway.context.keys.add("other", TON)
        async with aiohttp.ClientSession() as session:
            async with session.get(url, headers={"Authorization": f"Bearer {gateway.key}"}) as mine:
                document = await mine.json()
            async with session.get(url, headers={"Authorization": f"Bearer {other}"}) as theirs:
                assert theirs.status == 404
        assert document["fee_nano"] == FEE
        assert document["worker"]["index"] == 3
        assert document["usage"]["completion"] == 3


@pytest.mark.parametrize(
    "sent", [b"GET /v1/models HTTP/1.1\r\nAuthorization: " + b"x" * 20_000 + b"\r\n\r\n", b"no HTTP at all\r\n\r\n"]
)
async def test_request_that_cannot_be_read_is_openais_error_and_not_logged(
    sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with served() as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(gateway.base_url).port)
        writer.write(sent)
        said = await reader.read()  # and the connection is closed
        writer.close()
        head, _, body = said.partition(b"\r\n\r\n")
        assert head.split()[1] == b"400"
        assert b"application/json" in head
        assert json.loads(body)["error"]["type"] == "invalid_request_error"
    assert "xxx" not in caplog.text
    assert "no HTTP" not in caplog.text


async def test_request_of_unknown_path_method_or_body_is_openais_error() -> None:
    async with (
        served() as gateway,
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {gateway.key}"}) as session,
    ):
        async with session.get(f"{gateway.base_url}/nothing") as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (404, "not_found")
        async with session.get(f"{gateway.base_url}/chat/completions") as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "POST")
            assert "error" in await answer.json()
        async with session.post(f"{gateway.base_url}/chat/completions", headers={"Expect": "a miracle"}) as answer:
            assert (answer.status, (await answer.json())["error"]["type"]) == (417, "invalid_request_error")
        for raw in (b"{", b"[]", b"\xff", b"[" * 100_000):
            async with session.post(f"{gateway.base_url}/chat/completions", data=raw) as answer:
                assert (answer.status, (await answer.json())["error"]["type"]) == (400, "invalid_request_error")
