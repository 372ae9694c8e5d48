"""The client for asyncio: one wallet's place in the market, asked in Python's own terms."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from prometheus_client import CollectorRegistry

from ..chain.lite import LiteChain
from ..chain.networks import read_global_config
from ..gateway.backend import Backend, Delta, Finished, Model, Quote, Spent
from ..gateway.context import HttpLimits
from ..gateway.errors import ApiError, BackendFailed, RequestRefused
from ..gateway.metrics import MarketMetrics
from ..gateway.opening import open_market
from ..gateway.questions import chat_question, completion_question, embedding_texts
from ..gateway.settings import GatewaySettings
from ..gateway.together import together
from ..gateway.vectors import text_bodies, unpack_vectors
from .answers import Answer, Vectors
from .errors import AnswerFailed, RequestInvalid, TooDear

__all__ = ["AsyncClient", "TextStream", "checked"]

_REQUESTS_AT_ONCE = 4

type Messages = Sequence[Mapping[str, str]]


class TextStream(AsyncIterator[str]):
    """An answer as it comes: iterate over its pieces of text. `answer` is there, verified, once that has ended.

    Leaving early with `aclose` ends the work, and pays for what was made of it.
    """

    def __init__(self, events: AsyncGenerator[Delta | Finished, None], seed: int) -> None:
        self._events, self._seed = events, seed
        self._text: list[str] = []
        self.answer: Answer | None = None

    async def __anext__(self) -> str:
        async for event in self._events:
            if isinstance(event, Delta):
                if event.text:
                    self._text.append(event.text)
                    return event.text
            else:
                text = "".join(self._text)
                self.answer = Answer(text, event.finish_reason, event.usage, event.fee_nano, self._seed, event.proof)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        await self._events.aclose()

    async def whole(self) -> Answer:
        """Runs to the end."""
        async with contextlib.aclosing(self):
            async for _ in self:
                pass
        assert self.answer is not None  # a backend ends with one, or raises
        return self.answer


class AsyncClient:
    """Many requests may run at the same time. Options of requests are OpenAI's: `max_tokens`, `temperature`, `top_p`,
    `seed`, `stop`; and `most_nano`, the most that one may cost.

    Every method raises RequestInvalid or TooDear before anything is sent, and BackendFailed if the market gives no
    answer: NoWorker, PoolExhausted, RequestRefused.
    """

    def __init__(self, backend: Backend, limits: HttpLimits | None = None) -> None:
        """For a market that is open already; most callers want `open`."""
        self.backend = backend
        self._limits = HttpLimits() if limits is None else limits

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, settings: GatewaySettings | str | Path, *, allow_simulated_tee: bool = False
    ) -> AsyncIterator[Self]:
        """For the time of the context. settings: or the file they are in, as of `cocoon gateway`; nobody else may use
        its wallet and `data_dir` meanwhile. SimulatedTeeRefused on a network where nothing is confidential, unless
        allowed.
        """
        if not isinstance(settings, GatewaySettings):
            settings = GatewaySettings.from_file(Path(settings))
        metrics = MarketMetrics(CollectorRegistry())
        async with (
            await LiteChain.open(read_global_config(settings.network)) as chain,
            open_market(settings, chain, settings.wallet(), metrics, allow_simulated_tee=allow_simulated_tee) as opened,
        ):
            yield cls(opened.market, settings.http)

    def models(self) -> list[Model]:
        """What can be asked for, with prices and the number of workers."""
        return self.backend.models()

    def stream(self, prompt: str | Messages, *, model: str, most_nano: int | None = None, **options: Any) -> TextStream:
        """A conversation's next turn, or what follows a text, piece by piece."""
        if isinstance(prompt, str):
            question = checked(completion_question, {**options, "model": model, "prompt": prompt})
        else:
            question = checked(chat_question, {**options, "model": model, "messages": [*map(dict, prompt)]})
        if len(question.bodies) != 1:
            raise RequestInvalid("one answer at a time: leave n out, and call again")
        body = self.with_max_tokens(question.bodies[0])
        return TextStream(self._run(body, model, most_nano), question.seed)

    async def ask(self, prompt: str | Messages, *, model: str, most_nano: int | None = None, **options: Any) -> Answer:
        """`stream`, run to its end."""
        return await self.stream(prompt, model=model, most_nano=most_nano, **options).whole()

    async def embed(self, texts: Sequence[str], *, model: str, most_nano: int | None = None) -> Vectors:
        """A vector for each text."""
        checked(embedding_texts, {"model": model, "input": list(texts)})
        bodies = text_bodies(texts)
        quotes = self.quotes(bodies, model)
        _check_price(sum(quote.most_nano for quote in quotes), most_nano)
        _, ends = await self.run_all(quotes)
        spent = sum(end.fee_nano for end in ends)
        try:
            _, numbers = unpack_vectors(bodies, ends)
        except ValueError as error:
            raise AnswerFailed(str(error), spent_nano=spent) from error
        tokens = sum(end.usage.prompt + end.usage.cached for end in ends)
        return Vectors(tuple(numbers), tokens, spent, tuple(end.proof for end in ends))

    def quotes(self, bodies: Sequence[dict[str, Any]], model: str) -> list[Quote]:
        """Requests to workers, with the most that each may cost, whenever it is run."""
        model_id = self._model_id(model)
        return [self.backend.quote(body, model_id) for body in bodies]

    async def run_all(
        self, quotes: Sequence[Quote], *, paid: Callable[[int], None] = lambda nano: None
    ) -> tuple[list[str], list[Finished]]:
        """What was quoted, some at a time: (texts, ends). `paid` is told what each cost, or may have, however it
        ended. BackendFailed with what all of them cost; TimeoutError.
        """
        texts, ends, costs = [""] * len(quotes), dict[int, Finished](), list[int]()

        async def one(index: int) -> None:
            try:
                await ask(index)
            except BackendFailed as error:
                # The others are paid for; and what cost nothing can be asked again within what was quoted.
                if len(quotes) == 1 or error.spent_nano or isinstance(error, RequestRefused):
                    raise
                await ask(index)

        async def ask(index: int) -> None:
            spent = Spent(quotes[index])
            try:
                with spent:
                    async with contextlib.aclosing(self.backend.run(quotes[index])) as events:  # type: ignore[type-var]
                        async for event in events:
                            spent.saw(event)
                            if isinstance(event, Finished):
                                ends[index] = event
                            else:
                                texts[index] += event.text
            finally:
                costs.append(spent.nano)
                paid(spent.nano)

        try:
            await together(len(quotes), one, at_once=_REQUESTS_AT_ONCE, seconds=self._limits.request_sec)
        except BackendFailed as error:
            error.spent_nano = sum(costs)
            raise
        return texts, [ends[index] for index in range(len(quotes))]

    def with_max_tokens(self, body: dict[str, Any]) -> dict[str, Any]:
        """A request for text is bounded, whatever was asked for."""
        return {"max_tokens": self._limits.default_max_tokens, **body}

    async def _run(
        self, body: dict[str, Any], model: str, most_nano: int | None
    ) -> AsyncGenerator[Delta | Finished, None]:
        quote = self.backend.quote(body, self._model_id(model))
        _check_price(quote.most_nano, most_nano)
        async with contextlib.aclosing(self.backend.run(quote)) as events:  # type: ignore[type-var]
            async for event in events:
                yield event

    def _model_id(self, name: str) -> str:
        found = self.backend.model_id(name)
        if found is not None:
            return found
        raise RequestInvalid(f"nobody offers a model {name!r}; models() shows what there is")


def checked(check: Any, asked: dict[str, Any]) -> Any:
    """What one of the gateway's checks makes of a request. RequestInvalid."""
    try:
        return check(asked)
    except ApiError as error:
        raise RequestInvalid(error.message) from error


def _check_price(fee_nano: int, most_nano: int | None) -> None:
    if most_nano is not None and fee_nano > most_nano:
        raise TooDear(f"this may cost {fee_nano} nanoTON, and {most_nano} are allowed: ask for less, or allow more")
