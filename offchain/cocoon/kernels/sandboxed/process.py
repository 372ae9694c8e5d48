"""The parent's end of one kernel process: starts it, keeps what it compiles, watches its time, hands out its answers.

What the child says is not trusted: every message is checked for its form, and a child that says nonsense is ended.
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
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from .. import errors
from ..bundle.limits import Limits
from ..errors import BundleInvalid, KernelCrashed, KernelError, OverBudget, PromptTooLong
from ..progress import Progress, ProgressCallback, silent
from .frames import BrokenFrame, read_frame, write_frame

__all__ = ["CONFINED", "KernelProcess", "Order", "Replies", "Reply", "reply_error"]

_START_SEC = 120.0  # to import JAX on a busy machine
CONFINED = "confined"  # the folder, below that of compiled programs, for what confined processes made
# what an environment has to have; the operator's secrets may be in the rest
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "CUDA_VISIBLE_DEVICES", "XLA_FLAGS", "JAX_PLATFORMS")

type Reply = tuple[dict[str, Any], bytes]


class Replies(Protocol):
    """Where answers go; None is the last one of a process that has died."""

    def put(self, item: Reply | None) -> None: ...


@dataclass(frozen=True, slots=True)
class Order:
    """What to run. build_id: None takes the first one. compiled: where compiled programs are kept, None keeps none.
    strict: refuse to run on a system that can't confine the process.
    """

    folder: Path
    build_id: str | None = None
    expected: bytes | None = None
    limits: Limits = field(default_factory=Limits)
    compiled: Path | None = None
    strict: bool = True


class KernelProcess:
    """One child. Any thread may ask it; once it has died, everything raises KernelCrashed."""

    def __init__(self, order: Order, progress: ProgressCallback = silent) -> None:
        """Starts it and waits until it is ready. Raises what opening the bundle raises, or KernelCrashed."""
        self._order, self._progress = order, progress
        self._keeps: set[str] | None = None  # keys of compiled programs still to come; None until the child named them
        self._numbers = itertools.count(1)
        self._replies: dict[int, Replies] = {}
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._heard = time.monotonic()
        self._ended: str | None = None
        self._ready = threading.Event()
        self._fatal: KernelError | None = None
        self.about: dict[str, Any] = {}
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        self._child = subprocess.Popen(
            [sys.executable, "-m", "cocoon.kernels.sandboxed.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd="/",
            close_fds=True,
            start_new_session=True,  # Ctrl-C is for the agent, which ends this process itself
        )
        threading.Thread(target=self._listen, daemon=True).start()
        threading.Thread(target=self._watch, daemon=True).start()
        self._send(
            {
                "folder": str(order.folder.absolute()),
                "build": order.build_id,
                "expected": None if order.expected is None else order.expected.hex(),
                "limits": asdict(order.limits),
                "compiled": None if order.compiled is None else str(order.compiled.absolute()),
                "strict": order.strict,
            }
        )
        self._ready.wait()
        if self._fatal is not None:
            self.close()
            raise self._fatal
        if not self.about:
            raise KernelCrashed(f"the kernel's process {self._ended} while it loaded the bundle")

    @property
    def alive(self) -> bool:
        return self._ended is None

    def ask(self, op: str, data: bytes = b"", **fields: Any) -> Reply:
        """One question, one answer. Raises KernelCrashed, or the error the child found with the question."""
        number, replies = self.open(op, data, **fields)
        try:
            return self.next(replies)
        finally:
            self.forget(number)

    def open(self, op: str, data: bytes = b"", **fields: Any) -> tuple[int, queue.SimpleQueue[Reply | None]]:
        """A question with many answers: its number, and where `next` finds them. `forget` it in the end."""
        replies: queue.SimpleQueue[Reply | None] = queue.SimpleQueue()
        return self.post(op, replies, data, **fields), replies

    def post(self, op: str, replies: Replies, data: bytes = b"", **fields: Any) -> int:
        """`open` with answers put where the caller wants them, by the thread that listens."""
        number = next(self._numbers)
        with self._lock:
            if self._ended is not None:
                raise KernelCrashed(f"the kernel's process {self._ended}")
            if not self._replies:
                self._heard = time.monotonic()
            self._replies[number] = replies
        self._send({"op": op, "id": number, **fields}, data)
        return number

    def next(self, replies: queue.SimpleQueue[Reply | None], timeout: float | None = None) -> Reply:
        """The next answer. Raises KernelCrashed, queue.Empty after `timeout`, or the error the child found."""
        found = replies.get(timeout=timeout)
        if found is None:
            raise KernelCrashed(f"the kernel's process {self._ended}")
        if "error" in found[0]:
            raise reply_error(found[0]["error"])
        return found

    def allow(self, number: int, tokens: int) -> None:
        """So many tokens of a metered answer may be produced in all."""
        self._send({"op": "allow", "id": number, "tokens": tokens})

    def cancel(self, number: int) -> None:
        """Ends a request soon; its last answer still comes."""
        self._send({"op": "cancel", "id": number})

    def forget(self, number: int) -> None:
        with self._lock:
            self._replies.pop(number, None)

    def close(self) -> None:
        """Ends the process at once."""
        self._end("was stopped")
        self._child.wait()

    def _send(self, header: dict[str, Any], data: bytes = b"") -> None:
        assert self._child.stdin is not None
        with self._writing, contextlib.suppress(OSError, ValueError):  # it has died: the listener tells everybody
            write_frame(self._child.stdin, header, data)  # type: ignore[arg-type]

    def _listen(self) -> None:
        assert self._child.stdout is not None
        why = "died"
        try:
            while (found := read_frame(self._child.stdout)) is not None:  # type: ignore[arg-type]
                self._heard = time.monotonic()
                self._take(*found)
        except (BrokenFrame, KeyError, TypeError, ValueError, AttributeError) as error:
            why = f"said nonsense ({type(error).__name__})"
        except OSError as error:
            why = f"can't be heard ({error})"
        self._end(why)

    def _take(self, header: dict[str, Any], data: bytes) -> None:
        if "id" in header:
            with self._lock:
                replies = self._replies.get(header["id"])
            if replies is not None:
                replies.put((header, data))
        elif "progress" in header:
            phase, done, total = header["progress"]
            self._progress(Progress(str(phase), int(done), None if total is None else int(total)))
        elif "keeps" in header:
            if self._keeps is None:  # later the child may not be itself any more
                self._keeps = {str(key) for key in header["keeps"]}
        elif "compiled" in header:
            self._keep(str(header["compiled"]), data)
        elif "ready" in header:
            self.about = dict(header["ready"])
            self._ready.set()
        elif "fatal" in header:
            self._fatal = reply_error(header["fatal"])

    def _keep(self, key: str, data: bytes) -> None:
        """Each program of the build once, and apart from what unconfined processes load."""
        if self._order.compiled is None or self._keeps is None or key not in self._keeps:
            return
        if len(data) > self._order.limits.compiled_bytes:
            return
        self._keeps.remove(key)
        folder = self._order.compiled / CONFINED
        with contextlib.suppress(OSError):  # compiled again next time
            folder.mkdir(parents=True, exist_ok=True)
            temporary = folder / f".{os.getpid()}-{threading.get_ident()}"
            temporary.write_bytes(data)
            os.replace(temporary, folder / key)

    def _watch(self) -> None:
        """Ends the child when it is silent for too long while something is asked of it."""
        limits = self._order.limits
        while self._ended is None:
            time.sleep(0.2)
            silence = time.monotonic() - self._heard
            if not self._ready.is_set():
                if silence > max(_START_SEC, limits.compile_sec):
                    self._end(f"was silent for {silence:.0f} s and stopped")
            elif self._replies and silence > limits.step_sec:
                self._end(f"was silent for {silence:.0f} s and stopped")

    def _end(self, why: str) -> None:
        with self._lock:
            if self._ended is None:
                self._ended = why
            waiting, self._replies = list(self._replies.values()), {}
        with contextlib.suppress(OSError):
            self._child.kill()
        for replies in waiting:
            replies.put(None)
        self._ready.set()


def reply_error(found: dict[str, Any]) -> KernelError:
    """The child's error as an exception of the same name."""
    kind, message = getattr(errors, str(found["type"]), None), str(found["message"])
    if kind is PromptTooLong:
        return PromptTooLong(int(found["tokens"]), int(found["limit"]))
    if kind is OverBudget:
        return OverBudget(int(found["tokens"]))
    if isinstance(kind, type) and issubclass(kind, KernelError):
        made: Callable[[str], KernelError] = kind
        return made(message)
    return BundleInvalid(message)
