"""`cocoon gateway --sandbox`: a network, contracts, workers with their models and the gateway, to play with."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import click
from pytoniq_core import Address
from rich.console import Console

from ..attestation.simulation import Simulation
from ..chain.wallet import Wallet
from ..demo.preparing import EMBEDDER, MODEL, prepare
from ..demo.stage import TON, AgentProcess, Stage, agent_settings
from ..deployment import Deployment, Rules
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


@dataclass(frozen=True, slots=True)
class Grounds:
    """Contracts deployed in the sandbox, under a simulated root that follows from `seed`."""

    stage: Stage
    rules: Rules
    deployment: Deployment
    seed: str


async def play(host: str, port: int, *, as_json: bool) -> None:
    """Run until cancelled. Everything is gone afterwards."""
    console = Console(stderr=True, highlight=False)
    await asyncio.to_thread(prepare, console)
    with tempfile.TemporaryDirectory(prefix="cocoon-gateway-") as directory:
        names = {name: find_bundle(name).model_id.hex() for name in (MODEL, EMBEDDER)}
        console.print("[bold]Starting[/bold] a TON network, the contracts and two workers")
        async with Stage.build(Path(directory)) as stage:
            grounds = await _deployed(stage)
            async with (
                _serving(grounds, "chat", MODEL, names[MODEL]) as market,
                _serving(grounds, "vectors", EMBEDDER, names[EMBEDDER]) as beside,
                staged_gateway(market, names, host=host, port=port) as (gateway, key),
            ):
                _tell(gateway, key, as_json=as_json)
                while True:
                    market.agent.check()
                    beside.agent.check()
                    await asyncio.sleep(1)


@contextlib.asynccontextmanager
async def staged_worker(stage: Stage, *, kernel: str, model_id: str) -> AsyncIterator[Market]:
    """Contracts deployed under a simulated root, one worker registered, its agent attested and serving.

    DemoFailed if it does not get ready.
    """
    async with _serving(await _deployed(stage), "worker", kernel, model_id) as market:
        yield market


async def _deployed(stage: Stage) -> Grounds:
    seed = secrets.token_hex(16)
    words = Wallet.new_mnemonic()
    deployer = Wallet.from_mnemonic(words)
    await stage.fund(deployer.address, 10)
    given = Simulation(seed.encode()).rules()
    rules = parse_rules(json.dumps(given), deployer.address)
    await stage.run_deploy(words, given)
    return Grounds(stage, rules, Deployment.of(rules), seed)


@contextlib.asynccontextmanager
async def _serving(grounds: Grounds, name: str, kernel: str, model_id: str) -> AsyncIterator[Market]:
    """A worker registered, its agent attested and serving."""
    stage, rules = grounds.stage, grounds.rules
    owner, operator = await stage.wallet(30), await stage.wallet(5)
    registered = await register_worker(
        stage.chain, owner, grounds.deployment, stake_nano=rules.min_stake_nano, bond_nano=rules.min_bond_nano,
        operator=operator.address, payout=Address((0, secrets.token_bytes(32))),
        measurement=Simulation(grounds.seed.encode()).measurement,
    )  # fmt: skip
    settings = agent_settings(grounds.deployment.registry, registered.index, kernel, grounds.seed)
    async with stage.agent(name, settings, operator) as agent:
        await stage.until_serving(agent, registered.worker, int(model_id, 16))
        yield Market(stage, grounds.deployment, registered.index, model_id, agent)


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
        click.echo(
            json.dumps(
                {"base_url": gateway.base_url, "api_key": key, "page": page, "model": MODEL, "embedder": EMBEDDER}
            )
        )
        return
    if gateway.banner is not None:
        click.secho(gateway.banner, fg="yellow", bold=True)
    click.echo(
        f"base_url  {gateway.base_url}\napi_key   {key}\nmodel     {MODEL}\nembedder  {EMBEDDER}\npage      {page}\n"
        "Ctrl-C ends everything; nothing is kept."
    )
