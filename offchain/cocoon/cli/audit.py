"""`cocoon audit-map`: from promises, invariants and attacks to code and tests."""

from __future__ import annotations

import json
import sys

import click

__all__ = ["audit_map"]


@click.command("audit-map")
@click.option("--check", is_flag=True, help="Write nothing; exit 1 if an id has no test or a page is stale.")
@click.option("--run", is_flag=True, help="Run every mapped test, too (minutes); exit 1 unless all pass.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object: tests by id, and problems.")
def audit_map(check: bool, run: bool, as_json: bool) -> None:
    """Write docs/audit-map.md and the lists of tests in docs/invariants.md, from the tests' docstrings."""
    from ..audit.audit import AuditMap

    found = AuditMap.of_checkout()
    if not check:
        found.write()
    problems = found.problems()
    if run:
        problems += found.run()
    if as_json:
        click.echo(json.dumps({"tests": dict(sorted(found.proofs.items())), "problems": problems}, indent=2))
    else:
        for problem in problems:
            click.echo(problem, err=True)
        ids, tests = len(found.register.entries), len(found.tests)
        click.echo(f"{ids} ids, {tests} tests" + (", every one passed" if run and not problems else ""))
    if problems:
        sys.exit(1)
