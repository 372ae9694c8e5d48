"""The audit map is complete and current, and would notice if it were not."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest
from click.testing import CliRunner

from cocoon.audit.audit import AuditMap
from cocoon.audit.errors import AuditError
from cocoon.audit.promises import Place, promises
from cocoon.audit.register import Register
from cocoon.cli import main

ROOT = Path(__file__).parents[2]
INVARIANTS = "# Invariants\n\n* **P-1** (high) Something holds. Always.\n  Tests: none.\n"
ATTACKS = "# Attacks\n\n* **A.1** Somebody tries.\n"
TESTS = '''
def test_good():
    """P-1, A.1."""
    assert True
'''


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small checkout with one invariant, one attack and one test that proves both; no promises."""
    monkeypatch.setattr("cocoon.audit.page.promises", tuple)
    for folder in ("docs", "tests"):
        (tmp_path / folder).mkdir()
    (tmp_path / "docs" / "invariants.md").write_text(INVARIANTS)
    (tmp_path / "docs" / "attacks.md").write_text(ATTACKS)
    (tmp_path / "tests" / "test_all.py").write_text(TESTS)
    AuditMap.of_checkout(tmp_path).write()
    return tmp_path


def problems(checkout: Path) -> list[str]:
    return AuditMap.of_checkout(checkout).problems()


def test_audit_map_of_this_checkout_has_no_problems() -> None:
    assert AuditMap.of_checkout(ROOT).problems() == []


def test_audit_map_command_tells_machines_the_tests_of_each_id() -> None:
    done = CliRunner().invoke(main, ["audit-map", "--check", "--json"])
    found = json.loads(done.stdout)
    assert (done.exit_code, found["problems"]) == (0, [])
    assert len(found["tests"]["A.8"]) >= 2


def test_audit_map_lists_every_attack_there_is() -> None:
    numbers = {"A": 21, "B": 31}
    wanted = [f"{part}.{number}" for part, count in numbers.items() for number in range(1, count + 1)]
    assert [entry.id for entry in Register.read(ROOT / "docs").attacks] == wanted


def test_audit_map_every_promise_is_an_invariant() -> None:
    known = {entry.id for entry in Register.read(ROOT / "docs").invariants}
    assert [promise.invariant for promise in promises()] == [f"P-{number}" for number in range(1, 8)]
    assert {promise.invariant for promise in promises()} <= known


def test_audit_map_of_a_complete_checkout_has_no_problems(checkout: Path) -> None:
    assert problems(checkout) == []
    assert "`test_all.py::test_good`" in (checkout / "docs" / "invariants.md").read_text()


def test_audit_map_id_without_a_test_is_a_problem(checkout: Path) -> None:
    with (checkout / "docs" / "attacks.md").open("a") as file:
        file.write("* **A.2** Somebody else tries.\n")
    assert any(problem.startswith("A.2 has no test") for problem in problems(checkout))


def test_audit_map_unknown_id_in_a_docstring_is_a_problem(checkout: Path) -> None:
    with (checkout / "tests" / "test_all.py").open("a") as file:
        file.write('\ndef test_more():\n    """P-9, and P-256 is a curve."""\n')
    (found,) = [problem for problem in problems(checkout) if "written down nowhere" in problem]
    assert found == "P-9 is cited by tests/test_all.py::test_more and written down nowhere"


def test_audit_map_stale_page_is_a_problem(checkout: Path) -> None:
    (checkout / "tests" / "test_all.py").write_text(TESTS.replace("test_good", "test_better"))
    assert problems(checkout) == [
        "docs/audit-map.md is stale: run `cocoon audit-map`",
        "docs/invariants.md is stale: run `cocoon audit-map`",
    ]


def test_audit_map_id_written_down_twice_is_refused(checkout: Path) -> None:
    (checkout / "docs" / "attacks.md").write_text(ATTACKS + ATTACKS)
    with pytest.raises(AuditError, match=r"A\.1"):
        AuditMap.of_checkout(checkout)


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (Place("code.tolk", "Bag.put", ""), 2),
        (Place("code.tolk", "get_all", ""), 5),
        (Place("code.tolk", "Message", ""), 6),
        (Place("code.tolk", "put", ""), None),
        (Place("code.tolk", "Mess", ""), None),
        (Place("gone.tolk", "Bag.put", ""), None),
    ],
)
def test_audit_map_symbol_is_found_where_it_is_declared(place: Place, line: int | None, tmp_path: Path) -> None:
    source = """\
        // Bag.put is called by fun nobody
        fun Bag.put(self): int {
            return put(1);
        }
        get fun get_all(): int { return 1; }
        struct (0x01) Message { a: int }
    """
    (tmp_path / "code.tolk").write_text(textwrap.dedent(source))
    if line is None:
        with pytest.raises(AuditError):
            place.line(tmp_path)
    else:
        assert place.line(tmp_path) == line


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("assert True", []),
        ("assert False", ["tests.test_all::test_good did not pass"]),
        ("import pytest; pytest.skip('later')", ["tests.test_all::test_good did not pass"]),
    ],
)
def test_audit_map_run_demands_that_every_mapped_test_passes(checkout: Path, body: str, wanted: list[str]) -> None:
    (checkout / "tests" / "test_all.py").write_text(TESTS.replace("assert True", body))
    assert AuditMap.of_checkout(checkout).run() == wanted
