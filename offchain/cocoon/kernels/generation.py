"""A running answer: tokens one by one, with stop conditions, streamed text and accounting."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from cocoon.kernels.errors import InvalidRequest
from cocoon.kernels.sampling import Sampling, choose
from cocoon.kernels.session import Session
from cocoon.kernels.tokenizer import StreamDecoder, Tokenizer

__all__ = ["Completion", "FinishReason", "Generation", "StopScanner", "Token"]

FinishReason = Literal["stop", "length", "cancelled"]

_MAX_STOPS = 16
_MAX_STOP_CHARS = 1024


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token. index: counts from 0. text: what became final with it, whole characters, possibly empty."""

    id: int
    index: int
    text: str


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished answer.

    prompt_tokens: with the chat template's. completion_tokens: every token the model produced, the end token included.
    finish_reason: `stop` (end token or stop string), `length` (max_tokens or context full) or `cancelled`.
    """

    text: str
    tokens: tuple[int, ...]
    prompt_tokens: int
    completion_tokens: int
    finish_reason: FinishReason


class StopScanner:
    """Cuts a stream of text before the first stop string; holds back what may turn out to be the beginning of one."""

    def __init__(self, stops: Sequence[str]) -> None:
        """Raises InvalidRequest for empty, too long or too many stop strings."""
        if len(stops) > _MAX_STOPS or not all(0 < len(stop) <= _MAX_STOP_CHARS for stop in stops):
            raise InvalidRequest(f"send at most {_MAX_STOPS} stop strings of 1 to {_MAX_STOP_CHARS} characters")
        self._stops = tuple(stops)
        self._held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """(text that may be shown, whether a stop string was found); nothing may be pushed after it was."""
        self._held += text
        found = [at for at in map(self._held.find, self._stops) if at >= 0]
        if found:
            return self._held[: min(found)], True
        keep = max((self._overlap(stop) for stop in self._stops), default=0)
        shown, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return shown, False

    def flush(self) -> str:
        """What was held back in vain."""
        shown, self._held = self._held, ""
        return shown

    def _overlap(self, stop: str) -> int:
        """Length of the longest proper beginning of `stop` that the held text ends with."""
        lengths = range(min(len(stop) - 1, len(self._held)), 0, -1)
        return next((n for n in lengths if self._held.endswith(stop[:n])), 0)


class Generation(Iterator[Token]):
    """Iterate to run the model; the work happens in the caller's thread, one step per token.

    The texts of the tokens joined are the answer. `finish_reason` is None until the iterator is exhausted. A cancelled
    generation ends before its next step (while it reads a prompt: before the next chunk) and shows no text held back
    for a stop string.
    """

    def __init__(
        self,
        session: Session,
        tokenizer: Tokenizer,
        prompt: Sequence[int],
        *,
        max_tokens: int,
        stop: Sequence[str],
        sampling: Sampling,
        cancel: threading.Event | None,
    ) -> None:
        self.prompt_tokens = len(prompt)
        self.finish_reason: FinishReason | None = None
        self._text: list[str] = []
        self._tokens: list[int] = []
        self._cancel = cancel
        self._steps = self._run(session, tokenizer, prompt, max_tokens, StopScanner(stop), sampling)

    @property
    def text(self) -> str:
        """The answer so far."""
        return "".join(self._text)

    @property
    def completion_tokens(self) -> int:
        """Tokens produced so far, the end token included."""
        return len(self._tokens)

    def __next__(self) -> Token:
        return next(self._steps)

    def finish(self) -> Completion:
        """Runs to the end and returns the whole answer."""
        for _ in self:
            pass
        assert self.finish_reason is not None
        return Completion(self.text, tuple(self._tokens), self.prompt_tokens, len(self._tokens), self.finish_reason)

    def _run(
        self,
        session: Session,
        tokenizer: Tokenizer,
        prompt: Sequence[int],
        max_tokens: int,
        scanner: StopScanner,
        sampling: Sampling,
    ) -> Iterator[Token]:
        decoder = StreamDecoder(tokenizer)
        logits = session.prefill(prompt, self._cancel)
        for index in range(max_tokens):
            if logits is None or (self._cancel is not None and self._cancel.is_set()):
                self.finish_reason = "cancelled"
                return
            token = choose(logits, session.position, sampling)
            text, stopped = scanner.push(decoder.push(token))
            ended = token in tokenizer.ends
            full = index + 1 == max_tokens
            if not stopped and (ended or full):
                rest, stopped = scanner.push(decoder.flush())
                text += rest if stopped else rest + scanner.flush()
            if ended or stopped:
                self.finish_reason = "stop"
            elif full:
                self.finish_reason = "length"
            self._tokens.append(token)
            self._text.append(text)
            yield Token(token, index, text)
            if self.finish_reason is not None:
                return
            logits = session.step(token)
