"""Functions of strangers: one that computes, one that does not stop, one that takes all memory."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

__all__ = ["scaled", "stubborn"]


def scaled(x: Any) -> dict[str, Any]:
    return {"double": x * 2, "total": jnp.sum(x, keepdims=True)}


def stubborn(x: Any) -> Any:
    """Doubles, and never ends if the first number is above 100."""
    _, found = lax.while_loop(lambda c: c[0] > 100, lambda c: (c[0] + 1.0, c[1] * 1.0001), (x[0], x * 2))
    return found
