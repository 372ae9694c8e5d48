"""Matrix products in the three precisions a weight may have; rows and results are float32 in all of them.

int8 keeps each output channel of a weight as 8-bit integers with one scale, and splits every row of activations into
two 8-bit digits (x ≈ scale · (128·high + low)), which are stacked as twice as many rows of one integer product: about
15 bits of each activation count, at the speed of 8.
"""

from __future__ import annotations

from typing import Any, Literal

import jax.numpy as jnp
from jax import lax

__all__ = ["PRECISIONS", "Precision", "beside", "embedded", "linear", "quantize"]

Array = Any
Precision = Literal["f32", "bf16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("f32", "bf16", "int8")
_LEVELS = 127
_TINY = 2.0**-126  # keeps rows of zeros from being divided by zero
_DIGIT = 128
_RANGE = _DIGIT * _LEVELS  # the largest |128·high + low| with both digits in int8


def quantize(weight: Array) -> tuple[Array, Array]:
    """[out, in] -> (int8 [out, in], float32 [out]): rounds to nearest, symmetric, one scale per output channel."""
    wide = weight.astype(jnp.float32)
    scale = jnp.maximum(jnp.max(jnp.abs(wide), axis=1), _TINY) / _LEVELS
    return jnp.round(wide / scale[:, None]).astype(jnp.int8), scale


def linear(rows: Array, weight: Array, scale: Array | None = None) -> Array:
    """rows [R, in] x weight [out, in] -> [R, out], in the precision the weight has."""
    if scale is not None:
        return _int8(rows, weight, scale)
    if weight.dtype == jnp.bfloat16:
        return _bf16(rows, weight)
    return _dot(rows, weight, jnp.float32, lax.Precision.HIGHEST)


def beside(weight: Array) -> lax.Precision:
    """How exact products of activations have to be in a model of such weights.

    Graphics cards take ten bits of a float32's mantissa unless told otherwise: only float32 weights have more to lose.
    """
    return lax.Precision.HIGHEST if weight.dtype == jnp.float32 else lax.Precision.DEFAULT


def embedded(indices: Array, weight: Array, scale: Array | None = None) -> Array:
    """Rows of a weight as an embedding table: [R] -> [R, in]."""
    found = weight[indices].astype(jnp.float32)
    return found if scale is None else found * scale[indices][:, None]


def _dot(rows: Array, weight: Array, result: Any, precision: Any = None) -> Array:
    return lax.dot_general(rows, weight, (((1,), (1,)), ((), ())), precision=precision, preferred_element_type=result)


def _bf16(rows: Array, weight: Array) -> Array:
    count = rows.shape[0]
    narrow = rows.astype(jnp.bfloat16)
    if count == 1:  # one row takes a path that is many times slower on processors
        narrow = jnp.concatenate([narrow, jnp.zeros_like(narrow)])
    return _dot(narrow, weight, jnp.float32)[:count]


def _int8(rows: Array, weight: Array, scale: Array) -> Array:
    count = rows.shape[0]
    step = jnp.maximum(jnp.max(jnp.abs(rows), axis=1, keepdims=True), _TINY) / _RANGE
    whole = jnp.round(rows / step).astype(jnp.int32)
    high = (whole + _DIGIT // 2) >> 7
    digits = jnp.concatenate([high, whole - high * _DIGIT]).astype(jnp.int8)
    product = _dot(digits, weight, jnp.int32).astype(jnp.float32)
    return (product[:count] * _DIGIT + product[count:]) * step * scale
