"""`cocoon agent`: run a worker's agent."""

from __future__ import annotations

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
