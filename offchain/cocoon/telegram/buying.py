"""One answer for one user: money reserved in budgets, the backend asked, the real fee settled, the receipt kept."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from dataclasses import dataclass, field

from ..gateway.backend import Backend, Finished, Model, Quote, Spent
from ..gateway.errors import ApiError, BackendFailed, PoolExhausted, RequestRefused
from ..gateway.questions import chat_question
from ..gateway.receipts import new_receipt_id
from .budgets import Budgets, Reservation
from .errors import Refused
from .ledger import ChatLedger

__all__ = ["Buyer", "Growing", "Order", "Outcome"]

log = logging.getLogger(__name__)
_CLIP = 300


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an answer ended. complaint: why it is not whole, None if it is. fee_nano: what it cost; at most, unless
    there is a receipt.
    """

    complaint: str | None
    fee_nano: int
    receipt_id: str | None = None


@dataclass(slots=True)
class Growing:
    """The answer so far. news: set whenever it changed. stopping: why it is to end early."""

    text: str = field(default="", repr=False)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: str | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """A request whose money is reserved."""

    chat_id: int
    quote: Quote
    reserved: Reservation


class Buyer:
    """`reserve`, then `buy` in the same step. answer_sec: for a whole answer."""

    def __init__(
        self, backend: Backend, budgets: Budgets, ledger: ChatLedger, *, max_tokens: int, answer_sec: float
    ) -> None:
        self._backend, self._budgets, self._ledger = backend, budgets, ledger
        self._max_tokens, self._answer_sec = max_tokens, answer_sec

    def reserve(self, chat_id: int, user_id: int, model: Model, messages: list[dict[str, str]]) -> Order:
        """Refused, saying why; OverBudget."""
        try:
            asked = {"model": model.model_id, "messages": messages, "max_tokens": self._max_tokens}
            (body,) = chat_question(asked).bodies
            quote = self._backend.quote(body, model.model_id)
        except (ApiError, BackendFailed) as error:
            raise Refused(_explain(error, 0)) from error
        return Order(chat_id, quote, self._budgets.reserve(user_id, quote.most_nano))

    async def buy(self, order: Order, growing: Growing) -> Outcome:
        """However it ends, cancelled too, the reservation is settled. Cancel it with `growing.stopping` set for an
        Outcome that says so.
        """
        spent = Spent(order.quote)
        complaint: str | None = None
        receipt: str | None = None
        try:
            async with (
                asyncio.timeout(self._answer_sec),
                aclosing(self._backend.run(order.quote)) as events,  # type: ignore[type-var]
            ):
                with spent:
                    async for event in events:
                        spent.saw(event)
                        if isinstance(event, Finished):
                            receipt = new_receipt_id()
                            self._ledger.keep(order.chat_id, receipt, event.proof)
                            if event.finish_reason == "length":
                                complaint = f"The answer ended at the limit of {self._max_tokens} tokens."
                            break
                        growing.text += event.text
                        growing.news.set()
                    else:
                        complaint = "The worker ended without a receipt."
        except BackendFailed as error:
            complaint = _explain(error, spent.nano)
        except TimeoutError:
            complaint = f"The answer took more than {self._answer_sec:g} seconds and was ended."
        except asyncio.CancelledError:
            if growing.stopping is None:
                raise
            complaint = growing.stopping
        finally:
            self._budgets.settle(order.reserved, spent.nano)
            if spent.nano or receipt is not None:
                self._ledger.spent(order.chat_id, spent.nano)
        return Outcome(complaint, spent.nano, receipt)


def _explain(error: ApiError | BackendFailed, spent_nano: int) -> str:
    said = str(error)
    said = said if len(said) <= _CLIP else said[:_CLIP] + "…"
    match error:
        case RequestRefused(reason="too_long"):
            return "This chat has grown too long for the model. /new forgets what was said before."
        case RequestRefused() | ApiError():
            return f"The question was refused: {said}."
        case PoolExhausted():
            return "The bot has no money left for another channel right now; try again later, or tell whoever runs it."
        case _ if spent_nano:
            return f"The worker failed: {said}. What had come is above; ask again for the rest."
    return f"No answer could be had: {said}. Try again, or choose another /model."
