"""Mutants are made where they should be, keep their names, and change what they say they change."""

from __future__ import annotations

from collections import Counter

import pytest

from cocoon.contracts_build import contracts_dir, sources
from cocoon.mutation.mutants import Mutant, generate, sample
from cocoon.mutation.tokens import TokenError, tokenize

FILE = """
import "errors"   // a + b == c

const LIMIT = 8
const LABEL = "a + b"

struct Storage { amount: coins = 0 }

/// Adds: a + b, assert (nothing) throw 5.
fun add(a: int, b: Cell<int>): int {
    /* if (a < b) { return; } */
    assert ((a > 0) & (b != null)) throw Errors.Wrong;
    var st = lazy Storage.load();
    if (a <= LIMIT) {
        st.amount += a;
        st.save();
    }
    createMessage({ bounce: BounceMode.NoBounce, value: min(a, 7) }).send(SEND_MODE_REGULAR | SEND_MODE_DESTROY);
    match (a) {
        Red => throw 0xFFFF,
        Green => { return; }
    }
    return a + b;
}

fun hidden(): int
    asm "a + b"
"""


@pytest.fixture
def mutants() -> list[Mutant]:
    return generate({"a/File.tolk": FILE})


def changed(mutants: list[Mutant], operator: str) -> list[tuple[str, str]]:
    """(before, after) of the text that the mutants of one operator replace."""
    return [(FILE[m.start : m.end], m.text) for m in mutants if m.operator == operator]


def test_tokenize_comments_and_strings_hide_what_is_in_them() -> None:
    tokens = tokenize('a /* b + c */ + "d \\"- e" // f\n<= 0x1F')
    assert [(token.kind, token.text) for token in tokens] == [
        ("name", "a"),
        ("symbol", "+"),
        ("string", '"d \\"- e"'),
        ("symbol", "<="),
        ("number", "0x1F"),
    ]


def test_tokenize_text_that_is_no_tolk_refused() -> None:
    with pytest.raises(TokenError, match="line 2"):
        tokenize("a\n # b")


def test_generate_every_operator_changes_what_it_is_named_after(mutants: list[Mutant]) -> None:
    save = "st.save()"
    assert changed(mutants, "comparison") == [
        (">", ">="),
        (">", "<="),
        ("!=", "=="),
        ("<=", "<"),
        ("<=", ">"),
    ]
    assert changed(mutants, "logic") == [("&", "|")]
    assert changed(mutants, "arithmetic") == [("+=", "-="), ("+", "-")]
    assert changed(mutants, "assert-removed") == [("assert ((a > 0) & (b != null)) throw Errors.Wrong", "{}")]
    assert changed(mutants, "assert-negated") == [("(a > 0) & (b != null)", "!((a > 0) & (b != null))")]
    assert changed(mutants, "error-code") == [("Errors.Wrong", "699"), ("0xFFFF", "699")]
    assert changed(mutants, "condition-true") == [("a <= LIMIT", "true")]
    assert changed(mutants, "condition-false") == [("a <= LIMIT", "false")]
    assert changed(mutants, "assignment-removed") == [("st.amount += a", "{}")]
    assert changed(mutants, "save-removed") == [(save, "{}")]
    assert [after for _, after in changed(mutants, "send-removed")] == ["{}"]
    assert [after for _, after in changed(mutants, "send-mode")] == [
        "SEND_MODE_REGULAR",
        "SEND_MODE_REGULAR | SEND_MODE_DESTROY | SEND_MODE_IGNORE_ERRORS",
    ]
    assert changed(mutants, "bounce-mode") == [("NoBounce", "Only256BitsOfBody")]
    assert changed(mutants, "swapped") == [("min", "max")]
    assert changed(mutants, "throw-removed") == [("throw 0xFFFF", "{}")]
    assert changed(mutants, "return-removed") == [("return", "{}")]


def test_generate_types_strings_comments_and_assembler_left_alone(mutants: list[Mutant]) -> None:
    touched = Counter(FILE.count("\n", 0, mutant.start) + 1 for mutant in mutants)
    for number, line in enumerate(FILE.split("\n"), 1):
        if any(word in line for word in ("import", "LABEL", "struct", "///", "/*", "asm")):
            assert number not in touched, line


def test_generate_constants_are_one_more_and_one_less_but_budgets_half() -> None:
    source = "const GAS_USED = 9000\n"
    assert [m.apply({"x.tolk": source})["x.tolk"] for m in generate({"x.tolk": source})] == [
        "const GAS_USED = (9000) + 1\n",
        "const GAS_USED = (9000) - 1\n",
    ]
    assert [m.text for m in generate({"fees.tolk": source})] == ["(9000) / 2"]


def test_generate_ids_survive_lines_above_and_are_unique(mutants: list[Mutant]) -> None:
    moved = generate({"a/File.tolk": "// a line\n\n" + FILE})
    assert [mutant.id for mutant in moved] == [mutant.id for mutant in mutants]
    assert [mutant.line for mutant in moved] == [mutant.line + 2 for mutant in mutants]
    everything = generate(sources(contracts_dir()))
    assert len({mutant.id for mutant in everything}) == len(everything) > 1000


def test_diff_shows_the_line_before_and_after(mutants: list[Mutant]) -> None:
    (mutant,) = [m for m in mutants if m.operator == "save-removed"]
    assert mutant.diff({"a/File.tolk": FILE}) == "-         st.save();\n+         {};"


def test_sample_same_seed_same_mutants_of_different_operators() -> None:
    everything = generate(sources(contracts_dir()))
    chosen = sample(everything, 12, 5)
    assert chosen == sample(everything, 12, 5) != sample(everything, 12, 6)
    assert len({mutant.operator for mutant in chosen}) == 12
