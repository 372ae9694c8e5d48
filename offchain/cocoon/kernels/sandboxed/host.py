"""A model to ask, whatever happens to the process that runs it.

When the process dies, all requests in it are run again in a new one, each alone: answers are a function of request and
seed, so those that had begun go on where they stopped. The one whose fault it was dies alone, and only it fails.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy.typing as npt

from ..engine.chat import Message
from ..engine.request import Completion, FinishReason, Metering, Token
from ..engine.sampling import GREEDY, Sampling
from ..errors import KernelCrashed, KernelError, NotLoaded, PromptTooLong
from ..progress import ProgressCallback, silent
from .frames import pack_arrays, unpack_arrays
from .process import KernelProcess, Order
from .running import Event, Running

__all__ = ["Generation", "KernelHost"]

Arrays = dict[str, npt.NDArray[Any]]
_POLL_SEC = 0.05


class _Doors:
    """Many may be inside together, or one alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside, self._alone, self._wanting = 0, False, 0

    @property
    def free(self) -> bool:
        """Whether one more could go in now."""
        return not self._alone and self._wanting == 0

    @contextlib.contextmanager
    def open(self, *, alone: bool) -> Iterator[None]:
        with self._changed:
            self._wanting += alone
            self._changed.wait_for(lambda: not self._alone and (self._inside == 0 if alone else self._wanting == 0))
            self._wanting -= alone
            self._alone = alone
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._alone = False
                self._changed.notify_all()


class Generation(Iterator[Token]):
    """A running answer. Iterate over it; the texts of the tokens joined are the answer.

    `completion` is None until the iterator is exhausted. A cancelled generation ends soon and shows no text held back
    for a stop string.
    """

    def __init__(self, tokens: Iterator[Token | Completion]) -> None:
        self._tokens = tokens
        self.completion: Completion | None = None

    def __next__(self) -> Token:
        found = next(self._tokens)
        if isinstance(found, Completion):
            self.completion = found
            raise StopIteration
        return found

    def finish(self) -> Completion:
        """Runs to the end and returns the whole answer."""
        for _ in self:
            pass
        assert self.completion is not None
        return self.completion


class KernelHost:
    """One build of one model in a process of its own. Any thread may ask it."""

    def __init__(self, order: Order) -> None:
        """Does nothing until `load`."""
        self._order = order
        self._process: KernelProcess | None = None
        self._starting = threading.Lock()
        self._doors = _Doors()
        self.crashes = 0

    def load(self, progress: ProgressCallback = silent) -> None:
        """Starts the process. Idempotent. Raises what opening the bundle raises."""
        with self._starting:
            if self._process is None:
                self._process = KernelProcess(self._order, progress)

    @property
    def about(self) -> dict[str, Any]:
        """`model_id` and `build` (hex), `kind`, `slots`, `capacity`, `precision`, `memory_bytes`, `device`, how many
        `devices` it is spread over, how many numbers it makes of a text (`text_width`) and what is `enforced` on the
        process. Raises NotLoaded.
        """
        if self._process is None:
            raise NotLoaded("call load() first")
        return self._process.about

    @property
    def ready(self) -> bool:
        """Whether a request would be taken at once: the process runs, and none in it has to be alone."""
        return self._process is not None and self._process.alive and self._doors.free

    @property
    def model_id(self) -> bytes:
        return bytes.fromhex(self.about["model_id"])

    @property
    def build_id(self) -> str:
        """Receipts and bug reports name it: it stands for the slot bucket and precision, and so for the bits."""
        return str(self.about["build"])

    @property
    def context_length(self) -> int:
        """Prompt and answer together can't have more tokens."""
        return int(self.about["capacity"])

    def generate(
        self,
        prompt: str | Sequence[Message] | None = None,
        *,
        tokens: Sequence[int] | None = None,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        sampling: Sampling = GREEDY,
        owner: str | None = None,
        logprobs: int | None = None,
        cancel: threading.Event | None = None,
    ) -> Generation:
        """Starts an answer to a conversation, to a text as its only message, or to bare tokens.

        max_tokens: None means as many as fit. stop: the answer ends before the first of these texts. owner: requests of
        the same one (an escrow) may share what was computed for a common beginning. A request at fault raises
        PromptTooLong or InvalidRequest from the first `next`.
        """
        if prompt is not None:
            self._refuse_enormous(prompt)
        order = {
            "prompt": _plain(prompt),
            "tokens": None if tokens is None else [int(token) for token in tokens],
            "max_tokens": max_tokens,
            "stop": list(stop),
            "sampling": asdict(sampling),
            "owner": owner,
            "logprobs": logprobs,
        }
        return Generation(self._generate(order, cancel))

    def start(
        self,
        prompt: str | Sequence[Message],
        metering: Metering,
        told: Callable[[Event], None],
        *,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        sampling: Sampling = GREEDY,
        owner: str | None = None,
    ) -> Running:
        """An answer that goes no further than it is paid for. `told` hears of everything, by other threads: a Started,
        Tokens, and a Finished or an error (OverBudget, PromptTooLong, InvalidRequest, EngineBusy, KernelCrashed).

        May wait for a process to come up: not for an event loop's thread.
        """
        self._refuse_enormous(prompt)
        order = {
            "prompt": _plain(prompt),
            "tokens": None,
            "max_tokens": max_tokens,
            "stop": list(stop),
            "sampling": asdict(sampling),
            "owner": owner,
            "logprobs": None,
        }
        running = Running(self, order, metering, told)
        running.start()
        return running

    def complete(self, prompt: str | Sequence[Message] | None = None, **options: Any) -> Completion:
        """`generate`, run to its end."""
        return self.generate(prompt, **options).finish()

    def count_tokens(self, prompt: str | Sequence[Message]) -> int:
        """Tokens the prompt takes, with the chat template's. Raises PromptTooLong or InvalidRequest."""
        self._refuse_enormous(prompt)
        return int(self._ask("count", prompt=_plain(prompt))[0]["value"])

    def count_texts(self, texts: Sequence[str]) -> int:
        """Tokens that a `map` model makes of the texts. Raises PromptTooLong or InvalidRequest."""
        return int(self._ask("count_texts", texts=list(texts))[0]["value"])

    def map_texts(self, texts: Sequence[str]) -> tuple[Arrays, int]:
        """A `map` model's outputs, one row for each text, and how many tokens the texts have. Raises PromptTooLong or
        InvalidRequest.
        """
        header, data = self._ask("texts", texts=list(texts))
        return unpack_arrays(header["value"]["arrays"], data), int(header["value"]["tokens"])

    def map(self, inputs: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        """A `map` model's outputs. Raises InvalidRequest."""
        described, data = pack_arrays(inputs)
        header, found = self._ask("map", data, arrays=described)
        return unpack_arrays(header["value"]["arrays"], found)

    def metrics(self) -> dict[str, Any]:
        """Counters since the process started: see `engine.batcher.Metrics`."""
        return dict(self._ask("metrics")[0]["value"])

    def close(self) -> None:
        with self._starting:
            if self._process is not None:
                self._process.close()
                self._process = None

    def enter(self, *, alone: bool) -> contextlib.AbstractContextManager[None]:
        """Among those whose requests run together, or alone."""
        return self._doors.open(alone=alone)

    def running(self) -> KernelProcess:
        """The process, started again if it has died."""
        return self._running()

    def _refuse_enormous(self, prompt: str | Sequence[Message]) -> None:
        """A text this long can't fit however it is tokenized; don't move it between processes."""
        chars = len(prompt) if isinstance(prompt, str) else sum(len(message.content) for message in prompt)
        least, limit = chars // int(self.about["longest_token"]), self.context_length - 1
        if self.about["kind"] == "generate" and least > limit:
            raise PromptTooLong(least, limit)

    def _running(self) -> KernelProcess:
        with self._starting:
            if self._process is None:
                raise NotLoaded("call load() first")
            if not self._process.alive:
                self.crashes += 1
                self._process = KernelProcess(self._order)
            return self._process

    def _ask(self, op: str, data: bytes = b"", **fields: Any) -> tuple[dict[str, Any], bytes]:
        for alone in (False, True):
            with self._doors.open(alone=alone):
                try:
                    return self._running().ask(op, data, **fields)
                except KernelCrashed:
                    if alone:
                        raise
        raise AssertionError("unreachable")

    def _generate(self, order: dict[str, Any], cancel: threading.Event | None) -> Iterator[Token | Completion]:
        if cancel is not None and cancel.is_set():
            count = 0 if order["tokens"] is None else len(order["tokens"])
            yield Completion("", (), count, 0, 0, "cancelled")
            return
        shown: list[Token] = []
        for alone in (False, True):
            with self._doors.open(alone=alone):
                try:
                    # what a first run has shown already is produced again, equal, and skipped
                    for found in _stream(self._running(), order, cancel, shown if not alone else []):
                        if isinstance(found, Completion) or not alone or found.index >= len(shown):
                            yield found
                    return
                except KernelCrashed:
                    if alone:
                        raise


def _stream(
    process: KernelProcess, order: dict[str, Any], cancel: threading.Event | None, made: list[Token]
) -> Iterator[Token | Completion]:
    """One run. made: gets every token."""
    number, replies = process.open("submit", **order)
    told = False
    try:
        for _ in itertools.count():
            if cancel is not None and cancel.is_set() and not told:
                told = True
                process.cancel(number)
            try:
                header, _data = process.next(replies, None if cancel is None or told else _POLL_SEC)
            except queue.Empty:
                continue
            if "token" in header:
                token = _token(header["token"])
                made.append(token)
                yield token
                continue
            yield _completion(header["finished"], made)
            return
    finally:
        process.cancel(number)  # nothing to do when it has ended
        process.forget(number)


def _token(found: dict[str, Any]) -> Token:
    top = tuple((int(i), float(value)) for i, value in found["top"])
    return Token(int(found["id"]), int(found["index"]), str(found["text"]), found["logprob"], top)


def _completion(found: dict[str, Any], tokens: list[Token]) -> Completion:
    if found["error"] is not None:
        raise KernelError(str(found["error"]))
    reason: FinishReason = found["reason"]
    return Completion(
        "".join(token.text for token in tokens),
        tuple(token.id for token in tokens),
        int(found["prompt_tokens"]),
        int(found["cached_tokens"]),
        len(tokens),
        reason,
        tuple((token.logprob, token.top) for token in tokens if token.logprob is not None),
    )


def _plain(prompt: str | Sequence[Message] | None) -> Any:
    if prompt is None or isinstance(prompt, str):
        return prompt
    return [{"role": message.role, "content": message.content} for message in prompt]
