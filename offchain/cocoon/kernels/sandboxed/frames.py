"""Messages between the two processes: a JSON object and bytes, each with its length before it.

The reader says how long either may be before it takes them in: the other end may be a stranger's.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..bundle.safetensors import NUMPY, dtype_name

__all__ = [
    "MAX_ANSWER_BYTES",
    "MAX_DATA_BYTES",
    "MAX_ORDER_BYTES",
    "BrokenFrame",
    "Source",
    "encode_frame",
    "pack_arrays",
    "read_frame",
    "unpack_arrays",
]

MAX_ORDER_BYTES = 64 << 20  # an object to the kernel's process: prompts are in it
MAX_ANSWER_BYTES = 1 << 20  # an object from it: a token, or the names and shapes of arrays
MAX_DATA_BYTES = 1 << 30
_LENGTHS = struct.Struct(">II")


class BrokenFrame(Exception):
    """What arrives, or should be sent, is no message."""


class Source(Protocol):
    """Where bytes come from: at most `count` of them, none at the end."""

    def read(self, count: int, /) -> bytes: ...


def encode_frame(header: dict[str, Any], data: bytes = b"", most: int = MAX_ANSWER_BYTES) -> bytes:
    """The message's bytes. most: for the object. Raises BrokenFrame for what can't be said, or not at this length."""
    try:
        text = json.dumps(header).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise BrokenFrame(f"not JSON: {error}") from error
    if len(text) > most or len(data) > MAX_DATA_BYTES:
        raise BrokenFrame(f"{len(text)} and {len(data)} bytes, {most} and {MAX_DATA_BYTES} are allowed")
    return _LENGTHS.pack(len(text), len(data)) + text + data


def read_frame(
    stream: Source, most: int, room: Callable[[dict[str, Any]], int] = lambda _: MAX_DATA_BYTES
) -> tuple[dict[str, Any], bytes] | None:
    """None at the end. most: bytes of the object; room: of what comes with it. Raises BrokenFrame."""
    lengths = _exactly(stream, _LENGTHS.size)
    if lengths is None:
        return None
    text_bytes, data_bytes = _LENGTHS.unpack(lengths)
    if text_bytes > most:
        raise BrokenFrame(f"an object of {text_bytes} bytes")
    text = _exactly(stream, text_bytes)
    try:
        header = json.loads(text or b"")
    except (ValueError, RecursionError) as error:
        raise BrokenFrame("a message that is not JSON") from error
    if not isinstance(header, dict):
        raise BrokenFrame("a message that is no object")
    if data_bytes > room(header):
        raise BrokenFrame(f"{data_bytes} bytes nobody asked for")
    data = _exactly(stream, data_bytes)
    if data is None:
        raise BrokenFrame("the stream ends within a message")
    return header, data


def pack_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> tuple[dict[str, Any], bytes]:
    """Dtypes and shapes by name, for the object, and the bytes."""
    described = {name: [dtype_name(array.dtype), list(array.shape)] for name, array in arrays.items()}
    return described, b"".join(np.ascontiguousarray(array).tobytes() for array in arrays.values())


def unpack_arrays(described: dict[str, Any], data: bytes) -> dict[str, npt.NDArray[Any]]:
    """Raises ValueError, KeyError or TypeError for a description that does not fit the bytes."""
    arrays, offset = {}, 0
    for name, (dtype, shape) in described.items():
        count = math.prod(shape)
        arrays[name] = np.frombuffer(data, NUMPY[dtype], count, offset).reshape(shape)
        offset += count * NUMPY[dtype].itemsize
    return arrays


def _exactly(stream: Source, count: int) -> bytes | None:
    """None if the stream ends first."""
    parts = []
    while count:
        part = stream.read(min(count, 1 << 20))
        if not part:
            return None
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
