"""Embeddings as workers answer them, `{"embeddings": [...]}`: each vector as base64 of 32-bit floats, little-endian,
which is what the official SDKs ask for by themselves; and as OpenAI's document shows them.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Sequence
from typing import Any

from .answers import usage_of
from .backend import Finished

__all__ = ["embeddings_document", "text_bodies", "unpack_vectors"]

_TEXTS_PER_REQUEST = 8  # vectors of 1,400 numbers still fit into one answer
_FLOAT_BYTES = 4


def text_bodies(texts: Sequence[str]) -> list[dict[str, Any]]:
    """What workers are asked, in parts whose answers fit."""
    return [{"input": list(texts[at : at + _TEXTS_PER_REQUEST])} for at in range(0, len(texts), _TEXTS_PER_REQUEST)]


def unpack_vectors(
    bodies: Sequence[dict[str, Any]], ends: Sequence[Finished]
) -> tuple[list[str], list[tuple[float, ...]]]:
    """All vectors, as base64 and as numbers. ValueError unless there is one of finite numbers for each text."""
    packed: list[str] = []
    for body, end in zip(bodies, ends, strict=True):
        match end.body:
            case {"embeddings": [*given]} if len(given) == len(body["input"]) and all(
                isinstance(x, str) for x in given
            ):
                packed += given
            case _:
                raise ValueError("the worker's answer holds no embeddings: is this a model for embeddings?")
    return packed, [_unpack(text) for text in packed]


def embeddings_document(
    model: str, vectors: Sequence[Any], ends: Sequence[Finished], receipts: Sequence[str]
) -> dict[str, Any]:
    """OpenAI's, with what is Cocoon's own under `cocoon`."""
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": found} for index, found in enumerate(vectors)],
        "model": model,
        "usage": usage_of(ends),
        "cocoon": {
            "cost_nano": sum(end.fee_nano for end in ends),
            "receipts": list(receipts),
            "workers": [end.proof.worker_index for end in ends],
            "simulated_tee": any(end.proof.simulated_tee for end in ends),
        },
    }


def _unpack(text: str) -> tuple[float, ...]:
    try:
        data = base64.b64decode(text, validate=True)
        numbers = struct.unpack(f"<{len(data) // _FLOAT_BYTES}f", data)
    except (binascii.Error, ValueError, struct.error) as error:
        raise ValueError("the worker's answer holds no embeddings: they are not base64 of floats") from error
    if not numbers or not all(map(math.isfinite, numbers)):
        raise ValueError("the worker's answer holds no embeddings: not all of them are numbers")
    return numbers


def _is_text(value: object) -> bool:
    return isinstance(value, str)
