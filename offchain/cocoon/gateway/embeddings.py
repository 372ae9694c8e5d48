"""`/v1/embeddings`: texts asked of `map` kernels, a few at a time."""

from __future__ import annotations

from aiohttp import web

from .asking import Asking
from .backend import Delta, Finished
from .completions import RECEIPT_HEADER
from .context import CONTEXT, api_key, check_room, json_body, model_id
from .errors import upstream_failed
from .questions import embedding_texts
from .receipts import new_receipt_id
from .vectors import embeddings_document, text_bodies, unpack_vectors

__all__ = ["embeddings"]

_REQUESTS_AT_ONCE = 4


async def embeddings(request: web.Request) -> web.Response:
    """ApiError if the texts, or what the workers make of them, are not what they should be."""
    context, key = request.app[CONTEXT], api_key(request)
    name, texts, packed = embedding_texts(await json_body(request))
    model = model_id(context, name)
    check_room(context, key)
    bodies = text_bodies(texts)
    receipts = tuple(new_receipt_id() for _ in bodies)
    ends: dict[int, Finished] = {}

    async def take(index: int, said: Delta | Finished) -> None:
        if isinstance(said, Finished):
            ends[index] = said

    with context.board.request(request.path, name, key.name) as live:
        live.receipts = receipts
        asking = Asking(context, key, model, live)
        with asking.reserve(bodies) as quotes:
            await asking.answer_all(quotes, receipts, take, at_once=_REQUESTS_AT_ONCE, again=lambda index: None)
        ordered = [ends[index] for index in range(len(bodies))]
        try:
            as_text, as_numbers = unpack_vectors(bodies, ordered)
        except ValueError as error:
            raise upstream_failed(str(error).capitalize()) from error
    document = embeddings_document(name, as_text if packed else as_numbers, ordered, receipts)
    return web.json_response(document, headers={RECEIPT_HEADER: ", ".join(receipts)})
