"""The safetensors container: written deterministically, read as if made by an enemy.

Eight bytes of header length, a JSON header of names, dtypes, shapes and offsets, then the tensors, without gaps.
"""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from ..errors import BundleInvalid
from .manifest import DTYPES, Tensor

__all__ = ["NUMPY", "TensorFile", "dtype_name", "write"]

_CODES = {
    "F64": "f64", "F32": "f32", "F16": "f16", "BF16": "bf16", "I64": "i64", "I32": "i32", "I16": "i16", "I8": "i8",
    "U32": "u32", "U8": "u8", "BOOL": "bool",
}  # fmt: skip
_NAMES = {name: code for code, name in _CODES.items()}
NUMPY: dict[str, np.dtype[Any]] = {
    "f64": np.dtype(np.float64), "f32": np.dtype(np.float32), "f16": np.dtype(np.float16),
    "bf16": np.dtype(ml_dtypes.bfloat16), "i64": np.dtype(np.int64), "i32": np.dtype(np.int32),
    "i16": np.dtype(np.int16), "i8": np.dtype(np.int8), "u32": np.dtype(np.uint32), "u8": np.dtype(np.uint8),
    "bool": np.dtype(np.bool_),
}  # fmt: skip
_MAX_HEADER_BYTES = 32 << 20
_ALIGNMENT = 64


def dtype_name(dtype: Any) -> str:
    """`f32` for float32 and so on. Raises BundleInvalid for a dtype that bundles don't have."""
    for name, known in NUMPY.items():
        if known == np.dtype(dtype):
            return name
    raise BundleInvalid(f"dtype {dtype} can't be stored in a bundle: convert it to one of {', '.join(NUMPY)}")


def write(path: Path, tensors: Mapping[str, npt.NDArray[Any]] | Iterable[tuple[str, npt.NDArray[Any]]]) -> None:
    """Writes `path`; equal tensors in the same order give equal bytes. All of them are held in memory at once."""
    items = list(tensors.items()) if isinstance(tensors, Mapping) else list(tensors)
    header: dict[str, Any] = {}
    offset = 0
    for name, array in items:
        code = _NAMES[dtype_name(array.dtype)]
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, array in items:
            file.write(np.ascontiguousarray(array).tobytes())


class TensorFile:
    """A mapped file. Arrays of it are views that keep the map alive."""

    def __init__(self, path: Path) -> None:
        """Parses the header. Raises BundleInvalid or OSError."""
        self.path = path
        with path.open("rb") as file:
            try:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except ValueError as error:
                raise BundleInvalid(f"{path.name} is empty") from error
        self._start, header = self._header()
        self.tensors: dict[str, Tensor] = {}
        self._offsets: dict[str, int] = {}
        position = 0
        for name, entry in sorted(header.items(), key=_begin):
            if name != "__metadata__":
                position = self._add(name, entry, position)
        if self._start + position != len(self._map):
            raise BundleInvalid(f"{path.name} has {len(self._map) - self._start} bytes of tensors, says {position}")

    def array(self, name: str) -> npt.NDArray[Any]:
        """A read-only view."""
        tensor = self.tensors[name]
        dtype, count = NUMPY[tensor.dtype], math.prod(tensor.shape)
        return np.frombuffer(self._map, dtype, count, self._start + self._offsets[name]).reshape(tensor.shape)

    def _header(self) -> tuple[int, dict[str, Any]]:
        length = int.from_bytes(self._map[:8], "little")
        if len(self._map) < 8 or not 2 <= length <= min(_MAX_HEADER_BYTES, len(self._map) - 8):
            raise BundleInvalid(f"{self.path.name} has a header of {length} bytes, which does not fit it")
        try:
            header = json.loads(self._map[8 : 8 + length].decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise BundleInvalid(f"{self.path.name} has a header that is not JSON") from error
        if not isinstance(header, dict):
            raise BundleInvalid(f"{self.path.name} has a header that is no object")
        return 8 + length, header

    def _add(self, name: str, entry: Any, position: int) -> int:
        match entry:
            case {"dtype": str(code), "shape": list(shape), "data_offsets": [int(begin), int(end)]} if (
                code in _CODES and all(type(dim) is int and dim > 0 for dim in shape)
            ):
                tensor = Tensor(name, _CODES[code], tuple(shape))
            case _:
                raise BundleInvalid(f"{self.path.name}: the header's entry {name[:60]!r} makes no sense")
        if begin != position or end - begin != math.prod(shape) * DTYPES[tensor.dtype]:
            raise BundleInvalid(
                f"{self.path.name}: tensor {name[:60]!r} overlaps another, leaves a gap, or is cut short"
            )
        self.tensors[name], self._offsets[name] = tensor, begin
        return end


def _begin(item: tuple[str, Any]) -> int:
    """Where a header's entry says its tensor begins; what makes no sense comes first, and is refused."""
    match item[1]:
        case {"data_offsets": [int(begin), *_]}:
            return int(begin)
    return -1
