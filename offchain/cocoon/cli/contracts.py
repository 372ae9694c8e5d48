"""`cocoon contracts`: compile them, and prove that what is committed is what the sources compile to."""

from __future__ import annotations

import sys

import click

__all__ = ["contracts"]


@click.group()
def contracts() -> None:
    """The smart contracts."""


@contracts.command()
@click.option("--check", "only_check", is_flag=True, help="Only compare; exit 1 if contracts/build differs.")
def build(only_check: bool) -> None:
    """Compile contracts/**/*.tolk into contracts/build with the pinned compiler."""
    from ..contracts_build import build as build_all
    from ..contracts_build import check

    if only_check:
        differences = check()
        for difference in differences:
            click.echo(f"differs: {difference}", err=True)
        if differences:
            click.echo("run `cocoon contracts build` and commit the result", err=True)
            sys.exit(1)
        click.echo("contracts/build is what the sources compile to")
        return
    for contract in build_all():
        click.echo(f"{contract.name:10} {contract.hash.hex()}  {contract.cells} cells, {contract.bits} bits")
