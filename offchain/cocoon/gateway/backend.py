"""The seam between the HTTP side and whoever answers: what models there are, and one request as a stream of events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..crypto.usage import Usage
from ..wire.common import ModelTerms
from .receipts import Proof

__all__ = ["Backend", "Delta", "Finished", "Model"]


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
class Delta:
    """More text of an answer. `spent_nano` is the most that the answer may have cost so far."""

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


class Backend(Protocol):
    """Answers requests for money. Every method is called from one event loop."""

    def models(self) -> list[Model]:
        """What can be asked for."""
        ...

    def quote(self, body: dict[str, Any], model_id: str) -> int:
        """The most that `body` may cost with any worker that would be chosen, nanoTON. NoWorker if there is none."""
        ...

    def run(self, body: dict[str, Any], model_id: str, *, max_fee: int) -> AsyncIterator[Delta | Finished]:
        """Any number of Delta, then one Finished. BackendFailed, with what it cost, if there is no answer.

        Closing the iterator early ends the request and what is spent on it.
        """
        ...
