"""What a builder hands over: a model independent of any format, able to describe its builds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy.typing as npt

from ..bundle.manifest import Build, Generate, Tensor, Tolerance
from ..errors import UnsupportedModel
from .precision import Precision

__all__ = ["Arrays", "Blueprint", "BuildOptions", "Made", "Source"]

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """slots, capacity, chunk: for `generate`. capacity None: the model's context. parts: how many devices may share a
    layer (tensor parallel).
    """

    precision: Precision = "f32"
    slots: int = 8
    capacity: int | None = None
    chunk: int = 64
    parts: int = 1

    def only_whole(self, what: str) -> None:
        """Raises UnsupportedModel where parts are asked for."""
        if self.parts != 1:
            raise UnsupportedModel(f"{what} can't be cut into {self.parts} parts: only decoders can")


@dataclass(frozen=True, slots=True)
class Made:
    """A build and the bytes of its programs, by hash."""

    build: Build
    programs: dict[str, bytes] = field(repr=False)


class Source(Protocol):
    """A model's functions."""

    def make(self, options: BuildOptions) -> Made:
        """Exports the programs of one build."""
        ...

    def golden(self) -> dict[str, npt.NDArray[Any]]:
        """Inputs (names as in the core) and expected outputs, computed in float32."""
        ...


@dataclass(frozen=True, slots=True)
class Blueprint:
    """Everything a bundle's core is made of, and the source of its builds. weights: as they are stored."""

    kind: Any
    name: str
    licence: str
    weights: Arrays = field(repr=False)
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    tolerance: Tolerance
    source: Source
    tokenizer: bytes | None = None
    chat_template: bytes | None = None
    generate: Generate | None = None
