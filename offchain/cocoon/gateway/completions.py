"""`/v1/chat/completions` and `/v1/completions`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from .answers import CHAT, DONE, TEXT, Conversation, event
from .asking import Asking
from .backend import Delta, Finished, Quote
from .context import CONTEXT, Context, api_key, check_room, json_body, model_id
from .errors import ApiError, internal_error
from .keys import ApiKey
from .live import LiveRequest
from .questions import Question, chat_question, completion_question
from .receipts import new_receipt_id

__all__ = ["chat_completions", "completions", "converse"]

log = logging.getLogger(__name__)

RECEIPT_HEADER = "X-Cocoon-Receipt"
_STREAM_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache", "X-Accel-Buffering": "no",
}  # fmt: skip


async def chat_completions(request: web.Request) -> web.StreamResponse:
    return await converse(request, api_key(request), chat=True)


async def completions(request: web.Request) -> web.StreamResponse:
    return await converse(request, api_key(request), chat=False)


async def converse(request: web.Request, key: ApiKey, *, chat: bool) -> web.StreamResponse:
    """Answer a request that `key` pays for. ApiError, until the first byte of a stream was sent."""
    context = request.app[CONTEXT]
    asked = await json_body(request)
    question = chat_question(asked) if chat else completion_question(asked)
    model = model_id(context, question.model)
    receipts = tuple(new_receipt_id() for _ in question.bodies)
    made = Conversation(CHAT if chat else TEXT, question.model, question.seed, receipts)
    check_room(context, key)
    with context.board.request(request.path, question.model, key.name) as live:
        live.receipts = receipts
        job = _Job(context, made, question, Asking(context, key, model, live), live)
        return await (job.stream(request) if question.stream else job.whole())


class _Events(web.StreamResponse):
    """Headers go out in one piece with what comes first, as those of a whole answer do."""

    _send_headers_immediately = False


class _Job:
    def __init__(
        self, context: Context, made: Conversation, question: Question, asking: Asking, live: LiveRequest
    ) -> None:
        default = context.limits.default_max_tokens
        self._bodies = tuple({"max_tokens": default, **body} for body in question.bodies)
        self._made, self._question, self._asking, self._live = made, question, asking, live

    async def whole(self) -> web.Response:
        """Every choice, then one document."""
        texts, ends = [""] * len(self._bodies), dict[int, Finished]()

        async def take(index: int, said: Delta | Finished) -> None:
            if isinstance(said, Delta):
                texts[index] += said.text
            else:
                ends[index] = said

        def again(index: int) -> None:
            texts[index] = ""

        with self._asking.reserve(self._bodies) as quotes:
            await self._all(take, quotes, again)
        document = self._made.whole(texts, [ends[index] for index in range(len(quotes))])
        return web.json_response(document, headers=self._headers())

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Choices in the order their pieces come. Headers go out with the first piece, so that until then an error is
        an error; later it is an event, as OpenAI sends it.
        """
        response = _Events(headers={**_STREAM_HEADERS, **self._headers()})
        ends, turn, opened = dict[int, Finished](), asyncio.Lock(), set[int]()
        last: list[dict[str, Any]] = []  # what ends the answer goes out in one piece: each costs as much as a token

        async def send(*documents: dict[str, Any]) -> None:
            async with turn:
                if not response.prepared:
                    await response.prepare(request)
                await response.write(b"".join(map(event, documents)))

        async def take(index: int, said: Delta | Finished) -> None:
            documents = [] if index in opened or not self._made.chat else [self._made.opening(index)]
            opened.add(index)
            if isinstance(said, Finished):
                ends[index] = said
                documents.append(self._made.end(index, said))
                if len(ends) == len(self._bodies):
                    last.extend(documents)
                    return
            elif said.text:
                documents.append(self._made.piece(index, said.text))
            if documents:
                await send(*documents)

        try:
            with self._asking.reserve(self._bodies) as quotes:
                await self._all(take, quotes)
            if self._question.include_usage:
                last.append(self._made.totals([ends[index] for index in range(len(quotes))]))
        except Exception as error:
            if not response.prepared or isinstance(error, ConnectionResetError):
                raise
            if not isinstance(error, ApiError):  # whatever it is: no second answer may begin within the first
                log.exception("an answer broke off")
            last.append((error if isinstance(error, ApiError) else internal_error()).body)
            self._live.state = "failed"
        await response.prepare(request)
        await response.write_eof(b"".join(map(event, last)) + DONE)
        return response

    async def _all(
        self, take: Callable[[int, Delta | Finished], Awaitable[None]], quotes: list[Quote],
        again: Callable[[int], None] | None = None,
    ) -> None:  # fmt: skip
        await self._asking.answer_all(quotes, self._made.receipts, take, at_once=len(quotes), again=again)

    def _headers(self) -> dict[str, str]:
        return {RECEIPT_HEADER: ", ".join(self._made.receipts)}
