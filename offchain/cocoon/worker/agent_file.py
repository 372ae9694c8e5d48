"""Writing an agent's TOML file from what was chosen."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from .choices import Choices
from .directory import WorkerDirectory, write_secret

__all__ = ["network_file", "write_agent_file"]

_HEADER = (
    "# Written by `cocoon worker init`, which leaves it alone from now on. Prices, limits and pace may be changed;\n"
    "# the agent takes them at its next start. Every setting: cocoon.agent.config.AgentConfig.\n"
)


def network_file(directory: WorkerDirectory, choices: Choices) -> Path:
    """The configuration that the agent reads."""
    return directory.network if choices.global_config is None else Path(choices.global_config)


def write_agent_file(directory: WorkerDirectory, choices: Choices, index: int) -> bool:
    """Writes agent.toml unless it is there. Whether it was written."""
    if directory.config.exists():
        return False
    settings = {
        "network": str(network_file(directory, choices)),
        "registry": choices.registry.to_str(is_user_friendly=False),
        "worker_index": index,
        "data_dir": directory.data.name,
        "wallet_key": directory.operator_key.name,
        "kernel": choices.model,
        "forced_slots": choices.forced_slots,
        **({"listen": choices.listen} if choices.listen else {}),
        **({"endpoint": choices.endpoint} if choices.endpoint else {}),
    }
    attestation = {name: value for name, value in asdict(choices.attestation).items() if value != ""}
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    lines += ["", "[terms]  # nanoTON per million tokens; the least a job pays; the least time it must leave"]
    lines += [f"{name} = {value:_}" for name, value in asdict(choices.terms).items()]
    lines += ["", "[attestation]"]
    lines += [f"{name} = {json.dumps(value)}" for name, value in attestation.items()]
    write_secret(directory.config, _HEADER + "\n".join(lines) + "\n")
    return True
