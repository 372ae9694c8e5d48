"""The mutation operators: what a careless or a hostile edit of a contract would look like.

Each yields edits of one statement, condition or constant. Whether an edit compiles, and whether it changes any code, is
found out by compiling it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .grammar import Const, Span, Statement
from .tokens import Token

__all__ = ["Edit", "Operators"]


class Edit(NamedTuple):
    """Replace `source[start:end]` by `text`."""

    operator: str
    start: int
    end: int
    text: str


_COMPARISONS = {
    "<": ("<=", ">="),
    "<=": ("<", ">"),
    ">": (">=", "<="),
    ">=": (">", "<"),
    "==": ("!=",),
    "!=": ("==",),
}
_LOGIC = {"&": "|", "|": "&", "&&": "||", "||": "&&"}
_ARITHMETIC = {"+": "-", "-": "+", "*": "+", "/": "*", "<<": ">>", ">>": "<<", "+=": "-=", "-=": "+=", "*=": "+="}
_ASSIGNMENTS = frozenset({"=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^="})
_SWAPPED = {"min": "max", "max": "min", "true": "false", "false": "true"}
_NO_ERROR = "699"  # a code that no contract throws
_MODE_ALONE = {"SEND_MODE_REGULAR": "SEND_MODE_PAY_FEES_SEPARATELY"}
_BOUNCES = {"NoBounce": "Only256BitsOfBody"}
_REMOVALS = {
    "save": "save-removed",
    "setData": "save-removed",
    "commitContractDataAndActions": "commit-removed",
    "setCodePostponed": "save-removed",
    "send": "send-removed",
    "set": "map-write-removed",
    "delete": "map-write-removed",
    "addIfNotExists": "map-write-removed",
    "assertEnd": "strict-end-removed",
}


@dataclass(frozen=True, slots=True)
class Operators:
    """The operators over one file: its text and its tokens."""

    source: str
    tokens: Sequence[Token]

    def of_statement(self, statement: Statement) -> Iterator[Edit]:
        """Edits of a whole statement first, then of what it says."""
        if statement.kind == "condition":
            yield from self._forced(statement)
        else:
            yield from self._removed(statement)
        yield from self._expressions(statement.span)
        yield from self._sends(statement.span)

    def of_const(self, const: Const, *, budget: bool) -> Iterator[Edit]:
        """A constant one more and one less. A `budget` is an upper bound of gas or of sizes, where one unit less says
        nothing and more is only generous: it is halved."""
        value = self.tokens[const.value.first : const.value.last]
        if any(token.kind == "string" or token.text == "(" for token in value):
            return
        start, end = value[0].start, value[-1].end
        for operator, change in (("budget", "/ 2"),) if budget else (("constant", "+ 1"), ("constant", "- 1")):
            yield Edit(operator, start, end, f"({self.source[start:end]}) {change}")

    def _forced(self, statement: Statement) -> Iterator[Edit]:
        start, end = self._text_range(statement.span)
        for value in ("true", "false"):
            if (statement.keyword, value) != ("while", "true"):
                yield Edit(f"condition-{value}", start, end, value)

    def _removed(self, statement: Statement) -> Iterator[Edit]:
        tokens, span = self.tokens, statement.span
        start, end = self._text_range(span)
        match statement.keyword:
            case "assert":
                condition = self._text_range(Span(span.first + 2, self._closing(span.first + 1)))
                yield Edit("assert-removed", start, end, "{}")
                yield Edit("assert-negated", *condition, f"!({self.source[condition[0] : condition[1]]})")
            case "throw":
                yield Edit("throw-removed", start, end, "{}")
            case "return" if span.last - span.first == 1:
                yield Edit("return-removed", start, end, "{}")
            case "return" | "val" | "var":
                return
            case _:
                depth = 0
                called = ""
                for position in range(span.first, span.last):
                    text = tokens[position].text
                    if text in _ASSIGNMENTS and depth == 0:
                        yield Edit("assignment-removed", start, end, "{}")
                        return
                    if text == "(" and depth == 0:
                        called = tokens[position - 1].text
                    depth += (text in "([{") - (text in ")]}")
                if called:
                    yield Edit(_REMOVALS.get(called, "call-removed"), start, end, "{}")

    def _expressions(self, span: Span) -> Iterator[Edit]:
        for position in range(span.first, span.last):
            token = self.tokens[position]
            text = token.text
            if token.kind == "symbol":
                spaced = self._spaced(token)
                if spaced and text in _COMPARISONS:  # without spaces, < and > enclose type arguments
                    for other in _COMPARISONS[text]:
                        yield Edit("comparison", token.start, token.end, other)
                elif spaced and text in _LOGIC and not self._is_mode(position - 1):
                    yield Edit("logic", token.start, token.end, _LOGIC[text])
                elif spaced and text in _ARITHMETIC:
                    yield Edit("arithmetic", token.start, token.end, _ARITHMETIC[text])
                elif text == "!" and not spaced and self.source[token.start - 1] in " (":
                    yield Edit("not-removed", token.start, token.end, "")
            elif token.kind == "number" and self._text(position - 1) != ".":
                if self._text(position - 1) == "throw":
                    yield Edit("error-code", token.start, token.end, _NO_ERROR)
                else:
                    yield Edit("constant", token.start, token.end, f"({text} + 1)")
                    if int(text.replace("_", ""), 0) > 0:
                        yield Edit("constant", token.start, token.end, f"({text} - 1)")
            elif text in _SWAPPED and self._text(position - 1) != ".":
                yield Edit("swapped", token.start, token.end, _SWAPPED[text])
            elif text == "throw" and self._text(position + 2) == ".":
                error = self.tokens[position + 1].start, self.tokens[position + 3].end
                yield Edit("error-code", *error, _NO_ERROR)

    def _sends(self, span: Span) -> Iterator[Edit]:
        position = span.first
        while position < span.last:
            token = self.tokens[position]
            if self._is_mode(position):
                flags = [position]
                while self._text(flags[-1] + 1) == "|" and self._is_mode(flags[-1] + 2):
                    flags.append(flags[-1] + 2)
                yield from self._modes(flags)
                position = flags[-1]
            elif token.text == "BounceMode" and self._text(position + 1) == ".":
                mode = self.tokens[position + 2]
                yield Edit("bounce-mode", mode.start, mode.end, _BOUNCES.get(mode.text, "NoBounce"))
            position += 1

    def _modes(self, flags: Sequence[int]) -> Iterator[Edit]:
        start, end = self.tokens[flags[0]].start, self.tokens[flags[-1]].end
        names = [self.tokens[flag].text for flag in flags]
        if len(names) == 1:
            yield Edit("send-mode", start, end, _MODE_ALONE.get(names[0], "SEND_MODE_REGULAR"))
        else:
            for name in names:
                if name != "SEND_MODE_REGULAR":
                    rest = [other for other in names if other != name]
                    yield Edit("send-mode", start, end, " | ".join(rest))
        if "SEND_MODE_IGNORE_ERRORS" not in names:
            yield Edit("send-mode", start, end, " | ".join([*names, "SEND_MODE_IGNORE_ERRORS"]))

    def _is_mode(self, position: int) -> bool:
        return self._text(position).startswith("SEND_MODE_")

    def _spaced(self, token: Token) -> bool:
        return self.source[token.start - 1].isspace() and self.source[token.end].isspace()

    def _text(self, position: int) -> str:
        return self.tokens[position].text if 0 <= position < len(self.tokens) else ""

    def _text_range(self, span: Span) -> tuple[int, int]:
        return self.tokens[span.first].start, self.tokens[span.last - 1].end

    def _closing(self, opening: int) -> int:
        depth = 0
        for position in range(opening, len(self.tokens)):
            depth += (self.tokens[position].text == "(") - (self.tokens[position].text == ")")
            if depth == 0:
                return position
        return len(self.tokens)
