"""Choosing the next token: greedy, or seeded sampling that replays bit for bit on the same platform.

The random number for a position depends on the seed and that position only (counter-based), so a run can be resumed or
checked from any point of it: it is the first 53 bits of SHA-256("cocoon.sample/1" ‖ seed ‖ position), 8 bytes each, big
endian, as a fraction. The token is where that fraction of the kept probability is reached: in the order of ids, or
of falling probability (then id) where top_k or top_p keep only the likeliest.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InvalidRequest

__all__ = ["GREEDY", "MAX_LOGPROBS", "Sampling", "choose", "log_probabilities"]

Row = npt.NDArray[np.float32]
MAX_LOGPROBS = 20
_TAG = b"cocoon.sample/1"
_FIRST_LOOK = 256  # likeliest tokens sorted at once; nearly always enough for top_p


@dataclass(frozen=True, slots=True)
class Sampling:
    """temperature: 0 is greedy (ties go to the lowest id). top_p: nucleus mass in (0, 1]. top_k: 0 keeps all.
    seed: 0 <= seed < 2^64.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    top_k: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and 0 <= self.temperature <= 10):
            raise InvalidRequest(f"temperature {self.temperature} is not between 0 and 10")
        if not 0 < self.top_p <= 1:
            raise InvalidRequest(f"top_p {self.top_p} is not in (0, 1]")
        if not 0 <= self.seed < 1 << 64:
            raise InvalidRequest(f"seed {self.seed} is not a 64-bit unsigned number")
        if not 0 <= self.top_k < 1 << 31:
            raise InvalidRequest(f"top_k {self.top_k} is not a count")


GREEDY = Sampling()


def choose(logits: Row, position: int, sampling: Sampling) -> int:
    """The token for `position` (its index in the context) from finite or -inf logits [vocabulary]."""
    if sampling.temperature == 0:
        return int(np.argmax(logits))
    scaled = logits.astype(np.float64) / max(sampling.temperature, 1e-5)
    weights = np.exp(scaled - scaled.max())
    fraction = _fraction(sampling.seed, position)
    if sampling.top_p == 1 and sampling.top_k == 0:
        return _pick(weights, fraction)
    order = _likeliest(weights, sampling)
    return int(order[_pick(weights[order], fraction)])


def log_probabilities(logits: Row, token: int, count: int) -> tuple[float, list[tuple[int, float]]]:
    """Of `token`, and of the `count` likeliest tokens: natural logarithms at temperature 1."""
    wide = logits.astype(np.float64)
    high = wide.max()
    base = high + math.log(float(np.exp(wide - high).sum()))
    top = np.lexsort((np.arange(len(wide)), -wide))[:count] if count else np.empty(0, np.int64)
    return float(wide[token] - base), [(int(i), float(wide[i] - base)) for i in top]


def _fraction(seed: int, position: int) -> float:
    digest = hashlib.sha256(_TAG + seed.to_bytes(8, "big") + position.to_bytes(8, "big")).digest()
    return float(int.from_bytes(digest[:8], "big") >> 11) / (1 << 53)


def _pick(weights: npt.NDArray[np.float64], fraction: float) -> int:
    reached = np.cumsum(weights)
    found = int(np.searchsorted(reached, fraction * reached[-1], side="right"))
    return min(found, int(np.flatnonzero(weights)[-1]))


def _likeliest(weights: npt.NDArray[np.float64], sampling: Sampling) -> npt.NDArray[Any]:
    """Ids by falling weight (then id): the first top_k of them, and of these as many as reach top_p of all weight."""
    total, size = weights.sum(), len(weights)
    look = min(size, max(_FIRST_LOOK, sampling.top_k))
    while True:
        least = np.partition(weights, size - look)[size - look]
        ids = np.flatnonzero(weights >= least)  # all ties of the last one, so that the cut does not depend on a sort
        order = ids[np.lexsort((ids, -weights[ids]))]
        if sampling.top_k:
            order = order[: sampling.top_k]
        before = np.cumsum(weights[order]) - weights[order]
        kept = int(np.searchsorted(before, sampling.top_p * total, side="left"))
        if kept < len(order) or sampling.top_k or look == size:
            return order[: max(1, kept)]
        look = min(size, look * 8)
