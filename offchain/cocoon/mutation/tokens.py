"""Tolk source as tokens, each with its place in the text. Comments and white space are left out, strings are whole.

Lexical only: enough to change an operator without touching a comment or a string that looks like one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from ..errors import CocoonError

__all__ = ["Kind", "Token", "TokenError", "tokenize"]

Kind = Literal["name", "number", "string", "symbol"]
_KINDS: tuple[Kind, ...] = ("name", "number", "string", "symbol")

_PATTERN = re.compile(
    r"""
      (?P<skip>\s+|//[^\n]*|/\*.*?\*/)
    | (?P<string>\"\"\".*?\"\"\"|"(?:\\.|[^"\\\n])*")
    | (?P<number>0x[0-9a-fA-F_]+|0b[01_]+|[0-9][0-9_]*)
    | (?P<name>[A-Za-z_$][A-Za-z0-9_$]*|`[^`\n]+`)
    | (?P<symbol><=>|<<=|>>=|~>>|\^>>|~/|\^/|=>|->|==|!=|<=|>=|&&|\|\||\?\?|<<|>>|[-+*/%&|^]=
        |[-+*/%&|^~!?:;,.(){}\[\]<>=@])
    """,
    re.VERBOSE | re.DOTALL,
)


class TokenError(CocoonError):
    """Text that is not Tolk as this tokenizer knows it."""


@dataclass(frozen=True, slots=True)
class Token:
    """`text` stands at `start` of the source and ends before `end`."""

    kind: Kind
    text: str
    start: int
    end: int


def tokenize(source: str) -> list[Token]:
    """Every token of `source` in order. TokenError where no token begins."""
    tokens: list[Token] = []
    position = 0
    while position < len(source):
        match = _PATTERN.match(source, position)
        if match is None:
            line = source.count("\n", 0, position) + 1
            raise TokenError(f"line {line}: {source[position : position + 20]!r} is no Tolk this tokenizer knows")
        for kind in _KINDS:
            if match.group(kind) is not None:
                tokens.append(Token(kind, match.group(), match.start(), match.end()))
        position = match.end()
    return tokens
