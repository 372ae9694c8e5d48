"""`python -m cocoon.signer --socket PATH`: runs until SIGTERM, SIGINT or a client's `stop`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

from ..errors import CocoonError
from ..leash import follow
from .harden import harden
from .keys import SignerKeys
from .server import SignerServer


async def _serve(path: Path) -> None:
    server = SignerServer(SignerKeys(), path)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    await server.serve()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m cocoon.signer", description="Holds a worker's keys in memory.")
    parser.add_argument("--socket", type=Path, required=True, help="unix socket, in a directory of this user's only")
    path = parser.parse_args().socket
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    harden()
    follow()
    if os.getpid() != os.getsid(0):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a closed terminal must not take the keys along
    try:
        asyncio.run(_serve(path))
    except CocoonError as error:
        print(f"signer: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
