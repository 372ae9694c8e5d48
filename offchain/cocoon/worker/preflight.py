"""All checks in a row, and what the set-up will cost if they pass."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from pytoniq_core import Address

from ..chain.base import Chain
from ..chain.wallet import Transfer, format_ton, needed_nano
from ..fees import Fees
from ..kernels.progress import ProgressCallback
from .checking_chain import check_balance, check_evidence, check_registry, check_stake, read_policy
from .checking_endpoint import check_endpoint
from .checking_host import check_disk, check_model, check_port, check_socket_path
from .choices import Choices
from .directory import WorkerDirectory
from .findings import Finding, Level, failed

__all__ = ["Plan", "check_all"]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that was found, and the money. model_id and measurement: None where a check failed before.

    register_fee_nano: at most; fund_nano: what the operator's wallet lacks of what was chosen for it.
    """

    findings: tuple[Finding, ...]
    model_id: str | None
    measurement: int | None
    register_fee_nano: int
    fund_nano: int

    @property
    def passed(self) -> bool:
        return all(finding.level != Level.FAILED for finding in self.findings)

    def costs(self, choices: Choices) -> list[tuple[str, int, str]]:
        """(what, nanoTON, what becomes of it)."""
        return [
            ("stake", choices.stake_nano, "comes back after unbonding"),
            ("bond", choices.bond_nano, "comes back after unbonding, less what missed jobs cost"),
            ("registration", self.register_fee_nano, "at most; a year's rent of the contract and gas"),
            ("operator's wallet", self.fund_nano, "stays yours, for gas; attestation takes of it"),
        ]


async def check_all(
    chain: Chain,
    directory: WorkerDirectory,
    choices: Choices,
    operator: Address,
    progress: ProgressCallback,
    *,
    is_local: bool,
    show: Callable[[Finding], None],
) -> Plan:
    """Every check that can be made; `show` is told of each at once. Nothing is sent."""
    findings: list[Finding] = []

    def note(*found: Finding) -> None:
        for finding in found:
            findings.append(finding)
            show(finding)

    note(check_disk(directory.path), check_socket_path(directory.data / "signer" / "signer.sock"))
    note(check_port("metrics", choices.metrics, [choices.listen] if choices.listen else []))
    listening = None if choices.listen is None else check_port("listen", choices.listen)
    if listening is not None:
        note(listening)
    if listening is None or listening.level == Level.OK:
        note(await check_endpoint(choices.endpoint, choices.listen, is_local=is_local))
    register_fee = (await Fees.of(chain)).register()
    held = (await chain.account(operator)).balance
    measurement, start_nano = None, 0
    found, trust = await check_registry(chain, choices)
    note(*found)
    if trust is not None:
        note(check_stake(choices, await read_policy(chain, choices.registry)))
        found, evidence = await check_evidence(chain, choices, trust)
        note(*found)
        if evidence is not None:
            measurement, start_nano = evidence.measurement, evidence.start_nano
    if choices.operator_nano < start_nano:
        note(
            failed(
                "operator", f"{format_ton(choices.operator_nano)} is too little: it takes {format_ton(start_nano)} "
                "until the worker can be used"
            )
        )  # fmt: skip
    fund = max(0, choices.operator_nano - held)
    value = choices.stake_nano + choices.bond_nano + register_fee
    transfers = [Transfer(choices.registry, value), *([Transfer(operator, fund)] if fund else [])]
    balance = (await chain.account(choices.owner)).balance
    note(check_balance("owner", choices.owner, balance, needed_nano(transfers)))
    about_model, model = await asyncio.to_thread(check_model, choices.model, choices.model_id, progress)
    note(about_model)
    return Plan(tuple(findings), None if model is None else model.model_id, measurement, register_fee, fund)
