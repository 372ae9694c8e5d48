"""`cocoon telegram-bot`: a bot that chats through Cocoon and pays from its own channels."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..telegram.settings import BotSettings

__all__ = ["telegram_bot"]

_CONFIG = click.Path(dir_okay=False, path_type=Path)


@click.command("telegram-bot")
@click.option("--config", type=_CONFIG, default=Path("telegram.toml"), show_default=True, help="Its settings.")
@click.option("--allow-simulated-tee", is_flag=True, help="Serve a network on which nothing is confidential.")
@click.option("--check", is_flag=True, help="Read settings, token and wallet, then end: nothing is sent or paid.")
@click.option("--json", "as_json", is_flag=True, help="Say who answers as one JSON object.")
def telegram_bot(config: Path, allow_simulated_tee: bool, check: bool, as_json: bool) -> None:
    """Chat on Telegram through Cocoon's market until Ctrl-C.

    The token comes from COCOON_TELEGRAM_TOKEN, or from token_file.
    """
    from ..errors import CocoonError

    try:
        from ..telegram.logs import set_up_logs
    except ModuleNotFoundError as error:
        raise CocoonError(f"{error.name} is not installed: pip install 'cocoon[telegram]'") from error
    from ..telegram.settings import BotSettings
    from ..telegram.token import read_token

    settings = BotSettings.from_file(config)
    token = read_token(settings.token_file)
    set_up_logs(token)
    asyncio.run(_until_stopped(settings, token, allow_simulated_tee, check, as_json))


async def _until_stopped(
    settings: BotSettings, token: str, allow_simulated_tee: bool, check: bool, as_json: bool
) -> None:
    """Ctrl-C and SIGTERM end it in order."""
    running = asyncio.ensure_future(_serve(settings, token, allow_simulated_tee, check, as_json))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.cancel)
    try:
        await running
    except asyncio.CancelledError:
        click.echo("stopped", err=True)


async def _serve(settings: BotSettings, token: str, allow_simulated_tee: bool, check: bool, as_json: bool) -> None:
    from prometheus_client import CollectorRegistry

    from ..chain.lite import LiteChain
    from ..chain.networks import read_global_config
    from ..gateway.metrics import MarketMetrics
    from ..gateway.opening import open_market
    from ..gateway.settings import GatewaySettings
    from ..telegram.database import open_database
    from ..telegram.serve import chatting

    market = GatewaySettings.from_file(settings.market)
    wallet = market.wallet()
    if check:
        click.echo(f"settings, token and wallet {wallet.address.to_str(is_user_friendly=False)} are fine")
        return
    async with (
        await LiteChain.open(read_global_config(market.network)) as chain,
        open_market(
            market, chain, wallet, MarketMetrics(CollectorRegistry()), allow_simulated_tee=allow_simulated_tee
        ) as opened,
    ):
        with contextlib.closing(open_database(market.data_dir / "telegram.sqlite")) as db:
            keep = market.keep_receipts_days
            watcher = opened.watcher
            async with chatting(settings, token, opened.market, lambda: watcher.banner, db, keep_days=keep) as found:
                if as_json:
                    click.echo(json.dumps({"username": found.username, "simulated_tee": watcher.banner is not None}))
                else:
                    if watcher.banner is not None:
                        click.secho(watcher.banner, fg="yellow", bold=True)
                    click.echo(f"https://t.me/{found.username} answers; Ctrl-C ends it")
                await asyncio.wait({found.polling})  # to await it would cancel it too, before it is ended in order
                found.polling.result()
