"""A `map` bundle serves texts: vectors, in a forced job's answer and in a stream's; what does not fit is refused."""

from __future__ import annotations

import base64
import queue
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy_bert import embed
from tiny_bert import write_bert

from cocoon.agent.compute import Answered, Limits, Refused, compute
from cocoon.agent.kernel import Began, Ended, Event
from cocoon.agent.main import load_kernel
from cocoon.agent.texts_kernel import TextsKernel
from cocoon.crypto.payload import MAX_PADDED_BYTES, encode_object
from cocoon.crypto.request import Request
from cocoon.crypto.response import ResponseKey
from cocoon.kernels.builders.blueprint import BuildOptions
from cocoon.kernels.builders.huggingface import blueprint_from_folder
from cocoon.kernels.builders.pack import write_bundle
from cocoon.kernels.bundle.loader import read_manifest
from cocoon.kernels.engine.request import Metering
from cocoon.kernels.errors import InvalidRequest, OverBudget, PromptTooLong, UnsupportedModel
from cocoon.wire.common import Kind, ModelTerms
from cocoon.wire.escrow import RejectReason

IDS = {"Hello worlds!": [2, 4, 5, 6, 10, 3], "a b c": [2, 7, 8, 9, 3]}
WHOLE = Metering(prepaid=1000, allowed=0, prompt_weight=1, answer_weight=5, budget=1000)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """(a bundle, its weights)"""
    root = tmp_path_factory.mktemp("texts")
    weights = write_bert(root / "f")
    write_bundle(blueprint_from_folder(root / "f", name="e", licence="MIT"), [BuildOptions("f32")], root / "b")
    return root / "b", weights


@pytest.fixture(scope="module")
def kernel(folders: tuple[Path, Any]) -> Iterator[TextsKernel]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COCOON_CACHE", str(folders[0].parent / "cache"))
        made = load_kernel(str(folders[0]))
    assert isinstance(made, TextsKernel)
    yield made
    made.close()


def unpack(body: dict[str, Any]) -> np.ndarray[Any, Any]:
    return np.array([struct.unpack("<16f", base64.b64decode(text)) for text in body["embeddings"]])


def check_vectors(body: dict[str, Any], folders: tuple[Path, Any]) -> None:
    for row, ids in zip(unpack(body), IDS.values(), strict=True):
        np.testing.assert_allclose(row, embed(folders[1], 2, 1, ids, 1e-12), atol=1e-5)


def test_texts_kernel_answers_with_the_reference_vectors(kernel: TextsKernel, folders: tuple[Path, Any]) -> None:
    request = {"input": list(IDS)}
    assert kernel.model_id == read_manifest(folders[0]).model_id
    assert (kernel.count_tokens(request), kernel.asked_tokens(request)) == (11, 0)
    done = kernel.complete(request, max_tokens=1, cancel=threading.Event())
    assert (done.prompt_tokens, done.cached_tokens, done.completion_tokens) == (11, 0, 0)
    check_vectors(done.body, folders)


def test_texts_kernel_streams_no_pieces_and_begins_only_with_what_is_paid(
    kernel: TextsKernel, folders: tuple[Path, Any]
) -> None:
    told: queue.SimpleQueue[Event] = queue.SimpleQueue()
    kernel.start({"input": list(IDS)}, Metering(10, 0, 1, 5, 10), told.put, max_tokens=0)
    refused = told.get(timeout=30)
    assert isinstance(refused, OverBudget)
    assert refused.tokens == 11
    assert WHOLE.pays_for(refused.tokens, 0)
    kernel.start({"input": list(IDS)}, WHOLE, told.put, max_tokens=0).allow(32)
    assert told.get(timeout=30) == Began(11, 0)
    ended = told.get(timeout=30)
    assert isinstance(ended, Ended)
    check_vectors(ended.body, folders)
    assert told.empty()


@pytest.mark.parametrize(("request_", "error"), [
    ({}, InvalidRequest), ({"input": []}, InvalidRequest), ({"input": "a"}, InvalidRequest),
    ({"input": ["a", 1]}, InvalidRequest), ({"input": ["a"], "max_tokens": 1}, InvalidRequest),
    ({"prompt": "a"}, InvalidRequest), ({"input": ["\ud800"]}, InvalidRequest),
    ({"input": ["a"] * 257}, InvalidRequest), ({"input": ["a", "hello " * 31]}, PromptTooLong),
])  # fmt: skip
def test_texts_kernel_refuses_what_it_can_not_read_whole(
    kernel: TextsKernel, request_: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        kernel.count_tokens(request_)
    with pytest.raises(error):
        kernel.complete(request_, max_tokens=1, cancel=threading.Event())
    told: queue.SimpleQueue[Event] = queue.SimpleQueue()
    kernel.start(request_, WHOLE, told.put, max_tokens=0)
    assert isinstance(told.get(timeout=30), error)


class _Wide:
    """A model whose vectors have `width` numbers; of the host, what the kernel needs of it."""

    model_id, build_id = bytes(32), "b" * 64

    def __init__(self, width: int | None) -> None:
        self.width = width
        self.about = {"text_width": width}

    def map_texts(self, texts: list[str]) -> tuple[dict[str, Any], int]:
        return {"embedding": np.ones((len(texts), self.width or 0), np.float32)}, len(texts)


@pytest.mark.parametrize(("width", "most"), [(384, 31), (1024, 11), (10_000, 1)])
def test_as_many_texts_are_taken_as_one_answer_holds_vectors_of(width: int, most: int) -> None:
    kernel = TextsKernel(_Wide(width))  # type: ignore[arg-type]
    done = kernel.complete({"input": ["a"] * most}, max_tokens=1, cancel=threading.Event())
    assert len(encode_object(done.body)) < MAX_PADDED_BYTES - 100
    with pytest.raises(InvalidRequest, match=f"at most {most} at once"):
        kernel.complete({"input": ["a"] * (most + 1)}, max_tokens=1, cancel=threading.Event())


@pytest.mark.parametrize("width", [None, 20_000])
def test_model_without_vectors_of_texts_or_with_too_wide_ones_is_not_served(width: int | None) -> None:
    with pytest.raises(UnsupportedModel):
        TextsKernel(_Wide(width))  # type: ignore[arg-type]


def test_run_taken_back_before_it_begins_does_no_work() -> None:
    class Slow(_Wide):
        def count_texts(self, texts: list[str]) -> int:
            gate.wait(30)
            return len(texts)

    gate, told = threading.Event(), queue.SimpleQueue[Event]()
    run = TextsKernel(Slow(4)).start({"input": ["a"]}, WHOLE, told.put, max_tokens=0)  # type: ignore[arg-type]
    run.cancel()
    gate.set()
    assert told.get(timeout=30) == Ended({"finish_reason": "cancelled"})


async def forced(kernel: TextsKernel, body: dict[str, Any], terms: ModelTerms, max_fee: int) -> Answered:
    from types import SimpleNamespace

    binding: Any = SimpleNamespace(terms=terms, model_id=int.from_bytes(kernel.model_id, "big"))
    key = ResponseKey(bytes(32), 1, Kind.FORCED_RECEIPT, 1)
    request = Request(body=body, secret=bytes(32))
    return await compute(kernel, request, binding, key, max_fee_nano=max_fee, seconds=30, limits=Limits())


async def test_forced_job_for_vectors_is_charged_for_its_texts_alone(kernel: TextsKernel) -> None:
    terms = ModelTerms(10**6, 0, 7 * 10**6, 3, 1)
    done = await forced(kernel, {"input": list(IDS)}, terms, 11)
    assert (done.usage.prompt, done.usage.completion, done.fee_nano) == (11, 0, 11)
    with pytest.raises(Refused) as refused:
        await forced(kernel, {"input": list(IDS)}, terms, 10)
    assert refused.value.reason == RejectReason.FEE_TOO_LOW
    with pytest.raises(Refused) as refused:
        await forced(kernel, {"input": ["hello " * 31]}, terms, 100)
    assert refused.value.reason == RejectReason.TOO_LONG
