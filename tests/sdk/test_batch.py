"""Batches: everything asked once, whatever happens in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from scripted import EMBEDDER, NAME, TERMS, ScriptedBackend, body_of

from cocoon.crypto.usage import Usage, price
from cocoon.gateway.backend import Delta, Finished, Quote
from cocoon.gateway.context import HttpLimits
from cocoon.gateway.errors import BackendFailed, PoolExhausted
from cocoon.gateway.estimate import Estimate
from cocoon.gateway.receipts import Proof
from cocoon.gateway.verify import check_offline
from cocoon.sdk import AsyncClient, BatchDone, BatchInvalid, read_batch, run_batch

CHAT, TEXT, EMBED = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"


def line(name: str, url: str = TEXT, **body: Any) -> dict[str, Any]:
    asked = {"model": NAME, "prompt": f"say {name}", "max_tokens": 5} | body
    return {"custom_id": name, "method": "POST", "url": url, "body": asked}


def write(path: Path, lines: list[Any]) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in lines))
    return path


def answers(path: Path) -> dict[str, Any]:
    """The last line of each custom_id."""
    return {value["custom_id"]: value for value in map(json.loads, path.read_text().splitlines())}


async def run(backend: ScriptedBackend, folder: Path, lines: list[Any], **options: Any) -> BatchDone:
    items = read_batch(write(folder / "in.jsonl", lines))
    return await run_batch(AsyncClient(backend), items, folder / "out.jsonl", **options)


async def test_batch_answers_every_kind_of_request_with_openais_documents_and_proofs(tmp_path: Path) -> None:
    chat = {"custom_id": "c", "method": "POST", "url": CHAT}
    chat["body"] = {"model": NAME, "messages": [{"role": "user", "content": "a b"}]}
    vectors = {"custom_id": "v", "method": "POST", "url": EMBED}
    vectors["body"] = {"model": EMBEDDER, "input": ["x" * (n + 1) for n in range(10)]}
    done = await run(ScriptedBackend(), tmp_path, [line("t"), chat, vectors])
    assert (done.items, done.answered, done.before, done.failed, done.stopped) == (3, 3, 0, 0, None)
    found = {name: value["response"]["body"] for name, value in answers(tmp_path / "out.jsonl").items()}
    assert found["t"]["choices"][0]["text"] == "say t "
    assert found["c"]["choices"][0]["message"]["content"] == "a b "
    assert [entry["embedding"][0] for entry in found["v"]["data"]] == list(range(1, 11))
    for body in found.values():
        for receipt in body["cocoon"]["proofs"]:
            assert all(check.holds is not False for check in check_offline(Proof.from_json(receipt)))
    assert done.spent_nano == sum(body["cocoon"]["cost_nano"] for body in found.values())


async def test_batch_run_again_asks_only_what_was_not_answered(tmp_path: Path) -> None:
    class Failing(ScriptedBackend):
        async def run(self, quote: Quote) -> AsyncIterator[Delta | Finished]:
            body = body_of(quote)
            if "odd" in body["prompt"]:
                raise BackendFailed("worker 3 broke off", spent_nano=5)
            async for event in super().run(quote):
                yield event

    lines = [line(f"{'odd' if n % 2 else 'even'} {n}") for n in range(20)]
    first = await run(Failing(), tmp_path, lines)
    assert (first.answered, first.failed) == (10, 10)
    assert first.spent_nano >= 50
    failed = answers(tmp_path / "out.jsonl")["odd 1"]
    assert (failed["response"], failed["error"]) == (None, {"code": "BackendFailed", "message": "worker 3 broke off"})
    with (tmp_path / "out.jsonl").open("a") as file:
        file.write('{"custom_id": "odd 1", "resp')  # the machine went down
    backend = ScriptedBackend()
    second = await run(backend, tmp_path, lines)
    assert (second.before, second.answered, second.failed, len(backend.bodies)) == (10, 10, 0, 10)
    assert all(value["response"] for value in answers(tmp_path / "out.jsonl").values())
    third = ScriptedBackend()
    assert (await run(third, tmp_path, lines)).before == 20
    assert third.bodies == []


async def test_batch_runs_no_more_at_once_than_told_and_tells_how_far_it_is(tmp_path: Path) -> None:
    under_way = most = 0

    class Counting(ScriptedBackend):
        async def run(self, quote: Quote) -> AsyncIterator[Delta | Finished]:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0)
            async for event in super().run(quote):
                yield event
            under_way -= 1

    seen: list[int] = []
    done = await run(
        Counting(), tmp_path, [line(str(n)) for n in range(30)], at_once=3,
        progress=lambda so_far: seen.append(so_far.answered),
    )  # fmt: skip
    assert done.answered == 30
    assert 1 < most <= 3
    assert seen == list(range(31))


async def test_batch_never_spends_more_than_its_budget_and_goes_on_later(tmp_path: Path) -> None:
    lines = [line(str(n)) for n in range(20)]
    most, fee = 137_000, price(Usage(4, 1, 2, b""), TERMS)  # of each
    budget = most + 7 * fee
    done = await run(ScriptedBackend(), tmp_path, lines, budget_nano=budget, at_once=4)
    assert done.stopped is not None
    assert "budget" in done.stopped
    assert (done.answered, done.spent_nano) == (8, 8 * fee)
    assert done.failed == 0
    again = await run(ScriptedBackend(), tmp_path, lines)
    assert again.before + again.answered == 20


async def test_batch_counts_answers_that_another_part_of_their_request_made_useless(tmp_path: Path) -> None:
    class Paid(ScriptedBackend):
        nano = 0

        async def run(self, quote: Quote) -> AsyncIterator[Delta | Finished]:
            body = body_of(quote)
            if "bad" in body["input"]:
                await asyncio.sleep(0.01)  # the others are done by now
                raise BackendFailed("worker 3 broke off", spent_nano=5)
            async for event in super().run(quote):
                if isinstance(event, Finished):
                    self.nano += event.fee_nano
                yield event

    asked = {"model": EMBEDDER, "input": ["x"] * 31 + ["bad"]}
    lines = [{"custom_id": str(n), "method": "POST", "url": EMBED, "body": asked} for n in range(20)]
    backend = Paid()
    most = sum(price(Estimate.of({"input": texts}).most, TERMS) for texts in [["x"] * 8] * 3 + [[*["x"] * 7, "bad"]])
    done = await run(backend, tmp_path, lines, budget_nano=most + 60_000, at_once=2)
    assert "budget" in str(done.stopped)
    assert done.failed > 1
    assert done.spent_nano == backend.nano + 5 * done.failed <= most + 60_000


@pytest.mark.parametrize("spoken", [True, False])
async def test_batch_counts_what_answers_that_take_too_long_have_cost(spoken: bool, tmp_path: Path) -> None:
    class Slow(ScriptedBackend):
        async def run(self, quote: Quote) -> AsyncIterator[Delta | Finished]:
            body = body_of(quote)
            self.bodies.append(body)
            if spoken:
                yield Delta("a", 1, 60_000, 3)
            await asyncio.sleep(9)

    backend = Slow()
    items = read_batch(write(tmp_path / "in.jsonl", [line(str(n)) for n in range(20)]))
    each = 60_000 if spoken else price(Estimate.of(items[0].body).prompt, TERMS)
    most = price(Estimate.of(items[0].body).most, TERMS)
    done = await run_batch(
        AsyncClient(backend, HttpLimits(request_sec=0.02)), items, tmp_path / "out.jsonl", budget_nano=most + 2 * each
    )
    assert (done.failed, done.spent_nano, len(backend.bodies)) == (3, 3 * each, 3)
    assert "budget" in str(done.stopped)


async def test_batch_without_workers_or_money_stops_and_marks_nothing_as_failed(tmp_path: Path) -> None:
    lines = [line(str(n)) for n in range(20)]
    done = await run(ScriptedBackend(workers=0), tmp_path, lines, at_once=2)
    assert (done.answered, done.failed) == (0, 0)
    assert "paused" in str(done.stopped)
    empty = ScriptedBackend(error=PoolExhausted("the wallet is empty"), fail_after=0)
    assert (await run(empty, tmp_path, lines)).stopped == "the wallet is empty"
    assert (tmp_path / "out.jsonl").read_text() == ""


async def test_request_at_fault_fails_alone(tmp_path: Path) -> None:
    done = await run(
        ScriptedBackend(), tmp_path, [line("bad", temperature=9), line("lost", model="none"), line("good")]
    )
    assert (done.answered, done.failed) == (1, 2)
    found = answers(tmp_path / "out.jsonl")
    assert "temperature" in found["bad"]["error"]["message"]
    assert "nobody offers" in found["lost"]["error"]["message"]


async def test_answers_to_other_requests_are_not_taken_for_these(tmp_path: Path) -> None:
    await run(ScriptedBackend(), tmp_path, [line("a")])
    backend = ScriptedBackend()
    with pytest.raises(BatchInvalid, match="answers another request with custom_id 'a'"):
        await run(backend, tmp_path, [line("a", prompt="something else")])
    assert backend.bodies == []


@pytest.mark.parametrize(("lines", "said"), [
    ([[]], "line 1: write"), ([{}], "line 1: write"), ([line("a"), line("a")], "line 2: custom_id 'a' occurs twice"),
    ([line("a", url="/v1/models")], "line 1: write"), ([line("a", stream=True)], "leave stream and n out"),
    ([line("a", n=2)], "leave stream and n out"), ([{**line("a"), "method": "GET"}], "line 1: write"),
])  # fmt: skip
def test_file_that_is_no_batch_is_refused_before_anything_is_asked(lines: list[Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(BatchInvalid, match=said):
        read_batch(write(tmp_path / "in.jsonl", lines))


def test_files_that_can_not_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BatchInvalid, match="can't be read"):
        read_batch(tmp_path / "nowhere")
    (tmp_path / "in.jsonl").write_text("{nonsense")
    with pytest.raises(BatchInvalid, match="no JSON object"):
        read_batch(tmp_path / "in.jsonl")


@pytest.mark.parametrize("content", ['{"a": 1}\n', "nonsense\n", "[]\n", "a letter without an end"])
async def test_results_that_are_none_are_left_alone(content: str, tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text(content)
    with pytest.raises(BatchInvalid):
        await run(ScriptedBackend(), tmp_path, [line("a")])
    assert (tmp_path / "out.jsonl").read_text() == content
