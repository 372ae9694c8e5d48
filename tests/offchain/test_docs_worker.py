"""docs/worker.md: its program registers a worker, and the settings it writes and shows are good ones."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path

from protocol_world import TON

from cocoon.agent.config import AgentConfig
from cocoon.chain import LiteChain, Wallet
from cocoon.chain.networks import NetworkName
from cocoon.deploy_command import Request, _run
from cocoon.deployment import Deployment
from cocoon.wire.worker import WorkerStatus, WorkerStorage
from cocoon_sandbox.executor import Executor
from cocoon_sandbox.network import Network

PAGE = (Path(__file__).parents[2] / "docs" / "worker.md").read_text()


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


async def test_program_of_the_page_registers_a_worker_that_its_settings_run(executor: Executor, tmp_path: Path) -> None:
    words = Wallet.new_mnemonic()
    config_file = tmp_path / ".sandbox" / "global.config.json"
    config_file.parent.mkdir()
    (tmp_path / "words").write_text(words)
    async with Network(executor=executor, block_interval=0.2) as network:
        await network.credit(Wallet.from_mnemonic(words).address, 100 * TON)
        config_file.write_text(json.dumps(network.global_config()))
        deployed = await _run(
            Request(
                network=NetworkName.SANDBOX,
                global_config=config_file,
                mnemonic_file=tmp_path / "words",
                rules=None,
                offline=None,
                send=None,
                seqno=None,
                valid_until=None,
                yes=True,
                dry_run=False,
                as_json=True,
                trust_build=True,
                unattested_understood=False,
            )
        )
        (tmp_path / "deployment.json").write_text(json.dumps(deployed))
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", block("python")),
            cwd=tmp_path,
            env={**os.environ, "COCOON_MNEMONIC": words},
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await program.communicate()
        assert program.returncode == 0, said.decode()
        with (tmp_path / "agent.toml").open("a") as file:
            file.write(block("toml"))
        settings = AgentConfig.from_file(tmp_path / "agent.toml")
        async with await LiteChain.open(network.global_config()) as chain:
            account = await chain.account(Deployment(settings.registry).worker(settings.worker_index))
            funded = await chain.account(settings.wallet().address)
    assert account.data is not None
    assert WorkerStorage.from_cell(account.data).status == WorkerStatus.PENDING
    assert funded.balance == 5 * TON
