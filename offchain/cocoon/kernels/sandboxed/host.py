"""A model to ask, whatever happens to the process that runs it.

When the process dies, all requests in it are run again in a new one, each alone: answers are a function of request and
seed, so those that had begun go on where they stopped. The one whose fault it was dies alone, and only it fails.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy.typing as npt

from ..engine.chat import Message
from ..engine.request import Completion, Metering, Token
from ..engine.sampling import GREEDY, Sampling
from ..errors import KernelCrashed, NotLoaded, PromptTooLong
from ..progress import ProgressCallback, silent
from . import answers
from .answers import Arrays
from .doors import Doors
from .frames import pack_arrays
from .generation import Found, Generation, stream
from .process import KernelProcess, Order
from .running import Event, Running

__all__ = ["Generation", "KernelHost"]


class KernelHost:
    """One build of one model in a process of its own. Any thread may ask it."""

    def __init__(self, order: Order) -> None:
        """Does nothing until `load`."""
        self._order = order
        self._process: KernelProcess | None = None
        self._starting = threading.Lock()
        self._doors = Doors()
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

        Never waits. Raises NotLoaded, PromptTooLong or InvalidRequest.
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
        return self._retried(lambda process: process.ask("count", answers.count, prompt=_plain(prompt)))

    def count_texts(self, texts: Sequence[str]) -> int:
        """Tokens that a `map` model makes of the texts. Raises PromptTooLong or InvalidRequest."""
        return self._retried(lambda process: process.ask("count_texts", answers.count, texts=list(texts)))

    def map_texts(self, texts: Sequence[str]) -> tuple[Arrays, int]:
        """A `map` model's outputs, one row for each text, and how many tokens the texts have. Raises PromptTooLong or
        InvalidRequest.
        """

        def ask(process: KernelProcess) -> tuple[Arrays, int]:
            asked = process.arrays({"batch": len(texts)})
            return process.ask("texts", asked.read, room=asked.room, texts=list(texts))

        return self._retried(ask)

    def map(self, inputs: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        """A `map` model's outputs. Raises InvalidRequest."""
        described, data = pack_arrays(inputs)

        def ask(process: KernelProcess) -> tuple[Arrays, int]:
            asked = process.arrays(_sizes(process, inputs))
            return process.ask("map", asked.read, data, room=asked.room, arrays=described)

        return self._retried(ask)[0]

    def metrics(self) -> dict[str, Any]:
        """Counters since the process started: see `engine.batcher.Metrics`."""
        return self._retried(lambda process: process.ask("metrics", answers.counters))

    def close(self) -> None:
        with self._starting:
            if self._process is not None:
                self._process.close()
                self._process = None

    def enter_now(self) -> bool:
        """As `Doors.enter_now`."""
        return self._doors.enter_now()

    def enter(self, *, alone: bool) -> None:
        """As `Doors.enter`."""
        self._doors.enter(alone=alone)

    def leave(self) -> None:
        """As `Doors.leave`."""
        self._doors.leave()

    def running_now(self) -> KernelProcess | None:
        """The process; None if it has died. Never waits. Raises NotLoaded."""
        process = self._process
        if process is None:
            raise NotLoaded("call load() first")
        return process if process.alive else None

    def running(self) -> KernelProcess:
        """The process, started again if it has died. Raises NotLoaded, or what `load` does."""
        with self._starting:
            if self._process is None:
                raise NotLoaded("call load() first")
            if not self._process.alive:
                self.crashes += 1
                self._process = KernelProcess(self._order)
            return self._process

    def _refuse_enormous(self, prompt: str | Sequence[Message]) -> None:
        """A text this long can't fit however it is tokenized; don't move it between processes."""
        chars = len(prompt) if isinstance(prompt, str) else sum(len(message.content) for message in prompt)
        least, limit = chars // int(self.about["longest_token"]), self.context_length - 1
        if self.about["kind"] == "generate" and least > limit:
            raise PromptTooLong(least, limit)

    def _retried[T](self, ask: Callable[[KernelProcess], T]) -> T:
        """What the process answers; asked again, alone, if it died."""
        for alone in (False, True):
            with self._doors.open(alone=alone):
                try:
                    return ask(self.running())
                except KernelCrashed:
                    if alone:
                        raise
        raise AssertionError("unreachable")

    def _generate(self, order: dict[str, Any], cancel: threading.Event | None) -> Found:
        if cancel is not None and cancel.is_set():
            count = 0 if order["tokens"] is None else len(order["tokens"])
            yield Completion("", (), count, 0, 0, "cancelled")
            return
        shown: list[Token] = []
        for alone in (False, True):
            with self._doors.open(alone=alone):
                try:
                    # what a first run has shown already is produced again, equal, and skipped
                    yield from stream(self.running(), order, cancel, shown)
                    return
                except KernelCrashed:
                    if alone:
                        raise


def _sizes(process: KernelProcess, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, int]:
    """What the inputs say of the named dimensions. Whether they fit the model, and each other, it finds out itself."""
    named: dict[str, int] = {}
    for tensor in process.manifest.core.inputs:
        shape = inputs[tensor.name].shape if tensor.name in inputs else ()
        named |= {dim: size for dim, size in zip(tensor.dims, shape, strict=False) if isinstance(dim, str)}
    return named


def _plain(prompt: str | Sequence[Message] | None) -> Any:
    if prompt is None or isinstance(prompt, str):
        return prompt
    return [{"role": message.role, "content": message.content} for message in prompt]
