"""How far one set of logits is from another, over one page of a book that is in the public domain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["PAGE", "distance", "kl_divergence", "page_windows", "perplexity"]

PAGE = Path(__file__).with_name("page.txt")  # H. Melville, Moby-Dick (1851), from its first chapter
Logits = npt.NDArray[np.float32]


def page_windows(encode: Callable[[str], Sequence[int]], count: int, length: int) -> npt.NDArray[np.int32]:
    """The page's first tokens as `count` windows of `length`, [count, length]. ValueError if it has too few."""
    tokens = np.array(encode(PAGE.read_text()), np.int32)
    if len(tokens) < count * length:
        raise ValueError(f"the page has {len(tokens)} tokens, {count * length} are asked for")
    return tokens[: count * length].reshape(count, length)


def distance(expected: Logits, found: Logits, windows: npt.NDArray[np.int32]) -> dict[str, float]:
    """Of logits [W, L, vocabulary] after each token of `windows` from the ones they should be."""
    rows, others = (part.reshape(-1, part.shape[-1]) for part in (expected, found))
    errors = np.abs(rows - others)
    return {
        "kl": round(kl_divergence(rows, others), 7),
        "greedy_agreement": round(float((rows.argmax(1) == others.argmax(1)).mean()), 4),
        "perplexity": round(perplexity(found, windows), 4),
        "perplexity_ratio": round(perplexity(found, windows) / perplexity(expected, windows), 5),
        "largest_logit_error": round(float(errors.max()), 6),
        "mean_logit_error": round(float(errors.mean()), 7),
    }


def kl_divergence(expected: Logits, found: Logits) -> float:
    """Mean over rows of KL(expected ‖ found), in nats."""
    p, q = _log_softmax(expected), _log_softmax(found)
    return float((np.exp(p) * (p - q)).sum(axis=1).mean())


def perplexity(logits: Logits, windows: npt.NDArray[np.int32]) -> float:
    """Of each window's tokens but the first, given those before."""
    rows = _log_softmax(logits[:, :-1].reshape(-1, logits.shape[-1]))
    return float(np.exp(-rows[np.arange(len(rows)), windows[:, 1:].ravel()].mean()))


def _log_softmax(rows: Logits) -> npt.NDArray[np.float64]:
    wide = rows.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    result: npt.NDArray[np.float64] = wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))
    return result
