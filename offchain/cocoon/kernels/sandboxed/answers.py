"""What the process that runs a kernel may answer, and nothing else.

A stranger's program may have taken the process over, so each answer is read here against what was asked: its form, its
size, the order of its parts. Whatever no process of ours would say raises Nonsense, or another exception out of reading
it, and ends the process. That an answer is *right* nobody can tell from outside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, get_args

import numpy.typing as npt

from .. import errors
from ..bundle.manifest import DTYPES, Build, Core, Tensor
from ..engine.request import Finished, FinishReason, Metering, Started, Token
from ..engine.tokenizer import MAX_TOKEN_BYTES
from ..errors import BundleInvalid, KernelError, OverBudget, PromptTooLong
from .frames import unpack_arrays

__all__ = ["Arrays", "ArraysAsked", "Event", "Nonsense", "TokensAsked", "count", "counters", "error", "text", "whole"]

type Event = Started | Token | Finished | KernelError
Arrays = dict[str, npt.NDArray[Any]]

_HELD_CHARS = 1024  # of text that waited for a stop string to be complete, beside the token's own
_MOST = 1 << 53
_MAX_MESSAGE_CHARS = 2000


class Nonsense(Exception):
    """An answer that no kernel's process gives."""


def whole(value: Any, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise Nonsense(f"no whole number from {least} to {most}")
    return value


def text(value: Any, most: int) -> str:
    """At most so many characters, and none that no encoding has."""
    if type(value) is not str or len(value) > most:
        raise Nonsense(f"no text of at most {most} characters")
    value.encode()
    return value


def error(found: Any) -> KernelError:
    """The process's error as an exception of the same name; its message on one line, for logs and terminals."""
    kind = getattr(errors, text(found["type"], 100), None)
    if kind is PromptTooLong:
        return PromptTooLong(whole(found["tokens"], 0, _MOST), whole(found["limit"], 0, _MOST))
    if kind is OverBudget:
        return OverBudget(whole(found["tokens"], 0, _MOST))
    message = "".join(char if char.isprintable() else " " for char in str(found["message"])[:_MAX_MESSAGE_CHARS])
    if isinstance(kind, type) and issubclass(kind, KernelError):
        made: Callable[[str], KernelError] = kind
        return made(message)
    return BundleInvalid(message)


def count(value: Any, data: bytes) -> int:
    return whole(value, 0, _MOST)


def counters(value: Any, data: bytes) -> dict[str, Any]:
    """Numbers by name."""
    made = dict(value)
    if len(made) > 100 or not all(type(number) in (int, float) and math.isfinite(number) for number in made.values()):
        raise Nonsense("no counters")
    return made


class ArraysAsked:
    """A `map` model's outputs for inputs of known sizes."""

    def __init__(self, core: Core, build: Build, given: Mapping[str, int]) -> None:
        """given: sizes of named dimensions that the inputs have."""
        self._core, self._given = core, given
        self._most = _largest(core, build)

    @property
    def room(self) -> int:
        """Bytes that the arrays may have."""
        if self._core.kind != "map":
            return 0
        return sum(
            math.prod(self._bounds(dim)[1] for dim in tensor.dims) * DTYPES[tensor.dtype]
            for tensor in self._core.outputs
        )

    def read(self, value: Any, data: bytes) -> tuple[Arrays, int]:
        """The arrays, and how many tokens went in."""
        described = value["arrays"]
        if list(described) != [tensor.name for tensor in self._core.outputs]:
            raise Nonsense("other outputs than the model's")
        for tensor in self._core.outputs:
            dtype, shape = described[tensor.name]
            if dtype != tensor.dtype or len(shape) != len(tensor.dims):
                raise Nonsense(f"{tensor.name} is not what the model makes")
            for size, dim in zip(shape, tensor.dims, strict=True):
                whole(size, *self._bounds(dim))
        arrays = unpack_arrays(described, data)
        if sum(array.nbytes for array in arrays.values()) != len(data):
            raise Nonsense("more bytes than the arrays have")
        return arrays, whole(value["tokens"], 0, _MOST)

    def _bounds(self, dim: int | str) -> tuple[int, int]:
        if isinstance(dim, int):
            return dim, dim
        if dim in self._given:
            return self._given[dim], self._given[dim]
        return 0, self._most.get(dim, 0)


class TokensAsked:
    """One run of a `generate` request: its tokens in order, no more of them than were allowed, and one end."""

    def __init__(self, core: Core, build: Build, order: Mapping[str, Any], metering: Metering | None) -> None:
        """order: the request as the process got it."""
        self._vocabulary = 0 if core.generate is None else core.generate.vocabulary
        self._capacity, self._metering = build.capacity, metering
        self._given: int | None = None if order["tokens"] is None else len(order["tokens"])
        self._logprobs: int | None = order["logprobs"]
        self._most: int = build.capacity if order["max_tokens"] is None else order["max_tokens"]
        self._allowed = None if metering is None else metering.allowed
        self._started: Started | None = None
        self._count, self._over = 0, False

    def allow(self, tokens: int) -> None:
        """So many tokens in all from now on; never fewer than before."""
        self._allowed = max(self._allowed or 0, tokens)

    def read(self, header: Mapping[str, Any]) -> Event:
        if self._over:
            raise Nonsense("an answer that goes on behind its end")
        if "token" in header:
            return self._token(header["token"])
        if "started" in header:
            return self._start(header["started"])
        self._over = True
        return self._finish(header["finished"]) if "finished" in header else self._fail(error(header["error"]))

    def _start(self, found: Any) -> Started:
        if self._metering is None or self._started is not None or self._count:
            raise Nonsense("an answer that starts twice")
        tokens = whole(found["prompt_tokens"], 1, min(self._capacity - 1, self._metering.prepaid))
        self._started = Started(tokens, whole(found["cached_tokens"], 0, tokens))
        return self._started

    def _token(self, found: Any) -> Token:
        if whole(found["index"], 0, _MOST) != self._count or self._count >= self._limit():
            raise Nonsense("a token out of order, or more of them than are allowed")
        self._count += 1
        said = text(found["text"], MAX_TOKEN_BYTES + _HELD_CHARS)
        number = whole(found["id"], 0, self._vocabulary - 1)
        if self._logprobs is None:
            return Token(number, self._count - 1, said)
        if len(found["top"]) > self._logprobs:
            raise Nonsense("more alternatives than were asked for")
        top = tuple((whole(i, 0, self._vocabulary - 1), _real(value)) for i, value in found["top"])
        return Token(number, self._count - 1, said, _real(found["logprob"]), top)

    def _limit(self) -> int:
        if self._metering is None:
            return min(self._most, self._capacity - (self._given or 1))
        if self._started is None:
            raise Nonsense("an answer that did not start")
        prompt = self._started.prompt_tokens
        paid = self._metering.most(prompt)
        # a prompt that was let in gives its first token: the allowance begins behind it
        allowed = max(1, self._allowed or 0)
        return min(self._most, self._capacity - prompt, allowed, allowed if paid is None else paid)

    def _fail(self, found: KernelError) -> KernelError:
        if isinstance(found, OverBudget):
            metering, tokens = self._metering, whole(found.tokens, 1, self._capacity - 1)
            if metering is None or (tokens <= metering.prepaid and metering.most(tokens) != 0):
                raise Nonsense("a prompt that is paid for")  # it would be tried again, and again
        return found

    def _finish(self, found: Any) -> Finished | KernelError:
        if found["error"] is not None:
            return error({"type": "KernelError", "message": found["error"]})
        if found["reason"] not in get_args(FinishReason):
            raise Nonsense("no reason to end")
        tokens = whole(found["prompt_tokens"], 1, self._capacity - 1)
        cached = whole(found["cached_tokens"], 0, tokens)
        if (self._started or Started(tokens, cached)) != Started(tokens, cached) or self._given not in (None, tokens):
            raise Nonsense("another prompt at the end than at the start")
        if found["reason"] != "cancelled" and self._count == 0:
            raise Nonsense("an answer without a token")
        return Finished(found["reason"], tokens, cached, whole(found["completion_tokens"], self._count, self._count))


def _real(value: Any) -> float:
    if type(value) not in (int, float) or math.isnan(value):
        raise Nonsense("no number")
    return float(value)


def _largest(core: Core, build: Build) -> dict[str, int]:
    """The greatest size that a program of the build gives each named dimension."""
    sizes: dict[str, int] = {}
    for program in build.programs:
        pairs: list[tuple[Tensor, Tensor]] = [
            *zip(core.inputs, program.inputs, strict=False),
            *zip(core.outputs, program.outputs, strict=False),
        ]
        for generic, concrete in pairs:
            for dim, size in zip(generic.dims, concrete.dims, strict=False):
                if isinstance(dim, str) and isinstance(size, int):
                    sizes[dim] = max(size, sizes.get(dim, 0))
    return sizes
