"""Continuous batching: requests come and go while one program after the other runs over all slots.

A step runs at most one chunk of one prompt and one token of every answer. A slot's numbers depend on its own request
only, so an answer is the same alone or in any company. Prompts are computed in chunks that begin at multiples of the
chunk length, always with the same program: a chunk computed for an earlier request of the same owner can be kept
instead, without changing a bit.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..errors import EngineBusy, InvalidRequest, OverBudget, PromptTooLong
from .request import Finished, FinishReason, GenerateRequest, Metering, Started, Token
from .runtime import Runtime
from .sampling import choose, log_probabilities
from .stops import StopScanner
from .tokenizer import StreamDecoder, Tokenizer

__all__ = ["Batcher", "Event", "Finished", "Metered", "Metrics"]


type Event = Started | Token | Finished


@dataclass(slots=True)
class Metrics:
    """Counted since the start. first_token_sec: of the last answer that began; first_tokens answers began,
    first_tokens_sec after they were asked for in all.
    """

    requests: int = 0
    finished: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    prefill_steps: int = 0
    decode_steps: int = 0
    decode_sec: float = 0.0
    prefill_sec: float = 0.0
    first_token_sec: float = 0.0
    first_tokens: int = 0
    first_tokens_sec: float = 0.0
    queue: int = 0
    busy_slots: int = 0
    slots: int = 0


@dataclass(slots=True, eq=False)
class _Task:
    """A request under way."""

    request: GenerateRequest
    emit: Callable[[Event], None]
    limit: int
    scanner: StopScanner
    decoder: StreamDecoder
    since: float
    cached: int = 0
    produced: int = 0
    next: int = 0  # the token to be fed next
    cancelled: bool = False
    allowed: int | None = None  # tokens that may be produced so far; None where nothing is metered


class Metered:
    """What its owner may say to a metered request under way."""

    def __init__(self, task: _Task) -> None:
        self._task = task

    def allow(self, tokens: int) -> None:
        """So many tokens of the answer in all; never fewer than before."""
        self._task.allowed = max(self._task.allowed or 0, tokens)

    def cancel(self) -> None:
        self._task.cancelled = True


@dataclass(slots=True)
class _Slot:
    """computed: the prompt whose keys and values the slot holds from the front, computed by prefill for `owner`."""

    index: int
    task: _Task | None = None
    owner: str | None = None
    computed: list[int] = field(default_factory=list)
    used: int = 0

    @property
    def decoding(self) -> bool:
        return self.task is not None and self.task.produced > 0

    @property
    def runnable(self) -> bool:
        """Whether the next token of an answer may be produced now."""
        task = self.task
        return task is not None and task.produced > 0 and (task.allowed is None or task.produced < task.allowed)

    @property
    def position(self) -> int:
        """Where the next token goes; in an idle slot, the first position that holds nothing worth keeping."""
        if self.task is not None and self.task.produced:
            return len(self.task.request.tokens) + self.task.produced - 1
        return len(self.computed)


class Batcher:
    """Not for use by two threads at once."""

    def __init__(self, runtime: Runtime, tokenizer: Tokenizer, *, longest_queue: int = 256) -> None:
        self._runtime, self._tokenizer, self._longest_queue = runtime, tokenizer, longest_queue
        self._build = runtime.build
        self._prefill, self._decode = runtime.role("prefill"), runtime.role("decode")
        self._slots = [_Slot(index) for index in range(self._build.slots)]
        self._waiting: deque[_Task] = deque()
        self._clock = 0
        self._metrics = Metrics(slots=self._build.slots)

    @property
    def capacity(self) -> int:
        """Prompt and answer together can't have more tokens."""
        return self._build.capacity

    @property
    def busy(self) -> bool:
        return bool(self._waiting) or any(slot.task for slot in self._slots)

    @property
    def runnable(self) -> bool:
        """Whether `step` would do anything: answers that wait for leave to go on are busy, but not runnable."""
        held = [slot.task for slot in self._slots]
        return (
            (any(task is None for task in held) and bool(self._waiting))
            or any(task.cancelled for task in (*held, *self._waiting) if task is not None)
            or any(slot.runnable or (slot.task is not None and not slot.decoding) for slot in self._slots)
        )

    def metrics(self) -> Metrics:
        self._metrics.queue = len(self._waiting)
        self._metrics.busy_slots = sum(slot.task is not None for slot in self._slots)
        return self._metrics

    def submit(self, request: GenerateRequest, emit: Callable[[Event], None]) -> Callable[[], None]:
        """Queues a request; `emit` is called from `step`, with a Finished at last. Returns what cancels it.

        Raises PromptTooLong, InvalidRequest or EngineBusy.
        """
        task = self._queue(request, emit)

        def cancel() -> None:
            task.cancelled = True

        return cancel

    def submit_metered(self, request: GenerateRequest, emit: Callable[[Event], None], metering: Metering) -> Metered:
        """`submit` for an answer that pauses where its allowance ends; a Started comes first. May raise OverBudget."""
        count = len(request.tokens)
        most = metering.most(count)
        if count > metering.prepaid or most == 0:
            raise OverBudget(count)
        task = self._queue(request, emit)
        task.limit = task.limit if most is None else min(task.limit, most)
        task.allowed = metering.allowed
        return Metered(task)

    def _queue(self, request: GenerateRequest, emit: Callable[[Event], None]) -> _Task:
        count = len(request.tokens)
        if count > self.capacity - 1:
            raise PromptTooLong(count, self.capacity - 1)
        if not all(0 <= token < self._tokenizer.size for token in request.tokens):
            raise InvalidRequest("a token of the prompt is outside the vocabulary")
        if len(self._waiting) >= self._longest_queue:
            raise EngineBusy(f"{len(self._waiting)} requests wait already: try again later")
        room = self.capacity - count
        limit = room if request.max_tokens is None else min(request.max_tokens, room)
        decoder = StreamDecoder(self._tokenizer)
        task = _Task(request, emit, limit, StopScanner(request.stop), decoder, time.monotonic())
        self._waiting.append(task)
        self._metrics.requests += 1
        return task

    def step(self) -> None:
        """A chunk of a prompt, and a token for every answer under way."""
        self._drop_cancelled()
        self._admit()
        reading = [slot for slot in self._slots if slot.task is not None and not slot.decoding]
        if reading:
            self._read_chunk(min(reading, key=lambda slot: slot.used))
        if any(slot.runnable for slot in self._slots):
            self._advance()

    def _drop_cancelled(self) -> None:
        for task in [task for task in self._waiting if task.cancelled]:
            self._waiting.remove(task)
            self._finish(task, "cancelled")
        for slot in self._slots:
            if slot.task is not None and slot.task.cancelled:
                self._finish(slot.task, "cancelled")
                slot.task = None

    def _admit(self) -> None:
        while self._waiting and (free := [slot for slot in self._slots if slot.task is None]):
            task = self._waiting.popleft()
            # the slot that saves most; of equals, the one idle for longest
            slot = max(free, key=lambda slot: (self._reusable(slot, task.request), -slot.used))
            kept = self._reusable(slot, task.request)
            self._clock += 1
            slot.task, slot.owner, slot.used = task, task.request.owner, self._clock
            slot.computed = slot.computed[:kept]
            task.cached = kept
            self._metrics.prompt_tokens += len(task.request.tokens)
            self._metrics.cached_tokens += kept
            if task.allowed is not None:
                task.emit(Started(len(task.request.tokens), kept))

    def _reusable(self, slot: _Slot, request: GenerateRequest) -> int:
        """Tokens of the prompt, whole chunks of them, that the slot holds already; never all of it."""
        if request.owner is None or slot.owner != request.owner:
            return 0
        most = min(len(slot.computed), len(request.tokens) - 1)
        same = next((i for i in range(most) if slot.computed[i] != request.tokens[i]), most)
        return same // self._build.chunk * self._build.chunk

    def _read_chunk(self, slot: _Slot) -> None:
        task = slot.task
        assert task is not None
        began = time.monotonic()
        start, tokens = len(slot.computed), task.request.tokens
        part = tokens[start : start + self._build.chunk]
        padded = np.zeros(self._build.chunk, np.int32)
        padded[: len(part)] = part
        scalars = (np.int32(slot.index), np.int32(start), np.int32(len(part) - 1))
        (logits,) = self._runtime.run(self._prefill, padded, *scalars)
        logits.block_until_ready()  # else a long prompt is one long step, in which nobody is heard or answered
        slot.computed.extend(part)
        self._metrics.prefill_steps += 1
        if len(slot.computed) == len(tokens):
            row = np.asarray(logits)
            self._metrics.first_token_sec = time.monotonic() - task.since
            self._metrics.first_tokens += 1
            self._metrics.first_tokens_sec += self._metrics.first_token_sec
            self._take(slot, row)
        self._metrics.prefill_sec += time.monotonic() - began

    def _advance(self) -> None:
        began = time.monotonic()
        active = [slot for slot in self._slots if slot.runnable]
        tokens = np.zeros(len(self._slots), np.int32)
        for slot in active:
            assert slot.task is not None
            tokens[slot.index] = slot.task.next
        positions = np.array([slot.position for slot in self._slots], np.int32)
        highest = np.int32(max(slot.position for slot in active))
        (logits,) = self._runtime.run(self._decode, tokens, positions, highest)
        rows = np.asarray(logits)
        self._metrics.decode_steps += 1
        for slot in active:
            self._take(slot, rows[slot.index])
        self._metrics.decode_sec += time.monotonic() - began

    def _take(self, slot: _Slot, row: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> None:
        """The next token of the slot's answer, from its logits."""
        task = slot.task
        assert task is not None
        request = task.request
        if np.isnan(row).any() or not np.isfinite(row.max()):
            self._finish(task, "cancelled", "the model's logits are not finite")
            slot.task = None
            return
        token = choose(row, len(request.tokens) + task.produced, request.sampling)
        text, stopped = task.scanner.push(task.decoder.push(token))
        ended, full = token in self._tokenizer.ends, task.produced + 1 == task.limit
        if not stopped and (ended or full):
            rest, stopped = task.scanner.push(task.decoder.flush())
            text += rest if stopped else rest + task.scanner.flush()
        logprob, top = None, ()
        if request.logprobs is not None:
            logprob, likely = log_probabilities(row, token, request.logprobs)
            top = tuple(likely)  # type: ignore[assignment]
        task.emit(Token(token, task.produced, text, logprob, top))
        task.produced += 1
        task.next = token
        self._metrics.completion_tokens += 1
        if ended or stopped or full:
            self._finish(task, "stop" if ended or stopped else "length")
            slot.task = None

    def _finish(self, task: _Task, reason: FinishReason, error: str | None = None) -> None:
        self._metrics.finished += 1
        task.emit(Finished(reason, len(task.request.tokens), task.cached, task.produced, error))
