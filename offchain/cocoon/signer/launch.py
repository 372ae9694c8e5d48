"""Starting a signer that outlives whoever starts it, but not whoever holds the leash of both (see `cocoon.leash`)."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from ..leash import held_fds
from .client import SignerClient
from .errors import SignerUnavailable
from .server import prepare_socket_directory

__all__ = ["ensure_signer"]

_START_SEC = 20.0
_POLL_SEC = 0.05


async def ensure_signer(path: Path, *, log: Path | None = None) -> SignerClient:
    """A client of the signer at `path`; one is started, in a session of its own, if none answers.

    log: where a started signer's messages go; None means a file beside the socket. SignerUnavailable if it does not
    come up.
    """
    client = SignerClient(path)
    if await _answers(client):
        return client
    prepare_socket_directory(path)
    log = path.with_suffix(".log") if log is None else log
    try:
        output = log.open("ab")
    except OSError as error:
        raise SignerUnavailable(f"{log} can't be written: {error}; free or unlock the disk") from error
    with output:
        process = subprocess.Popen(  # noqa: ASYNC220  fork and exec only; it is waited for below without blocking
            [sys.executable, "-m", "cocoon.signer", "--socket", str(path)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=held_fds(),
        )
    try:
        async with asyncio.timeout(_START_SEC):
            while not await _answers(client):
                if process.poll() is not None:
                    raise SignerUnavailable(
                        f"the signer ended at once with status {process.returncode}: {_last_line(log)}"
                    )
                await asyncio.sleep(_POLL_SEC)
    except TimeoutError as error:
        process.terminate()
        raise SignerUnavailable(f"the signer did not come up within {_START_SEC:.0f} s: see {log}") from error
    return client


def _last_line(log: Path) -> str:
    """What a signer said before it ended."""
    said = log.read_text(errors="replace").split("\n")
    return next((line for line in reversed(said) if line.strip()), f"see {log}")


async def _answers(client: SignerClient) -> bool:
    try:
        await client.identity()
    except SignerUnavailable:
        return False
    return True
