"""What a stream costs: tokens by the channel's terms. The floor fee is for jobs posted on the chain only."""

from __future__ import annotations

from ..wire.common import ModelTerms

__all__ = ["default_quantum", "stream_price"]

_PER = 1_000_000
_QUANTUM_PROMPT = 8192
_QUANTUM_ANSWER = 1024


def stream_price(terms: ModelTerms, prompt: int, cached: int, completion: int) -> int:
    """nanoTON, rounded up. `cached` tokens of the prompt are not counted in `prompt`."""
    units = prompt * terms.prompt_nano + cached * terms.cached_nano + completion * terms.completion_nano
    return -(-units // _PER)


def default_quantum(terms: ModelTerms) -> int:
    """What a prompt of 8192 tokens and an answer of 1024 cost: more than most requests, and still little money."""
    return max(1, stream_price(terms, _QUANTUM_PROMPT, 0, _QUANTUM_ANSWER))
