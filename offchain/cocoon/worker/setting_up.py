"""`cocoon worker init`: from choices to a registered worker whose agent can be started. Running it again goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytoniq_core import Address

from ..chain.base import Chain
from ..chain.lite import LiteChain
from ..chain.networks import load_global_config
from ..chain.wallet import Transfer, Wallet, format_ton
from ..deployment import Deployment
from ..fees import Fees
from ..kernels.progress import ProgressCallback, silent
from .agent_file import write_agent_file
from .choices import Choices
from .directory import Progress, WorkerDirectory, write_secret
from .errors import SetupFailed
from .findings import Finding, require
from .preflight import Plan, check_all
from .registering import begin, send_registration, settle, wait_for_owner
from .sandbox import give
from .transfers import Instruction, instructions, registration

__all__ = ["SetUp", "Talk", "set_up"]


@dataclass(frozen=True, slots=True)
class Talk:
    """How the set-up speaks to whoever runs it. agree: the plan; False stops it."""

    say: Callable[[str], None]
    show: Callable[[Finding], None]
    agree: Callable[[Choices, Plan], bool]
    instruct: Callable[[list[Instruction]], None]
    progress: ProgressCallback = silent


@dataclass(frozen=True, slots=True)
class SetUp:
    """A worker that is registered, with its agent's configuration on the disk."""

    index: int
    worker: Address
    operator: Address
    operator_nano: int
    start_command: str

    def to_json(self) -> dict[str, Any]:
        return {
            "worker_index": self.index,
            "worker": self.worker.to_str(is_user_friendly=False),
            "operator": self.operator.to_str(is_user_friendly=False),
            "operator_nano": self.operator_nano,
            "start": self.start_command,
        }


async def set_up(
    directory: WorkerDirectory,
    choices: Choices,
    talk: Talk,
    *,
    owner: Wallet | None,
    sandbox: Path | None = None,
    wait_sec: int | None = None,
) -> SetUp:
    """owner: None where the owner signs elsewhere. sandbox: whose faucet pays. wait_sec: for such an owner.

    SetupFailed, ChecksFailed or StillWaiting, each with what to do.
    """
    directory.create()
    with directory.lock():
        progress = _resume(directory, choices, talk)
        choices = progress.choices
        config = load_global_config(
            choices.network, None if choices.global_config is None else Path(choices.global_config)
        )
        if choices.global_config is None:
            write_secret(directory.network, json.dumps(config))
        async with await LiteChain.open(config) as chain:
            work = _Work(chain, directory, talk, owner, sandbox, wait_sec)
            return await work.run(progress)


def _resume(directory: WorkerDirectory, choices: Choices, talk: Talk) -> Progress:
    """What there is goes on; what was not paid for yet may still be changed."""
    earlier = directory.load()
    if earlier is None or not earlier.is_committed:
        return directory.update(earlier or Progress(choices), choices=choices)
    if different := earlier.choices.differences(choices):
        raise SetupFailed(
            f"{directory.path} is set up already with another {', '.join(different)}: leave those out to go on with "
            "it, or name another directory for another worker"
        )
    talk.say(f"going on with the set-up in {directory.path}")
    return earlier


class _Work:
    def __init__(
        self,
        chain: Chain,
        directory: WorkerDirectory,
        talk: Talk,
        owner: Wallet | None,
        sandbox: Path | None,
        wait_sec: int | None,
    ) -> None:
        self._chain, self._directory, self._talk = chain, directory, talk
        self._owner, self._sandbox, self._wait_sec = owner, sandbox, wait_sec

    async def run(self, progress: Progress) -> SetUp:
        directory, choices = self._directory, progress.choices
        wallet, is_new = directory.operator()
        operator = wallet.address
        if not is_new:  # else no worker can have it
            progress = await settle(self._chain, directory, progress, operator)
        if progress.index is None:
            progress = await self._register(progress, operator)
        index = progress.index
        if index is None:
            raise AssertionError("registering ends with an index or an error")
        if write_agent_file(directory, choices, index):
            self._talk.say(f"wrote {directory.config}")
        held = (await self._chain.account(operator)).balance
        return SetUp(
            index, Deployment(choices.registry).worker(index), operator, held, f"cocoon worker run {directory.path}"
        )

    async def _register(self, progress: Progress, operator: Address) -> Progress:
        chain, directory, choices, talk = self._chain, self._directory, progress.choices, self._talk
        if self._owner is not None and self._owner.address != choices.owner:
            raise SetupFailed("the owner's wallet given is not the owner that was chosen: give the key of that one")
        if self._sandbox is not None:
            wanted = choices.stake_nano + choices.bond_nano + choices.operator_nano + (await Fees.of(chain)).register()
            await give(chain, self._sandbox, choices.owner, wanted + 10**9)
        is_local = self._sandbox is not None
        plan = await check_all(chain, directory, choices, operator, talk.progress, is_local=is_local, show=talk.show)
        require(plan.findings)
        if plan.measurement is None:
            raise AssertionError("the evidence was checked")
        if not progress.told and not talk.agree(choices, plan):
            raise SetupFailed("stopped; nothing was sent")
        progress = await begin(chain, directory, progress)
        register = registration(choices, operator, plan.measurement, progress.query_id, plan.register_fee_nano)
        if self._owner is not None:
            talk.say(f"registering with {format_ton(register.value)} from {choices.owner.to_str(is_bounceable=False)}")
            fund = [Transfer(operator, plan.fund_nano, bounce=False)] if plan.fund_nano else []
            return await send_registration(chain, directory, progress, self._owner, operator, [register, *fund])
        progress = directory.update(progress, told=True)
        talk.instruct(instructions(register, operator, plan.fund_nano, test_only=choices.network != "mainnet"))
        return await wait_for_owner(chain, directory, progress, operator, wait_sec=self._wait_sec, told=talk.say)
