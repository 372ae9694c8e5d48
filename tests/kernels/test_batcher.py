"""Continuous batching: whatever the company, an answer is the one it would be alone."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny import tiny_tokenizer

from cocoon.kernels.bundle.loader import open_bundle
from cocoon.kernels.engine.batcher import Batcher, Event, Finished
from cocoon.kernels.engine.request import GenerateRequest, Token
from cocoon.kernels.engine.runtime import Runtime
from cocoon.kernels.engine.sampling import Sampling
from cocoon.kernels.engine.tokenizer import Tokenizer
from cocoon.kernels.errors import EngineBusy, InvalidRequest, PromptTooLong

TOKENIZER = Tokenizer(tiny_tokenizer())
HOT = Sampling(1.0, 0.95, 11)


@pytest.fixture(scope="module")
def runtime(tiny_bundle: Path) -> Runtime:
    bundle = open_bundle(tiny_bundle)
    return Runtime(bundle, bundle.manifest.builds[0])


@pytest.fixture
def batcher(runtime: Runtime) -> Batcher:
    runtime.reset()
    return Batcher(runtime, TOKENIZER, longest_queue=20)


def prompt(length: int, seed: int = 0) -> tuple[int, ...]:
    return tuple(random.Random(seed).randrange(3, 259) for _ in range(length))


def run(batcher: Batcher, *requests: GenerateRequest) -> list[list[Event]]:
    events: list[list[Event]] = [[] for _ in requests]
    for request, seen in zip(requests, events, strict=True):
        batcher.submit(request, seen.append)
    while batcher.busy:
        batcher.step()
    return events


def ids(events: list[Event]) -> list[int]:
    return [event.id for event in events if isinstance(event, Token)]


def finished(events: list[Event]) -> Finished:
    assert isinstance(events[-1], Finished)
    return events[-1]


def test_step_gives_tokens_then_one_finish_with_the_counts(batcher: Batcher) -> None:
    (events,) = run(batcher, GenerateRequest(prompt(20), 5, sampling=HOT))
    assert len(ids(events)) == 5
    assert finished(events) == Finished("length", 20, 0, 5)
    assert [event.index for event in events[:-1] if isinstance(event, Token)] == [0, 1, 2, 3, 4]


def test_every_chunk_of_a_prompt_is_computed_when_its_step_ends(
    batcher: Batcher, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk that is only on its way would make a long prompt one long step, in which nobody is heard."""
    made: list[Any] = []

    def watched(index: int, *inputs: Any) -> tuple[Any, ...]:
        made.extend(outputs := Runtime.run(runtime, index, *inputs))
        return outputs

    monkeypatch.setattr(runtime, "run", watched)
    batcher.submit(GenerateRequest(prompt(90), 1), lambda event: None)
    while batcher.busy:
        batcher.step()
        assert made[-1].is_ready()
    assert len(made) > 3


def test_answers_in_a_crowd_equal_the_answers_alone_bit_for_bit(runtime: Runtime, batcher: Batcher) -> None:
    """More requests than slots, of all lengths and temperatures, some cancelled, in an order drawn by lot."""
    draw = random.Random(5)
    requests = [
        GenerateRequest(
            prompt(draw.choice([1, 7, 16, 17, 40, 90]), number),
            draw.randrange(1, 12),
            sampling=Sampling(draw.choice([0.0, 0.7, 1.5]), draw.choice([1.0, 0.9]), number, draw.choice([0, 40])),
            owner=draw.choice([None, "a", "b"]),
            logprobs=2,
        )
        for number in range(14)
    ]
    alone = [run(Batcher(runtime, TOKENIZER), request)[0] for request in requests]
    events: list[list[Event]] = [[] for _ in requests]
    pending = list(range(len(requests)))
    draw.shuffle(pending)
    cancelled = set(pending[:3])
    while pending or batcher.busy:
        if pending and draw.random() < 0.4:
            number = pending.pop()
            cancel = batcher.submit(requests[number], events[number].append)
            if number in cancelled:
                cancel()
        batcher.step()
    for number, request in enumerate(requests):
        if number in cancelled:
            assert events[number] == [Finished("cancelled", len(request.tokens), 0, 0)]
        else:
            assert events[number][:-1] == alone[number][:-1]


def test_prefix_of_the_same_owner_is_reused_without_changing_the_answer(runtime: Runtime, batcher: Batcher) -> None:
    first = prompt(50)
    longer = (*first[:40], *prompt(30, seed=9))
    fresh = run(Batcher(runtime, TOKENIZER), GenerateRequest(longer, 6, sampling=HOT, owner="a"))[0]
    run(batcher, GenerateRequest(first, 3, owner="a"))
    again = run(batcher, GenerateRequest(longer, 6, sampling=HOT, owner="a"))[0]
    assert ids(again) == ids(fresh)
    assert finished(again).cached_tokens == 32  # 40 tokens are shared; whole chunks of 16 count
    assert finished(fresh).cached_tokens == 0


def test_prefix_of_another_owner_or_of_none_is_never_reused(batcher: Batcher) -> None:
    run(batcher, GenerateRequest(prompt(50), 3, owner="a"), GenerateRequest(prompt(50), 3))
    for owner in ("b", None):
        (events,) = run(batcher, GenerateRequest(prompt(50), 3, owner=owner))
        assert finished(events).cached_tokens == 0


def test_prefix_that_is_the_whole_prompt_leaves_its_last_chunk_to_compute(batcher: Batcher) -> None:
    (first,) = run(batcher, GenerateRequest(prompt(32), 4, owner="a"))
    (second,) = run(batcher, GenerateRequest(prompt(32), 4, owner="a"))
    assert finished(second).cached_tokens == 16
    assert ids(first) == ids(second)


def test_stop_string_and_utf8_are_cut_where_they_should(batcher: Batcher) -> None:
    (free,) = run(batcher, GenerateRequest(prompt(9), 30, sampling=Sampling(2.0, seed=4)))
    text = "".join(event.text for event in free if isinstance(event, Token))
    stop = text[4:6]
    (cut,) = run(batcher, GenerateRequest(prompt(9), 30, (stop,), Sampling(2.0, seed=4)))
    assert "".join(event.text for event in cut if isinstance(event, Token)) == text[: text.index(stop)]
    assert finished(cut).reason == "stop"
    assert ids(cut) == ids(free)[: len(ids(cut))]


def test_answer_ends_where_the_capacity_does(batcher: Batcher) -> None:
    (events,) = run(batcher, GenerateRequest(prompt(250), None, sampling=Sampling(1.5, seed=1)))
    assert finished(events).reason in ("length", "stop")
    assert len(ids(events)) <= 256 - 250
    (last,) = run(batcher, GenerateRequest(prompt(255)))
    assert len(ids(last)) == 1


def test_cancel_in_the_middle_frees_the_slot(batcher: Batcher) -> None:
    seen: list[Event] = []
    cancel = batcher.submit(GenerateRequest(prompt(5), 100, sampling=Sampling(1.0, seed=3)), seen.append)
    for _ in range(4):
        batcher.step()
    cancel()
    batcher.step()
    assert finished(seen).reason == "cancelled"
    assert not batcher.busy
    assert batcher.metrics().busy_slots == 0


def test_submit_of_what_does_not_fit_is_refused_at_once(batcher: Batcher) -> None:
    with pytest.raises(PromptTooLong):
        batcher.submit(GenerateRequest(prompt(256)), lambda _: None)
    with pytest.raises(InvalidRequest, match="vocabulary"):
        batcher.submit(GenerateRequest((259,)), lambda _: None)
    for bad in ({"tokens": ()}, {"tokens": (1,), "max_tokens": 0}, {"tokens": (1,), "logprobs": 21}):
        with pytest.raises(InvalidRequest):
            GenerateRequest(**bad)  # type: ignore[arg-type]
    for _ in range(20):
        batcher.submit(GenerateRequest((5,), 1), lambda _: None)
    with pytest.raises(EngineBusy):
        batcher.submit(GenerateRequest((5,), 1), lambda _: None)


def test_metrics_count_what_was_done(batcher: Batcher) -> None:
    run(batcher, GenerateRequest(prompt(20), 3), GenerateRequest(prompt(5), 2))
    found = batcher.metrics()
    assert (found.requests, found.finished, found.prompt_tokens, found.queue, found.slots) == (2, 2, 25, 0, 3)
    assert found.completion_tokens <= 5
    assert found.prefill_steps == 3


def test_two_thousand_requests_with_cancellations_leak_nothing_and_answer_as_alone(
    runtime: Runtime, batcher: Batcher
) -> None:
    """A soak: lengths, temperatures and cancellations drawn by lot; every answer is compared with the one alone."""
    draw = random.Random(17)
    kinds = [
        GenerateRequest(
            prompt(draw.choice([1, 3, 15, 16, 20, 34]), number),
            draw.randrange(1, 7),
            sampling=Sampling(draw.choice([0.0, 1.0, 2.0]), 1.0, number),
            owner=draw.choice([None, "a", "b"]),
        )
        for number in range(40)
    ]
    alone = [ids(run(Batcher(runtime, TOKENIZER), kind)[0]) for kind in kinds]
    started = ended = 0
    running: list[tuple[int, list[Event], Callable[[], None]]] = []
    while started < 2000 or running:
        while started < 2000 and len(running) < 12:
            number = draw.randrange(len(kinds))
            seen: list[Event] = []
            running.append((number, seen, batcher.submit(kinds[number], seen.append)))
            started += 1
        if draw.random() < 0.05:
            draw.choice(running)[2]()
        batcher.step()
        for entry in [entry for entry in running if entry[1] and isinstance(entry[1][-1], Finished)]:
            number, seen, _ = entry
            found = ids(seen)
            if finished(seen).reason == "cancelled":
                assert found == alone[number][: len(found)]
            else:
                assert found == alone[number]
            running.remove(entry)
            ended += 1
    metrics = batcher.metrics()
    assert (ended, metrics.requests, metrics.finished) == (2000, 2000, 2000)
    assert (metrics.busy_slots, metrics.queue, batcher.busy) == (0, 0, False)
    assert metrics.cached_tokens > 0
