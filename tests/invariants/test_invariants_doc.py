"""docs/invariants.md and the tests agree: no invariant without a test, no citation of something that is not written
down."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent.parent
DOC = TESTS.parent / "docs" / "invariants.md"
ID = re.compile(r"\b([PEWRS]-\d+|[AB]\.\d+)\b")


def citations() -> dict[str, set[str]]:
    """`folder/file.py::test` -> the ids its docstring cites."""
    found: dict[str, set[str]] = {}
    for folder in ("contracts", "invariants", "flows"):
        for path in sorted((TESTS / folder).glob("test_*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name.lower().startswith("test"):
                    found[f"{folder}/{path.name}::{node.name}"] = set(ID.findall(ast.get_docstring(node) or ""))
    return found


def documented() -> dict[str, set[str]]:
    """id -> the tests listed under it."""
    found: dict[str, set[str]] = {}
    current = ""
    for line in DOC.read_text(encoding="utf-8").splitlines():
        if heading := re.match(r"\* \*\*([A-Z][-.]\d+)\*\* ", line):
            current = heading[1]
            assert current not in found, f"{current} is written down twice"
            found[current] = set()
        elif line.startswith("  Tests:"):
            found[current] |= set(re.findall(r"`([^`]+)`", line))
    return found


def test_invariants_each_have_an_existing_test_that_cites_them() -> None:
    cited = citations()
    for name, tests in documented().items():
        assert tests, f"{name} has no test"
        for test in tests:
            assert test in cited, f"{name} lists {test}, which does not exist"
            assert name in cited[test], f"{name} lists {test}, whose docstring does not cite it"


def test_invariants_cited_by_tests_are_all_documented() -> None:
    known = documented()
    for test, ids in citations().items():
        for name in sorted(ids):
            assert name in known, f"{test} cites {name}, which docs/invariants.md does not have"
            assert test in known[name], f"{test} cites {name}, but is not listed there"
