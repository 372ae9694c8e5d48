"""What a request can cost before it is answered: an upper bound, and a typical case to compare workers by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from ..crypto.usage import Usage
from ..stream.pricing import stream_price
from ..wire.common import ModelTerms

__all__ = ["Estimate", "streamed_price"]

# A token is at least one byte of text; templates add a few per message, and a system prompt where there is none.
_PER_MESSAGE = 16
_TEMPLATE = 96
_BYTES_PER_TOKEN = 4


def streamed_price(usage: Usage, terms: ModelTerms) -> int:
    """nanoTON of an answer that streams: no floor fee."""
    return stream_price(terms, usage.prompt, usage.cached, usage.completion)


@dataclass(frozen=True, slots=True)
class Estimate:
    """most: no worker may charge for more than this; prompt: nor for more than this if it gives no answer."""

    most: Usage
    prompt: Usage
    typical: Usage

    @classmethod
    def of(cls, body: dict[str, Any]) -> Self:
        """`body` names max_tokens, or asks for none (embeddings)."""
        length, pieces = _text(body)
        prompt, tokens = length + _PER_MESSAGE * pieces + _TEMPLATE, int(body.get("max_tokens", 0))
        return cls(
            most=Usage(prompt, 0, tokens, b""),
            prompt=Usage(prompt, 0, 0, b""),
            typical=Usage(length // _BYTES_PER_TOKEN + _PER_MESSAGE * pieces, 0, tokens // 2, b""),
        )


def _text(body: dict[str, Any]) -> tuple[int, int]:
    """(bytes of text, pieces it comes in)."""
    match body:
        case {"messages": list(turns)}:
            texts = [str(turn.get("content", "")) for turn in turns]
        case {"prompt": str(prompt)}:
            texts = [prompt]
        case {"input": list(given)}:
            texts = [str(text) for text in given]
        case _:
            texts = []
    return sum(len(text.encode("utf-8", "replace")) for text in texts), len(texts)
