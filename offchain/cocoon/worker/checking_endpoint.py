"""Whether clients will reach the endpoint: a short-lived server at `listen` is asked by the endpoint's name."""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import socket
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from .checking_host import parse_listen
from .findings import Finding, failed, fine, warning

__all__ = ["check_endpoint"]

_PATH = "/cocoon-worker-probe"
_TIMEOUT = aiohttp.ClientTimeout(total=10)
_CHECK = "endpoint"


async def check_endpoint(endpoint: str, listen: str | None, *, is_local: bool) -> Finding:
    """is_local: of a sandbox, whose clients are on this machine. The port must be free."""
    if not endpoint:
        text = "none: clients reach this worker through the chain only, with forced jobs"
        return (
            fine(_CHECK, text) if listen is None else warning(_CHECK, f"listen is set, but {text}; name the endpoint")
        )
    if listen is None:
        return failed(_CHECK, f"{endpoint} would be announced and nothing listens: set listen, or leave both out")
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return failed(_CHECK, f"{endpoint!r} is no address such as https://worker.example:8443")
    try:
        found = await asyncio.get_running_loop().getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_STREAM)
    except OSError as error:
        return failed(_CHECK, f"{parts.hostname} is not known ({error}): set its DNS record first")
    addresses = {ipaddress.ip_address(entry[4][0]) for entry in found}
    if not is_local and not any(address.is_global for address in addresses):
        listed = ", ".join(map(str, addresses))
        return failed(_CHECK, f"{parts.hostname} is {listed}, which nobody outside reaches: announce a public address")
    return await _probe(endpoint, listen)


async def _probe(endpoint: str, listen: str) -> Finding:
    token = secrets.token_hex(16)

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=token)

    application = web.Application()
    application.router.add_get(_PATH, answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        host, port = parse_listen(listen)
        await web.TCPSite(runner, host, port).start()
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT) as session,
            session.get(f"{endpoint.rstrip('/')}{_PATH}") as said,
        ):
            heard = (await said.content.read(len(token) + 1)).decode("ascii", "replace")
    except (aiohttp.ClientError, TimeoutError) as error:
        return warning(
            _CHECK, f"{endpoint} can't be reached from this machine ({type(error).__name__}): routers often refuse "
            f"that; try {endpoint.rstrip('/')} from elsewhere once the worker runs, and see that the port is forwarded"
        )  # fmt: skip
    except (OSError, ValueError) as error:
        return failed(_CHECK, f"can't listen at {listen}: {error}")
    finally:
        await runner.cleanup()
    if heard != token:
        return failed(
            _CHECK, f"something else answers at {endpoint}: forward it to {listen}, or announce another address"
        )
    return fine(_CHECK, f"{endpoint} leads to {listen}")
