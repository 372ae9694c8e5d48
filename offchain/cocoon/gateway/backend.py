"""The seam between the HTTP side and whoever answers: what models there are, and one request as a stream of events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self

from ..crypto.usage import Usage
from ..stream.asked import Asked
from ..wire.common import ModelTerms
from .errors import BackendFailed
from .estimate import Estimate
from .receipts import Proof

__all__ = ["Backend", "Delta", "Finished", "Model", "Quote", "Spent"]


@dataclass(frozen=True, slots=True)
class Model:
    """A model that is, or was, on offer. `names` are what clients may call it; `terms` the cheapest usable offer's.

    terms: None while no usable worker offers it. workers: those that could be used now.
    """

    model_id: str
    names: tuple[str, ...]
    workers: int
    terms: ModelTerms | None


@dataclass(frozen=True, slots=True)
class Quote:
    """A request that can be asked, and its price. most_nano: no worker that would be chosen may take more; prompt_nano:
    nor more than this if it gives no answer. asked: the body as workers are sent it.
    """

    model_id: str
    asked: Asked
    estimate: Estimate
    most_nano: int
    prompt_nano: int


@dataclass(frozen=True, slots=True)
class Delta:
    """More text of an answer. `spent_nano` is what the answer has cost so far."""

    text: str = field(repr=False)
    tokens: int
    spent_nano: int
    worker_index: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of an answer, everything verified. `body` is the whole answer, as the worker sealed it."""

    finish_reason: str
    body: dict[str, Any] = field(repr=False)
    usage: Usage
    fee_nano: int
    proof: Proof = field(repr=False)


class Spent:
    """What one request has cost, or may have: `nano`, right once the context it is asked in has ended, however that is.

    A worker may have been paid for the prompt before anything comes back, so whoever leaves then owes it all the same.
    """

    def __init__(self, quote: Quote) -> None:
        self._quote, self._ended = quote, False
        self.nano = 0

    def saw(self, event: Delta | Finished) -> None:
        self._ended = isinstance(event, Finished)
        self.nano = event.fee_nano if isinstance(event, Finished) else min(self._quote.most_nano, event.spent_nano)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ended:
            return
        if isinstance(error, BackendFailed):
            self.nano = max(self.nano, min(self._quote.most_nano, error.spent_nano))
        elif isinstance(error, asyncio.CancelledError | GeneratorExit):
            self.nano = self.nano or self._quote.prompt_nano


class Backend(Protocol):
    """Answers requests for money. Every method is called from one event loop."""

    def models(self) -> list[Model]:
        """What can be asked for."""
        ...

    def model_id(self, name: str) -> str | None:
        """What clients call `name`; None if nobody ever offered it."""
        ...

    def quote(self, body: dict[str, Any], model_id: str) -> Quote:
        """What may be run. NoWorker if nobody would be chosen, RequestRefused for what no worker could be sent."""
        ...

    def run(self, quote: Quote) -> AsyncIterator[Delta | Finished]:
        """Any number of Delta, then one Finished. BackendFailed, with what it cost, if there is no answer.

        A quote may be run later, and more than once. Closing the iterator early ends the request and what is spent on
        it.
        """
        ...
