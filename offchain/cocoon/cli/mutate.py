"""`cocoon mutate`: whether the tests would notice a fault in the contracts."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import sys
import time

import click

__all__ = ["mutate"]

_PROGRESS_S = 20


@click.group()
def mutate() -> None:
    """Mutation testing."""


@mutate.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output; progress goes elsewhere.")
@click.option("--sample", type=click.IntRange(1), help="Only this many mutants, spread over the operators.")
@click.option("--seed", default=0, show_default=True, help="Another seed is another sample.")
@click.option("--jobs", default=os.cpu_count() or 1, show_default=True, type=click.IntRange(1), help="Processes.")
@click.option("--files", default="*", show_default=True, help="Only files below contracts/ that match this pattern.")
@click.option("--only", help="Only mutants whose id matches this regular expression.")
@click.option("--resume", is_flag=True, help="Take over verdicts reached before for the same code and tests.")
@click.option("--tests", type=click.IntRange(1), help="Try at most this many tests per mutant; leaves only suspects.")
@click.option("--quick", is_flag=True, help="Don't measure the tests first; only guards with a test on record.")
@click.option(
    "--record", is_flag=True, help="Write tests/contracts/killers.json, the tests on record, after a full run."
)
@click.option("--list", "only_list", is_flag=True, help="Print the mutants and stop.")
def contracts(
    as_json: bool,
    sample: int | None,
    seed: int,
    jobs: int,
    files: str,
    only: str | None,
    resume: bool,
    tests: int | None,
    quick: bool,
    record: bool,
    only_list: bool,
) -> None:
    """Put faults into the Tolk sources one by one; every one that changes code must make a contract test fail."""
    from ..contracts_build import contracts_dir, sources
    from ..mutation.campaign import Campaign
    from ..mutation.compiling import compiled_sources
    from ..mutation.journal import Journal, Verdict, read_killers, write_killers
    from ..mutation.mutants import by_importance, generate
    from ..mutation.mutants import sample as pick
    from ..mutation.report import Explanations, Report

    root = contracts_dir()
    texts = compiled_sources(sources(root))
    everything = generate(texts)
    wanted = re.compile(only or "")
    mutants = [m for m in by_importance(everything) if fnmatch.fnmatch(m.file, files) and wanted.search(m.id)]
    notes = root.parent / "tests" / "contracts"
    explanations = Explanations.read(notes / "mutants.toml")
    killers = read_killers(notes / "killers.json")
    if quick:
        mutants = [m for m in mutants if m.id in killers]
    if sample is not None:
        mutants = pick([m for m in mutants if m.id not in explanations.reasons], sample, seed)
    if only_list:
        for mutant in mutants:
            click.echo(f"{mutant.id}  line {mutant.line}\n{mutant.diff(texts)}")
        return
    started = said = time.monotonic()
    verdicts: list[Verdict] = []
    journal = Journal(killers=killers)
    campaign = Campaign(root.parent, texts, jobs, lambda line: click.echo(line, err=True), journal, resume, tests)
    for verdict in campaign.run(mutants, measure=not quick):
        verdicts.append(verdict)
        if verdict.outcome == "survived" and verdict.id not in explanations.reasons:
            click.echo(f"survived: {verdict.id}", err=True)
        if time.monotonic() - said > _PROGRESS_S:
            said = time.monotonic()
            rate = len(verdicts) / (said - started)
            click.echo(f"{len(verdicts)} of {len(mutants)} mutants, {rate:.2f}/s", err=True)
    report = Report(mutants, verdicts, texts, explanations, complete=len(mutants) == len(everything))
    if record and report.complete:
        write_killers(notes / "killers.json", verdicts)
    if as_json:
        click.echo(json.dumps({**report.to_json(), "seconds": round(time.monotonic() - started, 1)}, indent=2))
    else:
        for line in report.lines():
            click.echo(line)
    if not report.satisfied:
        sys.exit(1)
