"""`cocoon gateway`: an OpenAI-compatible server that buys from the market, and its API keys."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..amounts import ton_text
from .ton import Ton

if TYPE_CHECKING:
    from ..gateway.keys import KeyStore
    from ..gateway.settings import GatewaySettings

__all__ = ["gateway"]

_CONFIG = click.Path(dir_okay=False, path_type=Path)
_BUDGET = click.option("--budget", type=Ton(least=1), help="What may be spent with it in all.")
_UNLIMITED = click.option("--unlimited", is_flag=True, help="Let it spend whatever the gateway's owner has.")


@click.group(invoke_without_command=True)
@click.option("--config", type=_CONFIG, default=Path("gateway.toml"), show_default=True, help="Its settings.")
@click.option("--host", help="Address to listen on, instead of the settings'.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port to listen on, instead of the settings'; 0: a free one."
)
@click.option("--allow-simulated-tee", is_flag=True, help="Serve a network on which nothing is confidential.")
@click.option(
    "--sandbox", is_flag=True, help="Start a network, a worker and the gateway on this machine, to play with."
)
@click.option("--json", "as_json", is_flag=True, help="Say where it listens as one JSON object.")
@click.pass_context
def gateway(
    ctx: click.Context,
    config: Path,
    host: str | None,
    port: int | None,
    allow_simulated_tee: bool,
    sandbox: bool,
    as_json: bool,
) -> None:
    """Serve the OpenAI API out of Cocoon's market until Ctrl-C; with a page to look at on the same port."""
    ctx.obj = config
    if ctx.invoked_subcommand is not None:
        return
    from dataclasses import replace

    from ..gateway.settings import GatewaySettings

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if sandbox:
        from ..gateway.sandbox import play

        asyncio.run(_until_stopped(play(host or "127.0.0.1", 8400 if port is None else port, as_json=as_json)))
        return
    settings = GatewaySettings.from_file(config)
    settings = replace(settings, host=host or settings.host, port=settings.port if port is None else port)
    asyncio.run(_until_stopped(_serve(settings, allow_simulated_tee, as_json)))


@gateway.group()
def key() -> None:
    """API keys, each with a budget."""


@key.command()
@click.argument("name")
@_BUDGET
@_UNLIMITED
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_obj
def add(config: Path, name: str, budget: int | None, unlimited: bool, as_json: bool) -> None:
    """Make a key called NAME and show it, this once."""
    made = _keys(config).add(name, _checked(budget, unlimited))
    click.echo(json.dumps({"name": name, "key": made}) if as_json else made)


@key.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
@click.pass_obj
def list_keys(config: Path, as_json: bool) -> None:
    """Show names, budgets and what was spent."""
    from dataclasses import asdict

    found = _keys(config).list()
    if as_json:
        click.echo(json.dumps([asdict(entry) for entry in found], indent=2))
        return
    for entry in found:
        budget = "unlimited" if entry.budget_nano is None else f"{entry.budget_nano / 1e9:.9f}"
        state = "valid" if entry.revoked is None else "revoked"
        click.echo(f"{entry.name:<24} …{entry.hint}  {state:<8} spent {entry.spent_nano / 1e9:.9f} of {budget} TON")
    if not found:
        click.echo("there are no keys; make one with `cocoon gateway key add NAME --budget TON`")


@key.command()
@click.argument("name")
@click.pass_obj
def revoke(config: Path, name: str) -> None:
    """Refuse the key called NAME from now on."""
    _keys(config).revoke(name)
    click.echo(f"{name} is revoked")


@key.command()
@click.argument("name")
@_BUDGET
@_UNLIMITED
@click.pass_obj
def budget(config: Path, name: str, budget: int | None, unlimited: bool) -> None:
    """Change what may be spent with the key called NAME in all, what was spent already included."""
    _keys(config).set_budget(name, _checked(budget, unlimited))
    click.echo(f"{name} may spend {'anything' if budget is None else f'{ton_text(budget)} TON'} in all")


async def _serve(settings: GatewaySettings, allow_simulated_tee: bool, as_json: bool) -> None:
    from ..chain.lite import LiteChain
    from ..chain.networks import read_global_config
    from ..garbage import search_rarely
    from ..gateway.serve import running

    async with (
        await LiteChain.open(read_global_config(settings.network)) as chain,
        running(settings, chain, settings.wallet(), allow_simulated_tee=allow_simulated_tee) as found,
    ):
        root = found.base_url.removesuffix("/v1")
        if as_json:
            simulated = found.banner is not None
            click.echo(json.dumps({"base_url": found.base_url, "page": root, "simulated_tee": simulated}))
        else:
            if found.banner is not None:
                click.secho(found.banner, fg="yellow", bold=True)
            click.echo(
                f"base_url  {found.base_url}\npage      {root}/\nkeys      cocoon gateway key add NAME --budget TON"
            )
        search_rarely()
        await asyncio.Event().wait()


async def _until_stopped(work: Coroutine[Any, Any, None]) -> None:
    """Ctrl-C and SIGTERM end it in order."""
    running = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.cancel)
    try:
        await running
    except asyncio.CancelledError:
        click.echo("stopped", err=True)


def _keys(config: Path) -> KeyStore:
    from ..gateway.database import open_database
    from ..gateway.keys import KeyStore
    from ..gateway.settings import GatewaySettings

    return KeyStore(open_database(GatewaySettings.from_file(config).database))


def _checked(budget: int | None, unlimited: bool) -> int | None:
    """The budget in nanoTON, None without a limit; one of both must have been said."""
    if (budget is None) != unlimited:
        raise click.UsageError("say either --budget TON or --unlimited")
    return budget
