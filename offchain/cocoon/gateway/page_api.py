"""The page and the JSON behind it: same origin, read only but for its chat. The owner's own affairs (channels,
requests, receipts) need an API key, unless the owner has given the page one.
"""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from aiohttp import web

from .completions import converse
from .context import CONTEXT, api_key
from .errors import ApiError, unauthorized
from .keys import ApiKey
from .listing import model_document
from .live import LiveRequest
from .receipts import Proof

__all__ = ["PAGE", "PageData", "add_page_routes"]

_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_FILES = (".html", ".css", ".js", ".svg")


class PageData(Protocol):
    """What the page shows besides requests. Everything is plain JSON; amounts in nanoTON as text of digits."""

    stale_sec: float

    def facts_age(self) -> float | None: ...

    def network(self) -> dict[str, Any]: ...

    def workers(self) -> list[dict[str, Any]]: ...

    def channels(self) -> dict[str, Any]: ...

    def flows(self) -> list[dict[str, Any]]: ...

    def gauges(self) -> tuple[int, int, int | None]:
        """(channels, locked nanoTON, wallet's nanoTON)"""
        ...

    async def prove(self, proof: Proof) -> dict[str, Any]:
        """Checks of a receipt against the chain, and the transactions of its channel."""
        ...


PAGE = web.AppKey("page", PageData)


def add_page_routes(app: web.Application, files: Path) -> None:
    for path in sorted(files.iterdir()):
        if path.suffix in _FILES:
            app.router.add_get("/" if path.name == "index.html" else f"/page/{path.name}", _file(path))
    app.router.add_get("/api/network", _network)
    app.router.add_get("/api/workers", _workers)
    app.router.add_get("/api/flows", _flows)
    app.router.add_get("/api/channels", _channels)
    app.router.add_get("/api/requests", _requests)
    app.router.add_get("/api/proof/{receipt}", _proof)
    app.router.add_post("/api/chat", _chat)
    app.router.add_get("/metrics", _metrics)


def _file(path: Path) -> Any:
    content = path.read_bytes()
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"

    async def send(request: web.Request) -> web.Response:
        return web.Response(body=content, content_type=kind, charset="utf-8", headers={"Cache-Control": "no-cache"})

    return send


async def _network(request: web.Request) -> web.Response:
    context, page = request.app[CONTEXT], request.app[PAGE]
    return web.json_response(
        {
            **page.network(),
            "facts_age_sec": page.facts_age(),
            "banner": context.banner(),
            "simulated_tee": context.banner() is not None,
            "models": [model_document(entry) for entry in context.backend.models()],
            "page_has_key": context.page_key is not None,
        }
    )


async def _workers(request: web.Request) -> web.Response:
    return web.json_response({"workers": request.app[PAGE].workers()})


async def _flows(request: web.Request) -> web.Response:
    return web.json_response({"flows": request.app[PAGE].flows()})


async def _channels(request: web.Request) -> web.Response:
    _owner(request)
    return web.json_response(request.app[PAGE].channels())


async def _requests(request: web.Request) -> web.Response:
    _owner(request)
    board = request.app[CONTEXT].board
    return web.json_response(
        {
            "live": [_request(entry) for entry in board.live.values()],
            "ended": [_request(entry) for entry in board.ended],
        }
    )


async def _proof(request: web.Request) -> web.Response:
    key = _owner(request)
    found = request.app[CONTEXT].archive.get(request.match_info["receipt"], key.id)
    if found is None:
        raise ApiError(404, "invalid_request_error", "There is no such receipt for this key.", code="receipt_not_found")
    proven = await request.app[PAGE].prove(Proof.from_json(found))
    return web.json_response({"receipt": found, **proven})


async def _chat(request: web.Request) -> web.StreamResponse:
    return await converse(request, _owner(request), chat=True)


async def _metrics(request: web.Request) -> web.Response:
    _owner(request)
    context = request.app[CONTEXT]
    channels, locked, wallet = request.app[PAGE].gauges()
    shown = context.metrics.show(
        live=len(context.board.live), channels=channels, locked_nano=locked, wallet_nano=wallet
    )
    return web.Response(body=shown, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


def _owner(request: web.Request) -> ApiKey:
    """The key a request of the page acts for: the one it names, else the page's own, if it has one and the request
    comes from the page itself. ApiError 401, 403.
    """
    context = request.app[CONTEXT]
    if "Authorization" in request.headers or context.page_key is None:
        return api_key(request)
    try:
        host = urlsplit(f"//{request.host}").hostname
    except ValueError:
        host = None
    if host not in _LOCAL_NAMES:  # another name for this machine is how a strange page would get in
        raise ApiError(403, "invalid_request_error", "The page without a key is served under local names only.")
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise ApiError(403, "invalid_request_error", "Another site may not ask this.")
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.host:
        raise ApiError(403, "invalid_request_error", "Another site may not ask this.")
    found = context.keys.named(context.page_key)
    if found is None:
        raise unauthorized("The page's own key was revoked.")
    return found


def _request(entry: LiveRequest) -> dict[str, Any]:
    return {
        "id": entry.id,
        "endpoint": entry.endpoint,
        "model": entry.model,
        "key": entry.key_name,
        "started": entry.started,
        "first_token_sec": entry.first_token_sec,
        "seconds": entry.seconds,
        "tokens": entry.tokens,
        "fee_nano": str(entry.fee_nano),
        "worker": entry.worker_index,
        "state": entry.state,
        "receipts": list(entry.receipts),
    }
