"""`/v1/embeddings`: `map` kernels, asked `{"input": [texts]}`, which answer `{"embeddings": [...]}`: each vector as
base64 of 32-bit floats, little-endian, which is what the official SDKs ask for by themselves.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
from typing import Any

from aiohttp import web

from .answers import usage_of
from .asking import Asking
from .backend import Delta, Finished
from .completions import RECEIPT_HEADER
from .context import CONTEXT, api_key, check_room, find_model, json_body
from .errors import upstream_failed
from .questions import embedding_texts
from .receipts import new_receipt_id

__all__ = ["embeddings"]

_TEXTS_PER_REQUEST = 8  # vectors of 1,400 numbers still fit into one answer
_REQUESTS_AT_ONCE = 4
_FLOAT_BYTES = 4


async def embeddings(request: web.Request) -> web.Response:
    """ApiError if the texts, or what the workers make of them, are not what they should be."""
    context, key = request.app[CONTEXT], api_key(request)
    name, texts, packed = embedding_texts(await json_body(request))
    model = find_model(context, name)
    check_room(context)
    parts = [texts[at : at + _TEXTS_PER_REQUEST] for at in range(0, len(texts), _TEXTS_PER_REQUEST)]
    bodies = [{"input": part} for part in parts]
    receipts = tuple(new_receipt_id() for _ in parts)
    ends: dict[int, Finished] = {}

    async def take(index: int, said: Delta | Finished) -> None:
        if isinstance(said, Finished):
            ends[index] = said

    with context.board.request(request.path, name, key.name) as live:
        live.receipts = receipts
        asking = Asking(context, key, model.model_id, live)
        with asking.reserve(bodies) as fees:
            await asking.answer_all(bodies, fees, receipts, take, at_once=_REQUESTS_AT_ONCE)
        ordered = [ends[index] for index in range(len(parts))]
        vectors = [
            vector for end, part in zip(ordered, parts, strict=True) for vector in _vectors(end.body, len(part), packed)
        ]
    document = {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": found} for index, found in enumerate(vectors)],
        "model": name,
        "usage": usage_of(ordered),
        "cocoon": {
            "cost_nano": sum(end.fee_nano for end in ordered),
            "receipts": list(receipts),
            "workers": [end.proof.worker_index for end in ordered],
            "simulated_tee": any(end.proof.simulated_tee for end in ordered),
        },
    }
    return web.json_response(document, headers={RECEIPT_HEADER: ", ".join(receipts)})


def _vectors(body: dict[str, Any], wanted: int, packed: bool) -> list[str] | list[list[float]]:
    """As base64 if `packed`. ApiError 502 unless there are `wanted` vectors of finite numbers."""
    match body:
        case {"embeddings": [*given]} if len(given) == wanted and all(isinstance(text, str) for text in given):
            numbers = [_unpack(text) for text in given]
            if all(found and all(map(math.isfinite, found)) for found in numbers):
                return given if packed else [list(found) for found in numbers]
    raise upstream_failed("The worker's answer holds no embeddings: is this a model for embeddings?")


def _unpack(text: str) -> tuple[float, ...]:
    """Empty if these are no 32-bit floats."""
    try:
        data = base64.b64decode(text, validate=True)
        return struct.unpack(f"<{len(data) // _FLOAT_BYTES}f", data)
    except (binascii.Error, ValueError, struct.error):
        return ()
