"""How near the engine comes to what a graphics card can do: a Llama-shaped model with random weights.

Decoding reads every weight once for each step, so memory is its bound; reading a prompt is bound by matrix products.
Both bounds are measured on the same device in the same run.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..kernels.builders.blueprint import BuildOptions
from ..kernels.builders.decoder import matrix_names, rope_tables, vector_names
from ..kernels.builders.gguf import decoder_blueprint
from ..kernels.builders.pack import write_bundle
from ..kernels.builders.transformer import TransformerConfig
from ..kernels.engine.runtime import device_name
from ..kernels.errors import KernelError
from ..kernels.fetch import cache_dir
from ..kernels.shelf import Shelved
from .contender import PROMPT, Ours
from .inference import bandwidth

__all__ = ["LLAMA_1B", "measure_card", "need_card"]

LLAMA_1B = TransformerConfig(
    layers=16,
    hidden=2048,
    heads=32,
    kv_heads=8,
    head_dim=64,
    feed_forward=8192,
    vocabulary=128_256,
    context_length=2048,
    rms_epsilon=1e-5,
    rope_theta=500_000.0,
)
_STEPS = 32
_PRODUCT = 4096  # rows and columns of the matrices that show the ceiling


def need_card() -> None:
    """Raises KernelError where JAX sees no CUDA device."""
    try:
        jax.devices("cuda")
    except RuntimeError as error:
        raise KernelError(
            f"there is no graphics card for JAX here (it has {jax.devices()[0].platform}): on a machine with an NVIDIA "
            "card install Cocoon as '.[cuda12]', or leave out --device"
        ) from error


def measure_card(
    config: TransformerConfig = LLAMA_1B,
    streams: Sequence[int] = (1, 4, 8, 16),
    rounds: int = 3,
    *,
    product: int = _PRODUCT,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """bfloat16 on JAX's first device, as JSON. Takes three times the weights on the disk for a while."""
    cache_dir().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_dir()) as scratch:
        progress("making a model of random weights")
        builds = _builds(config, streams, Path(scratch) / "bundle")
        ours = Ours(builds)
        decoded: dict[int, float] = {}
        prefilled: dict[int, float] = {}
        for count in streams:
            progress(f"{count} streams")
            ours.streams(count)
            ours.prefill(), ours.decode(_STEPS)
            turns = [(ours.prefill(), ours.decode(_STEPS)) for _ in range(rounds)]
            prefilled[count] = len(PROMPT) / statistics.median(turn[0] for turn in turns)
            decoded[count] = count * _STEPS / statistics.median(turn[1] for turn in turns)
        size, memory, ceiling = ours.weight_bytes, bandwidth(), _ceiling(product)
    return {
        "device": device_name(),
        "weight_bytes": size,
        "bandwidth_gb_per_s": round(memory / 1e9, 2),
        "matmul_tflop_per_s": round(ceiling / 1e12, 3),
        "decode_tokens_per_s": {str(count): round(rate, 1) for count, rate in decoded.items()},
        "prefill_tokens_per_s": {str(count): round(rate, 1) for count, rate in prefilled.items()},
        "bandwidth_fraction": {str(n): round(rate / n * size / memory, 4) for n, rate in decoded.items()},
        # two operations for each weight, which is two bytes
        "matmul_fraction": {str(n): round(rate * size / ceiling, 4) for n, rate in prefilled.items()},
    }


def _builds(config: TransformerConfig, streams: Sequence[int], folder: Path) -> dict[int, Shelved]:
    draw = np.random.default_rng(0)
    weights: dict[str, Any] = {}
    for name in matrix_names(config):
        part = name.rpartition(".")[2]
        rows = {
            "qkv": (config.heads + 2 * config.kv_heads) * config.head_dim,
            "gate_up": 2 * config.feed_forward,
            "attention_out": config.hidden,
            "down": config.hidden,
        }.get(part, config.vocabulary)
        columns = {"attention_out": config.heads * config.head_dim, "down": config.feed_forward}.get(
            part, config.hidden
        )
        values = draw.standard_normal((rows, columns), np.float32) * columns**-0.5
        weights[name] = values.astype(jnp.bfloat16)
    tables = rope_tables(config)
    weights |= {name: tables.get(name, np.ones(config.hidden, np.float32)) for name in vector_names(config)}
    blueprint = decoder_blueprint(config, weights, "random", "CC0-1.0", b"{}", "")
    options = [BuildOptions("bf16", slots=count, chunk=len(PROMPT)) for count in streams]
    manifest = write_bundle(blueprint, options, folder)
    made = zip(streams, manifest.builds, strict=True)
    return {count: Shelved(folder, manifest.model_id, build.id) for count, build in made}


def _ceiling(size: int) -> float:
    """Operations per second of a large bfloat16 product."""
    one = jnp.ones((size, size), jnp.bfloat16)
    multiply = jax.jit(lambda x: x @ x)
    multiply(one).block_until_ready()
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        multiply(one).block_until_ready()
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best
