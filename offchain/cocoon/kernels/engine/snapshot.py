"""What an operator wants to see of an engine, as plain numbers: how fast, how full, how long until the first token.

Made of two readings of the engine's counters (`batcher.Metrics`, or its fields as `KernelHost.metrics` gives them).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from .batcher import Metrics

__all__ = ["EngineSnapshot"]


@dataclass(frozen=True, slots=True)
class EngineSnapshot:
    """Over the time between two readings, if not said otherwise.

    tokens_per_sec: of answers. decode_tokens_per_sec, prefill_tokens_per_sec: while answers, or prompts, were computed.
    slot_use: busy by all slots, now; queue: requests without a slot, now. first_token_sec: mean from the request to its
    first token. cache_hit_rate: prompt tokens that were not computed again. Rates are 0 where nothing happened.
    """

    seconds: float
    requests: int
    finished: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    tokens_per_sec: float
    decode_tokens_per_sec: float
    prefill_tokens_per_sec: float
    first_token_sec: float
    cache_hit_rate: float
    queue: int
    busy_slots: int
    slots: int
    slot_use: float

    @classmethod
    def between(
        cls, before: Metrics | Mapping[str, Any] | None, now: Metrics | Mapping[str, Any], seconds: float
    ) -> EngineSnapshot:
        """before: None is the engine's start. A process that was started again counts from 0, as if `before` was it."""
        later = _read(now)
        earlier = Metrics() if before is None else _read(before)
        if earlier.requests > later.requests or earlier.completion_tokens > later.completion_tokens:
            earlier = Metrics()
        grown = {f.name: getattr(later, f.name) - getattr(earlier, f.name) for f in fields(Metrics)}
        computed = grown["prompt_tokens"] - grown["cached_tokens"]
        # the first token of an answer comes out of the prompt's computation
        decoded = max(0, grown["completion_tokens"] - grown["first_tokens"])
        return cls(
            seconds=seconds,
            requests=grown["requests"],
            finished=grown["finished"],
            prompt_tokens=grown["prompt_tokens"],
            cached_tokens=grown["cached_tokens"],
            completion_tokens=grown["completion_tokens"],
            tokens_per_sec=_by(grown["completion_tokens"], seconds),
            decode_tokens_per_sec=_by(decoded, grown["decode_sec"]),
            prefill_tokens_per_sec=_by(computed, grown["prefill_sec"]),
            first_token_sec=_by(grown["first_tokens_sec"], grown["first_tokens"]),
            cache_hit_rate=_by(grown["cached_tokens"], grown["prompt_tokens"]),
            queue=later.queue,
            busy_slots=later.busy_slots,
            slots=later.slots,
            slot_use=_by(later.busy_slots, later.slots),
        )

    def numbers(self) -> dict[str, float]:
        """By name, as exporters want them."""
        return {name: float(value) for name, value in asdict(self).items()}


def _read(metrics: Metrics | Mapping[str, Any]) -> Metrics:
    return metrics if isinstance(metrics, Metrics) else Metrics(**metrics)


def _by(amount: float, of: float) -> float:
    return amount / of if of > 0 else 0.0
