"""A metered answer in the kernel's process: events come as they happen, and it pauses where its allowance ends.

When the process dies, the answer is made again in a new one, alone; what has been told already is skipped, because it
is the same. Where it is not the same, the kernel does not compute a function of the request, and the answer ends.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from ..engine.request import Finished, Metering, Started, Token
from ..errors import KernelCrashed, KernelError
from .answers import Event
from .process import KernelProcess

__all__ = ["DIFFERS", "Event", "Running"]

_log = logging.getLogger(__name__)
DIFFERS = "the kernel's process died, and made another answer of this request when it was run again"


class _Host(Protocol):
    def enter_now(self) -> bool: ...
    def enter(self, *, alone: bool) -> None: ...
    def leave(self) -> None: ...
    def running_now(self) -> KernelProcess | None: ...
    def running(self) -> KernelProcess: ...


class Running:
    """`told` is called by threads of the host's, one after the other, with a Finished or an error at last."""

    def __init__(self, host: _Host, order: dict[str, Any], metering: Metering, told: Callable[[Event], None]) -> None:
        self._host, self._order, self._metering, self._told = host, order, metering, told
        self._lock = threading.RLock()  # of what allows and cancels: process, number, metering, cancelled, ended
        self._process: KernelProcess | None = None
        self._number = 0
        self._cancelled = self._ended = self._deaf = False
        # the rest belongs to the thread that listens to the process, of which there is one at a time
        self._alone = False
        self._started: Started | None = None
        self._shown: list[Token] = []
        self._seen = 0  # tokens of the run under way

    def start(self) -> None:
        """Hands the order over; by another thread where something has to be waited for, which then tells what went
        wrong. Raises NotLoaded or InvalidRequest.
        """
        process = self._host.running_now()
        if process is not None and self._host.enter_now():
            try:
                self._hand_over(process)
                return
            except KernelCrashed:  # just now: not this request's fault
                self._host.leave()
            except BaseException:
                self._host.leave()
                raise
        threading.Thread(target=self._begin, daemon=True).start()

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

    def _begin(self) -> None:
        try:
            self._host.enter(alone=self._alone)
            try:
                if not self._cancelled:
                    self._hand_over(self._host.running())
                    return
            except BaseException:
                self._host.leave()
                raise
            self._host.leave()
            self._over(self._cut())
        except KernelCrashed as error:
            if self._alone:
                self._over(error)
            else:  # another request's fault maybe
                self._alone = True
                self._begin()
        except KernelError as error:
            self._over(error)
        except Exception as error:  # noqa: BLE001 - no memory, no process: whoever waits must hear of it
            self._over(KernelCrashed(f"the kernel's process can't be started: {type(error).__name__} {error}"))

    def _hand_over(self, process: KernelProcess) -> None:
        with self._lock:
            self._process, self._seen = process, 0
            self._number = process.submit(self._order, self._take, self._metering)
            if self._cancelled:
                process.cancel(self._number)

    def _take(self, event: Event | None) -> None:
        """An event of the run under way; None if its process has died."""
        if self._ended:  # it was found out, and something more was on the way
            return
        match event:
            case None:
                self._crashed()
            case Token():
                self._token(event)
            case Started():
                self._start(event)
            case Finished():
                self._finish(event)
            case _:
                self._leave(event)

    def _start(self, event: Started) -> None:
        if self._started is None:
            self._started = event
            self._tell(event)
        elif event.prompt_tokens != self._started.prompt_tokens:
            self._differs()

    def _token(self, token: Token) -> None:
        self._seen += 1
        if self._seen > len(self._shown):
            self._shown.append(token)
            self._tell(token)
        elif token != self._shown[self._seen - 1]:
            self._differs()

    def _finish(self, event: Finished) -> None:
        if event.reason != "cancelled" and self._seen < len(self._shown):
            self._differs()
            return
        # a second run may have found less in the cache, or been cancelled earlier; what was told first counts
        cached = event.cached_tokens if self._started is None else self._started.cached_tokens
        self._leave(replace(event, cached_tokens=cached, completion_tokens=len(self._shown)))

    def _cut(self) -> Finished:
        """The end of an answer that is cancelled while no process works on it."""
        began = self._started or Started(0, 0)
        return Finished("cancelled", began.prompt_tokens, began.cached_tokens, len(self._shown))

    def _differs(self) -> None:
        assert self._process is not None
        self._process.cancel(self._number)
        self._process.forget(self._number)
        self._leave(KernelError(DIFFERS))

    def _crashed(self) -> None:
        self._host.leave()
        if self._cancelled:
            self._over(self._cut())
            return
        if self._alone:
            assert self._process is not None
            self._over(KernelCrashed(f"{self._process.crashed()} over this request: don't send it again"))
            return
        self._alone = True
        try:
            threading.Thread(target=self._begin, daemon=True).start()
        except RuntimeError as error:  # as many threads as there may be
            self._over(KernelCrashed(f"the kernel's process died and the request can't be run again: {error}"))

    def _leave(self, event: Finished | KernelError) -> None:
        """The run under way is over, and the answer with it."""
        with self._lock:
            if self._process is not None:
                self._process.forget(self._number)
        self._host.leave()
        self._over(event)

    def _over(self, event: Finished | KernelError) -> None:
        with self._lock:
            self._ended = True
        self._tell(event)

    def _tell(self, event: Event) -> None:
        """Whoever can't be told anything gets nothing more: that must not be the end of the others' answers."""
        if self._deaf:
            return
        try:
            self._told(event)
        except Exception:  # noqa: BLE001 - somebody else's code
            self._deaf = True
            _log.exception("an answer is dropped, because who asked for it can't be told")
            self.cancel()
