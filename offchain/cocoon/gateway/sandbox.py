"""`cocoon gateway --sandbox`: a network, contracts, a worker with a model and the gateway, to play with."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
import tempfile
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from pytoniq_core import Address
from rich.console import Console

from ..agent.config import DEFAULT_TERMS
from ..attestation.simulation import Simulation
from ..chain.wallet import Wallet
from ..demo.preparing import MODEL, prepare
from ..demo.stage import TON, AgentProcess, Stage, free_address
from ..deployment import Deployment
from ..kernels.shelf import find_bundle
from ..registration import register_worker
from ..rules import parse_rules
from .serve import Gateway, running
from .settings import GatewaySettings

__all__ = ["Market", "play", "staged_gateway", "staged_worker"]

_PAGE_KEY = "page"
_WALLET_TON = 50


@dataclass(frozen=True, slots=True)
class Market:
    """A worker that serves `model_id`, and announced on the chain where, in the sandbox."""

    stage: Stage
    deployment: Deployment
    index: int
    model_id: str
    agent: AgentProcess


async def play(host: str, port: int, *, as_json: bool) -> None:
    """Run until cancelled. Everything is gone afterwards."""
    console = Console(stderr=True, highlight=False)
    await asyncio.to_thread(prepare, console)
    with tempfile.TemporaryDirectory(prefix="cocoon-gateway-") as directory:
        model_id = find_bundle(MODEL).model_id.hex()
        console.print("[bold]Starting[/bold] a TON network, the contracts and a worker")
        async with (
            Stage.build(Path(directory)) as stage,
            staged_worker(stage, kernel=MODEL, model_id=model_id) as market,
            staged_gateway(market, {MODEL: model_id}, host=host, port=port) as (gateway, key),
        ):
            _tell(gateway, key, as_json=as_json)
            while True:
                market.agent.check()
                await asyncio.sleep(1)


@contextlib.asynccontextmanager
async def staged_worker(stage: Stage, *, kernel: str, model_id: str) -> AsyncIterator[Market]:
    """Contracts deployed under a simulated root, one worker registered, its agent attested and serving.

    DemoFailed if it does not get ready.
    """
    seed = secrets.token_hex(16)
    simulation = Simulation(seed.encode())
    words = Wallet.new_mnemonic()
    deployer = Wallet.from_mnemonic(words)
    await stage.fund(deployer.address, 10)
    given = simulation.rules()
    rules = parse_rules(json.dumps(given), deployer.address)
    deployment = Deployment.of(rules)
    await stage.run_deploy(words, given)
    owner, operator = await stage.wallet(30), await stage.wallet(5)
    registered = await register_worker(
        stage.chain, owner, deployment, stake_nano=rules.min_stake_nano, bond_nano=rules.min_bond_nano,
        operator=operator.address, payout=Address((0, secrets.token_bytes(32))),
        measurement=simulation.measurement,
    )  # fmt: skip
    listen = free_address()
    settings = {
        "registry": deployment.registry.to_str(is_user_friendly=False), "worker_index": registered.index,
        "kernel": kernel, "listen": listen, "endpoint": f"http://{listen}", "terms": asdict(DEFAULT_TERMS),
        "attestation": {"source": "simulated", "seed": seed, "allow_simulated_tee": True},
    }  # fmt: skip
    async with stage.agent("worker", settings, operator) as agent:
        await stage.until_serving(agent, registered.worker, int(model_id, 16))
        yield Market(stage, deployment, registered.index, model_id, agent)


@contextlib.asynccontextmanager
async def staged_gateway(
    market: Market, names: dict[str, str], *, host: str = "127.0.0.1", port: int = 0, wallet: Wallet | None = None
) -> AsyncIterator[tuple[Gateway, str]]:
    """(the gateway, an API key), paid from `wallet`, or from one of its own."""
    stage = market.stage
    settings = GatewaySettings(
        network=stage.config_file, registry=market.deployment.registry, data_dir=stage.home / "gateway", host=host,
        port=port, page_key=_PAGE_KEY if host in ("127.0.0.1", "::1", "localhost") else None, poll_sec=1.0,
        models=names, private_endpoints=True,
    )  # fmt: skip
    wallet = wallet or await stage.wallet(_WALLET_TON)
    async with running(settings, stage.chain, wallet, allow_simulated_tee=True) as gateway:
        gateway.keys.add(_PAGE_KEY, 10 * TON)
        yield gateway, gateway.keys.add("you", 10 * TON)


def _tell(gateway: Gateway, key: str, *, as_json: bool) -> None:
    page = gateway.base_url.removesuffix("v1")
    logging.getLogger(__name__).info("the sandbox's gateway is up")
    if as_json:
        click.echo(json.dumps({"base_url": gateway.base_url, "api_key": key, "page": page, "model": MODEL}))
        return
    if gateway.banner is not None:
        click.secho(gateway.banner, fg="yellow", bold=True)
    click.echo(
        f"base_url  {gateway.base_url}\napi_key   {key}\nmodel     {MODEL}\npage      {page}\n"
        "Ctrl-C ends everything; nothing is kept."
    )
