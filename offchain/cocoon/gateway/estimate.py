"""What a request can cost before it is answered: an upper bound, and a typical case to compare workers by."""

from __future__ import annotations

from typing import Any

from ..crypto.usage import Usage
from ..stream.pricing import stream_price
from ..wire.common import ModelTerms

__all__ = ["most_usage", "streamed_price", "typical_usage"]

# A token is at least one byte of text; templates add a few per message, and a system prompt where there is none.
_PER_MESSAGE = 16
_TEMPLATE = 96
_BYTES_PER_TOKEN = 4


def streamed_price(usage: Usage, terms: ModelTerms) -> int:
    """nanoTON of an answer that streams: no floor fee."""
    return stream_price(terms, usage.prompt, usage.cached, usage.completion)


def most_usage(body: dict[str, Any]) -> Usage:
    """No worker may charge for more than this. `body` names max_tokens, or asks for none (embeddings)."""
    length, pieces = _text(body)
    return Usage(length + _PER_MESSAGE * pieces + _TEMPLATE, 0, int(body.get("max_tokens", 0)), b"")


def typical_usage(body: dict[str, Any]) -> Usage:
    length, pieces = _text(body)
    prompt = length // _BYTES_PER_TOKEN + _PER_MESSAGE * pieces
    return Usage(prompt, 0, int(body.get("max_tokens", 0)) // 2, b"")


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
