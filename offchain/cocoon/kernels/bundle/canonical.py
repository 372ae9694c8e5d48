"""Canonical JSON: one text per value, so that hashes of it name the value.

ASCII, keys sorted, no white space; strings, booleans, null, lists, objects and integers below 2^53 (no fractions: their
spelling differs between languages).
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from ..errors import BundleInvalid

__all__ = ["digest", "dumps", "loads"]

_LIMIT = 1 << 53
_MAX_DEPTH = 32


def dumps(value: Any) -> bytes:
    """The canonical text. Raises BundleInvalid for what has none."""
    _check(value, "$", 0)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def digest(value: Any) -> str:
    """SHA-256 of the canonical text, in hex."""
    return hashlib.sha256(dumps(value)).hexdigest()


def loads(text: bytes, what: str) -> Any:
    """The value of a canonical text; BundleInvalid, naming `what`, for any other text."""
    try:
        value = json.loads(text.decode("ascii"))
        again = dumps(value)
    except (ValueError, RecursionError) as error:
        raise BundleInvalid(f"{what} is not JSON: {str(error)[:200]}") from error
    if again != text:
        raise BundleInvalid(f"{what} is not canonical JSON: sort its keys and leave out white space and repetitions")
    return value


def _check(value: Any, where: str, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise BundleInvalid(f"{where} is nested deeper than {_MAX_DEPTH}")
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise BundleInvalid(f"{where} has a key that is no text")
            _check(inner, f"{where}.{key[:40]}", depth + 1)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _check(inner, f"{where}[{index}]", depth + 1)
    elif isinstance(value, int):
        if not -_LIMIT < value < _LIMIT:
            raise BundleInvalid(f"{where} is an integer of more than 53 bits")
    elif value is not None and not isinstance(value, str):
        raise BundleInvalid(f"{where} is a {type(value).__name__}: only text, integers, lists and objects are allowed")
