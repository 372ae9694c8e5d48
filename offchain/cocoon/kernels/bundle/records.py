"""Frozen dataclasses to JSON values and back, strictly: an absent, unknown or mistyped field is named by its path."""

from __future__ import annotations

import types
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ..errors import BundleInvalid

__all__ = ["from_json", "to_json"]


def to_json(value: Any) -> Any:
    """Dataclasses as objects, tuples as lists. A field that has its default is left out: one value has one text."""
    if is_dataclass(value) and not isinstance(value, type):
        present = [field for field in fields(value) if getattr(value, field.name) != field.default]
        return {field.name: to_json(getattr(value, field.name)) for field in present}
    if isinstance(value, tuple | list):
        return [to_json(inner) for inner in value]
    return value


def from_json[T](kind: type[T], value: Any, where: str) -> T:
    """An instance of the dataclass `kind`. Raises BundleInvalid."""
    made: T = _read(kind, value, where)
    return made


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _read(kind: Any, value: Any, where: str) -> Any:
    if is_dataclass(kind) and isinstance(kind, type):
        return _read_record(kind, value, where)
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        if type(value) in (str, int) and value in parts:
            return value
        raise BundleInvalid(f"{where} is {_brief(value)}: it must be one of {', '.join(map(repr, parts))}")
    if origin is tuple:
        if not isinstance(value, list):
            raise BundleInvalid(f"{where} is {_brief(value)}: it must be a list")
        return tuple(_read(parts[0], inner, f"{where}[{index}]") for index, inner in enumerate(value))
    if origin in (Union, types.UnionType):
        for part in parts:
            if _fits(part, value):
                return None if value is None else _read(part, value, where)
        raise BundleInvalid(f"{where} is {_brief(value)}, which is not allowed there")
    if type(value) is kind:
        return value
    raise BundleInvalid(f"{where} is {_brief(value)}: it must be {'text' if kind is str else kind.__name__}")


def _read_record(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise BundleInvalid(f"{where} is {_brief(value)}: it must be an object")
    known = {field.name: field for field in fields(kind)}
    if unknown := value.keys() - known.keys():
        raise BundleInvalid(f"{where} has the unknown field {_brief(min(unknown))}")
    absent = [name for name, f in known.items() if name not in value and f.default is MISSING]
    if absent:
        raise BundleInvalid(f"{where} lacks {', '.join(absent)}")
    hints = _hints(kind)
    for name in value:
        if known[name].default is not MISSING and value[name] == to_json(known[name].default):
            raise BundleInvalid(f"{where}.{name} is {_brief(value[name])}, which is said by leaving it out")
    read = {name: _read(hints[name], inner, f"{where}.{name}") for name, inner in value.items()}
    try:
        return kind(**read)
    except BundleInvalid as error:
        raise BundleInvalid(f"{where}: {error}") from error


def _fits(kind: Any, value: Any) -> bool:
    if value is None:
        return kind is type(None)
    if is_dataclass(kind):
        return isinstance(value, dict)
    return type(value) is kind


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
