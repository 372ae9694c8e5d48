"""The parent's end of one kernel process: starts it, keeps what it compiles, watches its time, hands out its answers.

What the child says is not trusted. What the model is, the parent reads itself; every message is bounded before it is
taken in and checked against what was asked (see `answers`), and a child that says nonsense, or does not listen, is
ended. All that comes of it is told by one thread, in order.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..bundle.limits import Limits
from ..bundle.loader import read_manifest
from ..bundle.manifest import Build
from ..engine.request import Metering
from ..errors import InvalidRequest, KernelCrashed, KernelError
from ..progress import Progress, ProgressCallback, silent
from . import answers
from .about import about, running_build
from .answers import ArraysAsked, Event, Nonsense, TokensAsked
from .frames import MAX_ANSWER_BYTES, MAX_DATA_BYTES, MAX_ORDER_BYTES, BrokenFrame, encode_frame, read_frame
from .pipes import Inlet, Outbox

__all__ = ["CHILD", "CONFINED", "KernelProcess", "Order"]

CHILD = (sys.executable, "-m", "cocoon.kernels.sandboxed.child")
CONFINED = "confined"  # the folder, below that of compiled programs, for what confined processes made
_START_SEC = 120.0  # to import JAX on a busy machine
_SLOWEST_DISK = 10 << 20  # bytes a second
_PHASES = ("verify", "compile", "audit")
# what an environment has to have; the operator's secrets may be in the rest
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "CUDA_VISIBLE_DEVICES", "XLA_FLAGS", "JAX_PLATFORMS")


@dataclass(frozen=True, slots=True)
class Order:
    """What to run. build_id: None takes the first one. compiled: where compiled programs are kept, None keeps none.
    strict: refuse to run on a system that can't confine the process. audit: look into the programs of all builds, and
    run none.
    """

    folder: Path
    build_id: str | None = None
    expected: bytes | None = None
    limits: Limits = field(default_factory=Limits)
    compiled: Path | None = None
    strict: bool = True
    audit: bool = False


@dataclass(slots=True, eq=False)
class _Asked:
    """A question under way. read: an answer, checked; put: where it goes, None at last if the process has died.
    room: bytes that may come beside the object. once: whether there is one answer; only then the process, which takes
    such questions in turn, owes it one. due: when it must be over.
    """

    read: Callable[[dict[str, Any], bytes], Any]
    put: Callable[[Any], None]
    room: int = 0
    once: bool = False
    tokens: TokensAsked | None = None
    due: float | None = None


class KernelProcess:
    """One child. Any thread may ask it; once it has died, everything raises KernelCrashed.

    about: what runs, see `KernelHost.about`; of an audit only what is `enforced`.
    """

    def __init__(self, order: Order, progress: ProgressCallback = silent) -> None:
        """Starts it and waits until it is ready. Raises what opening the bundle raises, or KernelCrashed."""
        self._order, self._progress = order, progress
        self.manifest = read_manifest(order.folder, order.limits)
        self._keeps: set[str] | None = None  # keys of compiled programs still to come; None until the child named them
        self._numbers = itertools.count(1)
        self._asked: dict[int, _Asked] = {}
        self._lock = threading.RLock()  # an answer that is dropped may be cancelled by the collector, anywhere
        self._began = self._heard = self._answered = time.monotonic()
        self._ended: str | None = None
        self._ready = threading.Event()
        self._fatal: KernelError | None = None
        self.build: Build | None = None
        self.about: dict[str, Any] = {}
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        self._child = subprocess.Popen(
            CHILD,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd="/",
            close_fds=True,
            start_new_session=True,  # Ctrl-C is for the agent, which ends this process itself
        )
        assert self._child.stdin is not None
        self._outbox = Outbox(self._child.stdin)
        threading.Thread(target=self._listen, daemon=True).start()
        self._send(
            {
                "folder": str(order.folder.absolute()),
                "build": order.build_id,
                "expected": (self.manifest.model_id if order.expected is None else order.expected).hex(),
                "limits": asdict(order.limits),
                "compiled": None if order.compiled is None else str(order.compiled.absolute()),
                "strict": order.strict,
                "audit": order.audit,
            }
        )
        try:
            self._ready.wait()
        except BaseException:  # interrupted: nobody will know of it
            self.close()
            raise
        if self._fatal is not None:
            self.close()
            raise self._fatal
        if not self.about:
            raise KernelCrashed(f"the kernel's process {self._ended} while it loaded the bundle")

    @property
    def alive(self) -> bool:
        return self._ended is None

    def ask[T](self, op: str, read: Callable[[Any, bytes], T], data: bytes = b"", *, room: int = 0, **fields: Any) -> T:
        """One question, one answer. read: checks it; room: bytes it may have beside its object.

        Raises KernelCrashed, InvalidRequest for what can't be sent, or the error the child found with the question.
        """
        found: queue.SimpleQueue[T | KernelError | None] = queue.SimpleQueue()

        def checked(header: dict[str, Any], beside: bytes) -> T | KernelError:
            return answers.error(header["error"]) if "error" in header else read(header["value"], beside)

        self._post(_Asked(checked, found.put, min(room, MAX_DATA_BYTES), once=True), {"op": op, **fields}, data)
        match found.get():
            case None:
                raise self.crashed()
            case KernelError() as error:
                raise error
            case value:
                return value

    def arrays(self, given: Mapping[str, int]) -> ArraysAsked:
        """What a `map` answer may be, for inputs of these sizes."""
        assert self.build is not None
        return ArraysAsked(self.manifest.core, self.build, given)

    def submit(
        self, order: Mapping[str, Any], put: Callable[[Event | None], None], metering: Metering | None = None
    ) -> int:
        """Asks for an answer in tokens: its number. Never waits.

        put: gets its events, by the thread that listens; None if the process died before the last one. `forget` it
        where that is not waited for. Raises KernelCrashed or InvalidRequest.
        """
        assert self.build is not None
        tokens = TokensAsked(self.manifest.core, self.build, order, metering)
        asked = _Asked(lambda header, _: tokens.read(header), put, tokens=tokens)
        return self._post(
            asked, {"op": "submit", **order, "metering": None if metering is None else asdict(metering)}, wait=False
        )

    def allow(self, number: int, tokens: int) -> None:
        """So many tokens of a metered answer may be produced in all. Never waits."""
        with self._lock:
            found = self._asked.get(number)
            if found is not None and found.tokens is not None:
                found.tokens.allow(tokens)
        self._send({"op": "allow", "id": number, "tokens": tokens})

    def cancel(self, number: int) -> None:
        """Ends a request soon; its last answer still comes. Never waits."""
        with self._lock:
            found = self._asked.get(number)
            if found is not None and found.due is None:
                found.due = time.monotonic() + 2 * self._order.limits.step_sec
        self._send({"op": "cancel", "id": number})

    def forget(self, number: int) -> None:
        with self._lock:
            self._asked.pop(number, None)

    def close(self) -> None:
        """Ends the process at once."""
        self._end("was stopped")
        self._child.wait()

    def _post(self, asked: _Asked, order: dict[str, Any], data: bytes = b"", *, wait: bool = True) -> int:
        number = next(self._numbers)
        try:
            message = encode_frame({**order, "id": number}, data, MAX_ORDER_BYTES)
        except BrokenFrame as error:
            raise InvalidRequest(f"the request can't be given to the model: {error}") from error
        with self._lock:
            if self._ended is not None:
                raise self.crashed()
            if not self._asked:
                self._heard = time.monotonic()
            if asked.once and not any(other.once for other in list(self._asked.values())):
                self._answered = time.monotonic()
            self._asked[number] = asked
        self._put(message, wait)
        return number

    def _send(self, order: dict[str, Any]) -> None:
        self._put(encode_frame(order, most=MAX_ORDER_BYTES))

    def _put(self, message: bytes, wait: bool = False) -> None:
        if not self._outbox.put(message, wait=wait):
            self._end("did not listen")

    def crashed(self) -> KernelCrashed:
        """What to raise once it has died."""
        return KernelCrashed(f"the kernel's process {self._ended}")

    def _listen(self) -> None:
        assert self._child.stdout is not None
        why = "died"
        try:
            with self._child.stdout as pipe:
                inlet = Inlet(pipe, self._look)
                while (found := read_frame(inlet, MAX_ANSWER_BYTES, self._room)) is not None:
                    self._heard = time.monotonic()
                    self._take(*found)
        except (BrokenFrame, Nonsense) as error:
            why = f"said nonsense ({error})"
        except OSError as error:
            why = f"can't be heard ({error})"
        except Exception as error:  # noqa: BLE001 - whatever reading a stranger's words comes to, others wait for an end
            why = f"said nonsense ({type(error).__name__})"
        finally:
            self._end(why)
            with self._lock:
                waiting, self._asked = list(self._asked.values()), {}
            self._ready.set()
            for asked in waiting:
                asked.put(None)

    def _room(self, header: dict[str, Any]) -> int:
        """How many bytes may come beside a message."""
        if "id" in header:
            with self._lock:
                asked = self._asked.get(header["id"])
            return 0 if asked is None else asked.room
        return self._order.limits.compiled_bytes if header.get("compiled") in (self._keeps or ()) else 0

    def _take(self, header: dict[str, Any], data: bytes) -> None:
        if "id" in header:
            self._answer(header, data)
        elif "compiled" in header:
            self._keep(str(header["compiled"]), data)
        elif self._ready.is_set() or "beat" in header:
            return
        elif "progress" in header:
            phase, done, total = header["progress"]
            if phase not in _PHASES:
                raise Nonsense("work that is not its own")
            most = 1 << 60
            self._progress(Progress(phase, answers.whole(done, 0, most), answers.whole(total, 0, most)))
        elif "keeps" in header:
            if self._keeps is None:  # later the child may not be itself any more
                self._keeps = {str(key) for key in header["keeps"]}
        elif "ready" in header:
            said, order = header["ready"], self._order
            self.build = None if order.audit else running_build(self.manifest, order.build_id, said)
            self.about = about(self.manifest, self.build, said)
            self._ready.set()
        elif "fatal" in header:
            self._fatal = answers.error(header["fatal"])
            self._ready.set()

    def _answer(self, header: dict[str, Any], data: bytes) -> None:
        number = header["id"]
        with self._lock:
            asked = self._asked.get(number)
        if asked is None:  # nobody waits for it any more
            return
        value = asked.read(header, data)
        if asked.once:
            self._answered = time.monotonic()
            self.forget(number)
        asked.put(value)

    def _keep(self, key: str, data: bytes) -> None:
        """Each program of the build once, and apart from what unconfined processes load."""
        if self._order.compiled is None or self._keeps is None or key not in self._keeps:
            return
        self._keeps.remove(key)
        folder = self._order.compiled / CONFINED
        with contextlib.suppress(OSError):  # compiled again next time
            folder.mkdir(parents=True, exist_ok=True)
            temporary = folder / f".{os.getpid()}-{threading.get_ident()}"
            temporary.write_bytes(data)
            os.replace(temporary, folder / key)

    def _look(self) -> None:
        """Ends the child when it is silent for too long while something is asked of it, does not listen, or owes an
        answer, whatever else it says.
        """
        limits, now = self._order.limits, time.monotonic()
        silence = now - self._heard
        with self._lock:
            asked = list(self._asked.values())
        if self._outbox.stuck_sec > limits.step_sec:
            self._end(f"did not listen for {limits.step_sec:.0f} s and was stopped")
        elif not self._ready.is_set():
            if silence > max(_START_SEC, limits.compile_sec):
                self._end(f"was silent for {silence:.0f} s and stopped")
            elif now - self._began > self._longest_start():
                self._end(f"was not ready after {now - self._began:.0f} s and was stopped")
        elif asked and silence > limits.step_sec:
            self._end(f"was silent for {silence:.0f} s and stopped")
        elif any(one.due is not None and now > one.due for one in asked) or (
            any(one.once for one in asked) and now - self._answered > 2 * limits.step_sec
        ):
            self._end("talked without answering and was stopped")
        if self._ended is not None:
            raise OSError("it was stopped")

    def _longest_start(self) -> float:
        stored = sum(shard.bytes for shard in self.manifest.shards)
        programs = max((len(build.hashes) for build in self.manifest.builds), default=0)
        return _START_SEC + stored / _SLOWEST_DISK + (programs + 1) * self._order.limits.compile_sec

    def _end(self, why: str) -> None:
        """Never waits: the thread that listens tells everybody."""
        with self._lock:
            if self._ended is None:
                self._ended = why
        self._outbox.close()
        with contextlib.suppress(OSError):
            self._child.kill()
