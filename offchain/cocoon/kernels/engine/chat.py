"""Chat messages to model tokens, through the template the model ships with.

The template is Jinja out of a file a stranger made: it runs in Jinja's immutable sandbox, without files, clock or
network.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ..errors import InvalidRequest, UnsupportedModel
from .tokenizer import Tokenizer

__all__ = ["ROLES", "ChatTemplate", "Message"]

ROLES = ("system", "user", "assistant")
_MARKS = range(0xFDD0, 0xFDF0)  # code points Unicode reserves as noncharacters
_MORE_MARKS = range(0xF0000, 0xFFFFE)  # private use, should a text hold all of the former


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. role: one of ROLES; content: any text."""

    role: str
    content: str

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise InvalidRequest(f"role {self.role!r} is unknown: use one of {', '.join(ROLES)}")
        if not isinstance(self.content, str):
            raise InvalidRequest(f"the content of a message is {type(self.content).__name__}: send text")


class ChatTemplate:
    """A compiled template bound to its tokenizer. digest: SHA-256 of the template's source."""

    def __init__(self, source: str, tokenizer: Tokenizer) -> None:
        """Raises UnsupportedModel if the template can't be compiled."""
        self.digest = hashlib.sha256(source.encode()).digest()
        self._tokenizer = tokenizer
        names = {token: text for text, token in tokenizer.control.items()}
        self._constants = {
            "bos_token": "" if tokenizer.bos is None else names.get(tokenizer.bos, ""),
            "eos_token": names.get(tokenizer.eos, ""),
        }
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.loopcontrols"],
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        try:
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise UnsupportedModel(f"the model's chat template can't be compiled: {error}") from error

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Tokens of a conversation up to where the assistant's answer begins.

        Message texts can't place control tokens (see `Tokenizer.protect`). Raises InvalidRequest for no messages or a
        sequence of roles the template refuses.
        """
        if not messages:
            raise InvalidRequest("there is no message to answer: send at least one")
        mark = _unused_mark(messages)
        turns = [{"role": m.role, "content": self._tokenizer.protect(m.content, mark)} for m in messages]
        try:
            rendered = self._template.render(messages=turns, add_generation_prompt=True, **self._constants)
        except (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise InvalidRequest(f"the model's chat template refuses these messages: {error}") from error
        return self._tokenizer.encode_marked(rendered, mark)


def _unused_mark(messages: Sequence[Message]) -> str:
    used: set[str] = set().union(*(message.content for message in messages))
    for codes in (_MARKS, _MORE_MARKS):
        for code in codes:
            if chr(code) not in used:
                return chr(code)
    raise InvalidRequest("the messages hold every private-use character: leave one out")


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(reason: str) -> NoReturn:
    raise TemplateError(reason)
