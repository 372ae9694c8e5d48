"""The operator's own port: /metrics for Prometheus, /health for whatever restarts things, /books for `status`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

from .books import Books
from .checking_host import parse_listen
from .errors import WorkerCommandError
from .metrics import WorkerMetrics
from .watching import Observer

__all__ = ["ask_books", "serving"]

_TIMEOUT = aiohttp.ClientTimeout(total=5)


@contextlib.asynccontextmanager
async def serving(listen: str, observer: Observer, metrics: WorkerMetrics) -> AsyncIterator[str]:
    """Serves within the context; yields the address. WorkerCommandError if it can't be had."""

    async def show_metrics(_: web.Request) -> web.Response:
        return web.Response(body=metrics.show(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def show_health(_: web.Request) -> web.Response:
        is_fine, body = observer.health()
        return web.json_response(body, status=200 if is_fine else 503)

    async def show_books(_: web.Request) -> web.Response:
        agent = observer.agent
        body = {"registry": agent.registry.to_str(is_user_friendly=False), "worker_index": agent.worker_index}
        return web.json_response({**body, "books": (await observer.books()).to_json()})

    application = web.Application()
    application.router.add_get("/metrics", show_metrics)
    application.router.add_get("/health", show_health)
    application.router.add_get("/books", show_books)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        host, port = parse_listen(listen)
        await web.TCPSite(runner, host, port).start()
        yield f"http://{runner.addresses[0][0]}:{runner.addresses[0][1]}"
    except (OSError, ValueError) as error:
        raise WorkerCommandError(f"metrics can't be served at {listen}: {error}; choose another --metrics") from error
    finally:
        await runner.cleanup()


async def ask_books(listen: str, registry: str, worker_index: int) -> Books:
    """The books of the agent that runs there. WorkerCommandError if it is not there, or another worker's."""
    try:
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session, session.get(f"http://{listen}/books") as said:
            said.raise_for_status()
            found = await said.json()
            if (found["registry"], found["worker_index"]) != (registry, worker_index):
                raise WorkerCommandError(f"another worker's agent answers at {listen}: give each worker its own port")
            return Books.from_json(found["books"])
    except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError) as error:
        raise WorkerCommandError(
            f"the agent has its journal open and does not answer at {listen} ({type(error).__name__}): it may "
            "be starting"
        ) from error
