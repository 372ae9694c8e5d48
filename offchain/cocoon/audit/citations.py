"""The tests, and the ids their docstrings cite."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

__all__ = ["citations", "tests_by_id"]


def citations(tests: Path, pattern: re.Pattern[str]) -> dict[str, frozenset[str]]:
    """pytest's node id, relative to the folder of `tests` -> the ids matching `pattern` in the docstring.

    Tests that cite nothing are left out.
    """
    found: dict[str, frozenset[str]] = {}
    for path in sorted(tests.rglob("test_*.py")):
        file = path.relative_to(tests.parent).as_posix()
        for name, docstring in _tests(ast.parse(path.read_text(encoding="utf-8"))):
            if ids := frozenset(pattern.findall(docstring)):
                found[f"{file}::{name}"] = ids
    return found


def tests_by_id(cited: Mapping[str, frozenset[str]]) -> dict[str, list[str]]:
    """id -> the node ids of the tests that cite it, in order."""
    found: dict[str, list[str]] = {}
    for test, ids in cited.items():
        for name in ids:
            found.setdefault(name, []).append(test)
    return found


def _tests(body: ast.Module | ast.ClassDef, prefix: str = "") -> Iterator[tuple[str, str]]:
    """(name, docstring) of what pytest collects here."""
    for node in body.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test"):
            yield prefix + node.name, ast.get_docstring(node) or ""
        elif isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            yield prefix + node.name, ast.get_docstring(node) or ""
            yield from _tests(node, f"{prefix}{node.name}::")
