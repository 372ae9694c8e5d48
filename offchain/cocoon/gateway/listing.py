"""`/v1/models` and `/v1/receipts/<id>`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from aiohttp import web

from .backend import Model
from .context import CONTEXT, api_key, model_id
from .errors import ApiError

__all__ = ["model", "model_document", "models", "receipt"]


async def models(request: web.Request) -> web.Response:
    api_key(request)
    found = [model_document(entry) for entry in request.app[CONTEXT].backend.models()]
    return web.json_response({"object": "list", "data": found})


async def model(request: web.Request) -> web.Response:
    api_key(request)
    context, name = request.app[CONTEXT], request.match_info["model"]
    found = model_id(context, name)
    return web.json_response(model_document(next(m for m in context.backend.models() if m.model_id == found)))


async def receipt(request: web.Request) -> web.Response:
    """Only for the key that asked; until the answer has ended there is none."""
    key, receipt_id = api_key(request), request.match_info["receipt"]
    found = request.app[CONTEXT].archive.get(receipt_id, key.id)
    if found is None:
        raise ApiError(
            404, "invalid_request_error",
            "There is no such receipt for this key. It exists once its answer has ended, and only if there was one.",
            code="receipt_not_found",
        )  # fmt: skip
    return web.json_response(found)


def model_document(entry: Model) -> dict[str, Any]:
    """OpenAI's model object; live prices, nanoTON per million tokens, under `cocoon`."""
    terms = None if entry.terms is None else asdict(entry.terms)
    return {
        "id": entry.names[0],
        "object": "model",
        "created": 0,
        "owned_by": "cocoon",
        "cocoon": {"model_id": entry.model_id, "workers": entry.workers, "prices": terms},
    }
