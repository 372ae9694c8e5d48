"""A build on a device: parameters prepared, programs audited and compiled, state held and handed from call to call."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np
from jax.experimental import serialize_executable

from ..bundle.audit import Audited, audit_build, audit_step
from ..bundle.loader import Bundle, step_bytes
from ..bundle.manifest import Build, Step, Tensor
from ..bundle.safetensors import NUMPY
from ..errors import BundleInvalid, MemoryExceeded
from ..processor import processor
from ..progress import Progress, ProgressCallback, silent
from .mesh import Placement

__all__ = ["Compiled", "CompiledCache", "FolderCache", "NoCache", "Runtime", "compiled_key", "device_name"]


class CompiledCache(Protocol):
    """Keeps compiled programs. What `get` returns is run: only what was `put` on this machine may come back."""

    def get(self, key: str) -> bytes | None: ...

    def put(self, key: str, data: bytes) -> None: ...


class NoCache:
    """Keeps nothing."""

    def get(self, key: str) -> bytes | None:
        return None

    def put(self, key: str, data: bytes) -> None:
        return None


class FolderCache:
    """A folder of this user's. What the confined process compiles is put there by its parent, under the same keys."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str) -> bytes | None:
        path = self._folder / key
        return path.read_bytes() if path.is_file() else None

    def put(self, key: str, data: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = self._folder / f".{key}.{os.getpid()}"
        temporary.write_bytes(data)
        os.replace(temporary, self._folder / key)


class Compiled:
    """One program, callable with all of its arguments."""

    def __init__(self, call: Any, temporary_bytes: int) -> None:
        self.call, self.temporary_bytes = call, temporary_bytes


def compiled_key(bundle: Bundle, build: Build, sha256: str) -> str:
    """What a compiled program is kept under: all that loading it on another machine depends on, and the build.

    What one build's process compiled is never run for another: it may be another publisher's.
    """
    program = hashlib.sha256(f"{build.id} {sha256}".encode()).hexdigest()
    device = device_name()
    if jax.devices()[0].platform == "cpu":
        device = f"{device}-{processor()}"
    return f"{bundle.model_id.hex()}-{program}-{device}-jax-{jax.__version__}"


def device_name() -> str:
    """What compiled programs are for: `cpu`, or the card's name, and how many of them there are."""
    device = jax.devices()[0]
    name = "cpu" if device.platform == "cpu" else f"{device.platform}-{device.device_kind}".replace(" ", "-")
    return name if jax.device_count() == 1 else f"{name}-x{jax.device_count()}"


class Runtime:
    """Not for use by two threads at once."""

    def __init__(
        self,
        bundle: Bundle,
        build: Build,
        *,
        cache: CompiledCache | None = None,
        progress: ProgressCallback = silent,
        devices: Sequence[Any] | None = None,
    ) -> None:
        """Prepares, audits, compiles. Raises BundleInvalid, BundleUnavailable or MemoryExceeded.

        devices: None takes all that the build's parts can be shared among. In several processes (`jax.distributed`)
        each makes the same calls in the same order. Progress phase `compile`, in programs.
        """
        platform = jax.devices()[0].platform
        if {"gpu": "cuda"}.get(platform, platform) not in build.platforms:
            raise BundleInvalid(f"this build is for {', '.join(build.platforms)}; this machine has {platform}")
        self.bundle, self.build = bundle, build
        self.placement = Placement(bundle, build, devices)
        # The names of compiled programs stand for all devices of one process.
        nameable = devices is None and jax.process_count() == 1
        self._cache: CompiledCache = NoCache() if cache is None or not nameable else cache
        parameters = [bundle.parameter(build, name) for name in build.parameters]
        self.programs: list[Compiled] = []
        states = range(len(parameters), len(parameters) + len(build.state))
        for index, part in enumerate(audit_build(bundle, build)):
            progress(Progress("compile", index, len(build.programs)))
            self.programs.append(self._compile(part, states))
        progress(Progress("compile", len(build.programs), len(build.programs)))
        steps = self._compile_steps()
        self.memory_bytes = self._plan(parameters, steps)
        self._parameters = self._prepare(steps)
        self._state: list[Any] = []
        self.reset()

    def reset(self) -> None:
        """Zeroes the state."""
        self._state = []  # first, so that both are never held
        self._state = [self.placement.zeros(tensor) for tensor in self.build.state]

    def run(self, index: int, *inputs: Any) -> tuple[Any, ...]:
        """Calls a program: its outputs, still being computed maybe. The state goes in and comes back changed."""
        outputs = len(self.build.programs[index].outputs)
        state, self._state = self._state, []
        results = self.programs[index].call(*self._parameters, *state, *inputs)
        self._state = list(results[outputs:])
        return tuple(results[:outputs])

    def role(self, name: str) -> int:
        """The index of the program with this role."""
        return next(index for index, program in enumerate(self.build.programs) if program.role == name)

    def _plan(self, parameters: Sequence[Tensor], steps: Sequence[tuple[Step, Compiled]]) -> int:
        """Bytes the devices of this process will need together, known before any of them is taken."""
        build, limit, placement = self.build, self.bundle.limits.memory_bytes, self.placement
        fixed = sum(placement.bytes_each(tensor) for tensor in parameters)
        # Steps run on one device, before there is any state; what earlier ones made is held meanwhile.
        greatest = max((step_bytes(self.bundle, build, step) + call.temporary_bytes for step, call in steps), default=0)
        preparing = fixed * placement.local + greatest
        if preparing > limit:
            raise MemoryExceeded(f"{preparing} bytes are needed to make the parameters, {limit} are allowed")
        fixed += max(compiled.temporary_bytes for compiled in self.programs)
        fixed += max(sum(t.size_bytes for t in (*p.inputs, *p.outputs)) for p in build.programs)
        fixed *= placement.local
        state = sum(placement.bytes_each(tensor) for tensor in build.state) * placement.local
        if fixed + state > limit:
            fits = max(0, limit - fixed) * build.slots // state if state else 0
            advice = f"; {fits} slots would fit: use a build of fewer slots" if build.slots else ""
            raise MemoryExceeded(f"{fixed + state} bytes are needed, {limit} are allowed{advice}")
        return max(fixed + state, preparing)

    def _compile_steps(self) -> list[tuple[Step, Compiled]]:
        compiled: dict[str, Compiled] = {}
        for step in self.build.steps:
            part = audit_step(self.bundle, self.build, step)  # makes sure that its arguments have one shape only
            if step.sha256 not in compiled:
                compiled[step.sha256] = self._compile(part, ())
        return [(step, compiled[step.sha256]) for step in self.build.steps]

    def _prepare(self, steps: Sequence[tuple[Step, Compiled]]) -> list[Any]:
        """The parameters on the device; stored tensors that only steps need stay in their files."""
        build = self.build
        made: dict[str, Any] = {}
        for step, compiled in steps:
            results = compiled.call(*(self.bundle.array(name) for name in step.inputs))
            # at once: one device need not hold all of them
            made |= {
                t.name: self.placement.place(t.name, array) for t, array in zip(step.outputs, results, strict=True)
            }
        taken = {
            name: made[name] if name in made else self.placement.place(name, np.array(self.bundle.array(name)))
            for name in dict.fromkeys(build.parameters)
        }
        return [taken[name].block_until_ready() for name in build.parameters]

    def _layout(self, part: Audited) -> dict[str, Any]:
        """Where a program's arguments and results are."""
        if not self.placement.laid_out:
            return {}
        outer = {tensor.name for program in self.build.programs for tensor in (*program.inputs, *program.outputs)}
        inner = {*self.build.parameters, *(tensor.name for tensor in self.build.state)} - outer
        lay = [
            tuple(self.placement.sharding(t.name if t.name in inner else None) for t in tensors)
            for tensors in (part.arguments, part.results)
        ]
        return {"in_shardings": lay[0], "out_shardings": lay[1]}

    def _compile(self, part: Audited, donated: Sequence[int]) -> Compiled:
        arguments, results, what = part.arguments, part.results, part.what
        key = compiled_key(self.bundle, self.build, part.sha256)
        kept = self._cache.get(key)
        if kept is not None:
            loaded = _load(kept, len(arguments), len(results), self.placement.devices if donated else None)
            if loaded is not None:
                return loaded
        specs = [jax.ShapeDtypeStruct(t.shape, NUMPY[t.dtype]) for t in arguments]  # type: ignore[no-untyped-call]
        began = time.monotonic()
        try:
            laid = self._layout(part) if donated else {}
            compiled = jax.jit(part.exported.call, donate_argnums=tuple(donated), **laid).lower(*specs).compile()
        except Exception as error:  # a compiler on somebody else's program
            raise BundleInvalid(f"{what} can't be compiled: {type(error).__name__} {str(error)[:200]}") from error
        if time.monotonic() - began > self.bundle.limits.compile_sec:
            raise BundleInvalid(f"{what} took longer than {self.bundle.limits.compile_sec:.0f} s to compile")
        payload = serialize_executable.serialize(compiled)[0]
        self._cache.put(key, payload)
        return Compiled(compiled, _temporary(compiled))


def _load(data: bytes, arguments: int, results: int, devices: Sequence[Any] | None) -> Compiled | None:
    """A program compiled before; None if this release can't load it."""
    in_tree = jax.tree.structure((tuple(range(arguments)), {}))
    out_tree = jax.tree.structure(tuple(range(results)))
    try:
        several = devices if devices is not None and len(devices) > 1 else jax.local_devices()[:1]
        compiled = serialize_executable.deserialize_and_load(data, in_tree, out_tree, execution_devices=several)
    except Exception:  # another release's, or damaged: compiling again is always possible  # noqa: BLE001
        return None
    return Compiled(compiled, _temporary(compiled))


def _temporary(compiled: Any) -> int:
    found = compiled.memory_analysis()
    return 0 if found is None else int(found.temp_size_in_bytes)
