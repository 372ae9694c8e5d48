"""A strict reader of the part of TL-B that `contracts/scheme.tlb` is written in.

`Schema.parse` gives constructors by the type they make; `tlb_cells` reads and writes cells by them. Every named
constructor needs an explicit tag, tags of one type are prefix-free, and every type must exist with as many arguments as
it is given. Constructors that need natural numbers worked out (dictionaries, variable integers, addresses) are parsed
but not interpreted: `tlb_cells` knows these types itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["NATIVE", "Constructor", "InRef", "Named", "Schema", "SchemeError", "Type"]


class SchemeError(Exception):
    """The scheme says something that is not TL-B of this part, or contradicts itself."""


@dataclass(frozen=True, slots=True)
class InRef:
    """`^T`: in a cell of its own."""

    inner: Type

    def __str__(self) -> str:
        return f"^{self.inner}"


@dataclass(frozen=True, slots=True)
class Named:
    """A type by its name, with arguments: `uint32`, `(Maybe ^Binding)`, `(HashmapE 256 Unit)`."""

    name: str
    arguments: tuple[Type | int | str, ...] = ()

    def __str__(self) -> str:
        return f"({' '.join(map(str, (self.name, *self.arguments)))})" if self.arguments else self.name


Type = InRef | Named


@dataclass(frozen=True, slots=True)
class Constructor:
    """One way to make a `result`. `tag` is a string of 0 and 1; `is_plain`: nothing has to be worked out to read it."""

    name: str
    tag: str
    fields: tuple[tuple[str, Type], ...]
    result: str
    arity: int
    is_plain: bool

    @property
    def opcode(self) -> int | None:
        """The 32-bit tag of a message, None for anything else."""
        return int(self.tag, 2) if len(self.tag) == 32 else None


NATIVE = {"##": 1, "Cell": 0}
_SIZED = re.compile(r"(u?int|bits)([1-9][0-9]*)")
_HEAD = re.compile(
    r"(?P<name>_(?=\s)|[a-z][a-z0-9_]*(?=[#$]))(?P<tag>[#$][0-9a-f_]+)?\s(?P<fields>.*)=(?P<result>[^{}=]*)", re.DOTALL
)
_TOKEN = re.compile(r"\s*(##|#<=|#<|#|[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[:^()~*+])")


@dataclass(frozen=True, slots=True)
class Schema:
    """Constructors by the name of the type they make, in order of appearance."""

    types: dict[str, tuple[Constructor, ...]]

    @classmethod
    def parse(cls, text: str) -> Schema:
        """SchemeError names the declaration that can't be understood."""
        *declarations, rest = re.sub(r"//[^\n]*", "", text).split(";")
        if rest.strip():
            raise SchemeError(f"the last declaration does not end: {rest.strip()[:60]!r}")
        types: dict[str, tuple[Constructor, ...]] = {}
        for declaration in declarations:
            constructor = _constructor(declaration.strip())
            types[constructor.result] = (*types.get(constructor.result, ()), constructor)
        schema = cls(types)
        schema._check()
        return schema

    @property
    def constructors(self) -> dict[str, Constructor]:
        """By name; names are unique, but for the nameless."""
        return {made.name: made for ways in self.types.values() for made in ways if made.name != "_"}

    def is_enumeration(self, name: str) -> bool:
        """Whether the type is nothing but a choice of tags."""
        return all(made.tag and not made.fields for made in self.types[name])

    def _check(self) -> None:
        every = [made for ways in self.types.values() for made in ways if made.name != "_"]
        if len(every) != len(self.constructors):
            raise SchemeError(f"{len(every) - len(self.constructors)} constructor names occur twice")
        for name, made in self.types.items():
            tags = sorted(constructor.tag for constructor in made)
            if made[0].is_plain and any(later.startswith(tag) for tag, later in pairwise(tags)):
                raise SchemeError(f"the tags of {name} are not prefix-free")
            if len({constructor.arity for constructor in made}) != 1:
                raise SchemeError(f"{name} is made with different numbers of arguments")
            for constructor in made:
                names = [field for field, _ in constructor.fields]
                if len(set(names)) != len(names):
                    raise SchemeError(f"{constructor.name} has two fields of one name")
                if constructor.is_plain:
                    for _, kind in constructor.fields:
                        self._check_type(kind, constructor)

    def _check_type(self, kind: Type | int | str, where: Constructor) -> None:
        if isinstance(kind, InRef):
            self._check_type(kind.inner, where)
        elif isinstance(kind, Named):
            if kind.name in self.types:
                arity = self.types[kind.name][0].arity
            elif _SIZED.fullmatch(kind.name):
                arity = 0
            elif kind.name in NATIVE:
                arity = NATIVE[kind.name]
            else:
                raise SchemeError(f"{where.name} uses {kind.name}, which is not declared")
            if arity != len(kind.arguments):
                raise SchemeError(f"{where.name}: {kind.name} takes {arity} arguments, not {len(kind.arguments)}")
            for argument in kind.arguments:
                self._check_type(argument, where)


def _constructor(text: str) -> Constructor:
    head = _HEAD.fullmatch(text)
    if head is None:
        raise SchemeError(f"not a declaration with an explicit tag: {text[:60]!r}")
    implicit = re.findall(r"\{([^{}]*)\}", head["fields"])
    tokens = _tokens(re.sub(r"\{[^{}]*\}", " ", head["fields"]))
    fields: list[tuple[str, Type]] = []
    while tokens:
        if len(tokens) > 1 and tokens[1] == ":":
            name = tokens[0]
            del tokens[:2]
        elif tokens[0] == "(" and not fields:  # a type alone, as in `bit$_ (## 1) = Bit`
            name = "_"
        else:
            raise SchemeError(f"{head['name']}: {tokens[0]} is not a field")
        kind = _type(tokens)
        if not isinstance(kind, InRef | Named):
            raise SchemeError(f"{head['name']}: field {name} has no type")
        fields.append((name, kind))
    result, *parameters = _tokens(head["result"])
    arity = len(re.sub(r"\([^()]*\)", "x", "".join(parameters).replace("~", ""))) if parameters else 0
    plain = not implicit and not parameters and head["name"] != "_" and "(bits" not in head["fields"]
    return Constructor(head["name"], _tag(head["tag"] or "#_"), tuple(fields), result, arity, plain)


def _tag(text: str) -> str:
    if text[1:] == "_":
        return ""
    if text[0] == "$":
        if set(text[1:]) - {"0", "1"}:
            raise SchemeError(f"{text} is not a binary tag")
        return text[1:]
    if "_" in text:
        raise SchemeError(f"{text}: completion tags are not used here")
    return f"{int(text[1:], 16):0{4 * len(text[1:])}b}"


def _tokens(text: str) -> list[str]:
    found: list[str] = []
    at = 0
    text = text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise SchemeError(f"{text[at : at + 20]!r} is not TL-B")
        found.append(match[1])
        at = match.end()
    return found


def _type(tokens: list[str]) -> Type | int | str:
    """One term off the front of `tokens`."""
    if not tokens:
        raise SchemeError("a type is missing at the end")
    token = tokens.pop(0)
    if token == "^":
        inner = _type(tokens)
        if not isinstance(inner, InRef | Named):
            raise SchemeError(f"^{inner} refers to no type")
        return InRef(inner)
    if token == "~":
        return f"~{tokens.pop(0)}"
    if token.isdigit():
        return int(token)
    if token != "(":
        return Named(token)
    terms: list[Type | int | str] = []
    while tokens and tokens[0] != ")":
        terms.append(tokens.pop(0) if tokens[0] in "*+" else _type(tokens))
    if not tokens:
        raise SchemeError("a parenthesis is not closed")
    tokens.pop(0)
    if len(terms) == 3 and terms[1] in ("*", "+"):
        return Named(str(terms[1]), (terms[0], terms[2]))
    first, *arguments = terms
    if not isinstance(first, Named) or first.arguments:
        raise SchemeError(f"{first} takes no arguments")
    return Named(first.name, tuple(arguments))
