"""Choosing the next token: greedy, or seeded sampling that replays bit for bit on the same platform.

The random number for a position depends on the seed and that position only (counter-based), so a run can be resumed or
checked from any point of it.
"""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from cocoon.kernels.errors import InvalidRequest

__all__ = ["GREEDY", "Sampling", "choose"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """temperature: 0 is greedy (ties go to the lowest id). top_p: nucleus mass in (0, 1]. seed: 0 <= seed < 2^64."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and 0 <= self.temperature <= 10):
            raise InvalidRequest(f"temperature {self.temperature} is not between 0 and 10")
        if not 0 < self.top_p <= 1:
            raise InvalidRequest(f"top_p {self.top_p} is not in (0, 1]")
        if not 0 <= self.seed < 1 << 64:
            raise InvalidRequest(f"seed {self.seed} is not a 64-bit unsigned number")


GREEDY = Sampling()


def choose(logits: Any, position: int, sampling: Sampling) -> int:
    """The token for `position` (its index in the context) from logits [vocabulary] float32."""
    if sampling.temperature == 0:
        return int(_greedy(logits))
    words = jnp.array([sampling.seed >> 32, sampling.seed & 0xFFFFFFFF], jnp.uint32)
    return int(_sample(logits, words, position, sampling.temperature, sampling.top_p))


@jax.jit
def _greedy(logits: Any) -> Any:
    return jnp.argmax(logits)


@jax.jit
def _sample(logits: Any, seed: Any, position: Any, temperature: Any, top_p: Any) -> Any:
    """Gumbel-max over the smallest set of tokens whose probability reaches top_p."""
    key = jax.random.fold_in(jax.random.wrap_key_data(seed, impl="threefry2x32"), position)
    scaled = logits / temperature
    order = jnp.argsort(-scaled, stable=True)
    ranked = scaled[order]
    probability = jax.nn.softmax(ranked)
    before = jnp.cumsum(probability) - probability
    kept = jnp.where(before < top_p, ranked, -jnp.inf)
    kept = kept.at[0].set(ranked[0])
    return order[jnp.argmax(kept + jax.random.gumbel(key, kept.shape))]
