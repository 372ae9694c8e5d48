"""A decoder-only transformer as the source of `generate` builds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from ..bundle.manifest import Build, Program, Tensor
from ..errors import UnsupportedModel
from .blueprint import Arrays, BuildOptions, Made
from .export import EXPORTER, PLATFORMS, Exported, export_program, specs
from .massive import massive_inputs
from .parameters import prepare
from .precision import Precision
from .tensor_parallel import part_of, split_decode, split_layout, split_prefill
from .transformer import CacheShape, TransformerConfig, decode, prefill

__all__ = ["GOLDEN_DECODED", "GOLDEN_TOP", "Decoder", "matrix_names", "rope_tables", "vector_names"]

GOLDEN_TOP = 16  # logits kept per position
GOLDEN_DECODED = 3  # golden tokens that are decoded after the rest was prefilled
_GOLDEN_TOKENS = 24
_GRID = 8  # golden logits are rounded to 1/8: another processor's last bits must not rename the model


def matrix_names(config: TransformerConfig) -> list[str]:
    """Stored matrices, [out, in]."""
    layers = [
        f"layers.{i}.{part}" for i in range(config.layers) for part in ("qkv", "attention_out", "gate_up", "down")
    ]
    return ["embedding", *layers] + ([] if config.tied else ["output"])


def vector_names(config: TransformerConfig) -> list[str]:
    """Everything else that is stored, float32."""
    parts = ["attention_norm", "feed_forward_norm"]
    parts += ["qkv.bias"] if config.qkv_bias else []
    parts += ["query_norm", "key_norm"] if config.head_norm else []
    return [f"layers.{i}.{part}" for i in range(config.layers) for part in parts] + [
        "output_norm",
        "rope_cos",
        "rope_sin",
    ]


def rope_tables(config: TransformerConfig) -> dict[str, npt.NDArray[np.float32]]:
    """cos and sin of every position's angles, [context_length, d/2]; float64 first keeps far positions exact."""
    frequencies = config.rope_theta ** (-np.arange(0, config.head_dim, 2, dtype=np.float64) / config.head_dim)
    angles = np.outer(np.arange(config.context_length, dtype=np.float64), frequencies)
    return {"rope_cos": np.cos(angles).astype(np.float32), "rope_sin": np.sin(angles).astype(np.float32)}


class Decoder:
    """A config and the stored weights."""

    def __init__(self, config: TransformerConfig, weights: Arrays) -> None:
        self._config = config
        self._weights = {name: weights[name] for name in (*matrix_names(config), *vector_names(config))}

    def make(self, options: BuildOptions) -> Made:
        config = self._config
        capacity = options.capacity or config.context_length
        shape, parts = CacheShape(options.slots, capacity), options.parts
        if not options.chunk <= capacity <= config.context_length or capacity % options.chunk or capacity % shape.block:
            raise UnsupportedModel(
                f"a capacity of {capacity} tokens is not possible: it must be a multiple of {options.chunk} and "
                f"{shape.block}, and at most {config.context_length}"
            )
        if options.chunk % shape.block and shape.block % options.chunk:
            raise UnsupportedModel(
                f"chunks of {options.chunk} tokens are not possible: choose a multiple or a divisor of {shape.block}"
            )
        programs: dict[str, bytes] = {}

        def keep(made: Exported) -> tuple[str, int]:
            programs[made.sha256] = made.data
            return made.sha256, len(made.data)

        cut = partial(split_layout, config, parts) if parts > 1 else _whole
        parameters, steps = prepare(self._weights, self._precisions(options.precision), vector_names(config), keep, cut)
        state = _state(config, shape, parts)
        if parts > 1:
            part_of(config, parts)
            functions = [partial(f, config, shape, parts) for f in (split_prefill, split_decode)]
        else:
            functions = [partial(f, config, shape) for f in (prefill, decode)]
        roles = {
            "prefill": (
                functions[0],
                [
                    Tensor("tokens", "i32", (options.chunk,)),
                    Tensor("slot", "i32", ()),
                    Tensor("start", "i32", ()),
                    Tensor("last", "i32", ()),
                ],
                [Tensor("logits", "f32", (config.vocabulary,))],
            ),
            "decode": (
                functions[1],
                [
                    Tensor("tokens", "i32", (options.slots,)),
                    Tensor("positions", "i32", (options.slots,)),
                    Tensor("highest", "i32", ()),
                ],
                [Tensor("logits", "f32", (options.slots, config.vocabulary))],
            ),
        }
        made: list[Program] = []
        for role, (function, inputs, outputs) in roles.items():
            exported = export_program(
                partial(_flat, function, list(parameters), len(state)),
                specs([*parameters.values(), *state, *inputs]),
                donated=range(len(parameters), len(parameters) + len(state)),
            )
            sha256, size = keep(exported)
            made.append(Program(role, sha256, size, tuple(inputs), tuple(outputs)))  # type: ignore[arg-type]
        build = Build(
            precision=options.precision,
            platforms=PLATFORMS,  # type: ignore[arg-type]
            exporter=EXPORTER,
            slots=options.slots,
            capacity=capacity,
            chunk=options.chunk,
            parameters=tuple(tensor.name for tensor in parameters.values()),
            steps=tuple(steps),
            state=tuple(state),
            programs=tuple(made),
            split=() if parts == 1 else _split(self._config, parts, parameters, state),
        )
        return Made(build, programs)

    def _precisions(self, precision: Precision) -> dict[str, Precision]:
        """Of each matrix. int8 would spoil a few, which are kept in bfloat16."""
        whole = self._massive if precision == "int8" else frozenset[str]()
        return {name: "bf16" if name in whole else precision for name in matrix_names(self._config)}

    @cached_property
    def _massive(self) -> frozenset[str]:
        return massive_inputs(self._config, self._wide(), self._tokens())

    def _wide(self) -> dict[str, Any]:
        return {name: jnp.asarray(array).astype(jnp.float32) for name, array in self._weights.items()}

    def _tokens(self) -> npt.NDArray[np.int32]:
        """Any tokens, always the same."""
        count = min(_GOLDEN_TOKENS, self._config.context_length)
        return np.random.default_rng(0xC0C0).integers(0, self._config.vocabulary, count).astype(np.int32)

    def golden(self) -> dict[str, npt.NDArray[Any]]:
        """tokens [T]; ids and logits [1 + GOLDEN_DECODED, GOLDEN_TOP]: the highest at each of the last positions."""
        config = self._config
        tokens = self._tokens()
        count = len(tokens)
        shape = CacheShape(1, count)
        weights = self._wide()
        run = jax.jit(partial(prefill, config, shape))
        empty = [jnp.zeros(tensor.shape, jnp.float32) for tensor in _state(config, shape)]
        zero = np.int32(0)
        ids, logits = [], []
        for last in range(count - 1 - GOLDEN_DECODED, count):
            row = np.asarray(run(weights, empty, tokens, zero, zero, np.int32(last))[0])
            top = np.sort(np.argsort(-row, kind="stable")[:GOLDEN_TOP])
            ids.append(top.astype(np.int32))
            logits.append(np.round(row[top] * _GRID) / _GRID)
        return {"tokens": tokens, "ids": np.stack(ids), "logits": np.stack(logits).astype(np.float32)}


def _flat(function: Any, names: Sequence[str], states: int, *values: Any) -> list[Any]:
    """Calls `function(weights by name, state, *inputs)` with the flat arguments of a program."""
    weights = dict(zip(names, values, strict=False))
    logits, state = function(weights, values[len(names) : len(names) + states], *values[len(names) + states :])
    return [logits, *state]


def _state(config: TransformerConfig, shape: CacheShape, parts: int = 1) -> list[Tensor]:
    heads = config.kv_heads // parts, config.head_dim
    first = () if parts == 1 else (parts,)
    keys = [Tensor(f"keys.{i}", "f32", (*first, *shape.keys(*heads))) for i in range(config.layers)]
    return keys + [Tensor(f"values.{i}", "f32", (*first, *shape.values(*heads))) for i in range(config.layers)]


def _whole(name: str) -> None:
    """No weight is cut."""


def _split(
    config: TransformerConfig, parts: int, parameters: Mapping[str, Tensor], state: Sequence[Tensor]
) -> tuple[str, ...]:
    """Names of all arrays whose first axis are the parts."""
    cut = [
        tensor.name
        for name, tensor in parameters.items()
        if split_layout(config, parts, name.removesuffix(".scale")) is not None
    ]
    return (*cut, *(tensor.name for tensor in state))
