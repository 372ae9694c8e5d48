"""`cocoon batch`: thousands of requests out of a file."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .ton import Ton

if TYPE_CHECKING:
    from ..sdk import BatchDone, BatchItem

__all__ = ["batch"]

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("requests", type=_FILE)
@click.argument("results", type=_FILE)
@click.option("--config", type=_FILE, default=Path("gateway.toml"), show_default=True, help="As of `cocoon gateway`.")
@click.option("--at-once", type=click.IntRange(1, 256), default=8, show_default=True, help="Requests under way.")
@click.option("--budget", type=Ton(least=1), help="What this run may spend at most.")
@click.option("--allow-simulated-tee", is_flag=True, help="Use a network on which nothing is confidential.")
@click.option("--json", "as_json", is_flag=True, help="How it went, as one JSON object.")
def batch(
    requests: Path, results: Path, config: Path, at_once: int, budget: int | None, allow_simulated_tee: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Ask the market everything in REQUESTS and add the answers to RESULTS, both in the format of OpenAI's batches.

    Run it again to go on after a stop: what was answered is not asked, nor paid, twice.
    """
    from ..sdk import read_batch

    logging.basicConfig(level=logging.WARNING)
    done = asyncio.run(_run(read_batch(requests), results, config, at_once, budget, allow_simulated_tee))
    if as_json:
        click.echo(json.dumps(asdict(done)))
    else:
        click.echo(
            f"{done.answered} answered, {done.before} before, {done.failed} failed, of {done.items}; "
            f"{done.spent_nano / 1e9:.9f} TON"
        )
        if done.stopped is not None:
            click.echo(f"stopped: {done.stopped}; run it again to go on", err=True)
    if done.stopped is not None or done.failed:
        raise SystemExit(1)


async def _run(
    items: list[BatchItem], results: Path, config: Path, at_once: int, budget_nano: int | None, allow_simulated: bool
) -> BatchDone:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from ..sdk import AsyncClient, run_batch

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        bar = bars.add_task("opening", total=len(items))

        def show(done: BatchDone) -> None:
            said = f"{done.spent_nano / 1e9:.6f} TON" + (f", {done.failed} failed" if done.failed else "")
            bars.update(bar, description=said, completed=done.before + done.answered + done.failed)

        async with AsyncClient.open(config, allow_simulated_tee=allow_simulated) as client:
            return await run_batch(client, items, results, at_once=at_once, budget_nano=budget_nano, progress=show)
