"""OpenAI's objects: chat completions, completions, chunks of both, usage; what is Cocoon's own lies under `cocoon`."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .backend import Finished

__all__ = ["DONE", "Conversation", "Shape", "event", "usage_of"]

DONE = b"data: [DONE]\n\n"
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_REASONS = {"stop": "stop", "length": "length", "deadline": "length"}


@dataclass(frozen=True, slots=True)
class Shape:
    """What differs between the two endpoints."""

    prefix: str
    whole: str
    piece: str


CHAT = Shape("chatcmpl-", "chat.completion", "chat.completion.chunk")
TEXT = Shape("cmpl-", "text_completion", "text_completion")


@dataclass(frozen=True, slots=True)
class Conversation:
    """One request's answers in the making. `model` is what the client called it."""

    shape: Shape
    model: str
    seed: int
    receipts: tuple[str, ...]
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def chat(self) -> bool:
        return self.shape is CHAT

    def whole(self, texts: Sequence[str], ends: Sequence[Finished]) -> dict[str, Any]:
        """The answer to a request without stream."""
        choices = [
            {"index": index, **self._said(text), "logprobs": None, "finish_reason": reason(end)}
            for index, (text, end) in enumerate(zip(texts, ends, strict=True))
        ]
        return {
            **self._head(self.shape.whole, ends[0] if ends else None),
            "choices": choices,
            "usage": usage_of(ends),
            "cocoon": self._extension(ends),
        }

    def opening(self, index: int) -> dict[str, Any]:
        """The first chunk of a choice in a chat."""
        delta = {"role": "assistant", "content": ""}
        return self._chunk([{"index": index, "delta": delta, "logprobs": None, "finish_reason": None}])

    def piece(self, index: int, text: str) -> dict[str, Any]:
        said = {"delta": {"content": text}} if self.chat else {"text": text}
        return self._chunk([{"index": index, **said, "logprobs": None, "finish_reason": None}])

    def end(self, index: int, end: Finished) -> dict[str, Any]:
        said: dict[str, Any] = {"delta": {}} if self.chat else {"text": ""}
        chunk = self._chunk([{"index": index, **said, "logprobs": None, "finish_reason": reason(end)}], end)
        return {**chunk, "cocoon": self._extension([end], self.receipts[index : index + 1])}

    def totals(self, ends: Sequence[Finished]) -> dict[str, Any]:
        """The chunk that `stream_options.include_usage` asks for."""
        return {**self._chunk([]), "usage": usage_of(ends), "cocoon": self._extension(ends)}

    def _said(self, text: str) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text, "refusal": None}} if self.chat else {"text": text}

    def _chunk(self, choices: list[dict[str, Any]], end: Finished | None = None) -> dict[str, Any]:
        return {**self._head(self.shape.piece, end), "choices": choices}

    def _head(self, kind: str, end: Finished | None) -> dict[str, Any]:
        build = None if end is None else end.body.get("build")
        return {
            "id": self.shape.prefix + self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": f"fp_{build[:16]}" if isinstance(build, str) else None,
        }

    def _extension(self, ends: Sequence[Finished], receipts: Sequence[str] | None = None) -> dict[str, Any]:
        fees = sum(end.fee_nano for end in ends)
        return {
            "cost_nano": fees,
            "cost_ton": f"{fees / 1e9:.9f}",
            "seed": self.seed,
            "receipts": list(self.receipts if receipts is None else receipts),
            "workers": [end.proof.worker_index for end in ends],
            "measurements": [f"{end.proof.measurement:064x}" for end in ends],
            "simulated_tee": any(end.proof.simulated_tee for end in ends),
        }


def reason(end: Finished) -> str:
    """A word OpenAI's clients know; a worker's own is no reason to break them."""
    return _REASONS.get(end.finish_reason, "stop")


def usage_of(ends: Sequence[Finished]) -> dict[str, Any]:
    """What was billed, all choices together: each is a request of its own to a worker."""
    cached = sum(end.usage.cached for end in ends)
    prompt, completion = sum(end.usage.prompt for end in ends) + cached, sum(end.usage.completion for end in ends)
    cost = sum(end.fee_nano for end in ends)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
        "cost_nano": cost,
        "cost_ton": f"{cost / 1e9:.9f}",
    }


def event(document: Mapping[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + _ENCODER.encode(document).encode("utf-8", "replace") + b"\n\n"
