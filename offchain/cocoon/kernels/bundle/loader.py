"""Opening a bundle that a stranger made. Every byte that is used has been hashed, every name and size checked, before
anything is parsed further; programs are looked into by `audit`, where they are run.
"""

from __future__ import annotations

import hashlib
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt

from ..errors import BundleInvalid, BundleUnavailable, MemoryExceeded
from ..progress import Progress, ProgressCallback, silent
from . import chunks
from .limits import Limits
from .manifest import Build, Core, Manifest, Program, Step, Tensor
from .safetensors import TensorFile

__all__ = [
    "GOLDEN",
    "MANIFEST",
    "TEMPLATE",
    "TOKENIZER",
    "Bundle",
    "check_programs",
    "check_shards",
    "open_bundle",
    "parts_of",
    "program_name",
    "read_manifest",
    "shard_name",
    "step_bytes",
]

MANIFEST, TOKENIZER, TEMPLATE, GOLDEN = "manifest.json", "tokenizer.json", "chat_template.jinja", "golden.safetensors"
_CHUNK_LIMITS = (1 << 16, 1 << 26)
_MOST_PARTS = 256


def program_name(sha256: str) -> str:
    """Files are named by hash or number, never by what a manifest says."""
    return f"programs/{sha256}.stablehlo"


def shard_name(index: int) -> str:
    return f"weights/{index:05}.safetensors"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose weights, tokenizer, template and golden vectors have the hashes its id stands for."""

    folder: Path
    manifest: Manifest
    limits: Limits
    stored: dict[str, tuple[TensorFile, Tensor]] = field(repr=False)
    tokenizer: bytes | None = field(repr=False)
    chat_template: bytes | None = field(repr=False)
    golden: dict[str, npt.NDArray[Any]] = field(repr=False)
    programs: dict[str, bytes] = field(repr=False, default_factory=dict)

    @property
    def model_id(self) -> bytes:
        return self.manifest.model_id

    @property
    def core(self) -> Core:
        return self.manifest.core

    def array(self, name: str) -> npt.NDArray[Any]:
        """A stored tensor: a read-only view of its file."""
        file, _ = self.stored[name]
        return file.array(name)

    def read_programs(self, build: Build) -> None:
        """Reads the build's programs, for a process that may open no files later. Raises as `program` does."""
        for sha256, size in build.hashes.items():
            self.programs[sha256] = self.program(sha256, size)

    def program(self, sha256: str, size: int) -> bytes:
        """A program's bytes. Raises BundleInvalid or BundleUnavailable."""
        if sha256 in self.programs:
            return self.programs[sha256]
        name = program_name(sha256)
        data = _read(self.folder / name, name, self.limits.program_bytes)
        if len(data) != size or hashlib.sha256(data).hexdigest() != sha256:
            raise BundleInvalid(f"{name} has other bytes than the manifest says")
        return data

    def parameter(self, build: Build, name: str) -> Tensor:
        """What a build's parameter is: stored, or made by one of its steps."""
        if name in self.stored:
            return self.stored[name][1]
        return next(tensor for step in build.steps for tensor in step.outputs if tensor.name == name)


def open_bundle(
    folder: Path, limits: Limits | None = None, *, expected: bytes | None = None, progress: ProgressCallback = silent
) -> Bundle:
    """Reads and checks everything but the programs. expected: the id it must have.

    Progress phase `verify`, in bytes of weights. Raises BundleInvalid, BundleUnavailable or MemoryExceeded.
    """
    limits = Limits() if limits is None else limits
    manifest = read_manifest(folder, limits)
    if expected is not None and manifest.model_id != expected:
        raise BundleInvalid(f"{folder} is model {manifest.model_id.hex()}, expected {expected.hex()}")
    core = manifest.core
    check_programs(manifest, limits)
    stored = _open_weights(folder, manifest, limits, progress)
    texts = {
        name: None if sha256 is None else _read_hashed(folder, name, sha256, limits)
        for name, sha256 in ((TOKENIZER, core.tokenizer), (TEMPLATE, core.chat_template), (GOLDEN, core.golden))
    }
    golden_file = TensorFile(folder / GOLDEN)
    bundle = Bundle(
        folder,
        manifest,
        limits,
        stored,
        texts[TOKENIZER],
        texts[TEMPLATE],
        {name: golden_file.array(name) for name in golden_file.tensors},
    )
    for index, build in enumerate(manifest.builds):
        try:
            _check_build(bundle, build)
        except (BundleInvalid, MemoryExceeded) as error:
            raise type(error)(f"manifest.builds[{index}]: {error}") from error
    return bundle


def read_manifest(folder: Path, limits: Limits | None = None) -> Manifest:
    """The manifest alone: opening the bundle checks that the files are what it says.

    Raises BundleInvalid or BundleUnavailable.
    """
    limit = (Limits() if limits is None else limits).manifest_bytes
    return Manifest.from_bytes(_read(folder / MANIFEST, str(folder / MANIFEST), limit))


def check_programs(manifest: Manifest, limits: Limits) -> int:
    """Bytes of all programs, known before any of them is there. Raises BundleInvalid."""
    if len(manifest.builds) > limits.builds:
        raise BundleInvalid(f"the manifest has {len(manifest.builds)} builds, {limits.builds} are allowed")
    for index, build in enumerate(manifest.builds):
        if len(build.hashes) > limits.programs:
            raise BundleInvalid(
                f"manifest.builds[{index}] has {len(build.hashes)} programs and steps that differ, "
                f"{limits.programs} are allowed"
            )
    for sha256, size in manifest.programs.items():
        if size > limits.program_bytes:
            raise BundleInvalid(f"program {sha256} has {size} bytes, {limits.program_bytes} are allowed")
    total = sum(manifest.programs.values())
    if total > limits.programs_bytes:
        raise BundleInvalid(f"the programs have {total} bytes together, {limits.programs_bytes} are allowed")
    return total


def check_shards(manifest: Manifest, limits: Limits) -> int:
    """Bytes of all weights, known before any of them is there. Raises BundleInvalid."""
    weights, shards = manifest.core.weights, manifest.shards
    if not _CHUNK_LIMITS[0] <= weights.chunk_bytes <= _CHUNK_LIMITS[1] or len(shards) > limits.shards:
        raise BundleInvalid(f"{len(shards)} shards in chunks of {weights.chunk_bytes} bytes are not allowed")
    for index, shard in enumerate(shards):
        if len(shard.chunks) != chunks.chunk_count(shard.bytes, weights.chunk_bytes):
            raise BundleInvalid(f"manifest.shards[{index}] has {len(shard.chunks)} chunks for {shard.bytes} bytes")
    total = sum(shard.bytes for shard in shards)
    if total != weights.bytes or chunks.root(shards) != weights.root:
        raise BundleInvalid("manifest.shards are not those that manifest.core.weights stands for")
    return total


def _open_weights(
    folder: Path, manifest: Manifest, limits: Limits, progress: ProgressCallback
) -> dict[str, tuple[TensorFile, Tensor]]:
    weights, shards = manifest.core.weights, manifest.shards
    total = check_shards(manifest, limits)
    if total > limits.memory_bytes:
        raise MemoryExceeded(f"the weights are {total} bytes, {limits.memory_bytes} are allowed")
    stored: dict[str, tuple[TensorFile, Tensor]] = {}
    done = 0

    def read(count: int) -> None:
        nonlocal done
        done += count
        progress(Progress("verify", done, total))

    for index, shard in enumerate(shards):
        name = shard_name(index)
        _check_regular(folder / name, name)
        try:
            chunks.verify_shard(folder / name, shard, weights.chunk_bytes, read)
            file = TensorFile(folder / name)
        except OSError as error:
            raise BundleUnavailable(f"{name} can't be read: {error}") from error
        if len(stored) + len(file.tensors) > limits.tensors or stored.keys() & file.tensors.keys():
            raise BundleInvalid(f"{name} has too many tensors, or one that an earlier shard has")
        stored |= {tensor.name: (file, tensor) for tensor in file.tensors.values()}
    return stored


def _check_build(bundle: Bundle, build: Build) -> None:
    limits, core = bundle.limits, bundle.core
    if len(build.programs) + len(build.steps) > limits.programs + 4 * len(bundle.stored):
        raise BundleInvalid(f"{len(build.programs)} programs and {len(build.steps)} steps are too many")
    made = {tensor.name: tensor for step in build.steps for tensor in step.outputs}
    if shadowed := made.keys() & bundle.stored.keys():
        raise BundleInvalid(f"a step makes {min(shadowed)!r}, which is stored")
    if unused := made.keys() - set(build.parameters):
        raise BundleInvalid(f"a step makes {min(unused)!r}, which is no parameter")
    for name in build.parameters:
        if name not in made and name not in bundle.stored:
            raise BundleInvalid(f"parameter {name!r} is neither stored nor made by a step")
    for step in build.steps:
        for name in step.inputs:
            if name not in bundle.stored:
                raise BundleInvalid(f"a step takes {name!r}, which is not stored")
    parts_of(bundle, build)
    running = sum(tensor.size_bytes for tensor in build.state)
    running += sum(t.size_bytes for program in build.programs for t in (*program.inputs, *program.outputs))
    preparing = max((step_bytes(bundle, build, step) for step in build.steps), default=0)  # before there is any state
    needed = sum(bundle.parameter(build, name).size_bytes for name in set(build.parameters))
    needed += max(running, preparing)
    if needed > limits.memory_bytes:
        raise MemoryExceeded(f"it needs {needed} bytes, {limits.memory_bytes} are allowed")
    if core.kind == "generate":
        _check_generate(core, build)
    else:
        _check_map(core, build)


def step_bytes(bundle: Bundle, build: Build, step: Step) -> int:
    """What goes into a step and comes out of it."""
    return sum(t.size_bytes for t in (*(bundle.parameter(build, name) for name in step.inputs), *step.outputs))


def parts_of(bundle: Bundle, build: Build) -> int:
    """How many devices may share the arrays of a build: the first axis of all it names as split; 1 if there are none.

    Raises BundleInvalid.
    """
    known = {name: bundle.parameter(build, name) for name in build.parameters} | {t.name: t for t in build.state}
    if unknown := set(build.split) - known.keys():
        raise BundleInvalid(f"split {min(unknown)!r} is neither a parameter nor state")
    parts = {known[name].shape[:1] for name in build.split}
    if not parts:
        return 1
    first = parts.pop()
    if parts or first == () or not 2 <= first[0] <= _MOST_PARTS:
        raise BundleInvalid(f"arrays that are split have one first axis, of 2 to {_MOST_PARTS} parts")
    return first[0]


def _check_generate(core: Core, build: Build) -> None:
    assert core.generate is not None
    slots, chunk, vocabulary = build.slots, build.chunk, core.generate.vocabulary
    if min(slots, chunk) < 1 or not chunk <= build.capacity <= core.generate.context_length or build.capacity % chunk:
        raise BundleInvalid(f"slots {slots}, capacity {build.capacity} and chunk {chunk} don't fit the model")

    def i32(name: str, *dims: int) -> Tensor:
        return Tensor(name, "i32", dims)

    expected = {
        "prefill": ((i32("tokens", chunk), i32("slot"), i32("start"), i32("last")), (vocabulary,)),
        "decode": ((i32("tokens", slots), i32("positions", slots), i32("highest")), (slots, vocabulary)),
    }
    if sorted(program.role for program in build.programs) != sorted(expected):
        raise BundleInvalid("a generate build has exactly one program for each of prefill and decode")
    for program in build.programs:
        inputs, logits = expected[program.role]
        if program.inputs != inputs or program.outputs != (Tensor("logits", "f32", logits),):
            raise BundleInvalid(f"{program.role} has other inputs or outputs than a generate build's")


def _check_map(core: Core, build: Build) -> None:
    if build.state or build.slots or build.capacity or build.chunk:
        raise BundleInvalid("a map build has no state, slots, capacity or chunk")
    for program in build.programs:
        _match(program, core.inputs, program.inputs, core.outputs, program.outputs)


def _match(
    program: Program, inputs: tuple[Tensor, ...], got: tuple[Tensor, ...], outputs: tuple[Tensor, ...], gave: Any
) -> None:
    """The program's tensors are the core's, with one number for each named dimension."""
    bound: dict[str, int] = {}
    for generic, concrete in zip((*inputs, *outputs), (*got, *gave), strict=False):
        same = (generic.name, generic.dtype, len(generic.dims)) == (concrete.name, concrete.dtype, len(concrete.dims))
        pairs = list(zip(generic.dims, concrete.shape, strict=False))
        if not same or any(bound.setdefault(str(dim), size) != size for dim, size in pairs if isinstance(dim, str)):
            raise BundleInvalid(f"{program.role} program: {concrete.name} is not what the core says")
        if any(dim != size for dim, size in pairs if isinstance(dim, int)):
            raise BundleInvalid(f"{program.role} program: {concrete.name} has another shape than the core says")
    if program.role != "map" or (len(inputs), len(outputs)) != (len(got), len(gave)):
        raise BundleInvalid("a map build has only map programs, with the core's inputs and outputs")


def _read_hashed(folder: Path, name: str, sha256: str, limits: Limits) -> bytes:
    data = _read(folder / name, name, limits.text_bytes)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise BundleInvalid(f"{name} has another hash than manifest.core says")
    return data


def _read(path: Path, name: str, limit: int) -> bytes:
    _check_regular(path, name)
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise BundleUnavailable(f"{name} can't be read: {error}") from error
    if len(data) > limit:
        raise BundleInvalid(f"{name} is longer than {limit} bytes")
    return data


def _check_regular(path: Path, name: str) -> None:
    """No links: what is read is in the bundle's own folder."""
    try:
        modes = [path.lstat().st_mode, path.parent.lstat().st_mode]
    except OSError as error:
        raise BundleUnavailable(f"{name} is missing: {error.strerror}") from error
    if not stat.S_ISREG(modes[0]) or not stat.S_ISDIR(modes[1]):
        raise BundleInvalid(f"{name} is not a plain file in a plain folder")
