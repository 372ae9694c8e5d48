"""`/v1/embeddings`: `map` kernels, asked `{"input": [texts]}`, which answer `{"embeddings": [[...], ...]}`."""

from __future__ import annotations

import asyncio
import base64
import math
import struct
from contextlib import aclosing
from typing import Any

from aiohttp import web

from .answers import usage_of
from .asking import Asking
from .backend import Finished
from .completions import RECEIPT_HEADER
from .context import CONTEXT, api_key, find_model, json_body
from .errors import ApiError, upstream_failed
from .questions import embedding_texts
from .receipts import new_receipt_id

__all__ = ["embeddings"]


async def embeddings(request: web.Request) -> web.Response:
    """ApiError if the texts, or what the worker makes of them, are not what they should be."""
    context, key = request.app[CONTEXT], api_key(request)
    name, texts, packed = embedding_texts(await json_body(request))
    model = find_model(context, name)
    receipt_id, body, end = new_receipt_id(), {"input": texts}, None
    with context.board.request(request.path, name, key.name) as live:
        live.receipts = (receipt_id,)
        asking = Asking(context, key, model.model_id, live)
        try:
            async with asyncio.timeout(context.limits.request_sec):
                with asking.reserve([body]) as (fee,):
                    async with aclosing(asking.answer(body, fee, receipt_id)) as events:  # type: ignore[type-var]
                        async for event in events:
                            end = event if isinstance(event, Finished) else end
        except TimeoutError as error:
            raise ApiError(504, "server_error", "The answer took too long.", code="timeout") from error
        assert end is not None  # a backend ends with one, or raises
        vectors = _vectors(end.body, len(texts))
    data = [
        {"object": "embedding", "index": index, "embedding": _pack(vector) if packed else vector}
        for index, vector in enumerate(vectors)
    ]
    usage = usage_of([end])
    extension = {"cost_nano": end.fee_nano, "receipts": [receipt_id], "simulated_tee": end.proof.simulated_tee}
    document = {"object": "list", "data": data, "model": name, "usage": usage, "cocoon": extension}
    return web.json_response(document, headers={RECEIPT_HEADER: receipt_id})


def _vectors(body: dict[str, Any], wanted: int) -> list[list[float]]:
    found = body.get("embeddings")
    if (
        isinstance(found, list)
        and len(found) == wanted
        and all(isinstance(vector, list) and vector and all(_is_number(x) for x in vector) for vector in found)
    ):
        return [[float(x) for x in vector] for vector in found]
    raise upstream_failed("The worker's answer holds no embeddings: is this a model for embeddings?")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _pack(vector: list[float]) -> str:
    """32-bit floats, little-endian, in base64: what the official SDKs ask for by themselves."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
