"""Chat from a loaded `generate` bundle."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..kernels.errors import InvalidRequest
from .kernel import Began, Ended, Event, Piece, Result, Run

if TYPE_CHECKING:
    from ..kernels.engine.chat import Message
    from ..kernels.engine.request import Metering
    from ..kernels.engine.sampling import Sampling
    from ..kernels.sandboxed.host import KernelHost

__all__ = ["EngineKernel"]

_KNOWN = frozenset({"messages", "prompt", "max_tokens", "temperature", "top_p", "top_k", "seed", "stop"})


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
    try:
        return Sampling(float(temperature), float(top_p), seed, top_k)
    except OverflowError as error:
        raise InvalidRequest("temperature is between 0 and 10, top_p between 0 and 1") from error
