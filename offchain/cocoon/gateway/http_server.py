"""The application behind a port. Every error has OpenAI's form, whoever finds it: a handler, aiohttp on the way to one
(a route or an expectation that there is not), or aiohttp where what arrived can't be read as HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from .context import CONTEXT
from .errors import ApiError, GatewayError, internal_error

__all__ = ["listening"]

log = logging.getLogger(__name__)
_SHUTDOWN_SEC = 5.0


@contextlib.asynccontextmanager
async def listening(app: web.Application, host: str, port: int) -> AsyncIterator[str]:
    """The application served; its base_url for OpenAI clients. port 0: a free one. GatewayError if it is taken."""
    # The first runner makes the application ready, the second serves it; middlewares would not see every error.
    made = web.AppRunner(app)
    await made.setup()
    assert made.server is not None  # setup made it
    runner = web.ServerRunner(_Server(app, made.server), shutdown_timeout=_SHUTDOWN_SEC)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise GatewayError(f"can't listen on {host}:{port}: {error}; choose another --port") from error
        actual = runner.addresses[0][1]
        shown = f"[{host}]" if ":" in host else "127.0.0.1" if host == "0.0.0.0" else host
        yield f"http://{shown}:{actual}/v1"
    finally:
        await runner.cleanup()
        await made.cleanup()


class _Server(web.Server):
    """A client that leaves ends its request."""

    def __init__(self, app: web.Application, made: web.Server) -> None:
        super().__init__(self._answer, request_factory=made.request_factory, handler_cancellation=True)
        self._app, self._inner = app, made.request_handler

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=asyncio.get_running_loop(), access_log=None)  # type: ignore[arg-type]

    async def _answer(self, request: Any) -> web.StreamResponse:
        """Every failure becomes OpenAI's error object; every answer is counted."""
        began = time.monotonic()
        status = 499  # the client left
        try:
            response = await self._inner(request)
            status = response.status
            return response
        except ApiError as error:
            status = error.status
            return _failed(error)
        except web.HTTPException as error:
            status = error.status
            if status < 400:
                raise
            return _failed(_as_api_error(request, error), {"Allow": error.headers.get("Allow", "")})
        except ConnectionResetError:
            raise
        except Exception:
            status = 500
            log.exception("%s %s failed", request.method, request.path)
            return _failed(internal_error())
        finally:
            route = request.match_info.route.resource
            endpoint = "unknown" if route is None else route.canonical
            self._app[CONTEXT].metrics.answered(endpoint, status, time.monotonic() - began)


class _Connection(web.RequestHandler):
    """What can't be read as HTTP never becomes a request of the application."""

    __slots__ = ()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Says nothing of it in the log but its kind: it may hold a key."""
        log.info("a request could not be read: %s", type(exc).__name__)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun already, and can't become an error")
        said = ApiError(status, "invalid_request_error", "The request can't be read: it is not HTTP/1.1, or too long.")
        answer = _failed(internal_error() if status >= 500 else said)
        answer.force_close()
        return answer


def _as_api_error(request: web.BaseRequest, error: web.HTTPException) -> ApiError:
    message = f"{request.method} {request.path} is not possible here: {error.reason}."
    return ApiError(error.status, "invalid_request_error", message, code="not_found" if error.status == 404 else None)


def _failed(error: ApiError, headers: dict[str, str] | None = None) -> web.Response:
    given = {name: value for name, value in (headers or {}).items() if value}
    return web.json_response(error.body, status=error.status, headers={**error.headers, **given})
