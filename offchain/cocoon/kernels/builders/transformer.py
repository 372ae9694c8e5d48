"""Decoder-only transformers of the Llama family (Llama, SmolLM2, Qwen2, Qwen3) as functions of arrays.

`decode` feeds one token to each of B slots, `prefill` a chunk of C tokens to one of them. Both read and write the same
cache: S tokens in blocks of b, per layer keys [S/b, B·K, d, b] and values [S/b, B·K, b, d]; a block is one piece
of memory. Layers are unrolled: a scan would copy each weight slice.

Attention walks over the blocks that are in use, with a running softmax. A block behind a slot's position changes
nothing, not even a rounding, so a slot's bits do not depend on how far its neighbours are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from .precision import beside, embedded, linear

__all__ = [
    "CacheShape",
    "Model",
    "TransformerConfig",
    "decode",
    "decode_attention",
    "decode_step",
    "prefill",
    "prefill_attention",
    "prefill_rows",
    "prefill_step",
]

Array = Any
_BLOCK = 128
_FEW = 8  # rows for which a product read straight from the cache is faster than one of a copied block
_LOWEST = -1e30  # below every score, and finite: a block that shows nothing must not give inf - inf


@dataclass(frozen=True, slots=True)
class TransformerConfig:
    """Hyper-parameters. head_dim is even and heads a multiple of kv_heads (grouped-query attention)."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    feed_forward: int
    vocabulary: int
    context_length: int
    rms_epsilon: float
    rope_theta: float
    tied: bool = True
    qkv_bias: bool = False
    head_norm: bool = False  # RMS norm of each query and key head (Qwen3)


@dataclass(frozen=True, slots=True)
class CacheShape:
    """slots B and capacity S in tokens, a multiple of the attention block b."""

    slots: int
    capacity: int

    @property
    def block(self) -> int:
        return min(_BLOCK, self.capacity)

    def keys(self, kv_heads: int, head_dim: int) -> tuple[int, int, int, int]:
        return self.capacity // self.block, self.slots * kv_heads, head_dim, self.block

    def values(self, kv_heads: int, head_dim: int) -> tuple[int, int, int, int]:
        return self.capacity // self.block, self.slots * kv_heads, self.block, head_dim


class Model:
    """Weights by name, with what they are multiplied by."""

    def __init__(self, config: TransformerConfig, weights: Mapping[str, Array]) -> None:
        self.config, self._weights = config, weights

    def __getitem__(self, name: str) -> Array:
        return self._weights[name]

    def linear(self, rows: Array, name: str) -> Array:
        """[R, in] -> [R, out], float32."""
        return linear(rows, self._weights[name], self._weights.get(f"{name}.scale"))

    def embed(self, tokens: Array) -> Array:
        return embedded(tokens, self._weights["embedding"], self._weights.get("embedding.scale"))

    @property
    def attention_precision(self) -> lax.Precision:
        return beside(self._weights["layers.0.qkv"])

    def norm(self, rows: Array, name: str) -> Array:
        mean = jnp.mean(rows * rows, axis=-1, keepdims=True)
        return rows * lax.rsqrt(mean + self.config.rms_epsilon) * self._weights[name]

    def heads(self, rows: Array, layer: str, positions: Array) -> tuple[Array, Array, Array]:
        """Query [R, H, d], key and value [R, K, d] of rows at `positions`."""
        config = self.config
        mixed = self.linear(self.norm(rows, f"{layer}.attention_norm"), f"{layer}.qkv")
        if config.qkv_bias:
            mixed = mixed + self._weights[f"{layer}.qkv.bias"]
        split = mixed.reshape(rows.shape[0], -1, config.head_dim)
        query, key, value = jnp.split(split, (config.heads, config.heads + config.kv_heads), axis=1)
        if config.head_norm:
            query, key = self.norm(query, f"{layer}.query_norm"), self.norm(key, f"{layer}.key_norm")
        cos, sin = self._weights["rope_cos"][positions][:, None], self._weights["rope_sin"][positions][:, None]
        return _rotate(query, cos, sin), _rotate(key, cos, sin), value

    def close(self, rows: Array, mixed: Array, layer: str) -> Array:
        """The rest of a layer, after attention."""
        rows = rows + self.linear(mixed, f"{layer}.attention_out")
        return rows + self.feed_forward(rows, layer)

    def feed_forward(self, rows: Array, layer: str) -> Array:
        """What is added to the rows at a layer's end."""
        wide = self.linear(self.norm(rows, f"{layer}.feed_forward_norm"), f"{layer}.gate_up")
        gate, up = jnp.split(wide, 2, axis=1)
        return self.linear(jax.nn.silu(gate) * up, f"{layer}.down")

    def logits(self, rows: Array) -> Array:
        return self.linear(self.norm(rows, "output_norm"), "embedding" if self.config.tied else "output")


def decode(
    config: TransformerConfig,
    shape: CacheShape,
    weights: Mapping[str, Array],
    cache: Sequence[Array],
    tokens: Array,
    positions: Array,
    highest: Array,
) -> tuple[Array, list[Array]]:
    """One token for each slot: tokens, positions [B] int32; highest [] int32, the greatest position of a busy slot.

    Returns (logits [B, vocabulary], cache). cache: keys of every layer, then values of every layer. An idle slot writes
    to its position, too: give it the first one that holds nothing.
    """
    model, cache = Model(config, weights), list(cache)
    rows = model.embed(tokens)
    step = decode_step(config, shape, positions, highest)
    for i in range(config.layers):
        here = (cache[i], cache[config.layers + i])
        mixed, (cache[i], cache[config.layers + i]) = decode_attention(model, f"layers.{i}", here, rows, shape, step)
        rows = model.close(rows, mixed, f"layers.{i}")
    return model.logits(rows), cache


def decode_step(config: TransformerConfig, shape: CacheShape, positions: Array, highest: Array) -> tuple[Array, ...]:
    """What all layers of `decode` share: positions, and where in the cache they are."""
    at = jnp.repeat(positions, config.kv_heads)  # [B·K]
    return positions, at, jnp.arange(shape.slots * config.kv_heads, dtype=jnp.int32), highest // shape.block + 1


def decode_attention(
    model: Model, layer: str, cache: tuple[Array, Array], rows: Array, shape: CacheShape, step: tuple[Array, ...]
) -> tuple[Array, tuple[Array, Array]]:
    """Mixed values [B, H·d] of one layer, and its keys and values with those of `rows`. step: by `decode_step`."""
    config, (positions, at, lines, blocks) = model.config, step
    query, key, value = model.heads(rows, layer, positions)
    block, within = at // shape.block, at % shape.block
    keys = cache[0].at[block, lines, :, within].set(key.reshape(-1, config.head_dim))
    values = cache[1].at[block, lines, within].set(value.reshape(-1, config.head_dim))
    grouped = query.reshape(shape.slots * config.kv_heads, -1, config.head_dim)
    mixed = _attend(grouped, keys, values, jnp.int32(0), at[:, None, None], blocks, model.attention_precision)
    return mixed.reshape(shape.slots, -1), (keys, values)


def prefill(
    config: TransformerConfig,
    shape: CacheShape,
    weights: Mapping[str, Array],
    cache: Sequence[Array],
    tokens: Array,
    slot: Array,
    start: Array,
    last: Array,
) -> tuple[Array, list[Array]]:
    """A chunk for one slot: tokens [C] int32 at start..start+C-1; start is a multiple of C, and one of C and b of the
    other.

    Returns (logits [vocabulary] after token `last` of the chunk, cache). What is padded behind `last` lands at
    positions that no token attends to before it is overwritten.
    """
    model = Model(config, weights)
    rows, cache = prefill_rows(model, shape, cache, tokens, slot, start)
    return model.logits(lax.dynamic_slice_in_dim(rows, last, 1))[0], cache


def prefill_rows(
    model: Model, shape: CacheShape, cache: Sequence[Array], tokens: Array, slot: Array, start: Array
) -> tuple[Array, list[Array]]:
    """The rows of a chunk behind the last layer [C, hidden], and the cache."""
    config, cache = model.config, list(cache)
    positions = start + jnp.arange(tokens.shape[0], dtype=jnp.int32)
    rows = model.embed(tokens)
    step = prefill_step(config, shape, positions, slot, start)
    for i in range(config.layers):
        here = (cache[i], cache[config.layers + i])
        mixed, (cache[i], cache[config.layers + i]) = prefill_attention(model, f"layers.{i}", here, rows, shape, step)
        rows = model.close(rows, mixed, f"layers.{i}")
    return rows, cache


def prefill_step(
    config: TransformerConfig, shape: CacheShape, positions: Array, slot: Array, start: Array
) -> tuple[Array, ...]:
    """As `decode_step`, of a chunk of one slot."""
    row, count = slot * config.kv_heads, positions.shape[0]
    blocks = (start + count + shape.block - 1) // shape.block
    visible = jnp.tile(positions, config.heads // config.kv_heads)[None, :, None]  # [1, G·C, 1]
    return positions, row, start, blocks, visible


def prefill_attention(
    model: Model, layer: str, cache: tuple[Array, Array], rows: Array, shape: CacheShape, step: tuple[Array, ...]
) -> tuple[Array, tuple[Array, Array]]:
    """As `decode_attention`, of a chunk [C, ...] of one slot. step: by `prefill_step`."""
    config, (positions, row, start, blocks, visible) = model.config, step
    count, groups, length = rows.shape[0], config.kv_heads, min(rows.shape[0], shape.block)
    query, key, value = model.heads(rows, layer, positions)
    cut = (-1, length, groups, config.head_dim)  # as many blocks as the chunk is long, or a piece of one
    block, within = start // shape.block, start % shape.block
    keys = lax.dynamic_update_slice(cache[0], key.reshape(cut).transpose(0, 2, 3, 1), (block, row, 0, within))
    values = lax.dynamic_update_slice(cache[1], value.reshape(cut).transpose(0, 2, 1, 3), (block, row, within, 0))
    grouped = query.reshape(count, groups, -1, config.head_dim).transpose(1, 2, 0, 3)  # [K, G, C, d]
    grouped = grouped.reshape(groups, -1, config.head_dim)
    mixed = _attend(grouped, keys, values, row, visible, blocks, model.attention_precision)
    ordered = mixed.reshape(groups, -1, count, config.head_dim).transpose(2, 0, 1, 3)
    return ordered.reshape(count, -1), (keys, values)


def _rotate(heads: Array, cos: Array, sin: Array) -> Array:
    """Rotary embedding of [R, heads, d]: element i of each head is paired with i + d/2."""
    low, high = jnp.split(heads, 2, axis=-1)
    return jnp.concatenate([low * cos - high * sin, high * cos + low * sin], axis=-1)


def _attend(
    query: Array, keys: Array, values: Array, first: Array, visible: Array, blocks: Array, precision: lax.Precision
) -> Array:
    """query [N, R, d] over the lines first..first+N-1 of a cache, up to position `visible` of each row -> [N, R, d]."""
    batch, count, head_dim = query.shape
    block, scaled = keys.shape[3], query * head_dim**-0.5

    def step(index: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        high, total, mixed = carry
        here = [lax.dynamic_slice(a, (index, first, 0, 0), (1, batch, *a.shape[2:]))[0] for a in (keys, values)]
        scores = _product(scaled, here[0], precision)
        inside = index * block + jnp.arange(block, dtype=jnp.int32)[None, None, :] <= visible
        scores = jnp.where(inside, scores, -jnp.inf)
        higher = jnp.maximum(high, jnp.max(scores, axis=-1, keepdims=True))
        weights = jnp.exp(scores - higher)
        fade = jnp.exp(high - higher)
        # What no row may see is somebody else's, or rubbish: were it not finite, 0 times it would not be 0.
        seen = jnp.where(jnp.any(inside, axis=1)[:, :, None], here[1], 0.0)
        return (
            higher,
            total * fade + jnp.sum(weights, axis=-1, keepdims=True),
            mixed * fade + _product(weights, seen, precision),
        )

    # Starting inside the loop keeps the cache from being read outside of it, which would cost a copy of it.
    _, total, mixed = lax.fori_loop(
        0,
        blocks,
        step,
        (
            jnp.full((batch, count, 1), _LOWEST, jnp.float32),
            jnp.zeros((batch, count, 1), jnp.float32),
            jnp.zeros((batch, count, head_dim), jnp.float32),
        ),
    )
    return mixed / total


def _product(rows: Array, cached: Array, precision: lax.Precision) -> Array:
    """[N, R, i] x [N, i, o] -> [N, R, o]."""
    if rows.shape[1] <= _FEW:
        return jnp.sum(rows[:, :, :, None] * cached[:, None], axis=2)
    return jnp.matmul(rows, cached, precision=precision)
