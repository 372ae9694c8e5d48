"""`cocoon worker init --sandbox`: what a worker needs on the local network, made on the spot.

The sandbox's contracts are deployed once; what is needed to find them again lies beside the sandbox's own files.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

from pytoniq_core import Address

from ..attestation.simulation import Simulation
from ..chain.base import Chain
from ..chain.trace import trace
from ..chain.wallet import Wallet
from ..deploying import missing, plan, verify
from ..fees import Prices
from ..rules import parse_rules
from .directory import write_secret
from .errors import SetupFailed

__all__ = ["SEED", "SandboxMarket", "ensure_market", "give", "sandbox_config"]

SEED = "sandbox"  # of the simulated platform; whoever knows it can sign quotes, so it is no secret
_WORDS = "deployer.words"
_DEPLOYER_NANO = 10 * 10**9


@dataclass(frozen=True, slots=True)
class SandboxMarket:
    """The contracts of a sandbox."""

    registry: Address


async def ensure_market(chain: Chain, sandbox: Path) -> SandboxMarket:
    """The contracts on the sandbox in this directory; deployed if they are not there."""
    words = sandbox / _WORDS
    if not words.is_file():
        write_secret(words, Wallet.new_mnemonic())
    deployer = Wallet.from_mnemonic(words.read_text())
    rules = parse_rules(json.dumps(Simulation(SEED.encode()).rules()), deployer.address)
    wanted = plan(rules, await Prices.of(chain))
    todo = await missing(chain, wanted)
    if todo.transfers():
        await give(chain, sandbox, deployer.address, _DEPLOYER_NANO)
        await trace(chain, await deployer.send_all(chain, todo.transfers()))
        await verify(chain, wanted.contracts, data_too=False)
    return SandboxMarket(wanted.registry)


async def give(chain: Chain, sandbox: Path, address: Address, nano: int) -> None:
    """Has the faucet bring `address` up to `nano`, and waits until the lite server shows it."""
    from cocoon_sandbox.control import request
    from cocoon_sandbox.errors import SandboxError

    held = (await chain.account(address)).balance
    if held >= nano:
        return
    name = address.to_str(is_user_friendly=False)
    try:
        await asyncio.to_thread(request, sandbox, "faucet", address=name, nano=nano - held)
    except SandboxError as error:
        raise SetupFailed(str(error)) from error
    while (await chain.account(address)).balance < nano:
        await chain.next_block()


def sandbox_config(sandbox: Path) -> Path:
    """The configuration that a running sandbox writes. SetupFailed if there is none."""
    path = sandbox / "global.config.json"
    if not path.is_file():
        raise SetupFailed(f"there is no sandbox in {sandbox}: start one with `cocoon sandbox up --dir {sandbox}`")
    return path.absolute()
