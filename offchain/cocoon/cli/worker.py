"""`cocoon worker`: run a worker, look at it, try it. `init` is in a file of its own."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .worker_init import init

if TYPE_CHECKING:
    from ..agent.config import AgentConfig
    from ..chain.lite import LiteChain

__all__ = ["worker"]

_DEFAULT = Path("worker")
_DIRECTORY = click.Path(file_okay=False, path_type=Path)
_SANDBOX = click.option("--sandbox-dir", type=_DIRECTORY, default=Path(".sandbox"), show_default=True)


@click.group()
def worker() -> None:
    """A worker: sell a model's answers for Toncoin."""


worker.add_command(init)


@worker.command()
@click.argument("directories", nargs=-1, type=_DIRECTORY)
@click.option("--log-json", is_flag=True, help="One JSON object a line, for machines.")
@click.option("--metrics", help="HOST:PORT of metrics and health, instead of the set-up's; `off` for none.")
@click.option("--drain-sec", default=60.0, show_default=True, help="How long SIGTERM waits for running answers.")
def run(directories: tuple[Path, ...], log_json: bool, metrics: str | None, drain_sec: float) -> None:
    """Run the worker in each of DIRECTORIES (`worker` if none is given) until Ctrl-C or SIGTERM."""
    from ..errors import CocoonError
    from ..worker.logs import start_logging
    from ..worker.running import Watch, run_worker
    from ..worker.several import Planned, check_apart, run_all

    levels = start_logging(as_json=log_json)
    folders = directories or (_DEFAULT,)
    if len(folders) > 1 and metrics not in (None, "off"):
        raise click.UsageError("--metrics can't be one port for several workers; their set-ups name one each")
    planned = [Planned(folder, _config(folder), _metrics(folder, metrics)) for folder in folders]
    check_apart(planned)
    if len(planned) > 1:
        arguments = ["--drain-sec", str(drain_sec), *(["--log-json"] if log_json else [])]
        arguments += [] if metrics is None else ["--metrics", metrics]
        sys.exit(asyncio.run(run_all(folders, arguments)))
    (one,) = planned
    watch = Watch(one.metrics, drain_sec, show_earnings=sys.stdout.isatty() and not log_json)
    try:
        asyncio.run(run_worker(one.config, watch, levels))
    except CocoonError as error:
        import logging

        logging.getLogger(__name__).error("%s", error)
        sys.exit(1)


@worker.command()
@click.argument("directory", type=_DIRECTORY, default=_DEFAULT)
@click.option("--metrics", help="HOST:PORT where the running agent serves them, instead of the set-up's.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(directory: Path, metrics: str | None, as_json: bool) -> None:
    """Say how the worker in DIRECTORY is doing, from the proven chain and its journal, and what needs attention."""
    from ..worker.report import Report, make_report

    config = _config(directory)

    async def look() -> Report:
        async with _network(config) as chain:
            return await make_report(chain, config, _metrics(directory, metrics))

    report = asyncio.run(look())
    click.echo(json.dumps(report.to_json(), indent=2) if as_json else "\n".join(report.lines()))


@worker.command("try")
@click.argument("prompt")
@click.option("--dir", "directory", type=_DIRECTORY, default=_DEFAULT, show_default=True, help="The worker's.")
@_SANDBOX
@click.option("--max-tokens", default=64, show_default=True, type=click.IntRange(1))
@click.option("--wait-sec", default=120, show_default=True, help="For a worker that has just been started.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def ask(prompt: str, directory: Path, sandbox_dir: Path, max_tokens: int, wait_sec: int, as_json: bool) -> None:
    """Give the worker one job in the sandbox: PROMPT encrypted, posted on the chain, answered, paid."""
    from dataclasses import asdict

    from ..chain.wallet import format_ton
    from ..worker.asking import Tried, try_worker

    config = _config(directory)

    async def go() -> Tried:
        async with _network(config) as chain:
            return await try_worker(chain, config, sandbox_dir, prompt, max_tokens=max_tokens, wait_sec=wait_sec)

    tried = asyncio.run(go())
    if as_json:
        click.echo(json.dumps(asdict(tried), indent=2))
        return
    click.echo(tried.text)
    click.echo(f"[{tried.prompt_tokens} + {tried.completion_tokens} tokens, {format_ton(tried.fee_nano)}]", err=True)


def _config(directory: Path) -> AgentConfig:
    from ..agent.config import AgentConfig
    from ..worker.directory import WorkerDirectory
    from ..worker.errors import WorkerCommandError

    path = WorkerDirectory(directory).config
    if not path.is_file():
        raise WorkerCommandError(f"there is no worker in {directory}: make one with `cocoon worker init {directory}`")
    return AgentConfig.from_file(path)


def _metrics(directory: Path, given: str | None) -> str | None:
    """As given, or as the set-up chose."""
    from ..worker.directory import WorkerDirectory

    if given is not None:
        return None if given == "off" else given
    progress = WorkerDirectory(directory).load()
    return None if progress is None else progress.choices.metrics


@asynccontextmanager
async def _network(config: AgentConfig) -> AsyncIterator[LiteChain]:
    from ..chain.lite import LiteChain
    from ..chain.networks import NetworkName, load_global_config

    network = load_global_config(NetworkName.SANDBOX, config.network)  # a file, whichever network it is of
    async with await LiteChain.open(network, stale_after_sec=config.stale_after_sec) as chain:
        yield chain
