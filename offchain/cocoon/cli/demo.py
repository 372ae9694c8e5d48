"""`cocoon demo`: the main job, end to end, on real parts."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Coroutine
from typing import Any

import click

__all__ = ["demo"]


@click.command()
@click.option("--prompt", default="What is a blockchain?", show_default=True, help="What to ask the model.")
@click.option("--max-tokens", default=96, show_default=True, type=click.IntRange(1, 1024), help="Longest answer.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout; the story goes to stderr.")
def demo(prompt: str, max_tokens: int, as_json: bool) -> None:
    """Local network, contracts, two workers, an encrypted job answered by a real model, a fine, a slash."""
    from rich.console import Console

    from ..demo.preparing import prepare
    from ..demo.story import play

    console = Console(file=sys.stderr if as_json else None, highlight=False)
    prepare(console)
    try:
        figures = asyncio.run(_until_terminated(play(prompt, max_tokens, console)))
    except asyncio.CancelledError as error:
        raise click.Abort from error
    if as_json:
        click.echo(json.dumps(figures, indent=2))


async def _until_terminated[T](story: Coroutine[Any, Any, T]) -> T:
    """SIGTERM ends the demo as Ctrl-C does: with its processes and files."""
    playing = asyncio.ensure_future(story)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, playing.cancel)
    return await playing
