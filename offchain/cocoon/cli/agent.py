"""`cocoon agent`: run a worker's agent."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

import click

__all__ = ["agent"]


@click.group()
def agent() -> None:
    """A worker's agent: watches the chain, answers jobs, gets paid."""


@agent.command()
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def run(config: Path) -> None:
    """Run the agent that CONFIG (TOML) describes until it is told to stop."""
    from ..agent.config import AgentConfig
    from ..agent.main import main

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    sys.exit(main(AgentConfig.from_file(config)))


@agent.command()
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def stop_signer(config: Path) -> None:
    """End the signer that the agent of CONFIG started, and with it its keys.

    Stop the agent first, and only once its jobs have ended: an open job can't be answered without the keys, and that
    costs the miss bond.
    """
    from ..agent.config import AgentConfig
    from ..signer.client import SignerClient
    from ..signer.errors import SignerUnavailable

    socket = AgentConfig.from_file(config).socket
    try:
        asyncio.run(SignerClient(socket).stop())
    except SignerUnavailable:
        click.echo(f"no signer runs at {socket}")
        return
    click.echo("the signer has ended; the next start of the agent registers new keys")
