"""The parts of a Tolk file that mutations are made in: constants, and the statements of function bodies.

Declarations of types, messages and errors are left alone: they are layout, and changing one changes the protocol that
the tests themselves speak.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from .tokens import Token, tokenize

__all__ = ["Const", "Function", "Span", "Statement", "parse"]

StatementKind = Literal["simple", "condition"]
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_OPENING = frozenset(_CLOSING)


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens `first` to `last` (exclusive) of a file."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Statement:
    """A `simple` statement without its semicolon, or the `condition` between the parentheses of an `if` or `while`."""

    kind: StatementKind
    span: Span
    keyword: str


@dataclass(frozen=True, slots=True)
class Function:
    """A function with a body of statements; `name` includes the type of a method."""

    name: str
    body: Span
    statements: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Const:
    """`const name = value`; the span is the value's."""

    name: str
    value: Span


def parse(source: str) -> tuple[list[Token], list[Function], list[Const]]:
    """The tokens of a file, and where its functions and constants are in them."""
    tokens = tokenize(source)
    functions: list[Function] = []
    consts: list[Const] = []
    position = 0
    while position < len(tokens):
        text = tokens[position].text
        if text == "fun":
            function, position = _function(tokens, position)
            if function is not None:
                functions.append(function)
        elif text == "const" and tokens[position].kind == "name":
            const, position = _const(source, tokens, position)
            consts.append(const)
        elif text in _OPENING:
            position = _after_group(tokens, position)
        else:
            position += 1
    return tokens, functions, consts


def _function(tokens: Sequence[Token], position: int) -> tuple[Function | None, int]:
    start = position + 1
    while tokens[position].text != "(":
        position += 1
    name = "".join(token.text for token in tokens[start:position])
    position = _after_group(tokens, position)
    while position < len(tokens) and tokens[position].text not in ("{", "asm", "builtin", "fun"):
        position += 1
    if position == len(tokens) or tokens[position].text != "{":
        return None, position  # in assembler: no statements of ours
    end = _after_group(tokens, position)
    statements = tuple(_block(tokens, position + 1, end - 1))
    return Function(name, Span(position + 1, end - 1), statements), end


def _const(source: str, tokens: Sequence[Token], position: int) -> tuple[Const, int]:
    name = tokens[position + 1].text
    while tokens[position].text != "=":
        position += 1
    first = position = position + 1
    # A constant ends with its line: the house style has one a line, without semicolons.
    while position < len(tokens) and "\n" not in source[tokens[first].start : tokens[position].start]:
        position += 1
    return Const(name, Span(first, position)), position


def _block(tokens: Sequence[Token], position: int, end: int) -> Iterator[Statement]:
    while position < end:
        text = tokens[position].text
        if text in ("{", "}", ";", "else", "do", "try"):
            position += 1  # what is inside a nested block is read as if it stood here
        elif text in ("if", "while", "repeat", "catch") and tokens[position + 1].text == "(":
            after = _after_group(tokens, position + 1)
            if text in ("if", "while"):
                yield Statement("condition", Span(position + 2, after - 1), text)
            position = after
        elif text == "match":
            arms = _after_group(tokens, position + 1)
            after = _after_group(tokens, arms)
            yield from _arms(tokens, arms + 1, after - 1)
            position = after
        else:
            after = _statement_end(tokens, position, end)
            yield Statement("simple", Span(position, after), text)
            position = after


def _arms(tokens: Sequence[Token], position: int, end: int) -> Iterator[Statement]:
    while position < end:
        while position < end and tokens[position].text != "=>":
            position += 1
        position += 1
        if position < end and tokens[position].text == "{":
            after = _after_group(tokens, position)
            yield from _block(tokens, position + 1, after - 1)
            position = after
        elif position < end:
            after = _statement_end(tokens, position, end, ",")
            yield Statement("simple", Span(position, after), tokens[position].text)
            position = after


def _statement_end(tokens: Sequence[Token], position: int, end: int, separator: str = ";") -> int:
    while position < end and tokens[position].text not in (separator, "}"):
        position = _after_group(tokens, position) if tokens[position].text in _OPENING else position + 1
    return position


def _after_group(tokens: Sequence[Token], position: int) -> int:
    """Past the bracket that closes the one at `position`."""
    stack: list[str] = []
    while True:
        text = tokens[position].text
        if text in _CLOSING:
            stack.append(_CLOSING[text])
        elif stack and text == stack[-1]:
            stack.pop()
        position += 1
        if not stack:
            return position
