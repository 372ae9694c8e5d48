"""The engine's numbers, from its counters."""

from __future__ import annotations

from copy import copy
from dataclasses import asdict
from pathlib import Path

import pytest
from tiny import tiny_tokenizer

from cocoon.kernels.bundle.loader import open_bundle
from cocoon.kernels.engine.batcher import Batcher, Metrics
from cocoon.kernels.engine.request import GenerateRequest
from cocoon.kernels.engine.runtime import Runtime
from cocoon.kernels.engine.snapshot import EngineSnapshot
from cocoon.kernels.engine.tokenizer import Tokenizer

BEFORE = Metrics(requests=2, finished=1, prompt_tokens=100, completion_tokens=10, slots=4)
NOW = Metrics(
    requests=6,
    finished=3,
    prompt_tokens=300,
    cached_tokens=50,
    completion_tokens=34,
    decode_sec=2.0,
    prefill_sec=0.5,
    first_tokens=4,
    first_tokens_sec=1.0,
    queue=1,
    busy_slots=3,
    slots=4,
)


def test_between_two_readings_gives_rates_of_what_was_added() -> None:
    found = EngineSnapshot.between(BEFORE, NOW, 8.0)
    assert (found.requests, found.finished, found.completion_tokens) == (4, 2, 24)
    assert (found.tokens_per_sec, found.decode_tokens_per_sec, found.prefill_tokens_per_sec) == (3.0, 10.0, 300.0)
    assert (found.first_token_sec, found.cache_hit_rate) == (0.25, 0.25)
    assert (found.queue, found.busy_slots, found.slots, found.slot_use) == (1, 3, 4, 0.75)
    assert EngineSnapshot.between(asdict(BEFORE), asdict(NOW), 8.0) == found
    assert found.numbers()["slot_use"] == 0.75


def test_between_readings_of_two_processes_counts_from_the_second_ones_start() -> None:
    assert EngineSnapshot.between(NOW, BEFORE, 1.0) == EngineSnapshot.between(None, BEFORE, 1.0)


def test_between_of_an_idle_engine_is_zero() -> None:
    found = EngineSnapshot.between(NOW, NOW, 5.0)
    assert (found.tokens_per_sec, found.first_token_sec, found.cache_hit_rate) == (0.0, 0.0, 0.0)


def test_between_of_a_running_engine_sees_its_cache_queue_and_slots(tiny_bundle: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    batcher = Batcher(Runtime(bundle, bundle.manifest.builds[0]), Tokenizer(tiny_tokenizer()))
    prompt = tuple(range(40, 80))
    batcher.submit(GenerateRequest(prompt, 2, owner="a"), lambda event: None)
    while batcher.busy:
        batcher.step()
    before = copy(batcher.metrics())
    for _ in range(5):
        batcher.submit(GenerateRequest(prompt, 50, owner="a"), lambda event: None)
    batcher.step()
    found = EngineSnapshot.between(before, batcher.metrics(), 1.0)
    assert (found.queue, found.busy_slots, found.slots, found.slot_use) == (2, 3, 3, 1.0)
    assert found.cache_hit_rate == pytest.approx(32 / 120)  # one of three slots had the prompt, two chunks of 16 of it
    assert found.first_token_sec > 0
    assert found.prefill_tokens_per_sec > 0
