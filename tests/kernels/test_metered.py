"""Answers that pause where their allowance ends: in the batcher, and through the kernel's process."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny import tiny_tokenizer

from cocoon.agent.engine_kernel import EngineKernel
from cocoon.agent.kernel import Began, Ended, Piece
from cocoon.kernels.bundle.loader import open_bundle
from cocoon.kernels.engine.batcher import Batcher, Event
from cocoon.kernels.engine.request import Finished, GenerateRequest, Metering, Started, Token
from cocoon.kernels.engine.runtime import Runtime
from cocoon.kernels.engine.sampling import Sampling
from cocoon.kernels.engine.tokenizer import Tokenizer
from cocoon.kernels.errors import OverBudget
from cocoon.kernels.sandboxed.host import KernelHost
from cocoon.kernels.sandboxed.process import Order

HOT = Sampling(1.0, 0.95, 11)
REQUEST = GenerateRequest(tuple(range(3, 23)), 12, sampling=HOT)
FREE = 10**9


@pytest.fixture
def batcher(tiny_bundle: Path) -> Batcher:
    bundle = open_bundle(tiny_bundle)
    return Batcher(Runtime(bundle, bundle.manifest.builds[0]), Tokenizer(tiny_tokenizer()))


def _run(batcher: Batcher, steps: int = 100) -> None:
    for _ in range(steps):
        if batcher.runnable:
            batcher.step()


def _ids(events: list[Event]) -> list[int]:
    return [event.id for event in events if isinstance(event, Token)]


def test_metered_answer_pauses_at_its_allowance_and_ends_as_it_would_have(batcher: Batcher) -> None:
    whole: list[Event] = []
    batcher.submit(REQUEST, whole.append)
    _run(batcher)
    events: list[Event] = []
    metered = batcher.submit_metered(REQUEST, events.append, Metering(20, 3, 1, 1, FREE))
    _run(batcher)
    assert _ids(events) == _ids(whole)[:3]
    assert (batcher.busy, batcher.runnable) == (True, False)
    metered.allow(2)  # never less
    metered.allow(7)
    _run(batcher)
    assert len(_ids(events)) == 7
    metered.allow(FREE)
    _run(batcher)
    assert (_ids(events), events[-1]) == (_ids(whole), whole[-1])
    assert events[0] == Started(20, 0)


def test_others_go_on_while_one_answer_waits(batcher: Batcher) -> None:
    waiting: list[Event] = []
    batcher.submit_metered(REQUEST, waiting.append, Metering(20, 1, 1, 1, FREE))
    done: list[Event] = []
    batcher.submit(REQUEST, done.append)
    _run(batcher)
    assert isinstance(done[-1], Finished)
    assert len(_ids(waiting)) == 1


def test_waiting_answer_can_be_cancelled(batcher: Batcher) -> None:
    events: list[Event] = []
    metered = batcher.submit_metered(REQUEST, events.append, Metering(20, 1, 1, 1, FREE))
    _run(batcher)
    metered.cancel()
    _run(batcher)
    assert events[-1] == Finished("cancelled", 20, 0, 1)
    assert not batcher.busy


@pytest.mark.parametrize(
    "metering", [Metering(19, 3, 1, 1, FREE), Metering(20, 3, 1, 1, 20), Metering(20, 3, 1, 5, 24)]
)
def test_prompt_that_is_not_paid_for_is_not_read(batcher: Batcher, metering: Metering) -> None:
    with pytest.raises(OverBudget) as caught:
        batcher.submit_metered(REQUEST, lambda event: None, metering)
    assert caught.value.tokens == 20
    assert not batcher.busy


def test_budget_ends_the_answer_where_it_is_used_up(batcher: Batcher) -> None:
    events: list[Event] = []
    batcher.submit_metered(REQUEST, events.append, Metering(20, 100, 2, 3, 40 + 4 * 3 + 2))
    _run(batcher)
    assert events[-1] == Finished("length", 20, 0, 4)


# ---- through the process ----


@pytest.fixture(scope="module")
def host(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelHost]:
    made = KernelHost(Order(tiny_bundle, compiled=tmp_path_factory.mktemp("compiled"), strict=sys.platform == "linux"))
    made.load()
    yield made
    made.close()


def _start(host: KernelHost, told: queue.SimpleQueue[Any], allowed: int, prepaid: int = FREE) -> Any:
    request = {"prompt": "hi", "temperature": 1.0, "seed": 4}
    return EngineKernel(host).start(request, Metering(prepaid, allowed, 0, 0, FREE), told.put, max_tokens=10)


def _until_end(told: queue.SimpleQueue[Any]) -> list[Any]:
    found = [told.get(timeout=60)]
    while not isinstance(found[-1], Ended | Exception):
        found.append(told.get(timeout=60))
    return found


def test_streamed_answer_is_the_complete_one(host: KernelHost) -> None:
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    _start(host, told, 10)
    events = _until_end(told)
    whole = EngineKernel(host).complete(
        {"prompt": "hi", "temperature": 1.0, "seed": 4}, max_tokens=10, cancel=threading.Event()
    )
    assert isinstance(events[0], Began)
    assert "".join(event.text for event in events if isinstance(event, Piece)) == whole.body["text"]
    assert events[-1].body["finish_reason"] == whole.body["finish_reason"]


def test_streamed_answer_waits_for_leave_in_the_process(host: KernelHost) -> None:
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    run = _start(host, told, 2)
    assert [type(told.get(timeout=60)) for _ in range(3)] == [Began, Piece, Piece]
    with pytest.raises(queue.Empty):
        told.get(timeout=1.5)  # longer than the process is silent for without a word that all is well
    run.allow(10)
    assert isinstance(_until_end(told)[-1], Ended)


def test_streamed_prompt_that_is_not_paid_for_is_told_with_its_length(host: KernelHost) -> None:
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    _start(host, told, 2, prepaid=1)
    (error,) = _until_end(told)
    assert isinstance(error, OverBudget)
    assert error.tokens > 1


def test_streamed_answer_survives_the_death_of_its_process(host: KernelHost) -> None:
    """What was told is not told again, and the rest is what it would have been."""
    whole: queue.SimpleQueue[Any] = queue.SimpleQueue()
    _start(host, whole, 10)
    expected = _until_end(whole)
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    run = _start(host, told, 2)
    begun = [told.get(timeout=60) for _ in range(3)]
    assert host._process is not None
    host._process._child.kill()
    run.allow(10)
    assert begun + _until_end(told) == expected


def test_streamed_answer_that_is_cancelled_ends(host: KernelHost) -> None:
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    run = _start(host, told, 2)
    told.get(timeout=60)
    run.cancel()
    assert _until_end(told)[-1].body["finish_reason"] == "cancelled"
