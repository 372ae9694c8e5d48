"""A metered answer in the kernel's process: events come as they happen, and it pauses where its allowance ends.

When the process dies, the answer is made again in a new one, alone; what has been told already is skipped, because it
is the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from typing import Any, Protocol

from ..engine.request import Finished, Metering, Started, Token
from ..errors import KernelCrashed, KernelError
from .process import KernelProcess, Reply, reply_error

__all__ = ["Event", "Running"]

type Event = Started | Token | Finished | KernelError


class _Host(Protocol):
    def enter(self, *, alone: bool) -> AbstractContextManager[None]: ...
    def running(self) -> KernelProcess: ...


class Running:
    """`told` is called by threads of the host's, with a Finished or an error at last."""

    def __init__(self, host: _Host, order: dict[str, Any], metering: Metering, told: Callable[[Event], None]) -> None:
        self._host, self._order, self._metering, self._told = host, order, metering, told
        self._lock = threading.Lock()
        self._process: KernelProcess | None = None
        self._number = 0
        self._alone = self._started = self._ended = self._cancelled = False
        self._shown = 0
        self._inside: AbstractContextManager[None] | None = None

    def start(self) -> None:
        """Hands the order over. May wait for a process to come up. Raises KernelCrashed or NotLoaded."""
        self._inside = self._host.enter(alone=self._alone)
        self._inside.__enter__()
        try:
            process = self._host.running()
            with self._lock:
                metering = asdict(self._metering)
                self._process = process
                self._number = process.post("submit", self, **self._order, metering=metering)
                if self._cancelled:
                    process.cancel(self._number)
        except BaseException:
            self._leave()
            raise

    def allow(self, tokens: int) -> None:
        """So many tokens in all; never fewer than before."""
        with self._lock:
            if tokens > self._metering.allowed:
                self._metering = replace(self._metering, allowed=tokens)
                if self._process is not None and not self._ended:
                    self._process.allow(self._number, tokens)

    def cancel(self) -> None:
        """Ends it soon, with a Finished of the reason `cancelled`."""
        with self._lock:
            self._cancelled = True
            if self._process is not None and not self._ended:
                self._process.cancel(self._number)

    def put(self, item: Reply | None) -> None:
        """An answer of the process; called by its listener."""
        if item is None:
            self._crashed()
            return
        header = item[0]
        if "token" in header:
            found = header["token"]
            if int(found["index"]) >= self._shown:
                self._shown += 1
                self._told(Token(int(found["id"]), int(found["index"]), str(found["text"])))
        elif "started" in header:
            found = header["started"]
            if not self._started:
                self._started = True
                self._told(Started(int(found["prompt_tokens"]), int(found["cached_tokens"])))
        elif "error" in header:
            self._end(reply_error(header["error"]))
        else:
            found = header["finished"]
            if found["error"] is not None:
                self._end(KernelError(str(found["error"])))
            else:
                # a second run may have found less in the cache; what was told first counts
                counts = int(found["prompt_tokens"]), int(found["cached_tokens"]), int(found["completion_tokens"])
                self._end(Finished(found["reason"], *counts))

    def _crashed(self) -> None:
        self._leave()
        if self._alone:
            self._ended = True
            self._told(KernelCrashed("the kernel's process died of this request: don't send it again"))
            return
        self._alone = True
        threading.Thread(target=self._again, daemon=True).start()

    def _again(self) -> None:
        try:
            self.start()
        except KernelError as error:
            self._ended = True
            self._told(error)

    def _end(self, event: Finished | KernelError) -> None:
        with self._lock:
            self._ended = True
            if self._process is not None:
                self._process.forget(self._number)
        self._leave()
        self._told(event)

    def _leave(self) -> None:
        inside, self._inside = self._inside, None
        if inside is not None:
            inside.__exit__(None, None, None)
