"""The HTTP application: routes, limits, headers. What is asked is never logged."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from .completions import chat_completions, completions
from .context import CONTEXT, Context
from .embeddings import embeddings
from .listing import model, models, receipt
from .page_api import PAGE, PageData, add_page_routes

__all__ = ["make_app"]

_PAGE_FILES = Path(__file__).parent / "page"
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SECURITY = {
    "Content-Security-Policy": _CSP, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
}  # fmt: skip


def make_app(context: Context, page: PageData) -> web.Application:
    """Handlers raise ApiError: run it with `listening`."""
    app = web.Application(client_max_size=context.limits.body_bytes)
    app[CONTEXT], app[PAGE] = context, page
    app.router.add_post("/v1/chat/completions", chat_completions)
    app.router.add_post("/v1/completions", completions)
    app.router.add_post("/v1/embeddings", embeddings)
    app.router.add_get("/v1/models", models)
    app.router.add_get("/v1/models/{model}", model)
    app.router.add_get("/v1/receipts/{receipt}", receipt)
    app.router.add_get("/health", _health)
    add_page_routes(app, _PAGE_FILES)
    app.on_response_prepare.append(_headers)
    return app


async def _health(request: web.Request) -> web.Response:
    """200 while the gateway can answer; the body says what it can."""
    context, page = request.app[CONTEXT], request.app[PAGE]
    usable = sum(entry.workers for entry in context.backend.models())
    age = page.facts_age()
    fine = age is not None and age < page.stale_sec
    body = {
        "status": "ok" if fine else "network unreachable",
        "facts_age_sec": None if age is None else round(age, 1),
        "usable_offers": usable,
        "simulated_tee": context.banner() is not None,
    }
    return web.json_response(body, status=200 if fine else 503)


async def _headers(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in _SECURITY.items():
        response.headers.setdefault(name, value)
    if request.path.startswith(("/v1/", "/api/")):
        response.headers.setdefault("Cache-Control", "no-store")
    if request.app[CONTEXT].banner() is not None:
        response.headers["X-Cocoon-Simulated-TEE"] = "nothing is confidential"
