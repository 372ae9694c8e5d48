"""What an OpenAI client asks, checked, and turned into what a worker's kernel understands.

A field that would change the answer and that no kernel has is refused, never ignored, and so is one that is not known;
fields about storage, tracing and the like are ignored.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import bad_request, unsupported

__all__ = ["Question", "chat_question", "completion_question", "embedding_texts"]

MAX_CHOICES = 8
MAX_EMBEDDINGS = 256
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_MAX_STOPS = 4
# OpenAI's names -> the value at which each of them asks for nothing
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,), "presence_penalty": (0,), "logit_bias": ({},), "tools": ([],), "functions": ([],),
    "audio": (), "prediction": (), "web_search_options": (), "suffix": ("",), "echo": (False,),
    "response_format": ({"type": "text"},), "modalities": (["text"],), "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"), "reasoning_effort": ("none",), "verbosity": ("medium",),
}  # fmt: skip
_WITHOUT_EFFECT = frozenset({
    "user", "metadata", "store", "service_tier", "parallel_tool_calls", "prompt_cache_key", "prompt_cache_retention",
    "safety_identifier",
})  # fmt: skip
_COMMON = frozenset({
    "model", "stream", "stream_options", "n", "seed", "stop", "temperature", "top_p", "top_k", "max_tokens", "logprobs",
    *_NEUTRAL, *_WITHOUT_EFFECT,
})  # fmt: skip
_CHAT = _COMMON | {"messages", "max_completion_tokens", "top_logprobs"}
_COMPLETION = _COMMON | {"prompt", "best_of"}
_EMBEDDING = _WITHOUT_EFFECT | {"model", "input", "dimensions", "encoding_format"}


@dataclass(frozen=True, slots=True)
class Question:
    """bodies: one request for each choice wanted. seed: of the first; the next ones count on. max_tokens: of each."""

    model: str
    bodies: tuple[dict[str, Any], ...] = field(repr=False)
    stream: bool
    include_usage: bool
    seed: int


def chat_question(asked: Mapping[str, Any]) -> Question:
    """ApiError names the field at fault."""
    _all_known(asked, _CHAT)
    turns = asked.get("messages")
    if not isinstance(turns, list) or not turns:
        raise bad_request("messages must be a list with at least one message", "messages")
    messages = [_message(turn, position) for position, turn in enumerate(turns)]
    if asked.get("logprobs") or asked.get("top_logprobs"):
        raise unsupported(
            "logprobs", "logprobs are not available: workers sign tokens, not probabilities; leave it out"
        )
    return _question(asked, [{"messages": messages}])


def completion_question(asked: Mapping[str, Any]) -> Question:
    """ApiError names the field at fault."""
    _all_known(asked, _COMPLETION)
    prompt = asked.get("prompt")
    prompts = [prompt] if isinstance(prompt, str) else prompt
    if not isinstance(prompts, list) or not prompts or not all(isinstance(text, str) and text for text in prompts):
        raise bad_request("prompt must be a text or a list of texts (token ids are not taken)", "prompt")
    if asked.get("logprobs") is not None:
        raise unsupported(
            "logprobs", "logprobs are not available: workers sign tokens, not probabilities; leave it out"
        )
    if asked.get("best_of") not in (None, asked.get("n") or 1):
        raise unsupported("best_of", "best_of must be n, or left out")
    return _question(asked, [{"prompt": text} for text in prompts])


def embedding_texts(asked: Mapping[str, Any]) -> tuple[str, list[str], bool]:
    """(model, texts, whether base64 is wanted). ApiError names the field at fault."""
    _all_known(asked, _EMBEDDING)
    given = asked.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise bad_request("input must be a text or a list of texts (token ids are not taken)", "input")
    if len(texts) > MAX_EMBEDDINGS:
        raise bad_request(f"input has {len(texts)} texts; send at most {MAX_EMBEDDINGS} at once", "input")
    if asked.get("dimensions") is not None:
        raise unsupported("dimensions", "dimensions can't be chosen: the model's own number is returned; leave it out")
    encoding = asked.get("encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise bad_request("encoding_format is float or base64", "encoding_format")
    return _model(asked), texts, encoding == "base64"


def _all_known(asked: Mapping[str, Any], known: frozenset[str]) -> None:
    for name, value in asked.items():
        if name not in known and value is not None:
            raise unsupported(name, f"{name[:60]!r} is not known here; leave it out")


def _question(asked: Mapping[str, Any], prompts: list[dict[str, Any]]) -> Question:
    for name, neutral in _NEUTRAL.items():
        value = asked.get(name)
        if value is not None and value not in neutral:
            raise unsupported(name, f"{name} is not available with the models here; leave it out")
    sampling = _sampling(asked)
    seed = sampling["seed"]
    count = _whole(asked, "n", 1, MAX_CHOICES) or 1
    if len(prompts) * count > MAX_CHOICES:
        raise bad_request(f"prompts times n are {len(prompts) * count}; at most {MAX_CHOICES} at once", "n")
    bodies = [
        {**prompt, **sampling, "seed": (seed + number) % (1 << 64)} for prompt in prompts for number in range(count)
    ]
    stream = _flag(asked, "stream")
    options = asked.get("stream_options")
    if options is not None and (not stream or not isinstance(options, dict)):
        raise bad_request("stream_options is an object, and only allowed with stream", "stream_options")
    return Question(_model(asked), tuple(bodies), stream, _flag(options or {}, "include_usage"), seed)


def _sampling(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What goes into every body. Without a seed a random one is chosen, so that the answer can still be replayed."""
    most = _whole(asked, "max_completion_tokens", 1, 1 << 31) or _whole(asked, "max_tokens", 1, 1 << 31)
    temperature, top_p = _number(asked, "temperature", 0, 2), _number(asked, "top_p", 0, 1)
    seed = asked.get("seed")
    if seed is not None and (type(seed) is not int or not -(1 << 63) <= seed < 1 << 64):
        raise bad_request("seed must be a 64-bit integer", "seed")
    body: dict[str, Any] = {
        "temperature": 1.0 if temperature is None else temperature,  # OpenAI's default
        "seed": secrets.randbits(53) if seed is None else seed % (1 << 64),
    }
    if most is not None:
        body["max_tokens"] = most
    if top_p is not None:
        if top_p == 0:  # OpenAI takes it for the likeliest token alone
            body["temperature"] = 0.0
        else:
            body["top_p"] = top_p
    if (top_k := _whole(asked, "top_k", 0, (1 << 31) - 1)) is not None:
        body["top_k"] = top_k
    if stops := _stops(asked.get("stop")):
        body["stop"] = stops
    return body


def _message(turn: object, position: int) -> dict[str, str]:
    where = f"messages[{position}]"
    if not isinstance(turn, dict):
        raise bad_request(f"{where} must be an object with role and content", "messages")
    role = turn.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise bad_request(f"{where}.role must be one of {', '.join(_ROLES)}", "messages")
    if turn.get("tool_calls") or turn.get("function_call"):
        raise bad_request(f"{where}: tools are not available with the models here", "messages")
    if turn.get("name"):
        raise bad_request(f"{where}: names are not told to the models here; leave it out", "messages")
    return {"role": _ROLES[role], "content": _content(turn.get("content"), where)}


def _content(content: object, where: str) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = []
        for part in content:
            if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
                raise bad_request(f"{where}.content may hold parts of type text only", "messages")
            texts.append(part["text"])
        return "".join(texts)
    raise bad_request(f"{where}.content must be a text", "messages")


def _stops(stop: object) -> list[str]:
    stops = [] if stop is None else [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or len(stops) > _MAX_STOPS or not all(isinstance(t, str) and t for t in stops):
        raise bad_request(f"stop is a text or a list of up to {_MAX_STOPS} texts, none empty", "stop")
    return stops


def _model(asked: Mapping[str, Any]) -> str:
    model = asked.get("model")
    if not isinstance(model, str) or not model:
        raise bad_request("you must name a model", "model")
    return model


def _whole(asked: Mapping[str, Any], name: str, least: int, most: int) -> int | None:
    value = asked.get(name)
    if value is not None and (type(value) is not int or not least <= value <= most):
        raise bad_request(f"{name} must be a whole number from {least} to {most}", name)
    return value


def _number(asked: Mapping[str, Any], name: str, least: float, most: float) -> float | None:
    value = asked.get(name)
    if value is None:
        return None
    if type(value) not in (int, float) or not least <= value <= most:
        raise bad_request(f"{name} must be a number from {least:g} to {most:g}", name)
    return float(value)


def _flag(asked: Mapping[str, Any], name: str) -> bool:
    value = asked.get(name)
    if value is not None and type(value) is not bool:
        raise bad_request(f"{name} must be true or false", name)
    return bool(value)
