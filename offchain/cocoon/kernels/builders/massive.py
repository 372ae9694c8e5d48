"""Which matrices int8 would spoil: those whose inputs have massive activations.

In most language models a few layers write one or two numbers into the first token's row that are thousands of times
greater than all others, and read them again (M. Sun et al., "Massive Activations in Large Language Models", 2024). A
relative error of 1% of such a number is greater than everything else in the row, so the few matrices that such numbers
go into are worth twice the bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from .transformer import CacheShape, Model, TransformerConfig, prefill_rows

__all__ = ["massive_inputs"]

Array = Any
_TIMES = 1000.0  # of the median magnitude; the paper's bound


class _Observed(Model):
    """Remembers, of every matrix, the greatest of its inputs as a multiple of their median."""

    def __init__(self, config: TransformerConfig, weights: Mapping[str, Array]) -> None:
        super().__init__(config, weights)
        self.spread: dict[str, Array] = {}

    def linear(self, rows: Array, name: str) -> Array:
        magnitude = jnp.abs(rows)
        self.spread[name] = jnp.max(magnitude) / jnp.median(magnitude)
        return super().linear(rows, name)


def massive_inputs(
    config: TransformerConfig, weights: Mapping[str, Array], tokens: npt.NDArray[np.int32]
) -> frozenset[str]:
    """Names of matrices. weights: float32; tokens [T]: any will do, since it is the first ones that matter."""

    def spread(weights: Mapping[str, Array], tokens: Array) -> dict[str, Array]:
        model, shape, zero = _Observed(config, weights), CacheShape(1, len(tokens)), jnp.int32(0)
        heads = config.kv_heads, config.head_dim
        empty = [jnp.zeros(each(*heads)) for each in (shape.keys, shape.values) for _ in range(config.layers)]
        prefill_rows(model, shape, empty, tokens, zero, zero)
        return model.spread

    found = jax.jit(spread)(weights, tokens)
    return frozenset(name for name, times in found.items() if float(times) > _TIMES)
