"""The toncenter HTTP API beside a sandbox: the published server on its C++ tonlib, as a process of its own.

Its licence is the GPL's, so it is not a dependency: it gets a virtual environment in the cache on first use, and talks
to the sandbox as to any network, through the lite server.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cocoon_sandbox.errors import SandboxError
from cocoon_sandbox.venvs import python_with

__all__ = ["REQUIREMENTS", "Toncenter"]

REQUIREMENTS = Path(__file__).with_name("toncenter_requirements.txt")
_PROGRAM = Path(__file__).with_name("toncenter_app.py")
_START_S = 60.0
_STOP_S = 5.0
_POLL_S = 0.1


class Toncenter:
    """One server process for the network of a global configuration file. Port 0 is any free one.

    It keeps its tonlib's files in a directory beside that file, which is removed when it stops.
    """

    def __init__(self, config: Path, host: str, port: int) -> None:
        self.url = ""
        self._config = config
        self._host = host
        self._port = port
        self._keystore = config.with_name("toncenter")
        self._process: asyncio.subprocess.Process | None = None
        self._said: deque[str] = deque(maxlen=20)
        self._reader: asyncio.Task[None] | None = None

    async def start(self, progress: Callable[[str], None] | None = None) -> None:
        """Install the server if need be, start it, and wait until it answers; `url` is its API's base then."""
        python = await asyncio.to_thread(python_with, "toncenter", REQUIREMENTS.read_text(), progress)
        shutil.rmtree(self._keystore, ignore_errors=True)  # of a process that was killed
        self._keystore.mkdir()
        self._process = await asyncio.create_subprocess_exec(
            str(python),
            str(_PROGRAM),
            *("--host", self._host, "--port", str(self._port)),
            *("--config", str(self._config), "--keystore", f"{self._keystore}/"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # a group of its own, to be ended together with its workers
            # Python puts a script's directory on the path, where this package's modules would hide others.
            env={**os.environ, "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        )
        self._reader = asyncio.create_task(self._listen(), name="toncenter's messages")
        try:
            async with asyncio.timeout(_START_S):
                assert self._process.stdout is not None
                line = await self._process.stdout.readline()
                if not line:
                    raise self._failure(await self._process.wait())
                self.url = f"http://{self._host}:{int(line)}/api/v2"
                while not await asyncio.to_thread(_answers, self.url):
                    if self._process.returncode is not None:
                        raise self._failure(self._process.returncode)
                    await asyncio.sleep(_POLL_S)
        except TimeoutError as error:
            raise SandboxError(f"toncenter did not answer within {_START_S:g} s: {self._last_words()}") from error

    async def wait(self) -> None:
        """Return never: SandboxError when the process ends."""
        assert self._process is not None
        raise self._failure(await self._process.wait())

    async def stop(self) -> None:
        """End the process and its workers."""
        process, self._process = self._process, None
        if process is not None:
            for number in (signal.SIGTERM, signal.SIGKILL):
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_STOP_S):
                        await process.wait()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        shutil.rmtree(self._keystore, ignore_errors=True)

    async def _listen(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        while line := await self._process.stderr.readline():
            self._said.append(line.decode(errors="replace").rstrip())

    def _last_words(self) -> str:
        return "\n".join(self._said) or "it said nothing"

    def _failure(self, code: int) -> SandboxError:
        return SandboxError(f"toncenter ended (exit {code}): {self._last_words()}")


def _answers(url: str) -> bool:
    """Whether the server has synchronized with the network."""
    try:
        with urllib.request.urlopen(f"{url}/getMasterchainInfo", timeout=5) as answer:
            return json.load(answer).get("ok") is True
    except (OSError, ValueError, urllib.error.URLError):
        return False
