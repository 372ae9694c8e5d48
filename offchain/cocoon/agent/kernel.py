"""The seam to the model: what the agent asks of a kernel, and the engine behind it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ..kernels.errors import InvalidRequest

if TYPE_CHECKING:
    from ..kernels.chat import Message
    from ..kernels.engine import Engine
    from ..kernels.sampling import Sampling

__all__ = ["EngineKernel", "Kernel", "Result"]

_KNOWN = frozenset({"messages", "prompt", "max_tokens", "temperature", "top_p", "seed", "stop"})


@dataclass(frozen=True, slots=True)
class Result:
    """body: the object the client gets. The counts are what the fee is computed from."""

    body: dict[str, Any] = field(repr=False)
    prompt_tokens: int
    completion_tokens: int


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

    def complete(self, request: dict[str, Any], *, max_tokens: int, cancel: threading.Event) -> Result:
        """Runs the request for at most `max_tokens`. Once `cancel` is set, returns soon with what there is."""
        ...


class EngineKernel:
    """A loaded `Engine` for chat requests.

    Request: `messages` (list of `role`, `content`) or `prompt` (text); `max_tokens`, `temperature`, `top_p`, `seed`,
    `stop`. Answer: `text` and `finish_reason` (`stop`, `length`, or `deadline` if it was cut short to be in time).
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def model_id(self) -> bytes:
        return self._engine.model_id

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

    def complete(self, request: dict[str, Any], *, max_tokens: int, cancel: threading.Event) -> Result:
        done = self._engine.complete(
            _prompt(request), max_tokens=max_tokens, stop=_stop(request), sampling=_sampling(request), cancel=cancel
        )
        reason = "deadline" if done.finish_reason == "cancelled" else done.finish_reason
        return Result({"text": done.text, "finish_reason": reason}, done.prompt_tokens, done.completion_tokens)


def _prompt(request: dict[str, Any]) -> str | list[Message]:
    from ..kernels.chat import Message

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
    from ..kernels.sampling import Sampling

    temperature, top_p, seed = (
        request.get(name, default) for name, default in (("temperature", 0.0), ("top_p", 1.0), ("seed", 0))
    )
    if type(temperature) not in (int, float) or type(top_p) not in (int, float) or type(seed) is not int:
        raise InvalidRequest("temperature and top_p are numbers, seed an integer")
    return Sampling(float(temperature), float(top_p), seed)
