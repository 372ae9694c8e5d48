"""Messages between the two processes: a JSON object and bytes, each with its length before it."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ..bundle.safetensors import NUMPY, dtype_name

__all__ = ["MAX_BYTES", "BrokenFrame", "pack_arrays", "read_frame", "unpack_arrays", "write_frame"]

MAX_BYTES = 1 << 30
_LENGTHS = struct.Struct(">II")


class BrokenFrame(Exception):
    """What arrives is no message."""


def write_frame(stream: BinaryIO, header: dict[str, Any], data: bytes = b"") -> None:
    text = json.dumps(header).encode()
    stream.write(_LENGTHS.pack(len(text), len(data)) + text + data)
    stream.flush()


def read_frame(stream: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    """None at the end. Raises BrokenFrame."""
    lengths = _exactly(stream, _LENGTHS.size)
    if lengths is None:
        return None
    text_bytes, data_bytes = _LENGTHS.unpack(lengths)
    if text_bytes + data_bytes > MAX_BYTES:
        raise BrokenFrame(f"a message of {text_bytes + data_bytes} bytes")
    text, data = _exactly(stream, text_bytes), _exactly(stream, data_bytes)
    if text is None or data is None:
        raise BrokenFrame("the stream ends within a message")
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BrokenFrame("a message that is not JSON") from error
    if not isinstance(header, dict):
        raise BrokenFrame("a message that is no object")
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


def _exactly(stream: BinaryIO, count: int) -> bytes | None:
    """None if the stream ends first."""
    parts = []
    while count:
        part = stream.read(min(count, 1 << 20))
        if not part:
            return None
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
