"""What the story plays on: a local network with its lite server, funded wallets, and the programs of the other actors.

The network is hosted here, but nobody in the story reaches it other than through its lite server: `deploy.py` and the
agent are processes of their own, and the client holds a `LiteChain` like any client's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pytoniq_core import Address

from ..agent.config import DEFAULT_TERMS
from ..chain.lite import LiteChain
from ..chain.wallet import Wallet
from ..errors import CocoonError
from ..leash import Leash
from ..wire.worker import WorkerStatus, WorkerStorage

__all__ = ["TON", "AgentProcess", "DemoFailed", "Stage", "agent_settings", "free_address"]

TON = 10**9
_STOP_SEC = 10.0
_READY_SEC = 180.0
_LOG_TAIL = 2000


class DemoFailed(CocoonError):
    """A step of the demo did not do what it shows."""


@dataclass(frozen=True, slots=True)
class AgentProcess:
    process: asyncio.subprocess.Process
    log: Path

    def check(self) -> None:
        """DemoFailed, with what it said last, if the agent is gone."""
        if self.process.returncode is not None:
            said = self.log.read_text()[-_LOG_TAIL:]
            raise DemoFailed(f"the agent ended with status {self.process.returncode}: {said}")


def agent_settings(registry: Address, index: int, kernel: str, seed: str) -> dict[str, Any]:
    """Of an agent on this machine, on a simulated platform whose root follows from `seed`."""
    listen = free_address()
    return {
        "registry": registry.to_str(is_user_friendly=False),
        "worker_index": index,
        "kernel": kernel,
        "listen": listen,
        "endpoint": f"http://{listen}",
        "terms": asdict(DEFAULT_TERMS),
        "attestation": {"source": "simulated", "seed": seed, "allow_simulated_tee": True},
    }


@dataclass(slots=True)
class Stage:
    """`network` is a `cocoon_sandbox.network.Network`; `home` holds files of this run only."""

    network: Any
    chain: LiteChain
    home: Path

    @classmethod
    @contextlib.asynccontextmanager
    async def build(cls, home: Path) -> AsyncIterator[Stage]:
        """Start the network, connect to its lite server; everything ends with the context."""
        from cocoon_sandbox.network import Network

        async with Network(block_interval=1.0) as network:
            config = network.global_config()
            (home / "global.config.json").write_text(json.dumps(config))
            async with await LiteChain.open(config) as chain:
                yield cls(network, chain, home)

    @property
    def config_file(self) -> Path:
        return self.home / "global.config.json"

    async def wallet(self, ton: int) -> Wallet:
        """A fresh wallet with `ton` Toncoin from the faucet."""
        wallet = Wallet(Ed25519PrivateKey.generate())
        await self.fund(wallet.address, ton)
        return wallet

    async def fund(self, address: Address, ton: int) -> None:
        """Faucet money, and the lite server's word that it has arrived."""
        before = await self.balance(address)
        await self.network.credit(address, ton * TON)
        while await self.balance(address) == before:
            await self.chain.next_block()

    async def balance(self, address: Address) -> int:
        """nanoTON, proven by the lite server."""
        return (await self.chain.account(address)).balance

    async def later(self, seconds: int) -> None:
        """Let the network's clock jump."""
        await self.network.advance(seconds)
        await self.chain.next_block()

    async def run_deploy(self, mnemonic: str, rules: dict[str, Any]) -> dict[str, Any]:
        """`deploy.py` as anybody would run it."""
        words, rules_file = self.home / "deployer.words", self.home / "rules.json"
        _write_secret(words, mnemonic)
        rules_file.write_text(json.dumps(rules))
        script = Path(__file__).parents[3] / "deploy.py"
        program = [str(script)] if script.is_file() else ["-m", "cocoon.deploy_command"]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *program,
            *("--network", "sandbox", "--global-config", str(self.config_file), "--mnemonic-file", str(words)),
            *("--rules", str(rules_file), "--yes", "--json"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, err = await process.communicate()
        finally:
            if process.returncode is None:  # the demo was told to stop
                process.kill()
                await process.wait()
        if process.returncode != 0:
            raise DemoFailed(f"deploy.py failed: {err.decode()[-_LOG_TAIL:]}")
        result: dict[str, Any] = json.loads(out)
        return result

    async def until_serving(self, agent: AgentProcess, worker: Address, model_id: int) -> WorkerStorage:
        """The worker's state once its keys are attested and its offer is on the chain. DemoFailed if that never is."""
        try:
            async with asyncio.timeout(_READY_SEC):
                while True:
                    agent.check()
                    data = (await self.chain.account(worker)).data
                    found = None if data is None else WorkerStorage.from_cell(data)
                    if found is not None and found.status == WorkerStatus.ACTIVE and model_id in found.models:
                        return found
                    await self.chain.next_block()
        except TimeoutError as error:
            raise DemoFailed(f"the agent did not get ready: {agent.log.read_text()[-_LOG_TAIL:]}") from error

    @contextlib.asynccontextmanager
    async def agent(self, name: str, settings: dict[str, Any], operator: Wallet) -> AsyncIterator[AgentProcess]:
        """A worker's agent with its signer, as processes of their own, which end with the context, or with this process
        if that is killed.
        """
        home = self.home / name
        home.mkdir(mode=0o700)
        _write_secret(home / "operator.key", operator.key.private_bytes_raw().hex())
        signer = home / "signer" / "signer.sock"
        lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items() if not isinstance(value, dict)]
        lines += [f"network = {json.dumps(str(self.config_file))}", f"data_dir = {json.dumps(str(home))}"]
        lines += ['wallet_key = "operator.key"']
        for table, entries in settings.items():
            if isinstance(entries, dict):
                lines += [f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in entries.items())]
        (home / "agent.toml").write_text("\n".join(lines) + "\n")
        log = home / "agent.log"
        with Leash() as leash:
            with log.open("wb") as output:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "cocoon.agent", str(home / "agent.toml")),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=leash.fds,
                    env=leash.environment,
                )
            try:
                yield AgentProcess(process, log)
            finally:
                if process.returncode is None:
                    process.terminate()
                    try:
                        await asyncio.wait_for(process.wait(), _STOP_SEC)
                    except TimeoutError:
                        process.kill()
                        await process.wait()
                await _stop_signer(signer)


def free_address() -> str:
    """host:port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


async def _stop_signer(path: Path) -> None:
    from ..signer.client import SignerClient
    from ..signer.errors import SignerError

    client = SignerClient(path)
    try:
        await client.stop()
    except SignerError:
        return  # it never came up, or is gone
    finally:
        await client.close()


def _write_secret(path: Path, text: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
