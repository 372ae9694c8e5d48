"""`cocoon attest`: what a quote is worth."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

__all__ = ["attest"]

ACCEPTED, REFUSED, INCOMPLETE = 0, 1, 3
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class _When(click.ParamType[int]):
    """A date, a date and time (UTC unless it says otherwise), or unix seconds."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            if value.isdecimal():
                at = int(value)
            else:
                moment = datetime.fromisoformat(value)
                at = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
        except ValueError:
            self.fail(f"{value!r} is no date; write 2025-06-25, 2025-06-25T12:00:00Z or unix seconds", param, ctx)
        if not 0 < at < 1 << 32:
            self.fail(f"{value!r} is not between 1970 and 2106", param, ctx)
        return at


@click.group()
def attest() -> None:
    """Quotes and what proves them."""


@attest.command()
@click.argument("quote", type=_FILE)
@click.option("--service", help="Another service with the requests of Intel's PCS version 4.")
def fetch(quote: Path, service: str | None) -> None:
    """Print the current collateral of the platform in QUOTE, as `verify --collateral` takes it."""
    from ..attestation.fetching import INTEL_PCS, fetch_collateral

    found = asyncio.run(fetch_collateral(quote.read_bytes(), service or INTEL_PCS))
    click.echo(found.to_json())


@attest.command()
@click.argument("seed")
def simulate(seed: str) -> None:
    """Print the rules that make a deployment take the quotes of the simulated platform of SEED, for deploy.py --rules.

    Only for sandboxes: whoever knows the seed can sign quotes, and nothing is confidential.
    """
    from ..attestation.simulation import Simulation

    click.echo(json.dumps(Simulation(seed.encode()).rules(), indent=2))


@attest.command()
@click.argument("quote", type=_FILE)
@click.option(
    "--collateral",
    type=click.Path(dir_okay=False, path_type=Path),
    help="What Intel publishes about the platform, as JSON in the form of dcap-qvl's QuoteCollateralV3.",
)
@click.option("--at", type=_When(), help="Judge as of this date; now by default.")
@click.option(
    "--accept", "statuses", multiple=True, help="A TCB status to accept; may be repeated. UpToDate by default."
)
@click.option(
    "--allow-simulated-tee", is_flag=True, help="Take another root than Intel's: nothing is confidential then."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def verify(
    quote: Path,
    collateral: Path | None,
    at: int | None,
    statuses: tuple[str, ...],
    allow_simulated_tee: bool,
    as_json: bool,
) -> None:
    """Run QUOTE (the raw bytes) through the contracts in the official TVM executor, and past an independent verifier.

    Exit status 0 only if both accept it; 1 if it is refused; 3 if collateral is missing. Whom a quote was made for and
    how old it is, which the chain also checks, is not asked here.
    """
    from ..attestation.errors import AttestationError
    from ..attestation.pcs import TcbStatus
    from ..attestation.verify_report import VerifyReport, examine

    unknown = sorted(set(statuses) - set(TcbStatus))
    if unknown:
        raise click.BadParameter(f"{unknown[0]!r} is none of {', '.join(TcbStatus)}", param_hint="--accept")
    accepted = tuple(map(TcbStatus, statuses)) or (TcbStatus.UP_TO_DATE,)
    when = int(datetime.now(UTC).timestamp()) if at is None else at
    try:
        report = examine(
            quote.read_bytes(), collateral, when, accepted=accepted, allow_simulated_tee=allow_simulated_tee
        )
    except AttestationError as error:
        report = VerifyReport.unreadable(str(error), when)
    click.echo(json.dumps(report.to_json(), indent=2) if as_json else "\n".join(report.lines()))
    sys.exit({"accepted": ACCEPTED, "incomplete": INCOMPLETE}.get(report.verdict, REFUSED))
