"""The Llama forward pass in JAX: one function that serves prefill and decode over a KV cache.

Weights are arguments, never constants of the program. Layers are unrolled and every layer has its own cache arrays: a
scan would copy each weight slice, a stacked cache would be copied each token. The caches are donated, so a step
updates them in place. float32 throughout, at the highest matmul precision the device has.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

__all__ = ["KVCache", "LayerWeights", "LlamaConfig", "LlamaWeights", "empty_cache", "forward", "grow_cache"]

# jax.Array on the device, numpy.ndarray while a model is read; jit takes either.
Array = Any


@dataclass(frozen=True, slots=True)
class LlamaConfig:
    """Hyper-parameters. head_dim is even and heads is a multiple of kv_heads (grouped-query attention)."""

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


class LayerWeights(NamedTuple):
    """One layer. With D hidden, H heads, K kv_heads, d head_dim, F feed_forward; matrices are [out, in]."""

    attention_norm: Array  # [D]
    qkv: Array  # [(H + 2K)·d, D]: one product instead of three, thread hand-off dominates small ones
    attention_out: Array  # [D, H·d]
    feed_forward_norm: Array  # [D]
    gate_up: Array  # [2F, D]
    down: Array  # [D, F]


class LlamaWeights(NamedTuple):
    """The model. output is None where the embedding is tied to it."""

    embedding: Array  # [vocabulary, D]
    layers: tuple[LayerWeights, ...]
    output_norm: Array  # [D]
    output: Array | None  # [vocabulary, D]
    rope_cos: Array  # [context_length, d/2]
    rope_sin: Array  # [context_length, d/2]


class KVCache(NamedTuple):
    """Keys [B·K, d, S] and values [B·K, S, d] per layer, S the capacity in tokens; B = 1 sequence for now.

    Both orders make the cached operand of the attention products contiguous.
    """

    keys: tuple[Array, ...]
    values: tuple[Array, ...]

    @property
    def capacity(self) -> int:
        """S: how many tokens fit."""
        return int(self.values[0].shape[1])


def empty_cache(config: LlamaConfig, capacity: int) -> KVCache:
    """A zeroed cache for `capacity` tokens."""
    shape = (config.kv_heads, config.head_dim, capacity)
    keys = tuple(jnp.zeros(shape, jnp.float32) for _ in range(config.layers))
    values = tuple(jnp.zeros((shape[0], shape[2], shape[1]), jnp.float32) for _ in range(config.layers))
    return KVCache(keys, values)


@partial(jax.jit, static_argnames=("capacity",))
def grow_cache(cache: KVCache, *, capacity: int) -> KVCache:
    """The same content in a cache for `capacity` tokens."""
    extra = capacity - cache.capacity
    keys = tuple(jnp.pad(k, ((0, 0), (0, 0), (0, extra))) for k in cache.keys)
    values = tuple(jnp.pad(v, ((0, 0), (0, extra), (0, 0))) for v in cache.values)
    return KVCache(keys, values)


@partial(jax.jit, static_argnames=("config",), donate_argnames=("cache",))
def forward(
    weights: LlamaWeights, cache: KVCache, tokens: Array, start: Array, last: Array, *, config: LlamaConfig
) -> tuple[Array, KVCache]:
    """Runs `tokens` [C] int32 at start..start+C-1; returns (logits [vocabulary] after token `last`, cache).

    Decode is C = 1. A chunk may be padded behind index `last`: the padding's keys and values land at positions after
    it, where no token attends to them before it overwrites them. Needs start + C <= capacity, and `start` <= tokens so
    far.
    """
    with jax.default_matmul_precision("highest"):
        count = tokens.shape[0]
        positions = start + jnp.arange(count)
        cos, sin = weights.rope_cos[positions][:, None, :], weights.rope_sin[positions][:, None, :]
        visible = jnp.arange(cache.capacity)[None, :] <= positions[:, None]  # [C, S]
        hidden = weights.embedding[tokens]
        keys, values = list(cache.keys), list(cache.values)
        for i, layer in enumerate(weights.layers):
            normed = _rms_norm(hidden, layer.attention_norm, config.rms_epsilon)
            heads = _linear(normed, layer.qkv).reshape(count, -1, config.head_dim)
            query, key, value = jnp.split(heads, (config.heads, config.heads + config.kv_heads), axis=1)
            query, key = _rotate(query, cos, sin), _rotate(key, cos, sin)
            keys[i] = lax.dynamic_update_slice(keys[i], key.transpose(1, 2, 0), (0, 0, start))
            values[i] = lax.dynamic_update_slice(values[i], value.transpose(1, 0, 2), (0, start, 0))
            mixed = _attend(query, keys[i], values[i], visible)
            hidden = hidden + _linear(mixed, layer.attention_out)
            normed = _rms_norm(hidden, layer.feed_forward_norm, config.rms_epsilon)
            gate, up = jnp.split(_linear(normed, layer.gate_up), 2, axis=1)
            hidden = hidden + _linear(jax.nn.silu(gate) * up, layer.down)
        final = _rms_norm(hidden[last][None, :], weights.output_norm, config.rms_epsilon)
        output = weights.embedding if weights.output is None else weights.output
        return _linear(final, output)[0], KVCache(tuple(keys), tuple(values))


def _linear(rows: Array, weight: Array) -> Array:
    """[C, in] x [out, in] -> [C, out]."""
    return lax.dot_general(rows, weight, (((1,), (1,)), ((), ())))


def _rms_norm(rows: Array, gain: Array, epsilon: float) -> Array:
    return rows * lax.rsqrt(jnp.mean(rows * rows, axis=-1, keepdims=True) + epsilon) * gain


def _rotate(heads: Array, cos: Array, sin: Array) -> Array:
    """Rotary embedding of [C, heads, d]: element i of each head is paired with i + d/2."""
    low, high = jnp.split(heads, 2, axis=-1)
    return jnp.concatenate([low * cos - high * sin, high * cos + low * sin], axis=-1)


def _attend(query: Array, keys: Array, values: Array, visible: Array) -> Array:
    """Causal grouped-query attention: query [C, H, d], keys [K, d, S], values [K, S, d], visible [C, S] -> [C, H·d]."""
    count, heads, head_dim = query.shape
    groups = keys.shape[0]
    grouped = query.reshape(count, groups, heads // groups, head_dim).transpose(1, 2, 0, 3)  # [K, G, C, d]
    rows = grouped.reshape(groups, -1, head_dim) * head_dim**-0.5
    scores = (rows @ keys).reshape(groups, -1, count, keys.shape[2])
    weights = jax.nn.softmax(jnp.where(visible, scores, -jnp.inf), axis=-1)
    mixed = (weights.reshape(groups, -1, keys.shape[2]) @ values).reshape(groups, -1, count, head_dim)
    return mixed.transpose(2, 0, 1, 3).reshape(count, heads * head_dim)
