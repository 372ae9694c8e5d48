"""Vectors of texts from a loaded `map` bundle: embeddings."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from ..crypto.payload import MAX_PADDED_BYTES
from ..kernels.errors import InvalidRequest, OverBudget, UnsupportedModel
from .kernel import Began, Ended, Event, Result, Run

if TYPE_CHECKING:
    from ..kernels.engine.request import Metering
    from ..kernels.sandboxed.host import KernelHost

__all__ = ["TextsKernel"]

_BESIDE_BYTES = 1024  # of an answer: everything but the vectors
_AT_ONCE = 4


class TextsKernel:
    """Request: `input`, a list of texts. Answer: `embeddings`, for each text its vector as base64 of 32-bit floats,
    little-endian; and `build`, the id of the build that computed it. The answer has no tokens: the texts are paid for.

    A text longer than the model takes is refused, never cut; so are more texts than one answer can hold vectors of.
    """

    def __init__(self, host: KernelHost) -> None:
        """UnsupportedModel if the loaded bundle does not make vectors of texts."""
        width = host.about["text_width"]
        if width is None:
            raise UnsupportedModel("this map model takes tensors; agents serve models that take texts")
        self._most_texts = (MAX_PADDED_BYTES - _BESIDE_BYTES) // (-(-4 * width // 3) * 4 + 3)
        if self._most_texts < 1:
            raise UnsupportedModel(f"vectors of {width} numbers don't fit into an answer")
        self._host = host
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="texts")

    @property
    def model_id(self) -> bytes:
        return self._host.model_id

    def close(self) -> None:
        """Ends the process the model runs in."""
        self._host.close()
        self._threads.shutdown()

    @property
    def ready(self) -> bool:
        """Always: a thread of its own waits where something has to be waited for."""
        return True

    def count_tokens(self, request: dict[str, Any]) -> int:
        return self._host.count_texts(self._texts(request))

    def asked_tokens(self, request: dict[str, Any]) -> int | None:
        self._texts(request)
        return 0

    def complete(
        self, request: dict[str, Any], *, max_tokens: int, cancel: threading.Event, owner: str | None = None
    ) -> Result:
        """`max_tokens` and `owner` say nothing here; nor does `cancel`, for one call can't be cut short."""
        body, tokens = self._vectors(self._texts(request))
        return Result(body, tokens, 0)

    def start(
        self,
        request: dict[str, Any],
        metering: Metering,
        told: Callable[[Event], None],
        *,
        max_tokens: int,
        owner: str | None = None,
    ) -> Run:
        run = _Run()
        self._threads.submit(self._work, request, metering, told, run)
        return run

    def _work(self, request: dict[str, Any], metering: Metering, told: Callable[[Event], None], run: _Run) -> None:
        try:
            texts = self._texts(request)
            tokens = self._host.count_texts(texts)
            if tokens > metering.prepaid:
                told(OverBudget(tokens))
            elif run.cancelled:
                told(Ended({"finish_reason": "cancelled"}))
            else:
                told(Began(tokens, 0))
                told(Ended(self._vectors(texts)[0]))
        except Exception as error:  # noqa: BLE001 - whatever it is, whoever waits must hear of it
            told(error)

    def _vectors(self, texts: list[str]) -> tuple[dict[str, Any], int]:
        """(the answer, tokens of the texts)."""
        arrays, tokens = self._host.map_texts(texts)
        (rows,) = arrays.values()
        packed = [base64.b64encode(row.astype(np.dtype("<f4")).tobytes()).decode() for row in rows]
        return {"embeddings": packed, "build": self._host.build_id}, tokens

    def _texts(self, request: dict[str, Any]) -> list[str]:
        match request:
            case {"input": [*texts], **rest} if texts and not rest and all(isinstance(text, str) for text in texts):
                if len(texts) > self._most_texts:
                    raise InvalidRequest(f"there are {len(texts)} texts: send at most {self._most_texts} at once")
                return texts
        raise InvalidRequest("send input, a list of texts, and nothing else")


class _Run:
    """A call under way. It can be taken back until it begins."""

    def __init__(self) -> None:
        self.cancelled = False

    def allow(self, tokens: int) -> None:
        """There are none."""

    def cancel(self) -> None:
        self.cancelled = True
