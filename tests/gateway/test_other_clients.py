"""Clients other than the Python SDK, in environments of their own; skipped with the installer's words without them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from scripted import EMBEDDER, NAME, served

from cocoon_sandbox import toolchain
from cocoon_sandbox.errors import ToolchainError
from cocoon_sandbox.venvs import python_with

CLIENTS = Path(__file__).parent / "clients"
LANGCHAIN = "langchain-core==1.7.2\nlangchain-openai==1.7.3\n"
_CLIENT_SEC = 120


async def output(*command: str) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    said, failed = await asyncio.wait_for(process.communicate(), _CLIENT_SEC)
    assert process.returncode == 0, failed.decode()[-2000:]
    found: dict[str, Any] = json.loads(said)
    return found


async def test_javascript_sdk_answers_streams_embeds_lists_and_is_refused() -> None:
    try:
        packages = await asyncio.to_thread(toolchain.npm_install, CLIENTS, "gateway-clients", "the openai package")
    except ToolchainError as error:
        pytest.skip(f"the JavaScript SDK can't be installed here: {error}")
    async with served() as gateway:
        program = str(CLIENTS / "openai_client.mjs")
        found = await output(str(toolchain.node_binary()), program, gateway.base_url, gateway.key, str(packages))
    assert found == {
        "whole": "one two three ", "streamed": "one two three ", "tokens": 8, "embedding": [3.0, 0.5],
        "models": [NAME, EMBEDDER], "refused": ["NotFoundError", 404, "model_not_found"],
    }  # fmt: skip


async def test_langchain_answers_streams_and_embeds() -> None:
    try:
        python = await asyncio.to_thread(python_with, "gateway-langchain", LANGCHAIN)
    except ToolchainError as error:
        pytest.skip(f"LangChain can't be installed here: {error}")
    async with served() as gateway:
        found = await output(str(python), str(CLIENTS / "langchain_client.py"), gateway.base_url, gateway.key)
    assert found == {
        "whole": "one two three ", "streamed": "one two three ", "tokens": 8, "embedding": [3.0, 0.5],
    }  # fmt: skip
