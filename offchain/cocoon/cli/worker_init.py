"""`cocoon worker init`: asks what is not said on the command line, checks, shows the plan, registers."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..worker.gathering import Answers
    from ..worker.setting_up import SetUp, Talk

__all__ = ["init"]

_NETWORKS = ("sandbox", "testnet", "mainnet")
_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)


class _Ton(click.ParamType[int]):
    """An amount of Toncoin, as nanoTON."""

    name = "TON"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from ..amounts import parse_ton

        try:
            return parse_ton(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command()
@click.argument("directory", type=_FOLDER, default=Path("worker"))
@click.option("--sandbox", is_flag=True, help="A worker in the local sandbox: contracts and money are provided.")
@click.option("--sandbox-dir", type=_FOLDER, default=Path(".sandbox"), show_default=True, help="Where it runs.")
@click.option("--network", type=click.Choice(_NETWORKS))
@click.option("--global-config", type=_FILE, help="The network's configuration, instead of the one TON publishes.")
@click.option("--registry", help="Address of the network's Registry.")
@click.option("--owner-mnemonic-file", type=_FILE, help="The owner's 24 words; read, never copied.")
@click.option("--new-owner", type=_FILE, help="Make the owner's wallet and write its 24 words here.")
@click.option("--owner", help="The owner's address: it signs elsewhere, and is shown what to send.")
@click.option("--wait-sec", type=click.IntRange(0), help="How long to wait for such an owner; for ever if not given.")
@click.option("--payout", help="Where earnings go; the owner's address if not given.")
@click.option("--stake", type=_Ton(), help="TON; the network's minimum if not given.")
@click.option("--bond", type=_Ton(), help="TON; the network's minimum if not given.")
@click.option("--operator-ton", type=_Ton(), help="What the operator's wallet is to start with; 2 if not given.")
@click.option("--model", help="A model on the shelf, a bundle's folder, or module:factory.")
@click.option("--model-id", help="64 hex digits that the model must have.")
@click.option("--prompt-price", type=_Ton(), help="TON per million prompt tokens.")
@click.option("--cached-price", type=_Ton(), help="TON per million prompt tokens computed before.")
@click.option("--completion-price", type=_Ton(), help="TON per million tokens of answers.")
@click.option("--floor-fee", type=_Ton(), help="TON that a forced job pays at least.")
@click.option("--min-duration", type=click.IntRange(1), help="Seconds that a forced job must leave at least.")
@click.option("--forced-slots", type=click.IntRange(0, 8), help="Forced jobs open at once.")
@click.option("--listen", help="HOST:PORT for clients that connect directly.")
@click.option("--endpoint", help="That port's address from outside, https://... or http://...")
@click.option("--metrics", help="HOST:PORT for metrics and health; a free port of this machine if not given.")
@click.option("--evidence", type=click.Choice(["configfs", "simulated"]), help="Where quotes come from.")
@click.option("--seed", help="Of the simulated platform.")
@click.option("--allow-simulated-tee", is_flag=True, help="Work where nothing is confidential.")
@click.option("--yes", is_flag=True, help="Ask nothing: what is not given takes its default.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout (needs --yes).")
def init(directory: Path, yes: bool, as_json: bool, wait_sec: int | None, **options: Any) -> None:
    """Set up a worker in DIRECTORY. Nothing is paid before everything was checked; run it again to go on."""
    if as_json and not yes:
        raise click.UsageError("--json asks nothing: say --yes, too")
    from ..worker.directory import WorkerDirectory
    from ..worker.gathering import gather
    from ..worker.setting_up import set_up

    folder = WorkerDirectory(directory)
    talk, said = _talk(yes, as_json)

    def ask(name: str, default: str | None) -> str:
        if yes and default is None:
            raise click.UsageError(f"--{name} must be given where nothing is asked")
        if yes or default is None:
            return default if default is not None else str(click.prompt(name.replace("-", " ")))
        return str(click.prompt(name.replace("-", " "), default=default, show_default=True))

    async def go() -> tuple[Answers, SetUp]:
        answers = await gather(folder, options, ask)
        done = await set_up(
            folder, answers.choices, talk, owner=answers.owner, sandbox=answers.sandbox, wait_sec=wait_sec
        )
        return answers, done

    from ..errors import CocoonError

    try:
        _, done = asyncio.run(go())
    except CocoonError as error:
        if as_json:
            click.echo(json.dumps({"error": str(error), "done": False, **said}, indent=2))
        raise
    if as_json:
        click.echo(json.dumps({"done": True, **done.to_json(), **said}, indent=2))
        return
    click.echo(f"worker {done.index} is registered; start it with\n  {done.start_command}")


def _talk(yes: bool, as_json: bool) -> tuple[Talk, dict[str, Any]]:
    """How to speak, and where what was said is kept for a JSON answer."""
    from ..chain.wallet import format_ton
    from ..worker.choices import Choices
    from ..worker.findings import Finding, Level
    from ..worker.preflight import Plan
    from ..worker.setting_up import Talk
    from ..worker.transfers import Instruction

    said: dict[str, Any] = {"checks": [], "transfers": [], "costs": {}}
    colors = {Level.OK: "green", Level.WARNING: "yellow", Level.FAILED: "red"}

    def say(line: str) -> None:
        click.echo(line, err=as_json)

    def show(finding: Finding) -> None:
        said["checks"].append({"check": finding.check, "level": finding.level.value, "text": finding.text})
        if not as_json:
            click.echo(
                f"{click.style(f'{finding.level:<8}', fg=colors[finding.level])} {finding.check}: {finding.text}"
            )

    def agree(choices: Choices, plan: Plan) -> bool:
        costs = plan.costs(choices)
        said["costs"] = {what.replace(" ", "_"): nano for what, nano, _ in costs}
        for what, nano, note in costs:
            say(f"{what:<18} {format_ton(nano):>16}  {note}")
        say(f"{'in all':<18} {format_ton(sum(nano for _, nano, _ in costs)):>16}  from the owner's wallet")
        return yes or click.confirm("go on?")

    def instruct(found: list[Instruction]) -> None:
        said["transfers"] = [one.to_json() for one in found]
        for one in found:
            say("\n".join(one.lines()))
        sys.stdout.flush()

    return Talk(say, show, agree, instruct), said
