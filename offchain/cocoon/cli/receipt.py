"""`cocoon receipt`: check what a worker signed for an answer."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from ..chain.networks import NetworkName

if TYPE_CHECKING:
    from pytoniq_core import Address

    from ..gateway.receipts import Proof
    from ..gateway.verify import Check

__all__ = ["receipt"]

HOLDS, FAILS, UNDECIDED = 0, 1, 3


@click.group()
def receipt() -> None:
    """Receipts of answers, as `GET /v1/receipts/<id>` gives them."""


@receipt.command()
@click.argument("file", type=click.File("rb"))
@click.option("--offline", is_flag=True, help="Check signature, usage and price only: whose key it is stays open.")
@click.option(
    "--network", type=click.Choice([str(name) for name in NetworkName]), default="sandbox", show_default=True,
    help="The network the channel is on.",
)  # fmt: skip
@click.option(
    "--global-config", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Its configuration."
)
@click.option("--registry", help="The registry you know the network by; otherwise the receipt's own is taken.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def verify(
    file: BinaryIO, offline: bool, network: str, global_config: Path | None, registry: str | None, as_json: bool
) -> None:
    """Check the receipt in FILE (- is standard input), by itself and against the chain.

    Exit status 0 only if the chain shows that the key is the worker's and everything holds; 1 if something fails; 3 if
    nothing fails, but whose key signed could not be established.
    """
    from ..gateway.receipts import Proof
    from ..gateway.verify import check_offline, missing, verdict
    from ..rules import parse_address

    proof = Proof.from_text(file.read())
    meant = None if registry is None else parse_address(registry, "the registry")
    checks = check_offline(proof)
    if not offline:
        checks += asyncio.run(_on_chain(proof, NetworkName(network), global_config, meant))
    holds = verdict(checks)
    lacking = missing(checks) if holds is None else None
    if as_json:
        click.echo(
            json.dumps({"holds": holds, "missing": lacking, "checks": [asdict(check) for check in checks]}, indent=2)
        )
    else:
        for check in checks:
            mark = {True: "ok  ", False: "FAIL", None: "?   "}[check.holds]
            click.echo(f"{mark} {check.name}: {check.detail}")
        if lacking is not None:
            click.echo(f"UNDECIDED: {lacking}")
        if proof.simulated_tee:
            click.echo("SIMULATED TEE: nothing is confidential; no hardware vouches for this worker")
    sys.exit({True: HOLDS, False: FAILS, None: UNDECIDED}[holds])


async def _on_chain(
    proof: Proof, network: NetworkName, global_config: Path | None, registry: Address | None
) -> list[Check]:
    from ..chain.lite import LiteChain
    from ..chain.networks import check_network, load_global_config
    from ..gateway.verify import check_on_chain

    async with await LiteChain.open(load_global_config(network, global_config)) as chain:
        check_network(network, chain.global_id)
        return await check_on_chain(proof, chain, registry=registry)
