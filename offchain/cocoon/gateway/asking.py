"""One answer for one key: money reserved, the backend asked, the key's budget settled, the receipt kept."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Any

from .backend import Delta, Finished, Quote, Spent
from .context import Context
from .errors import (
    ApiError,
    BackendFailed,
    BudgetExceeded,
    NoWorker,
    PoolExhausted,
    RequestRefused,
    bad_request,
    no_worker,
    quota,
    upstream_failed,
)
from .keys import ApiKey
from .live import LiveRequest
from .together import together

__all__ = ["Asking", "as_api_error"]

log = logging.getLogger(__name__)

_REFUSALS = {"too_long": "context_length_exceeded", "fee_too_low": "fee_too_low", "unknown_model": "model_not_found"}


class Asking:
    """`reserve` first, for all choices at once: a request is refused before anything was spent on it."""

    def __init__(self, context: Context, key: ApiKey, model_id: str, live: LiveRequest) -> None:
        self._context, self._key, self._model_id, self._live = context, key, model_id, live
        self._reserved = 0

    @contextmanager
    def reserve(self, bodies: Sequence[dict[str, Any]]) -> Iterator[list[Quote]]:
        """What each body may cost, set aside in the key's budget for the time of the context. ApiError 429 or 503."""
        try:
            quotes = [self._context.backend.quote(body, self._model_id) for body in bodies]
            most = sum(quote.most_nano for quote in quotes)
            self._context.keys.reserve(self._key.id, most)
        except (BackendFailed, BudgetExceeded) as error:
            raise as_api_error(error) from error
        self._reserved = most
        try:
            yield quotes
        finally:
            self._settle(self._reserved, 0)  # of answers that were never begun

    async def answer_all(
        self,
        quotes: Sequence[Quote],
        receipts: Sequence[str],
        take: Callable[[int, Delta | Finished], Awaitable[None]],
        *,
        at_once: int,
        again: Callable[[int], None] | None = None,
    ) -> None:
        """Every quote is run, `at_once` of them together; `take` gets the index of each event's. The first failure ends
        the others. ApiError 504 if it takes too long.

        again: one that failed among others, which are paid for, is asked once more; told its index before that.
        """

        async def one(index: int) -> None:
            try:
                await ask(index)
            except ApiError as error:
                if again is None or len(quotes) == 1 or not error.retry or not self._reserve_more(quotes[index]):
                    raise
                again(index)
                await ask(index)

        async def ask(index: int) -> None:
            async with aclosing(self.answer(quotes[index], receipts[index])) as said:  # type: ignore[type-var]
                async for piece in said:
                    await take(index, piece)

        try:
            await together(len(quotes), one, at_once=at_once, seconds=self._context.limits.request_sec)
        except TimeoutError as error:
            raise ApiError(504, "server_error", "The answer took too long.", code="timeout") from error

    async def answer(self, quote: Quote, receipt_id: str) -> AsyncIterator[Delta | Finished]:
        """The backend's events. However it ends, the reservation is settled, for what it may have cost at most."""
        context, spent = self._context, Spent(quote)
        try:
            with spent:
                async with aclosing(context.backend.run(quote)) as events:  # type: ignore[type-var]
                    async for event in events:
                        spent.saw(event)
                        if isinstance(event, Delta):
                            self._live.token(event.worker_index, event.tokens)
                        else:
                            self._live.fee_nano += event.fee_nano
                            usage = event.usage
                            self._archive(receipt_id, event)
                            context.metrics.billed(usage.prompt, usage.cached, usage.completion, event.fee_nano)
                        yield event
        except BackendFailed as error:
            raise as_api_error(error) from error
        finally:
            self._settle(quote.most_nano, spent.nano)

    def _archive(self, receipt_id: str, answer: Finished) -> None:
        """An answer that is paid for is given, whether its receipt can be kept or not."""
        try:
            self._context.archive.put(receipt_id, self._key.id, answer.proof)
        except sqlite3.Error:
            log.exception("receipt %s could not be kept", receipt_id)

    def _reserve_more(self, quote: Quote) -> bool:
        """Whether the key's budget allows it."""
        try:
            self._context.keys.reserve(self._key.id, quote.most_nano)
        except BudgetExceeded:
            return False
        self._reserved += quote.most_nano
        return True

    def _settle(self, reserved: int, spent: int) -> None:
        if reserved:
            self._reserved -= reserved
            self._context.keys.settle(self._key.id, reserved, spent)


def as_api_error(error: BackendFailed | BudgetExceeded) -> ApiError:
    """What a client is told."""
    match error:
        case BudgetExceeded():
            return quota(f"You exceeded your current quota: {error}.")
        case RequestRefused():
            return bad_request(
                f"The worker refused the request: {error}", code=_REFUSALS.get(error.reason, error.reason)
            )
        case NoWorker() | PoolExhausted():
            return no_worker(str(error))
        case _:
            return upstream_failed(str(error))
