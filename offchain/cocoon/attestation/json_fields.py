"""Reads signed JSON strictly: every value of its kind and size, no key twice, times in Intel's one form."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from .errors import CollateralMalformed

__all__ = ["Fields", "time_text"]

_HEX = re.compile("[0-9A-Fa-f]*")
_TIME = "%Y-%m-%dT%H:%M:%SZ"


class Fields:
    """A JSON object, read by key; says where something is wrong."""

    def __init__(self, values: object, where: str) -> None:
        if not isinstance(values, Mapping):
            raise CollateralMalformed(f"{where} is not a JSON object")
        self._values, self.where = values, where

    @classmethod
    def load(cls, raw: bytes, what: str) -> Fields:
        try:
            return cls(json.loads(bytes(raw).decode(), object_pairs_hook=_unique), what)
        except (ValueError, RecursionError) as error:
            raise CollateralMalformed(f"{what} is not JSON: {error}") from error

    def get(self, key: str, kind: type) -> Any:
        value = self._values.get(key)
        if type(value) is not kind:
            raise CollateralMalformed(f"{self.where}: {key} is missing or not a {kind.__name__}")
        return value

    def expect(self, key: str, value: str | int) -> None:
        if self.get(key, type(value)) != value:
            raise CollateralMalformed(f"{self.where}: {key} is not {value}: a document of another kind")

    def text(self, key: str, *, optional: bool = False) -> str | None:
        return None if optional and key not in self._values else self.get(key, str)

    def hex(self, key: str, size: int) -> bytes:
        text = self.get(key, str)
        if not _HEX.fullmatch(text) or len(text) != 2 * size:
            raise CollateralMalformed(f"{self.where}: {key} is not {2 * size} hexadecimal digits")
        return bytes.fromhex(text)

    def number(self, key: str, bits: int) -> int:
        value: int = self.get(key, int)
        if not 0 <= value < 1 << bits:
            raise CollateralMalformed(f"{self.where}: {key} does not fit {bits} bits")
        return value

    def time(self, key: str) -> int:
        text = self.get(key, str)
        try:
            moment = int(datetime.strptime(text, _TIME).replace(tzinfo=UTC).timestamp())
        except ValueError as error:
            raise CollateralMalformed(f"{self.where}: {key} is not a time like 2025-06-19T10:16:03Z") from error
        if time_text(moment) != text:
            raise CollateralMalformed(f"{self.where}: {key} is not a time like 2025-06-19T10:16:03Z")
        return moment

    def object(self, key: str) -> Fields:
        return Fields(self.get(key, dict), f"{self.where}.{key}")

    def all[T](self, key: str, read: Callable[[Fields], T], *, optional: bool = False) -> tuple[T, ...]:
        if optional and key not in self._values:
            return ()
        entries = self.get(key, list)
        return tuple(read(Fields(entry, f"{self.where}.{key}[{index}]")) for index, entry in enumerate(entries))

    def texts(self, key: str) -> tuple[str, ...]:
        if key not in self._values:
            return ()
        found = self.get(key, list)
        if not all(isinstance(text, str) for text in found):
            raise CollateralMalformed(f"{self.where}: {key} holds something else than texts")
        return tuple(found)


def time_text(unix: int) -> str:
    """Unix seconds as Intel writes them."""
    return datetime.fromtimestamp(unix, UTC).strftime(_TIME)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise CollateralMalformed("a JSON object has a key twice: two readers may take different values")
    return found
