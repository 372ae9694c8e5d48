"""What a `generate` engine is asked and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..errors import InvalidRequest
from .sampling import GREEDY, MAX_LOGPROBS, Sampling

__all__ = ["Completion", "FinishReason", "Finished", "GenerateRequest", "Metering", "Started", "Token"]

FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """tokens: the prompt. max_tokens: None means as many as fit. stop: the answer ends before the first of these texts.
    owner: whose prompts this one may share a prefix with (an escrow); None shares with nobody. logprobs: None, or how
    many alternatives to tell for each token.
    """

    tokens: tuple[int, ...] = field(repr=False)
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    sampling: Sampling = GREEDY
    owner: str | None = None
    logprobs: int | None = None

    def __post_init__(self) -> None:
        if not self.tokens:
            raise InvalidRequest("there is no prompt to go on from: send at least one token")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise InvalidRequest(f"max_tokens is {self.max_tokens}: ask for at least one")
        if self.logprobs is not None and not 0 <= self.logprobs <= MAX_LOGPROBS:
            raise InvalidRequest(f"logprobs is {self.logprobs}: ask for 0 to {MAX_LOGPROBS}")


@dataclass(frozen=True, slots=True)
class Metering:
    """How far an answer may go before it is paid for.

    prepaid: the longest prompt that may be read. allowed: how many tokens may be produced until more are allowed. A
    token of the prompt weighs `prompt_weight`, one of the answer `answer_weight`; all together at most `budget`.
    """

    prepaid: int
    allowed: int
    prompt_weight: int
    answer_weight: int
    budget: int

    def pays_for(self, prompt_tokens: int, answer_tokens: int) -> bool:
        return prompt_tokens * self.prompt_weight + answer_tokens * self.answer_weight <= self.budget

    def most(self, prompt_tokens: int) -> int | None:
        """Tokens of the answer that the budget holds; None: any number."""
        left = self.budget - prompt_tokens * self.prompt_weight
        if left < 0:
            return 0
        return None if self.answer_weight == 0 else left // self.answer_weight


@dataclass(frozen=True, slots=True)
class Started:
    """A metered request is being worked on; `cached_tokens` of its prompt need no work."""

    prompt_tokens: int
    cached_tokens: int


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token. index: counts from 0. text: what became final with it, whole characters, possibly empty.
    logprob, top: where they were asked for.
    """

    id: int
    index: int
    text: str
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of a request. error: what went wrong with it alone, if something did."""

    reason: FinishReason
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished answer.

    prompt_tokens: with the chat template's; cached_tokens of them had been computed for an earlier request.
    completion_tokens: every token the model produced, the end token included. finish_reason: `stop` (end token or stop
    string), `length` (max_tokens or context full) or `cancelled`.
    """

    text: str
    tokens: tuple[int, ...]
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    finish_reason: FinishReason
    logprobs: tuple[tuple[float, tuple[tuple[int, float], ...]], ...] = ()
