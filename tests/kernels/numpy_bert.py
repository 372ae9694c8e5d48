"""BERT once more, in numpy and float64, a head and a text at a time: written from the paper, to check ours against."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ["embed"]


def embed(weights: dict[str, Any], heads: int, layers: int, tokens: list[int], epsilon: float) -> Any:
    """The vector of one text. weights: named as Hugging Face names them."""
    w = {name: np.asarray(array, np.float64) for name, array in weights.items()}

    def norm(x: Any, name: str) -> Any:
        shifted = x - x.mean(axis=1)[:, None]
        return shifted / np.sqrt(x.var(axis=1) + epsilon)[:, None] * w[f"{name}.weight"] + w[f"{name}.bias"]

    def dense(x: Any, name: str) -> Any:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    e = "embeddings."
    x = w[f"{e}word_embeddings.weight"][tokens] + w[f"{e}position_embeddings.weight"][: len(tokens)]
    x = norm(x + w[f"{e}token_type_embeddings.weight"][0], f"{e}LayerNorm")
    for i in range(layers):
        here = f"encoder.layer.{i}"
        q, k, v = (dense(x, f"{here}.attention.self.{part}") for part in ("query", "key", "value"))
        width = x.shape[1] // heads
        mixed = np.empty_like(x)
        for head in range(heads):
            cut = slice(head * width, (head + 1) * width)
            scores = np.exp(q[:, cut] @ k[:, cut].T / math.sqrt(width))
            mixed[:, cut] = scores / scores.sum(axis=1)[:, None] @ v[:, cut]
        x = norm(x + dense(mixed, f"{here}.attention.output.dense"), f"{here}.attention.output.LayerNorm")
        wide = dense(x, f"{here}.intermediate.dense")
        bent = 0.5 * wide * (1 + np.vectorize(math.erf)(wide / math.sqrt(2)))
        x = norm(x + dense(bent, f"{here}.output.dense"), f"{here}.output.LayerNorm")
    mean = x.mean(axis=0)
    return mean / np.linalg.norm(mean)
