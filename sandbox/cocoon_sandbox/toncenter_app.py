"""Runs the toncenter server (PyPI `ton-http-api`) for a sandbox: a program of its own, in an environment of its own.

It never shares a process with the rest of the package, which does not import it. What it adds to that server, because
clients ask toncenter.com for it:

* everything is also served below `/api/v2`, the path that clients' defaults have;
* `getConfigAll`, which toncenter.com has, and which the published server does not pass on to its tonlib;
* it ends when its standard input does, so that no sandbox that was killed leaves it behind.
"""

import argparse
import os
import signal
import socket
import threading
from typing import Any

import uvicorn  # type: ignore[import-not-found, unused-ignore]

PREFIX = "/api/v2"


class _Prefixed:
    """The application, also below PREFIX."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        path = scope.get("path", "")
        if path.startswith(PREFIX + "/"):
            scope = {**scope, "path": path[len(PREFIX) :], "raw_path": path[len(PREFIX) :].encode()}
        await self.app(scope, receive, send)


def _end_with_stdin() -> None:
    # Not through sys.stdin, whose lock this thread would hold while the server forks its workers, which close it.
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--config", required=True)
    parser.add_argument("--keystore", required=True)
    arguments = parser.parse_args()
    os.environ |= {
        "TON_API_TONLIB_LITESERVER_CONFIG": arguments.config,
        "TON_API_TONLIB_KEYSTORE": arguments.keystore,
        "TON_API_LOGS_LEVEL": "ERROR",
        "TON_API_ROOT_PATH": "",
    }
    from pyTON import main as server  # type: ignore[import-not-found, unused-ignore]

    async def get_config_all() -> Any:
        return await server.tonlib.dispatch_request("get_config_all")

    route = server.app.get("/getConfigAll", response_model=server.TonResponse, response_model_exclude_none=True)
    route(server.json_rpc("getConfigAll")(server.wrap_result(get_config_all)))

    listener = socket.create_server((arguments.host, arguments.port))
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    os.dup2(2, 1)  # whoever started this reads one line of standard output
    config = uvicorn.Config(_Prefixed(server.app), log_level="error", lifespan="on")
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
