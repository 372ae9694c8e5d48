"""`cocoon sandbox`: a TON network of one's own, and what one can do to it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from .ton import Ton

__all__ = ["sandbox"]

DEFAULT_DIR = Path(".sandbox")
_LONGEST_TEXT = 120  # what is longer is a cell, and --json shows all of it
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class _Group(click.Group):
    """Shows the sandbox's own errors as one line, and to machines that asked for JSON as an object, too."""

    def invoke(self, ctx: click.Context) -> object:
        from cocoon_sandbox.errors import SandboxError

        try:
            return super().invoke(ctx)
        except SandboxError as error:
            if ctx.meta.get("cocoon.json"):
                click.echo(json.dumps({"error": str(error)}))
            click.echo(f"error: {error}", err=True)
            sys.exit(1)


def _mark_json(ctx: click.Context, _: click.Parameter, value: bool) -> bool:
    ctx.meta["cocoon.json"] = value
    return value


def _common[F: Callable[..., Any]](command: F) -> F:
    """--dir and --json, which every command has."""
    command = click.option("--json", "as_json", is_flag=True, callback=_mark_json, help="One JSON object.")(command)
    directory = click.Path(file_okay=False, path_type=Path)
    return click.option(
        "--dir", "directory", type=directory, default=DEFAULT_DIR, show_default=True, help="Where it is."
    )(command)


@click.group(cls=_Group)
def sandbox() -> None:
    """A local TON network: real blocks, proofs and executor; any TON client can use it."""


@sandbox.command()
@_common
@click.option("--host", default="127.0.0.1", show_default=True, help="IPv4 address to listen on.")
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="The lite server's; 0: its last, or a free one.")
@click.option("--block-interval", default=1.0, show_default=True, help="Longest time between two blocks, in seconds.")
@click.option("--ephemeral", is_flag=True, help="Keep nothing: the chain ends with the process.")
@click.option("--toncenter", is_flag=True, help="Run the toncenter HTTP API beside it (installs it on first use).")
@click.option("--toncenter-port", default=0, type=click.IntRange(0, 65535), help="Its port; 0: a free one.")
def up(
    directory: Path,
    as_json: bool,
    host: str,
    port: int,
    block_interval: float,
    ephemeral: bool,
    toncenter: bool,
    toncenter_port: int,
) -> None:
    """Start a network and run it until Ctrl-C, SIGTERM or `cocoon sandbox stop`."""
    from cocoon_sandbox.daemon import Settings, serve

    settings = Settings(directory, host, port, block_interval, ephemeral, toncenter_port if toncenter else None)

    def ready(found: dict[str, Any]) -> None:
        if as_json:
            click.echo(json.dumps(found))
        else:
            click.echo(
                f"sandbox is up: block {found['block']}, then one every {found['block_interval_s']:g} s or sooner"
            )
            click.echo(f"lite server    {found['host']}:{found['port']}, key {found['public_key']}")
            click.echo(f"global config  {found['global_config']}")
            if found["toncenter"]:
                click.echo(f"toncenter      {found['toncenter']}")
            click.echo(f"stop it with Ctrl-C or `cocoon sandbox stop --dir {directory}`")
        sys.stdout.flush()

    asyncio.run(serve(settings, ready, lambda line: click.echo(line, err=True)))


@sandbox.command()
@_common
def status(directory: Path, as_json: bool) -> None:
    """Where the sandbox is and how it is doing."""
    _show(_ask(directory, "status"), as_json)


@sandbox.command()
@_common
def stop(directory: Path, as_json: bool) -> None:
    """End the sandbox, and wait until it has ended."""
    from cocoon_sandbox.control import wait_until_free

    result = _ask(directory, "stop")
    wait_until_free(directory)
    _show(result, as_json)


@sandbox.command()
@click.argument("address")
@click.argument("amount", type=Ton())
@_common
def faucet(address: str, amount: int, directory: Path, as_json: bool) -> None:
    """Give AMOUNT TON to ADDRESS, and wait until it has arrived."""
    _show(_ask(directory, "faucet", address=address, nano=amount), as_json)


@sandbox.command()
@click.argument("step", default="+0")
@_common
def time(step: str, directory: Path, as_json: bool) -> None:
    """Tell the network's time; with +SECONDS (or +5m, +2h, +30d) move it forward first."""
    number, unit = (step[1:-1], _UNITS[step[-1]]) if step[-1:] in _UNITS else (step[1:], 1)
    if not step.startswith("+") or not number.isdecimal():
        raise click.BadParameter("write +SECONDS, +5m, +2h or +30d", param_hint="STEP")
    _show(_ask(directory, "time", seconds=int(number) * unit), as_json)


@sandbox.command()
@_common
def block(directory: Path, as_json: bool) -> None:
    """Make a block now."""
    _show(_ask(directory, "block"), as_json)


@sandbox.command()
@click.argument("digest", metavar="HASH")
@click.option("--log", is_flag=True, help="The executor's log, made by running the transaction again.")
@_common
def tx(digest: str, log: bool, directory: Path, as_json: bool) -> None:
    """Show a transaction, by its hash or its message's; also what is known of messages that were not accepted."""
    from ..decoding import with_decoded_messages

    found = with_decoded_messages(_ask(directory, "tx", digest=digest, log=log))
    trace = found.pop("vm_log", None) if not as_json else None
    _show(found, as_json)
    if trace is not None:
        click.echo(trace)


@sandbox.command()
@click.argument("address")
@_common
def account(address: str, directory: Path, as_json: bool) -> None:
    """Show an account."""
    from ..decoding import with_decoded_data

    _show(with_decoded_data(_ask(directory, "account", address=address)), as_json)


@sandbox.command()
@click.argument("name")
@_common
def snapshot(name: str, directory: Path, as_json: bool) -> None:
    """Remember the network as it is now under NAME, until the sandbox is stopped."""
    _show(_ask(directory, "snapshot", name=name), as_json)


@sandbox.command()
@click.argument("name")
@_common
def rollback(name: str, directory: Path, as_json: bool) -> None:
    """Undo everything since snapshot NAME; clients have to connect again."""
    _show(_ask(directory, "rollback", name=name), as_json)


@sandbox.group()
def fault() -> None:
    """Have things go wrong: messages, the lite server, the truth."""


def _message_options[F: Callable[..., Any]](command: F) -> F:
    """Which messages a rule is about."""
    for option in (
        click.option("--external", is_flag=True, help="External messages, not internal ones."),
        click.option("--to", help="Only messages to this address."),
        click.option("--from", "source", help="Only messages from this address."),
        click.option("--op", "opcode", type=_Number(), help="Only messages with this opcode."),
        click.option("--count", type=click.IntRange(1), help="Only the next so many that match."),
    ):
        command = option(command)
    return command


class _Number(click.ParamType[int]):
    """A number, decimal or 0x..."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return int(str(value), 0)
        except ValueError:
            self.fail(f"{value!r} is no number", param, ctx)


@fault.command()
@_message_options
@_common
def drop(directory: Path, as_json: bool, **rule: Any) -> None:
    """Lose messages."""
    _show(_ask(directory, "fault.message", what="drop", **rule), as_json)


@fault.command()
@click.argument("blocks", type=click.IntRange(1))
@_message_options
@_common
def delay(blocks: int, directory: Path, as_json: bool, **rule: Any) -> None:
    """Deliver messages BLOCKS blocks later."""
    _show(_ask(directory, "fault.message", what="delay", amount=blocks, **rule), as_json)


@fault.command()
@click.argument("copies", type=click.IntRange(2))
@_message_options
@_common
def repeat(copies: int, directory: Path, as_json: bool, **rule: Any) -> None:
    """Deliver external messages COPIES times."""
    _show(_ask(directory, "fault.message", what="repeat", amount=copies, **{**rule, "external": True}), as_json)


@fault.command()
@click.argument("order", type=click.Choice(["newest", "random"]))
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same order.")
@_common
def reorder(order: str, seed: int, directory: Path, as_json: bool) -> None:
    """Deliver internal messages newest first, or at random."""
    _show(_ask(directory, "fault.order", order=order, seed=seed), as_json)


@fault.command()
@click.argument("seconds", type=float)
@_common
def slow(seconds: float, directory: Path, as_json: bool) -> None:
    """Have every answer of the lite server take SECONDS longer."""
    _show(_ask(directory, "fault.server", latency=seconds), as_json)


@fault.command()
@click.argument("blocks", type=click.IntRange(0))
@_common
def stale(blocks: int, directory: Path, as_json: bool) -> None:
    """Have the lite server not know of the last BLOCKS blocks."""
    _show(_ask(directory, "fault.server", lag=blocks), as_json)


@fault.command()
@click.argument("serving", type=click.Choice(["off", "on"]))
@_common
def liteserver(serving: str, directory: Path, as_json: bool) -> None:
    """Stop the lite server, or start it again; blocks go on."""
    _show(_ask(directory, "fault.server", serving=serving == "on"), as_json)


@fault.command()
@click.argument("about", type=click.Choice(["hide", "balance", "getter", "signatures"]))
@click.argument("address", required=False)
@click.option("--value", type=_Number(), help="The balance in nanoTON, or the number that the getter is to return.")
@click.option("--method", help="The get-method to lie about: name or number.")
@_common
def lie(about: str, address: str | None, value: int | None, method: str | None, directory: Path, as_json: bool) -> None:
    """Have the lite server hide an account, forge its balance or a getter's result, or spoil block signatures."""
    _show(_ask(directory, "fault.lie", about=about, address=address, value=value, method=method), as_json)


@fault.command()
@_common
def clear(directory: Path, as_json: bool) -> None:
    """End all faults; what was lost stays lost."""
    _show(_ask(directory, "fault.clear"), as_json)


@fault.command("list")
@_common
def list_faults(directory: Path, as_json: bool) -> None:
    """Show the faults in force."""
    _show(_ask(directory, "fault.list"), as_json)


def _ask(directory: Path, command: str, **arguments: Any) -> dict[str, Any]:
    from cocoon_sandbox.control import request

    result: dict[str, Any] = request(directory, command, **arguments)
    return result


def _show(result: dict[str, Any], as_json: bool) -> None:
    """Print a result: one JSON object, or a line per field, nested ones indented."""
    if as_json:
        click.echo(json.dumps(result, indent=2))
    else:
        _print(result, 0)


def _print(values: dict[str, Any], indent: int) -> None:
    labels = {name: name.removesuffix("_nano").replace("_", " ") for name in values}
    width = max((len(label) for label in labels.values()), default=0)
    for name, value in values.items():
        lead = f"{' ' * indent}{labels[name]:{width}}"
        if isinstance(value, dict) and value:
            click.echo(lead.rstrip())
            _print(value, indent + 2)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for number, item in enumerate(value):
                click.echo(f"{lead.rstrip()} {number}")
                _print(item, indent + 2)
        else:
            click.echo(f"{lead}  {_text(name, value)}")


def _text(name: str, value: Any) -> str:
    if value is None or value in ({}, []):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("_nano"):
        from ..chain.wallet import format_ton

        return str(format_ton(value))
    text = str(value)
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 30]}... ({len(text)} characters)"
