"""What a manifest says. The *core* decides what a model is, and its SHA-256 is the model's id; the *builds* are ways to
compute it, each checked against the core's golden vectors. A build may be added or dropped without renaming the model.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from ..errors import BundleInvalid
from .canonical import digest, dumps, loads
from .records import from_json, to_json

__all__ = [
    "DTYPES",
    "SCHEMA",
    "Build",
    "Core",
    "Generate",
    "Manifest",
    "Program",
    "Shard",
    "Step",
    "Tensor",
    "Tolerance",
    "Weights",
]

SCHEMA = "cocoon.kernel/1"
DTYPES = {"f64": 8, "f32": 4, "f16": 2, "bf16": 2, "i64": 8, "i32": 4, "i16": 2, "i8": 1, "u32": 4, "u8": 1, "bool": 1}
_HEX = re.compile(r"[0-9a-f]{64}\Z")
_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,160}\Z")
_LICENCE = re.compile(r"[A-Za-z0-9_.+\- ()]{1,200}\Z")
_MAX_DIMENSIONS = 8
_MAX_DIMENSION = 1 << 40


@dataclass(frozen=True, slots=True)
class Tensor:
    """A name, a dtype of DTYPES and dimensions; in the core of a `map` model a dimension may be a name, too."""

    name: str
    dtype: str
    dims: tuple[int | str, ...]

    def __post_init__(self) -> None:
        _named(self.name)
        if self.dtype not in DTYPES:
            raise BundleInvalid(f"dtype {self.dtype[:20]!r} is unknown: use one of {', '.join(DTYPES)}")
        if len(self.dims) > _MAX_DIMENSIONS:
            raise BundleInvalid(f"{self.name} has {len(self.dims)} dimensions, {_MAX_DIMENSIONS} are allowed")
        for dim in self.dims:
            if isinstance(dim, str):
                _named(dim)
            elif not 0 < dim <= _MAX_DIMENSION:
                raise BundleInvalid(f"{self.name} has a dimension of {dim}")

    @property
    def shape(self) -> tuple[int, ...]:
        """The dimensions, all of them numbers. Raises BundleInvalid."""
        if any(isinstance(dim, str) for dim in self.dims):
            raise BundleInvalid(f"{self.name} has a named dimension where programs need numbers")
        return tuple(int(dim) for dim in self.dims)

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * DTYPES[self.dtype]


@dataclass(frozen=True, slots=True)
class Weights:
    """root: over the chunk hashes of all shards (see `chunks`)."""

    root: str
    bytes: int
    chunk_bytes: int

    def __post_init__(self) -> None:
        _hash(self.root)


@dataclass(frozen=True, slots=True)
class Generate:
    """What a `generate` model is to its engine."""

    vocabulary: int
    context_length: int

    def __post_init__(self) -> None:
        _within("vocabulary", self.vocabulary, 2, 1 << 22)
        _within("context_length", self.context_length, 2, 1 << 24)


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a build may be from the golden outputs: the greatest difference, in millionths of the greatest output."""

    millionths: int

    def __post_init__(self) -> None:
        _within("tolerance", self.millionths, 0, 500_000)


@dataclass(frozen=True, slots=True)
class Core:
    """What the model is. tokenizer, chat_template, golden: SHA-256 of the files; licence: an SPDX expression."""

    schema: Literal["cocoon.kernel/1"]
    kind: Literal["map", "generate"]
    name: str
    licence: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    weights: Weights
    tokenizer: str | None
    chat_template: str | None
    golden: str
    tolerance: Tolerance
    generate: Generate | None

    def __post_init__(self) -> None:
        _named(self.name)
        if not _LICENCE.match(self.licence):
            raise BundleInvalid(f"licence {self.licence[:60]!r} is no SPDX expression")
        for found in (self.tokenizer, self.chat_template, self.golden):
            if found is not None:
                _hash(found)
        if (self.generate is None) != (self.kind == "map"):
            raise BundleInvalid(f"a {self.kind} model {'needs' if self.generate is None else 'has no'} field generate")
        _distinct("inputs", [tensor.name for tensor in self.inputs])
        _distinct("outputs", [tensor.name for tensor in self.outputs])


@dataclass(frozen=True, slots=True)
class Shard:
    """One safetensors file: its length and the SHA-256 of each of its chunks."""

    bytes: int
    chunks: tuple[str, ...]

    def __post_init__(self) -> None:
        _within("shard", self.bytes, 8, 1 << 50)
        for chunk in self.chunks:
            _hash(chunk)


@dataclass(frozen=True, slots=True)
class Program:
    """A serialized `jax.export` artifact: programs/SHA256.stablehlo. Its arguments are the build's parameters, then the
    state, then `inputs`; its results `outputs`, then the state. (Programs of steps: the step says which.)
    """

    role: Literal["map", "prefill", "decode"]
    sha256: str
    bytes: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def __post_init__(self) -> None:
        _hash(self.sha256)
        _within("program", self.bytes, 1, 1 << 40)


@dataclass(frozen=True, slots=True)
class Step:
    """Run once after loading: makes tensors the programs take out of the stored ones (joined, narrowed, quantized)."""

    sha256: str
    bytes: int
    inputs: tuple[str, ...]
    outputs: tuple[Tensor, ...]

    def __post_init__(self) -> None:
        _hash(self.sha256)
        _within("program", self.bytes, 1, 1 << 40)


@dataclass(frozen=True, slots=True)
class Build:
    """One way to compute the model.

    exporter: the serialization generation, jax's release and its calling convention. slots, capacity (tokens per slot)
    and chunk (tokens per prefill) are 0 for `map`. A build has one number of slots, because results differ in their
    last bits between numbers of slots: the build's id says which bits to expect. split: parameters and state whose
    first axis are parts, which several devices may share among them.
    """

    precision: Literal["f32", "bf16", "int8", "mixed"]
    platforms: tuple[Literal["cpu", "cuda"], ...]
    exporter: str
    slots: int
    capacity: int
    chunk: int
    parameters: tuple[str, ...]
    steps: tuple[Step, ...]
    state: tuple[Tensor, ...]
    programs: tuple[Program, ...]
    split: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _named(self.exporter)
        _distinct("split", list(self.split))
        _distinct("platforms", list(self.platforms))
        _distinct("state", [tensor.name for tensor in self.state])
        _within("slots", self.slots, 0, 4096)
        _within("capacity", self.capacity, 0, 1 << 24)
        _within("chunk", self.chunk, 0, 1 << 16)
        made = [tensor.name for step in self.steps for tensor in step.outputs]
        _distinct("outputs of steps", made)
        for name in (*self.parameters, *(name for step in self.steps for name in step.inputs)):
            _named(name)
        if not self.programs or not self.platforms:
            raise BundleInvalid("a build needs a program and a platform")

    @property
    def id(self) -> str:
        """SHA-256 of the build's canonical JSON."""
        return digest(to_json(self))

    @property
    def hashes(self) -> dict[str, int]:
        """Program files by hash, with their lengths."""
        programs = {program.sha256: program.bytes for program in self.programs}
        return programs | {step.sha256: step.bytes for step in self.steps}


@dataclass(frozen=True, slots=True)
class Manifest:
    """manifest.json."""

    core: Core
    shards: tuple[Shard, ...]
    builds: tuple[Build, ...]

    @property
    def model_id(self) -> bytes:
        """32 bytes, by which offers, requests and receipts name the model."""
        return bytes.fromhex(digest(to_json(self.core)))

    @property
    def programs(self) -> dict[str, int]:
        """Program files of all builds by hash, with their lengths."""
        return {sha256: size for build in self.builds for sha256, size in build.hashes.items()}

    def to_bytes(self) -> bytes:
        return dumps(to_json(self))

    @classmethod
    def from_bytes(cls, text: bytes) -> Manifest:
        """Raises BundleInvalid, naming the field."""
        return from_json(cls, loads(text, "manifest.json"), "manifest")


def _hash(text: str) -> None:
    if not _HEX.match(text):
        raise BundleInvalid(f"{text[:70]!r} is not a SHA-256 in lower-case hex")


def _named(text: str) -> None:
    if not _NAME.match(text):
        raise BundleInvalid(f"{text[:60]!r} is no name: use up to 160 letters, digits, '_', '-' and '.'")


def _distinct(what: str, names: list[str]) -> None:
    if len(set(names)) != len(names):
        raise BundleInvalid(f"a name occurs twice in {what}")


def _within(what: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise BundleInvalid(f"{what} is {value}: it must be between {least} and {most}")
