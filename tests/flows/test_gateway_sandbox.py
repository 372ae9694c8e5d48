"""`cocoon gateway --sandbox`, as the guide tells: it prints where it is and a key, serves, and leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import pytest
from openai import OpenAI


@pytest.mark.timeout(240)
def test_gateway_sandbox_serves_the_sdk_and_the_page_until_it_is_told_to_stop() -> None:
    # a short name: a socket's path has less than 100 bytes
    with tempfile.TemporaryDirectory(prefix="cocoon-") as directory:
        command = [sys.executable, "-m", "cocoon", "gateway", "--sandbox", "--port", "0", "--json"]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": directory}
        ) as running:
            try:
                assert running.stdout is not None
                told = json.loads(running.stdout.readline())
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
