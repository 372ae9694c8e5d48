"""Models small enough to export, compile and run in a second: random weights, every byte a token."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from cocoon.kernels.builders.blueprint import Blueprint
from cocoon.kernels.builders.decoder import matrix_names, rope_tables
from cocoon.kernels.builders.gguf import decoder_blueprint
from cocoon.kernels.builders.transformer import TransformerConfig
from cocoon.kernels.bundle.manifest import Tolerance
from cocoon.kernels.engine.tokenizer import CONTROL, NORMAL, BytePairs, _byte_alphabet

__all__ = ["CONFIG", "TEMPLATE", "tiny_blueprint", "tiny_config", "tiny_tokenizer", "tiny_weights"]

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_CONTROLS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CONFIG = TransformerConfig(
    layers=2,
    hidden=32,
    heads=4,
    kv_heads=2,
    head_dim=8,
    feed_forward=48,
    vocabulary=256 + len(_CONTROLS),
    context_length=256,
    rms_epsilon=1e-5,
    rope_theta=10_000.0,
)


def tiny_config(**changes: Any) -> TransformerConfig:
    return replace(CONFIG, **changes)


def tiny_tokenizer(vocabulary: int = CONFIG.vocabulary) -> bytes:
    """Behind the bytes, control tokens that nothing is written with."""
    unused = tuple(f"<|unused{number}|>" for number in range(vocabulary - CONFIG.vocabulary))
    return BytePairs(
        kind="byte-bpe",
        pieces=(*_CONTROLS, *_byte_alphabet(), *unused),
        types=(CONTROL,) * len(_CONTROLS) + (NORMAL,) * 256 + (CONTROL,) * len(unused),
        merges=(),
        pattern=None,
        digits=False,
        nfc=False,
        bos=0,
        eos=0,
        ends=(0, 2),
        prefix=(),
    ).to_bytes()


def tiny_weights(config: TransformerConfig = CONFIG, seed: int = 1) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    rows = {
        "qkv": (config.heads + 2 * config.kv_heads) * config.head_dim,
        "attention_out": config.hidden,
        "gate_up": 2 * config.feed_forward,
        "down": config.hidden,
    }
    columns = {"attention_out": config.heads * config.head_dim, "down": config.feed_forward}
    weights: dict[str, Any] = {}
    for name in matrix_names(config):
        part = name.rpartition(".")[2]
        shape = (rows.get(part, config.vocabulary), columns.get(part, config.hidden))
        weights[name] = random.standard_normal(shape, np.float32) * 0.3
    for i in range(config.layers):
        here = f"layers.{i}"
        for part in ("attention_norm", "feed_forward_norm"):
            weights[f"{here}.{part}"] = 1 + 0.1 * random.standard_normal(config.hidden, np.float32)
        if config.qkv_bias:
            weights[f"{here}.qkv.bias"] = 0.1 * random.standard_normal(rows["qkv"], np.float32)
        if config.head_norm:
            for part in ("query_norm", "key_norm"):
                weights[f"{here}.{part}"] = 1 + 0.1 * random.standard_normal(config.head_dim, np.float32)
    weights["output_norm"] = np.ones(config.hidden, np.float32)
    return weights | rope_tables(config)


def tiny_blueprint(config: TransformerConfig = CONFIG, seed: int = 1) -> Blueprint:
    weights = tiny_weights(config, seed)
    made = decoder_blueprint(config, weights, "tiny", "Apache-2.0", tiny_tokenizer(config.vocabulary), TEMPLATE)
    return replace(made, tolerance=Tolerance(100_000))  # its logits are small, so rounding and int8 count for more
