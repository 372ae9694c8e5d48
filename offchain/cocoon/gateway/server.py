"""The HTTP application: routes, errors in OpenAI's format, limits, headers. What is asked is never logged."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

from .completions import chat_completions, completions
from .context import CONTEXT, Context
from .embeddings import embeddings
from .errors import ApiError
from .listing import model, models, receipt
from .page_api import PAGE, PageData, add_page_routes

__all__ = ["make_app"]

log = logging.getLogger(__name__)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
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
    """Run it with `web.AppRunner(app, handler_cancellation=True)`: a client that leaves ends its request."""
    app = web.Application(middlewares=[_guard], client_max_size=context.limits.body_bytes)
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


@web.middleware
async def _guard(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Every failure becomes OpenAI's error object; every answer is counted."""
    began = time.monotonic()
    status = 499  # the client left
    try:
        response = await handler(request)
        status = response.status
        return response
    except ApiError as error:
        status = error.status
        return web.json_response(error.body, status=status, headers=error.headers)
    except web.HTTPException as error:
        status = error.status
        if status < 400:
            raise
        message = f"{request.method} {request.path} is not possible here: {error.reason}."
        failed = ApiError(status, "invalid_request_error", message, code="not_found" if status == 404 else None)
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return web.json_response(failed.body, status=status, headers={**failed.headers, **headers})
    except ConnectionResetError:
        raise
    except Exception:
        status = 500
        log.exception("%s %s failed", request.method, request.path)
        failed = ApiError(500, "server_error", "The gateway failed; its log says more.", code="internal_error")
        return web.json_response(failed.body, status=500, headers=failed.headers)
    finally:
        route = request.match_info.route.resource
        endpoint = "unknown" if route is None else route.canonical
        request.app[CONTEXT].metrics.answered(endpoint, status, time.monotonic() - began)


async def _headers(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in _SECURITY.items():
        response.headers.setdefault(name, value)
    if request.path.startswith(("/v1/", "/api/")):
        response.headers.setdefault("Cache-Control", "no-store")
    if request.app[CONTEXT].banner() is not None:
        response.headers["X-Cocoon-Simulated-TEE"] = "nothing is confidential"
