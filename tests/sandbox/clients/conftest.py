"""One sandbox with toncenter for all client tests, and environments for the clients, installed on first use.

Everything is installed below `$COCOON_CACHE` (or ~/.cache/cocoon), once. A test whose client can't be installed is
skipped, with the installer's own words as the reason.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tonsdk.contract.wallet import WalletV4ContractR2

from cocoon_sandbox import toncenter, toolchain
from cocoon_sandbox.errors import ToolchainError
from cocoon_sandbox.treasury import Treasury
from cocoon_sandbox.venvs import python_with

HERE = Path(__file__).parent
FRIEND = "0:" + "22" * 32
TON = 10**9
CLIENT_TIMEOUT_S = 90

# The toncenter server's environment has pytonlib, so it serves for both.
REQUIREMENTS = {
    "toncenter": toncenter.REQUIREMENTS.read_text(),
    "clients": "aiohttp==3.14.5\ntonsdk==1.0.15\ntonutils==2.5.1\ntvm-valuetypes==0.0.12\n",
}


def environment(name: str) -> Path:
    try:
        return python_with(name, REQUIREMENTS[name])
    except ToolchainError as error:
        pytest.skip(f"{name} can't be installed here: {error}")


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Where the sandbox is, and what client programs need of it."""
    environment("toncenter")
    directory = tmp_path_factory.mktemp("clients")
    command = [sys.executable, "-m", "cocoon", "sandbox"]
    options = ["--dir", str(directory), "--json", "--ephemeral", "--toncenter", "--block-interval", "0.5"]
    process = subprocess.Popen([*command, "up", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise AssertionError(process.communicate()[1])
    found = json.loads(line)
    shell = directory / "cocoon-sandbox"  # a client program's command line, the directory already chosen
    shell.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cocoon sandbox "$@" --dir "{directory}"\n')
    shell.chmod(0o755)
    yield found | {"cocoon": [str(shell)], "wallet": tonlib_wallet(), "friend": FRIEND}
    process.terminate()
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0, said
    assert "Traceback" not in said  # there may be a line about what was installed first


def tonlib_wallet() -> dict[str, str]:
    """A wallet for a client that has none of its own: its address, and the two messages it is to send."""
    key = Treasury("tonlib").key
    public, secret = key.public_key().public_bytes_raw(), key.private_bytes_raw()
    wallet = WalletV4ContractR2(public_key=public, private_key=secret + public, wc=0)
    deploy = wallet.create_init_external_message()["message"]
    transfer = wallet.create_transfer_message(FRIEND, TON, seqno=1, payload="hello")["message"]
    return {
        "address": wallet.address.to_string(False),
        "friendly": wallet.address.to_string(True, True, True),
        "deploy": base64.b64encode(deploy.to_boc(False)).decode(),
        "transfer": base64.b64encode(transfer.to_boc(False)).decode(),
    }


@pytest.fixture
def run_python(place: dict[str, Any], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Run a program of this directory in one of the environments, and return what it reports."""

    def run(name: str, program: str, *arguments: str) -> dict[str, Any]:
        python = environment(name)
        described = tmp_path / "place.json"
        described.write_text(json.dumps(place))
        return output([str(python), str(HERE / program), str(described), *arguments])

    return run


@pytest.fixture
def run_node(place: dict[str, Any], tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """Run a program of this directory in Node with the packages of package.json, and return what it reports."""

    def run(program: str) -> dict[str, Any]:
        packages = npm_packages()
        described = tmp_path / "place.json"
        described.write_text(json.dumps(place))
        return output([str(toolchain.node_binary()), str(HERE / program), str(described), str(packages)])

    return run


def output(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=CLIENT_TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr[-4000:] + done.stdout[-1000:]
    document: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return document


def npm_packages() -> Path:
    """The directory with the packages of package-lock.json, installed on first use."""
    try:
        return toolchain.npm_install(HERE, "clients-node", "@ton/ton")
    except ToolchainError as error:
        pytest.skip(f"@ton/ton can't be installed here: {error}")
