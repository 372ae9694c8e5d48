"""The seam to the model: what the agent asks of a kernel, and what it hears of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from ..kernels.engine.request import Metering

__all__ = ["Began", "Ended", "Event", "Kernel", "Piece", "Result", "Run", "StreamKernel"]


@dataclass(frozen=True, slots=True)
class Result:
    """body: the object the client gets. The counts are what the fee is computed from; `cached_tokens` of the prompt's
    had been computed for an earlier request of the same owner.
    """

    body: dict[str, Any] = field(repr=False)
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


class Kernel(Protocol):
    """Called from worker threads, several requests at once.

    A request at fault raises a `RequestError` (`PromptTooLong`, `InvalidRequest`); anything else raised is the
    kernel's fault.
    """

    @property
    def model_id(self) -> bytes:
        """32 bytes: what offers, receipts and clients name it by."""
        ...

    def count_tokens(self, request: dict[str, Any]) -> int:
        """Tokens the prompt takes. Checks the whole request."""
        ...

    def asked_tokens(self, request: dict[str, Any]) -> int | None:
        """The completion tokens the request asks for at most; None if it leaves that open, 0 if there are none."""
        ...

    def complete(
        self, request: dict[str, Any], *, max_tokens: int, cancel: threading.Event, owner: str | None = None
    ) -> Result:
        """Runs the request for at most `max_tokens`. Once `cancel` is set, returns soon with what there is.

        owner: the escrow; what is computed for one must not speed up, and so reveal itself to, another.
        """
        ...


@dataclass(frozen=True, slots=True)
class Began:
    """Work on a streamed answer begins: what its prompt takes, `cached_tokens` of it computed before."""

    prompt_tokens: int
    cached_tokens: int


@dataclass(frozen=True, slots=True)
class Piece:
    """One more token, and the text that became final with it: whole characters, possibly none."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ended:
    """The end. body: what a forced job's answer holds but the text."""

    body: dict[str, Any]


type Event = Began | Piece | Ended | Exception


class Run(Protocol):
    """A streamed answer under way. Its methods return at once."""

    def allow(self, tokens: int) -> None:
        """So many tokens of the answer may be produced in all; never fewer than before."""
        ...

    def cancel(self) -> None:
        """Ends it soon; its Ended still comes, with the finish reason `cancelled`."""
        ...


@runtime_checkable
class StreamKernel(Kernel, Protocol):
    """A kernel that can show an answer while it is made, and wait for leave to go on."""

    @property
    def ready(self) -> bool:
        """Whether `start` would return at once."""
        ...

    def start(
        self,
        request: dict[str, Any],
        metering: Metering,
        told: Callable[[Event], None],
        *,
        max_tokens: int,
        owner: str | None = None,
    ) -> Run:
        """Begins an answer; `told` hears of it from any thread: a Began, Pieces, an Ended; or an exception at last.

        A kernel whose answers have no tokens tells no Pieces. OverBudget is told where the prompt takes more than
        `metering` has for it; any other RequestError is the client's fault. Where the kernel is not `ready` it may
        block, and is called from a thread of its own.
        """
        ...
