"""The seam to the model: what the agent asks of a kernel, and the engine behind it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ..kernels.errors import InvalidRequest

if TYPE_CHECKING:
    from ..kernels.engine.chat import Message
    from ..kernels.engine.sampling import Sampling
    from ..kernels.sandboxed.host import KernelHost

__all__ = ["EngineKernel", "Kernel", "Result"]

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
