"""Every mutant of a set of Tolk files, and a sample of them.

A mutant's id names the file, the function, the operator and a digest of the statement and the change. It does not
contain a line, so an explanation written for a mutant stays with it when code moves.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from .grammar import Function, Span, parse
from .operators import Edit, Operators
from .tokens import Token

__all__ = ["GUARDS", "Mutant", "by_importance", "generate", "sample"]

# What an auditor asks about first: checks, writes, sends and their modes.
GUARDS = frozenset(
    {
        "assert-removed",
        "bounce-mode",
        "map-write-removed",
        "save-removed",
        "send-mode",
        "send-removed",
        "strict-end-removed",
    }
)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One edit of one file. `line` counts from 1; `function` is the constant's name for a constant; `statement` is
    the text that the edit is made in."""

    id: str
    file: str
    line: int
    function: str
    operator: str
    statement: str
    start: int
    end: int
    text: str

    def apply(self, sources: Mapping[str, str]) -> dict[str, str]:
        """The sources with this mutant in them."""
        source = sources[self.file]
        return {**sources, self.file: source[: self.start] + self.text + source[self.end :]}

    def diff(self, sources: Mapping[str, str]) -> str:
        """The lines it changes, before and after."""
        before, after = sources[self.file], self.apply(sources)[self.file]
        first = before.rfind("\n", 0, self.start) + 1
        last = before.find("\n", self.end)
        old = before[first:last]
        new = after[first : last + len(after) - len(before)]
        return "\n".join([*(f"- {line}" for line in old.split("\n")), *(f"+ {line}" for line in new.split("\n"))])


def generate(sources: Mapping[str, str]) -> list[Mutant]:
    """Every mutant of `sources` (path -> text), file by file in the order of the text."""
    return [mutant for file in sorted(sources) for mutant in _of_file(file, sources[file])]


def by_importance(mutants: Sequence[Mutant]) -> list[Mutant]:
    """The same mutants, missing guards first."""
    return sorted(mutants, key=lambda mutant: mutant.operator not in GUARDS)


def sample(mutants: Sequence[Mutant], count: int, seed: int) -> list[Mutant]:
    """`count` mutants, the same for the same seed, spread over the operators so that rare ones are met too."""
    shuffled = list(mutants)
    random.Random(seed).shuffle(shuffled)
    ranks: dict[str, int] = {}
    ranked: list[tuple[int, Mutant]] = []
    for mutant in shuffled:
        ranks[mutant.operator] = ranks.get(mutant.operator, 0) + 1
        ranked.append((ranks[mutant.operator], mutant))
    # The first of each operator, then the second of each: shuffled again within a rank by the order they were met.
    chosen = sorted(ranked, key=lambda item: item[0])[:count]
    return [mutant for _, mutant in chosen]


def _of_file(file: str, source: str) -> Iterator[Mutant]:
    tokens, functions, consts = parse(source)
    operators = Operators(source, tokens)
    seen: dict[str, int] = {}
    for const in consts:
        for edit in operators.of_const(const, budget=PurePosixPath(file).name == "fees.tolk"):
            yield _mutant(file, source, const.name, _normal(tokens, const.value), edit, seen)
    for function in functions:
        yield from _of_function(file, source, tokens, function, operators, seen)


def _of_function(
    file: str, source: str, tokens: Sequence[Token], function: Function, operators: Operators, seen: dict[str, int]
) -> Iterator[Mutant]:
    for statement in function.statements:
        text = _normal(tokens, statement.span)
        offset = tokens[statement.span.first].start
        for edit in operators.of_statement(statement):
            # Where in the statement: counted in tokens, so that reformatting changes nothing.
            place = sum(offset <= token.start < edit.start for token in tokens)
            yield _mutant(file, source, function.name, f"{text}@{place}", edit, seen)


def _mutant(file: str, source: str, where: str, context: str, edit: Edit, seen: dict[str, int]) -> Mutant:
    stem = f"{file}:{where}:{edit.operator}"
    digest = hashlib.sha256(f"{stem}\0{context}\0{edit.text}".encode()).hexdigest()[:8]
    mutant_id = f"{stem}:{digest}"
    seen[mutant_id] = seen.get(mutant_id, 0) + 1
    if seen[mutant_id] > 1:  # the very same statement again in the same function
        mutant_id = f"{mutant_id}-{seen[mutant_id]}"
    line = source.count("\n", 0, edit.start) + 1
    return Mutant(mutant_id, file, line, where, edit.operator, context, edit.start, edit.end, edit.text)


def _normal(tokens: Sequence[Token], span: Span) -> str:
    return " ".join(token.text for token in tokens[span.first : span.last])
