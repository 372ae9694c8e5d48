"""The `cocoon` command. Commands that machines read take `--json`."""

from __future__ import annotations

import sys

import click

from ..errors import CocoonError
from . import (
    agent,
    attest,
    audit,
    batch,
    bench,
    contracts,
    demo,
    gateway,
    kernel,
    mutate,
    receipt,
    sandbox,
    telegram_bot,
    worker,
)

__all__ = ["main"]


class _Group(click.Group):
    """Prints Cocoon's own errors as one line, without a traceback; anything else is a bug and keeps it."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except CocoonError as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cocoon")
def main() -> None:
    """Confidential Compute Open Network: encrypted AI jobs for Toncoin."""


main.add_command(agent.agent)
main.add_command(attest.attest)
main.add_command(audit.audit_map)
main.add_command(batch.batch)
main.add_command(bench.bench)
main.add_command(contracts.contracts)
main.add_command(demo.demo)
main.add_command(gateway.gateway)
main.add_command(kernel.kernel)
main.add_command(mutate.mutate)
main.add_command(receipt.receipt)
main.add_command(sandbox.sandbox)
main.add_command(telegram_bot.telegram_bot)
main.add_command(worker.worker)
