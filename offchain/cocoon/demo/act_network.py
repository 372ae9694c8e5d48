"""Act 1: a network's contracts. Act 2: its workers."""

from __future__ import annotations

import json
import secrets

from pytoniq_core import Address

from ..chain.trace import trace
from ..chain.wallet import Wallet, format_ton
from ..client.trust import check_network
from ..deployment import Deployment
from ..registration import register_worker
from ..rules import parse_rules
from .scene import Scene, WorkerSide
from .stage import DemoFailed

__all__ = ["deploy", "register"]


async def deploy(scene: Scene) -> None:
    stage, bill = scene.stage, scene.bill
    network = stage.network
    bill.say(f"lite server on {network.host}:{network.port}, global id {stage.chain.global_id}")
    bill.act("deploy.py deploys Registry, Slashing and Attestation")
    words = Wallet.new_mnemonic()
    deployer = Wallet.from_mnemonic(words)
    await stage.fund(deployer.address, 10)
    given = scene.simulation.rules()
    scene.rules = parse_rules(json.dumps(given), deployer.address)
    scene.deployment = Deployment.of(scene.rules)
    for address, name in (
        (deployer.address, "deployer's wallet"),
        (scene.deployment.registry, "Registry"),
        (scene.deployment.slashing, "Slashing"),
        (scene.deployment.attestation, "Attestation"),
        (scene.deployment.tcb_store(int.from_bytes(scene.simulation.hardware.fmspc)), "TcbStore"),
    ):
        bill.name(address, name)
    await stage.run_deploy(words, given)
    found = await stage.chain.transactions(deployer.address)
    bill.record("deployment", await trace(stage.chain, found[-1]))
    trust = await check_network(stage.chain, scene.deployment, allow_simulated_tee=True)
    if trust.banner is None:
        raise DemoFailed("the demo's network claims to trust real hardware")
    bill.warn(
        f"{trust.banner}\nEverything else is the real thing: the contracts verify these quotes as they do Intel's."
    )


async def register(scene: Scene) -> None:
    scene.bill.act("Three workers register with stake and miss bond")
    scene.a = await _register(scene, "worker A")
    scene.b = await _register(scene, "worker B")
    scene.c = await _register(scene, "worker C")


async def _register(scene: Scene, name: str) -> WorkerSide:
    stage, bill = scene.stage, scene.bill
    owner, operator = await stage.wallet(30), await stage.wallet(5)
    cold = Address((0, secrets.token_bytes(32)))
    bill.name(owner.address, f"{name}'s owner")
    bill.name(operator.address, f"{name}'s agent wallet")
    bill.name(cold, f"{name}'s cold address")
    done = await register_worker(
        stage.chain,
        owner,
        scene.deployment,
        stake_nano=scene.rules.min_stake_nano,
        bond_nano=scene.rules.min_bond_nano,
        operator=operator.address,
        payout=cold,
        measurement=scene.simulation.measurement,
    )
    bill.name(done.worker, f"{name}'s contract")
    bill.record(f"{name} registers", done.transactions)
    side = WorkerSide(done, owner, operator, cold)
    found = await scene.worker(side)
    bill.say(f"{name}: index {done.index}, stake {format_ton(found.stake_nano)}, bond {format_ton(found.bond_nano)}")
    return side
