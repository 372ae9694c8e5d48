"""A verdict is taken over only for the same code and the same tests, and a report fails for what needs work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cocoon.mutation.journal import Journal, Verdict, read_killers, write_killers
from cocoon.mutation.mutants import Mutant, generate
from cocoon.mutation.report import Explanations, ExplanationsError, Report
from cocoon.mutation.state import SuiteState

SOURCES = {"a.tolk": "fun go(a: int) {\n    assert (a > 0) throw 5;\n    st.save();\n}\n"}
BEFORE = SuiteState("shared", {"tests/test_a.py": "one", "tests/test_b.py": "one"})
AFTER = SuiteState("shared", {"tests/test_a.py": "one", "tests/test_b.py": "two"})


def verdict(killer: str = "", code: str = "code") -> Verdict:
    if killer:
        return Verdict("a.tolk:go:save-removed:1", "killed", code, BEFORE.of_test(killer), killer)
    return Verdict("a.tolk:go:save-removed:1", "survived", code, BEFORE.whole)


def test_journal_verdict_of_the_same_code_and_tests_is_remembered(tmp_path: Path) -> None:
    Journal(tmp_path / "journal").add(verdict("tests/test_a.py::test_x"))
    again = Journal(tmp_path / "journal")
    assert again.verdict("code", BEFORE) == verdict("tests/test_a.py::test_x")
    assert again.verdict("other code", BEFORE) is None
    assert again.killer("a.tolk:go:save-removed:1") == "tests/test_a.py::test_x"


def test_journal_verdict_on_the_same_edit_of_the_same_sources_needs_no_code(tmp_path: Path) -> None:
    survived = replace(verdict(), sources="these")
    no_code = Verdict("a.tolk:go:constant:2", "uncompilable", why="no such name", sources="these")
    Journal(tmp_path / "journal").add(survived)
    journal = Journal(tmp_path / "journal")
    journal.add(no_code)
    assert journal.verdict_on_edit("these", survived.id, BEFORE) == survived
    assert journal.verdict_on_edit("these", survived.id, AFTER) is None
    assert journal.verdict_on_edit("these", no_code.id, AFTER) == no_code
    assert journal.verdict_on_edit("other sources", no_code.id, BEFORE) is None


def test_journal_kill_stands_while_its_own_test_is_unchanged(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.add(verdict("tests/test_a.py::test_x"))
    assert journal.verdict("code", AFTER) is not None
    journal.add(verdict("tests/test_b.py::test_x"))
    assert journal.verdict("code", AFTER) is None
    assert journal.verdict("code", SuiteState("shared anew", BEFORE.files)) is None


def test_journal_survival_stands_only_while_all_tests_are_unchanged(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.add(verdict())
    assert journal.verdict("code", BEFORE) == verdict()
    assert journal.verdict("code", AFTER) is None


def test_killers_of_guards_are_put_on_record(tmp_path: Path) -> None:
    other = Verdict("a.tolk:go:constant:2", "killed", "code", "tests", "tests/test_a.py::test_y")
    write_killers(tmp_path / "killers.json", [verdict("tests/test_a.py::test_x"), other, verdict()])
    assert read_killers(tmp_path / "killers.json") == {"a.tolk:go:save-removed:1": "tests/test_a.py::test_x"}
    assert read_killers(tmp_path / "nothing.json") == {}


def report(outcomes: str, reasons: dict[str, str] | None = None) -> Report:
    """One verdict for each letter: k(illed), s(urvived), e(quivalent)."""
    mutants: list[Mutant] = generate(SOURCES)[: len(outcomes)]
    names = {"k": "killed", "s": "survived", "e": "equivalent"}
    verdicts = [Verdict(m.id, names[letter]) for m, letter in zip(mutants, outcomes, strict=True)]  # type: ignore[arg-type]
    return Report(mutants, verdicts, SOURCES, Explanations(reasons or {}), complete=True)


def test_report_survivor_without_a_reason_fails() -> None:
    found = report("kks")
    assert (round(found.score), len(found.unexplained), found.satisfied) == (67, 1, False)
    assert any(found.survivors[0].id in line for line in found.lines())


def test_report_equivalent_mutants_do_not_count() -> None:
    found = report("kke")
    assert (found.score, found.satisfied) == (100.0, True)
    assert found.to_json()["equivalent"] == 1


def test_report_reason_for_a_mutant_that_is_killed_is_stale() -> None:
    mutant = generate(SOURCES)[0]
    found = report("kk", {mutant.id: "behaves the same"})
    assert found.stale == [mutant.id]
    assert not found.satisfied


def test_report_reason_for_a_mutant_that_is_gone_is_stale() -> None:
    assert report("kk", {"b.tolk:gone:constant:1": "behaves the same"}).stale == ["b.tolk:gone:constant:1"]


def test_explanations_same_mutant_twice_refused(tmp_path: Path) -> None:
    path = tmp_path / "mutants.toml"
    path.write_text('[[explained]]\nreason = "r"\nmutants = ["a", "b", "a"]\n')
    with pytest.raises(ExplanationsError, match="twice"):
        Explanations.read(path)


def test_explanations_without_a_reason_refused(tmp_path: Path) -> None:
    path = tmp_path / "mutants.toml"
    path.write_text('[[explained]]\nmutants = ["a"]\n')
    with pytest.raises(ExplanationsError, match="reason"):
        Explanations.read(path)
