"""The process that runs one build of one bundle: told what to do on standard input, it answers on standard output.

It reads the bundle, gives up its rights (see `confine`), and only then parses, compiles and runs what is in it; or,
told to audit, looks into the programs of all builds and runs none.
Keep the imports complete: afterwards no module can be loaded any more.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import jax

from ..bundle.audit import audit_build, audit_step
from ..bundle.limits import Limits
from ..bundle.loader import Bundle, open_bundle
from ..bundle.manifest import Build
from ..engine.batcher import Event, Finished, Metered
from ..engine.chat import Message
from ..engine.model import Model
from ..engine.request import GenerateRequest, Metering, Started
from ..engine.runtime import compiled_key, device_name
from ..engine.sampling import Sampling
from ..errors import InvalidRequest, KernelError
from ..progress import Progress
from .confine import confine
from .frames import MAX_ORDER_BYTES, encode_frame, pack_arrays, read_frame, unpack_arrays
from .process import CONFINED
from .warm_up import warm_up

__all__ = ["main"]

_BEAT_SEC = 0.5


class _Output:
    """Frames to the parent, from one thread."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def send(self, header: dict[str, Any], data: bytes = b"") -> None:
        self._stream.write(encode_frame(header, data))
        self._stream.flush()

    def progress(self, step: Progress) -> None:
        self.send({"progress": [step.phase, step.done, step.total]})


class _ParentCache:
    """Compiled programs kept by the parent: read before rights are given up, stored by message."""

    def __init__(self, output: _Output, most: int) -> None:
        """most: bytes of a program that is kept."""
        self._output, self._most = output, most
        self._read: dict[str, bytes] = {}
        self._kept: set[str] = set()

    def load(self, folder: Path, bundle: Bundle, build: Build) -> None:
        keys = [compiled_key(bundle, build, sha256) for sha256 in build.hashes]
        self._output.send({"keeps": keys})  # while nothing of a stranger's has run that could lie about them
        self._kept = set(keys)
        for key in keys:
            for path in (folder / key, folder / CONFINED / key):
                if path.is_file():
                    self._read[key] = path.read_bytes()

    def get(self, key: str) -> bytes | None:
        return self._read.get(key)

    def put(self, key: str, data: bytes) -> None:
        if key in self._kept and len(data) <= self._most:
            self._kept.remove(key)
            self._output.send({"compiled": key}, data)


def main() -> None:
    """Until standard input ends."""
    output = _Output(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)  # whatever prints must not garble the frames
    first = read_frame(sys.stdin.buffer, MAX_ORDER_BYTES)
    if first is None:
        return
    try:
        if first[0]["audit"]:
            output.send({"ready": {"enforced": _audit(first[0], output)}})
            return
        model, enforced = _start(first[0], output)
    except KernelError as error:
        output.send({"fatal": _error(error)})
        return
    except Exception as error:  # noqa: BLE001 - the last words of this process; all it read is somebody else's
        output.send({"fatal": {"type": "BundleInvalid", "message": f"{type(error).__name__}: {str(error)[:300]}"}})
        return
    build = model.build
    output.send(
        {
            "ready": {
                "build": build.id,
                "longest_token": model.longest_token,
                "text_width": model.text_width,
                "memory_bytes": model.runtime.memory_bytes,
                "device": device_name(),
                "devices": len(model.runtime.placement.devices),
                "enforced": enforced,
            }
        }
    )
    _Server(model, output).run(sys.stdin.buffer)


def _start(order: dict[str, Any], output: _Output) -> tuple[Model, list[str]]:
    enforced: list[str] = []
    limits = Limits(**order["limits"])
    cache = _ParentCache(output, limits.compiled_bytes)
    warm_up()

    def give_up_rights(bundle: Bundle, build: Build) -> None:
        if order["compiled"] is not None:
            cache.load(Path(order["compiled"]), bundle, build)
        enforced.extend(_confined(bundle, order["strict"]))

    model = Model(
        Path(order["folder"]),
        build_id=order["build"],
        expected=bytes.fromhex(order["expected"]),
        limits=limits,
        cache=cache,
        before_programs=give_up_rights,
        progress=output.progress,
    )
    return model, enforced


def _audit(order: dict[str, Any], output: _Output) -> list[str]:
    """What is enforced on the process; raises what is wrong with the bundle."""
    warm_up()
    limits, expected = Limits(**order["limits"]), bytes.fromhex(order["expected"])
    bundle = open_bundle(Path(order["folder"]), limits, expected=expected, progress=output.progress)
    builds = bundle.manifest.builds
    for build in builds:
        bundle.read_programs(build)
    enforced = _confined(bundle, order["strict"])
    for index, build in enumerate(builds):
        output.progress(Progress("audit", index, len(builds)))
        audit_build(bundle, build)
        for step in build.steps:
            audit_step(bundle, build, step)
    output.progress(Progress("audit", len(builds), len(builds)))
    return enforced


def _confined(bundle: Bundle, strict: bool) -> list[str]:
    """Gives up the rights. Raises KernelError where that is not possible and has to be."""
    stored = sum(shard.bytes for shard in bundle.manifest.shards)
    enforced = confine(bundle.limits.memory_bytes + stored, device=jax.devices()[0].platform != "cpu")
    if strict and not any("seccomp" in line for line in enforced):
        raise KernelError(
            "this system can't confine the process that runs kernels (no seccomp): run the agent on Linux"
        )
    return enforced


class _Server:
    """Commands come in by a thread; everything else happens in this one."""

    def __init__(self, model: Model, output: _Output) -> None:
        self._model, self._output = model, output
        self._inbox: queue.SimpleQueue[tuple[dict[str, Any], bytes] | None] = queue.SimpleQueue()
        self._cancels: dict[int, Callable[[], None]] = {}
        self._metered: dict[int, Metered] = {}

    def run(self, stream: BinaryIO) -> None:
        threading.Thread(target=self._read, args=(stream,), daemon=True).start()
        batcher = self._model.batcher
        while True:
            busy = batcher is not None and batcher.busy
            runnable = batcher is not None and batcher.runnable
            try:
                # while all answers wait for leave to go on, say now and then that nothing is wrong
                found = self._inbox.get(block=not runnable, timeout=_BEAT_SEC if busy else None)
            except queue.Empty:
                assert batcher is not None
                if runnable:
                    batcher.step()
                self._output.send({"beat": 1})
                continue
            if found is None:
                return
            self._serve(*found)

    def _read(self, stream: BinaryIO) -> None:
        while (found := read_frame(stream, MAX_ORDER_BYTES)) is not None:
            self._inbox.put(found)
        self._inbox.put(None)

    def _serve(self, order: dict[str, Any], data: bytes) -> None:
        number = order["id"]
        try:
            match order["op"]:
                case "submit":
                    self._submit(number, order)
                case "cancel":
                    if (cancel := self._cancels.pop(number, None)) is not None:
                        cancel()
                case "allow":
                    if (metered := self._metered.get(number)) is not None:
                        metered.allow(order["tokens"])
                case "count":
                    self._output.send({"id": number, "value": len(self._model.encode(_prompt(order["prompt"])))})
                case "metrics":
                    found = self._model.batcher.metrics() if self._model.batcher else None
                    self._output.send({"id": number, "value": asdict(found) if found else {}})
                case "count_texts":
                    self._output.send({"id": number, "value": self._model.count_texts(order["texts"])})
                case "texts":
                    arrays, tokens = self._model.map_texts(order["texts"])
                    self._send_arrays(number, arrays, tokens)
                case "map":
                    self._send_arrays(number, self._model.map(unpack_arrays(order["arrays"], data)), 0)
        except KernelError as error:
            self._output.send({"id": number, "error": _error(error)})

    def _submit(self, number: int, order: dict[str, Any]) -> None:
        batcher = self._model.batcher
        if batcher is None:
            raise InvalidRequest("this model does not generate text")
        tokens = order["tokens"] if order["tokens"] is not None else self._model.encode(_prompt(order["prompt"]))
        request = GenerateRequest(
            tuple(tokens),
            order["max_tokens"],
            tuple(order["stop"]),
            Sampling(**order["sampling"]),
            order["owner"],
            order["logprobs"],
        )

        def emit(event: Event) -> None:
            if isinstance(event, Finished):
                self._cancels.pop(number, None)
                self._metered.pop(number, None)
                self._output.send({"id": number, "finished": asdict(event)})
            elif isinstance(event, Started):
                self._output.send({"id": number, "started": asdict(event)})
            else:
                self._output.send({"id": number, "token": asdict(event)})

        if order.get("metering") is None:
            self._cancels[number] = batcher.submit(request, emit)
        else:
            metered = batcher.submit_metered(request, emit, Metering(**order["metering"]))
            self._metered[number], self._cancels[number] = metered, metered.cancel

    def _send_arrays(self, number: int, arrays: dict[str, Any], tokens: int) -> None:
        described, data = pack_arrays(arrays)
        self._output.send({"id": number, "value": {"arrays": described, "tokens": tokens}}, data)


def _prompt(found: Any) -> str | list[Message]:
    return found if isinstance(found, str) else [Message(turn["role"], turn["content"]) for turn in found]


def _error(error: KernelError) -> dict[str, Any]:
    told = {name: getattr(error, name) for name in ("tokens", "limit") if hasattr(error, name)}
    return {"type": type(error).__name__, "message": str(error), **told}


if __name__ == "__main__":
    main()
