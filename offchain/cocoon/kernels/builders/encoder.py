"""BERT-type encoders that turn texts into vectors: mean of the last layer over a text's tokens, of length one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import lax

from ..bundle.manifest import Build, Program, Tensor
from .blueprint import Arrays, BuildOptions, Made
from .export import EXPORTER, PLATFORMS, Exported, export_program, specs
from .parameters import prepare
from .precision import beside, linear

__all__ = ["BUCKETS", "Encoder", "EncoderConfig", "encode", "encoder_matrices", "encoder_vectors"]

Array = Any
BUCKETS = ((1, 32), (1, 128), (8, 32), (8, 128), (8, 256))  # (batch, length): what programs exist for
_GOLDEN_SHAPE = (1, 32)
_GRID = 256  # golden vectors are rounded to 1/256: another processor's last bits must not rename the model


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """Hyper-parameters. longest: positions there are."""

    layers: int
    hidden: int
    heads: int
    feed_forward: int
    vocabulary: int
    longest: int
    epsilon: float


def encoder_matrices(config: EncoderConfig) -> list[str]:
    """Stored matrices, [out, in]."""
    return [f"layers.{i}.{part}" for i in range(config.layers) for part in ("qkv", "attention_out", "up", "down")]


def encoder_vectors(config: EncoderConfig) -> list[str]:
    """Everything else that is stored, float32."""
    parts = [f"{part}.bias" for part in ("qkv", "attention_out", "up", "down")]
    parts += ["attention_norm", "attention_norm.bias", "output_norm", "output_norm.bias"]
    names = ["words", "positions", "kind", "embedding_norm", "embedding_norm.bias"]
    return names + [f"layers.{i}.{part}" for i in range(config.layers) for part in parts]


def encode(config: EncoderConfig, weights: Mapping[str, Array], tokens: Array, mask: Array) -> Array:
    """tokens, mask [B, L] int32, mask 1 where there is a token -> [B, hidden] float32. What is masked has no effect."""
    batch, length = tokens.shape

    def dense(rows: Array, name: str) -> Array:
        return linear(rows, weights[name], weights.get(f"{name}.scale")) + weights[f"{name}.bias"]

    def norm(rows: Array, name: str) -> Array:
        centred = rows - jnp.mean(rows, axis=-1, keepdims=True)
        spread = lax.rsqrt(jnp.mean(centred * centred, axis=-1, keepdims=True) + config.epsilon)
        return centred * spread * weights[name] + weights[f"{name}.bias"]

    precision = beside(weights["layers.0.qkv"])
    rows = weights["words"][tokens] + weights["positions"][:length] + weights["kind"][0]
    rows = norm(rows.reshape(batch * length, config.hidden), "embedding_norm")
    hidden_keys = jnp.where(mask[:, None, None, :] > 0, 0.0, -jnp.inf)
    width = config.hidden // config.heads
    for i in range(config.layers):
        here = f"layers.{i}"
        split = dense(rows, f"{here}.qkv").reshape(batch, length, 3, config.heads, width)
        query, key, value = (split[:, :, part].transpose(0, 2, 1, 3) for part in range(3))
        scores = jnp.matmul(query * width**-0.5, key.transpose(0, 1, 3, 2), precision=precision) + hidden_keys
        mixed = jnp.matmul(jax.nn.softmax(jnp.maximum(scores, -1e30), axis=-1), value, precision=precision)
        flat = mixed.transpose(0, 2, 1, 3).reshape(batch * length, config.hidden)
        rows = norm(rows + dense(flat, f"{here}.attention_out"), f"{here}.attention_norm")
        wide = jax.nn.gelu(dense(rows, f"{here}.up"), approximate=False)
        rows = norm(rows + dense(wide, f"{here}.down"), f"{here}.output_norm")
    counted = mask[:, :, None].astype(jnp.float32)
    total = jnp.sum(rows.reshape(batch, length, config.hidden) * counted, axis=1)
    mean = total / jnp.maximum(jnp.sum(counted, axis=1), 1e-9)
    return mean / jnp.maximum(jnp.sqrt(jnp.sum(mean * mean, axis=-1, keepdims=True)), 1e-12)


class Encoder:
    """A config and the stored weights, as the source of `map` builds."""

    def __init__(self, config: EncoderConfig, weights: Arrays) -> None:
        self._config, self._weights = config, weights

    def make(self, options: BuildOptions) -> Made:
        options.only_whole("an encoder")
        config, programs = self._config, dict[str, bytes]()

        def keep(made: Exported) -> tuple[str, int]:
            programs[made.sha256] = made.data
            return made.sha256, len(made.data)

        matrices, vectors = encoder_matrices(config), encoder_vectors(config)
        parameters, steps = prepare(self._weights, dict.fromkeys(matrices, options.precision), vectors, keep)
        names, made = list(parameters), []
        for batch, length in BUCKETS:
            if length <= config.longest:
                inputs = tuple(Tensor(name, "i32", (batch, length)) for name in ("tokens", "mask"))
                function = partial(_flat, config, names)
                sha256, size = keep(export_program(function, specs([*parameters.values(), *inputs])))
                output = Tensor("embedding", "f32", (batch, config.hidden))
                made.append(Program("map", sha256, size, inputs, (output,)))
        build = Build(
            precision=options.precision,
            platforms=PLATFORMS,  # type: ignore[arg-type]
            exporter=EXPORTER,
            slots=0,
            capacity=0,
            chunk=0,
            parameters=tuple(tensor.name for tensor in parameters.values()),
            steps=tuple(steps),
            state=(),
            programs=tuple(made),
        )
        return Made(build, programs)

    def golden(self) -> dict[str, npt.NDArray[Any]]:
        config = self._config
        tokens = np.random.default_rng(0xC0C0).integers(0, config.vocabulary, _GOLDEN_SHAPE).astype(np.int32)
        mask = (np.arange(_GOLDEN_SHAPE[1]) < 20).astype(np.int32)[None]
        found = np.asarray(jax.jit(partial(encode, config))(dict(self._weights), tokens, mask))
        return {"tokens": tokens, "mask": mask, "embedding": (np.round(found * _GRID) / _GRID).astype(np.float32)}


def _flat(config: EncoderConfig, names: list[str], *values: Any) -> list[Any]:
    weights = dict(zip(names, values, strict=False))
    return [encode(config, weights, values[-2], values[-1])]
