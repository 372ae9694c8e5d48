"""The seam to the model: what the agent asks of a kernel, and the engine behind it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ..kernels.errors import InvalidRequest

if TYPE_CHECKING:
    from ..kernels.engine.chat import Message
    from ..kernels.engine.request import Metering
    from ..kernels.engine.sampling import Sampling
    from ..kernels.sandboxed.host import KernelHost

__all__ = ["Began", "Ended", "EngineKernel", "Event", "Kernel", "Piece", "Result", "Run", "StreamKernel"]

_KNOWN = frozenset({"messages", "prompt", "max_tokens", "temperature", "top_p", "top_k", "seed", "stop"})


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
        """The completion tokens the request asks for at most; None if it leaves that open."""
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

        OverBudget is told where the prompt takes more than `metering` has for it; any other RequestError is the
        client's fault. Where the kernel is not `ready` it may block, and is called from a thread of its own.
        """
        ...


class EngineKernel:
    """A loaded `generate` bundle for chat requests.

    Request: `messages` (list of `role`, `content`) or `prompt` (text); `max_tokens`, `temperature`, `top_p`, `top_k`,
    `seed`, `stop`. Answer: `text`, `finish_reason` (`stop`, `length`, or `deadline` if it was cut short to be in time)
    and `build`, the id of the build that computed it: with the seed, it is what a replay needs.
    """

    def __init__(self, engine: KernelHost) -> None:
        self._engine = engine

    @property
    def model_id(self) -> bytes:
        return self._engine.model_id

    def close(self) -> None:
        """Ends the process the model runs in."""
        self._engine.close()

    def count_tokens(self, request: dict[str, Any]) -> int:
        _sampling(request), _stop(request), self.asked_tokens(request)
        return self._engine.count_tokens(_prompt(request))

    def asked_tokens(self, request: dict[str, Any]) -> int | None:
        unknown = request.keys() - _KNOWN
        if unknown:
            raise InvalidRequest(
                f"{len(unknown)} fields of the request are unknown: send some of {', '.join(sorted(_KNOWN))}"
            )
        asked = request.get("max_tokens")
        if asked is not None and (type(asked) is not int or asked < 1):
            raise InvalidRequest("max_tokens must be a positive integer")
        return asked

    def complete(
        self, request: dict[str, Any], *, max_tokens: int, cancel: threading.Event, owner: str | None = None
    ) -> Result:
        done = self._engine.complete(
            _prompt(request),
            max_tokens=max_tokens,
            stop=_stop(request),
            sampling=_sampling(request),
            owner=owner,
            cancel=cancel,
        )
        reason = "deadline" if done.finish_reason == "cancelled" else done.finish_reason
        body = {"text": done.text, "finish_reason": reason, "build": self._engine.build_id}
        return Result(body, done.prompt_tokens, done.completion_tokens, done.cached_tokens)

    def start(
        self,
        request: dict[str, Any],
        metering: Metering,
        told: Callable[[Event], None],
        *,
        max_tokens: int,
        owner: str | None = None,
    ) -> Run:
        return self._engine.start(
            _prompt(request),
            metering,
            _Telling(told, self._engine.build_id),
            max_tokens=max_tokens,
            stop=_stop(request),
            sampling=_sampling(request),
            owner=owner,
        )

    @property
    def ready(self) -> bool:
        return self._engine.ready

    @property
    def slots(self) -> int:
        """How many requests the engine runs together."""
        return int(self._engine.about["slots"])


class _Telling:
    """Turns the engine's events into the agent's."""

    def __init__(self, told: Callable[[Event], None], build: str) -> None:
        self._told, self._build = told, build

    def __call__(self, event: Any) -> None:
        from ..kernels.engine.request import Finished, Started, Token

        match event:
            case Token():
                self._told(Piece(event.text))
            case Started():
                self._told(Began(event.prompt_tokens, event.cached_tokens))
            case Finished():
                self._told(Ended({"finish_reason": event.reason, "build": self._build}))
            case _:
                self._told(event)


def _prompt(request: dict[str, Any]) -> str | list[Message]:
    from ..kernels.engine.chat import Message

    match request:
        case {"messages": list(turns)} if turns and "prompt" not in request:
            made = []
            for turn in turns:
                match turn:
                    case {"role": str(role), "content": str(content), **rest} if not rest:
                        made.append(Message(role, content))
                    case _:
                        raise InvalidRequest("each message is an object of role and content, both text")
            return made
        case {"prompt": str(prompt)} if "messages" not in request:
            return prompt
    raise InvalidRequest("send either messages, a list of role and content, or prompt, a text")


def _stop(request: dict[str, Any]) -> list[str]:
    stop = request.get("stop", [])
    stop = [stop] if isinstance(stop, str) else stop
    if not isinstance(stop, list) or not all(isinstance(text, str) for text in stop):
        raise InvalidRequest("stop is a text or a list of texts")
    return stop


def _sampling(request: dict[str, Any]) -> Sampling:
    from ..kernels.engine.sampling import Sampling

    temperature, top_p = (request.get(name, default) for name, default in (("temperature", 0.0), ("top_p", 1.0)))
    seed, top_k = (request.get(name, 0) for name in ("seed", "top_k"))
    if type(temperature) not in (int, float) or type(top_p) not in (int, float):
        raise InvalidRequest("temperature and top_p are numbers")
    if type(seed) is not int or type(top_k) is not int:
        raise InvalidRequest("seed and top_k are integers")
    return Sampling(float(temperature), float(top_p), seed, top_k)
