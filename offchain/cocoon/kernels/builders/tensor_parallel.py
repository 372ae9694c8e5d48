"""A decoder whose layers are cut into parts, for as many devices: attention by heads, feed-forward by channels.

Each part is a smaller model of the same kind, with its own slice of the weights and of the cache; what the parts add to
the rows is summed. Arrays have the parts as their first axis, and the program is one that a single device could run: a
device gets its parts by the way the engine lays out the arguments, and the sums between devices are the compiler's
doing. So a bundle holds no collectives, and a build of 8 parts runs on 8, 4, 2 or 1 devices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..errors import UnsupportedModel
from .transformer import (
    CacheShape,
    Model,
    TransformerConfig,
    decode_attention,
    decode_step,
    prefill_attention,
    prefill_step,
)

__all__ = ["Layout", "part_of", "split_decode", "split_layout", "split_prefill"]

Array = Any
type Layout = Callable[[Array], Array]


def part_of(config: TransformerConfig, parts: int) -> TransformerConfig:
    """The shape of one part. Raises UnsupportedModel."""
    for what, size in (("key/value heads", config.kv_heads), ("feed-forward channels", config.feed_forward)):
        if size % parts:
            raise UnsupportedModel(f"{size} {what} can't be cut into {parts} parts: choose a divisor")
    if config.vocabulary % parts:
        raise UnsupportedModel(f"a vocabulary of {config.vocabulary} can't be cut into {parts} parts")
    return replace(
        config,
        heads=config.heads // parts,
        kv_heads=config.kv_heads // parts,
        feed_forward=config.feed_forward // parts,
    )


def split_layout(config: TransformerConfig, parts: int, name: str) -> Layout | None:
    """How a stored weight is cut: to an array with the parts as its first axis. None: every part takes all of it."""
    part = name.partition(".")[2].partition(".")[2] or name
    query, key = config.heads * config.head_dim, config.kv_heads * config.head_dim

    def by_rows(*sizes: int) -> Layout:
        """Rows that are several matrices one after the other, each cut into blocks of rows."""
        ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
        return lambda weight: jnp.concatenate(
            [block.reshape(parts, -1, *weight.shape[1:]) for block in jnp.split(weight, ends[:-1])], axis=1
        )

    def by_columns(weight: Array) -> Array:
        return weight.reshape(weight.shape[0], parts, -1).swapaxes(0, 1)

    layouts: dict[str, Layout] = {
        "qkv": by_rows(query, key, key),
        "qkv.bias": by_rows(query, key, key),
        "attention_out": by_columns,
        "gate_up": by_rows(config.feed_forward, config.feed_forward),
        "down": by_columns,
        "embedding": by_rows(config.vocabulary),
        "output": by_rows(config.vocabulary),
    }
    return layouts.get(part)


class _Parts:
    """The whole model, as functions over all of its parts."""

    def __init__(self, config: TransformerConfig, parts: int, weights: Mapping[str, Array]) -> None:
        self._config, self._parts = part_of(config, parts), parts
        self._split = {
            name: weight
            for name, weight in weights.items()
            if split_layout(config, parts, name.removesuffix(".scale")) is not None
        }
        self._shared = {name: weight for name, weight in weights.items() if name not in self._split}

    def _map(self, prefix: str, function: Callable[..., Any], *mapped: Array) -> Any:
        """`function(model, *mapped)` of every part, with the weights whose names begin with `prefix`."""
        mine = {name: weight for name, weight in self._split.items() if name.startswith(prefix)}

        def one(mine: Mapping[str, Array], *mapped: Array) -> Any:
            return function(Model(self._config, {**self._shared, **mine}), *mapped)

        return jax.vmap(one)(mine, *mapped)

    def embed(self, tokens: Array) -> Array:
        """A part knows the rows of its own tokens; to the others' it adds nothing."""
        size = self._config.vocabulary // self._parts

        def look(model: Model, part: Array) -> Array:
            local = tokens - part * size
            known = (local >= 0) & (local < size)
            return jnp.where(known[:, None], model.embed(jnp.clip(local, 0, size - 1)), 0.0)

        return jnp.sum(self._map("embedding", look, jnp.arange(self._parts, dtype=jnp.int32)), axis=0)

    def layer(self, index: int, rows: Array, cache: list[Array], attention: Callable[..., Any]) -> Array:
        """The rows after a layer. attention(model, layer, (keys, values)) -> mixed, (keys, values)."""
        layer, layers = f"layers.{index}", self._config.layers

        def attend(model: Model, keys: Array, values: Array) -> Any:
            mixed, changed = attention(model, layer, (keys, values))
            return model.linear(mixed, f"{layer}.attention_out"), changed

        added, (cache[index], cache[layers + index]) = self._map(
            f"{layer}.", attend, cache[index], cache[layers + index]
        )
        rows = rows + jnp.sum(added, axis=0)
        return rows + jnp.sum(self._map(f"{layer}.", lambda model: model.feed_forward(rows, layer)), axis=0)

    def logits(self, rows: Array) -> Array:
        name = "embedding" if self._config.tied else "output"
        found = self._map(name, lambda model: model.logits(rows))  # [parts, R, V/parts]
        return found.swapaxes(0, 1).reshape(rows.shape[0], -1)


def split_decode(
    config: TransformerConfig,
    shape: CacheShape,
    parts: int,
    weights: Mapping[str, Array],
    cache: Sequence[Array],
    tokens: Array,
    positions: Array,
    highest: Array,
) -> tuple[Array, list[Array]]:
    """As `transformer.decode`; weights by `split_layout`, each cache array [parts, S/b, B·K/parts, ...]."""
    model, cache = _Parts(config, parts, weights), list(cache)
    rows = model.embed(tokens)
    step = decode_step(part_of(config, parts), shape, positions, highest)
    for i in range(config.layers):
        rows = model.layer(i, rows, cache, partial(decode_attention, rows=rows, shape=shape, step=step))
    return model.logits(rows), cache


def split_prefill(
    config: TransformerConfig,
    shape: CacheShape,
    parts: int,
    weights: Mapping[str, Array],
    cache: Sequence[Array],
    tokens: Array,
    slot: Array,
    start: Array,
    last: Array,
) -> tuple[Array, list[Array]]:
    """As `transformer.prefill`, in parts."""
    model, cache = _Parts(config, parts, weights), list(cache)
    positions = start + jnp.arange(tokens.shape[0], dtype=jnp.int32)
    rows = model.embed(tokens)
    step = prefill_step(part_of(config, parts), shape, positions, slot, start)
    for i in range(config.layers):
        rows = model.layer(i, rows, cache, partial(prefill_attention, rows=rows, shape=shape, step=step))
    return model.logits(lax.dynamic_slice_in_dim(rows, last, 1))[0], cache
