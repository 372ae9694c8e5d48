"""`cocoon gateway --sandbox`, as the guide tells: it prints where it is and a key, serves, and leaves nothing running,
killed or not.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI


@pytest.mark.timeout(240)
def test_gateway_sandbox_serves_the_sdk_and_the_page_until_it_is_told_to_stop() -> None:
    with place() as directory:
        with sandbox(directory) as running:
            try:
                told = ready(running)
                client = OpenAI(base_url=told["base_url"], api_key=told["api_key"])
                asked = [{"role": "user", "content": "What is a blockchain?"}]
                said = client.chat.completions.create(
                    model=told["model"], messages=asked, stream=True, max_tokens=6, temperature=0  # type: ignore[arg-type]
                )  # fmt: skip
                assert "".join(chunk.choices[0].delta.content or "" for chunk in said if chunk.choices).strip()
                vectors = client.embeddings.create(model=told["embedder"], input=["a cat", "a dog"]).data
                assert [len(vector.embedding) for vector in vectors] == [384, 384]
                with urllib.request.urlopen(told["page"], timeout=10) as page:
                    assert b"<title>" in page.read()
            finally:
                running.send_signal(signal.SIGINT)
            assert running.wait(60) == 0
        assert list(Path(directory).iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
@pytest.mark.timeout(240)
def test_gateway_sandbox_that_is_killed_takes_its_agents_signers_and_kernels_along() -> None:
    with place() as directory:
        with sandbox(directory) as running:
            try:
                ready(running)
                family = descendants(running.pid)
                said = " ".join(family.values())
                assert (said.count("cocoon.agent"), said.count("cocoon.signer")) == (2, 2)
            finally:
                running.kill()
            running.wait()
        ends = time.monotonic() + 10
        while left := {pid: said for pid, said in family.items() if command_of(pid) == said}:
            assert time.monotonic() < ends, left
            time.sleep(0.05)


def place() -> tempfile.TemporaryDirectory[str]:
    """With a short name: a socket's path has less than 100 bytes."""
    return tempfile.TemporaryDirectory(prefix="cocoon-")


def sandbox(directory: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cocoon", "gateway", "--sandbox", "--port", "0", "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": directory})


def ready(running: subprocess.Popen[str]) -> dict[str, Any]:
    """What it prints once it serves."""
    assert running.stdout is not None
    told: dict[str, Any] = json.loads(running.stdout.readline())
    return told


def descendants(parent: int) -> dict[int, str]:
    """Process -> its command, of all that `parent` and what it started have started."""
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and parent_of(int(entry.name)) == parent:
            pid = int(entry.name)
            found |= {pid: command_of(pid), **descendants(pid)}
    return found


def parent_of(pid: int) -> int | None:
    with contextlib.suppress(OSError):  # it may have ended
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return None


def command_of(pid: int) -> str:
    """Empty once it has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""
