"""Many requests out of a file, in the format of OpenAI's batches: a JSON object a line.

`{"custom_id": ..., "method": "POST", "url": "/v1/chat/completions", "body": {...}}` in, and out, in the order in which
they are answered, `{"custom_id": ..., "response": {"status_code": 200, "body": {...}}, "error": null}`. An answer is on
the disk before it counts. Run again with the same files, what was answered is not asked again; what failed is.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..gateway.answers import CHAT, TEXT, Conversation
from ..gateway.backend import Finished
from ..gateway.errors import BackendFailed, NoWorker, PoolExhausted
from ..gateway.questions import chat_question, completion_question, embedding_texts
from ..gateway.receipts import new_receipt_id
from ..gateway.together import together
from ..gateway.vectors import embeddings_document, text_bodies, unpack_vectors
from .asking import AsyncClient, checked
from .errors import BatchInvalid, RequestInvalid

__all__ = ["BatchDone", "BatchItem", "read_batch", "run_batch"]

_CHAT, _TEXT, _EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
_LINE_BEGINS = b'{"custom_id": '  # as this module writes it
_URLS = (_CHAT, _TEXT, _EMBEDDINGS)


@dataclass(frozen=True, slots=True)
class BatchItem:
    custom_id: str
    url: str
    body: dict[str, Any] = field(repr=False)

    @property
    def digest(self) -> str:
        """Stands for the request."""
        text = json.dumps([self.url, self.body], sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(slots=True)
class BatchDone:
    """How far a batch is. before: answered by an earlier run. stopped: why it ended before its end, if it did."""

    items: int
    before: int = 0
    answered: int = 0
    failed: int = 0
    spent_nano: int = 0
    stopped: str | None = None


def read_batch(path: Path) -> list[BatchItem]:
    """BatchInvalid names the line at fault."""
    found: dict[str, BatchItem] = {}
    for number, value in _lines(path):
        match value:
            case {"custom_id": str(name), "method": "POST", "url": str(url), "body": dict(body)} if url in _URLS:
                if name in found:
                    raise BatchInvalid(f"{path}, line {number}: custom_id {name!r} occurs twice")
                if body.get("stream") or body.get("n") not in (None, 1):
                    raise BatchInvalid(f"{path}, line {number}: leave stream and n out of a batch")
                found[name] = BatchItem(name, url, body)
            case _:
                raise BatchInvalid(
                    f'{path}, line {number}: write {{"custom_id": ..., "method": "POST", "url": one of '
                    f'{", ".join(_URLS)}, "body": {{...}}}}'
                )
    return list(found.values())


async def run_batch(
    client: AsyncClient,
    items: Sequence[BatchItem],
    results: Path,
    *,
    at_once: int = 8,
    budget_nano: int | None = None,
    progress: Callable[[BatchDone], None] = lambda done: None,
) -> BatchDone:
    """Ask `at_once` items at a time and add each answer to `results`.

    budget_nano: of this run; no request is sent that might exceed it. BatchInvalid if `results` holds answers to other
    requests, or can't be written.
    """
    with _Results(results) as kept:
        left = [item for item in items if not kept.answers(item)]
        run = _Run(client, kept, BatchDone(len(items), before=len(items) - len(left)), budget_nano, progress)
        progress(run.done)
        waiting = iter(left)

        async def worker(_: int) -> None:
            for item in waiting:
                if run.done.stopped is not None:
                    return
                await run.one(item)

        await together(min(at_once, len(left)), worker, at_once=at_once)
        return run.done


class _Results:
    """The file of answers. A line that was cut off by a crash is taken away: its request is asked again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, str] = {}

    def __enter__(self) -> _Results:
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise BatchInvalid(f"{self._path} can't be written: {error}; choose another file") from error
        try:
            whole = self._path.read_bytes()
            end = whole.rfind(b"\n") + 1
            for number, value in _parsed(self._path, whole[:end]):
                match value:
                    case {"custom_id": str(name), "response": {"cocoon_request": str(digest)}}:
                        self._known[name] = digest
                    case {"custom_id": str(), "error": dict()}:
                        pass
                    case _:
                        raise BatchInvalid(f"{self._path}, line {number}: these are no results of a batch")
            if not (_LINE_BEGINS.startswith(whole[end:]) or whole[end:].startswith(_LINE_BEGINS)):
                raise BatchInvalid(f"{self._path} ends with what is no result of a batch")
            os.ftruncate(self._file, end)
        except BaseException:
            os.close(self._file)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def answers(self, item: BatchItem) -> bool:
        """Whether it was answered before. BatchInvalid if another request under its name was."""
        known = self._known.get(item.custom_id)
        if known not in (None, item.digest):
            raise BatchInvalid(
                f"{self._path} answers another request with custom_id {item.custom_id!r}: choose another file"
            )
        return known is not None

    def add(self, item: BatchItem, response: dict[str, Any] | None, error: dict[str, Any] | None) -> None:
        if response is not None:
            response = {"status_code": 200, "body": response, "cocoon_request": item.digest}
        line = json.dumps({"custom_id": item.custom_id, "response": response, "error": error}, ensure_ascii=True)
        try:
            data = line.encode() + b"\n"
            if os.write(self._file, data) != len(data):
                raise OSError(errno.ENOSPC, "only a part was written")
            os.fsync(self._file)
        except OSError as full:
            raise BatchInvalid(f"{self._path} can't be written: {full}; make room and run it again") from full


@dataclass
class _Run:
    client: AsyncClient
    kept: _Results
    done: BatchDone
    budget_nano: int | None
    progress: Callable[[BatchDone], None]
    promised_nano: int = 0
    settled: asyncio.Event = field(default_factory=asyncio.Event)

    async def _promise(self, most_nano: int) -> bool:
        """Sets money aside, once what others have set aside for more than they need is back. False if it can't be."""
        if self.budget_nano is not None:
            while self.done.spent_nano + self.promised_nano + most_nano > self.budget_nano:
                if not self.promised_nano:
                    return False
                self.settled.clear()
                await self.settled.wait()
        self.promised_nano += most_nano
        return True

    def _paid(self, nano: int) -> None:
        self.done.spent_nano += nano

    async def one(self, item: BatchItem) -> None:
        """Asks, and keeps the answer or what went wrong. Without workers or money nothing else would be answered
        either: then the batch stops.
        """
        try:
            work = _Work.of(item, self.client)
            quotes = self.client.quotes(work.bodies, work.model)
            most = sum(quote.most_nano for quote in quotes)
            if not await self._promise(most):
                self.done.stopped = f"{most} nanoTON for the next request are more than the budget has left"
                return
            try:
                texts, ends = await self.client.run_all(quotes, paid=self._paid)
            finally:
                self.promised_nano -= most
                self.settled.set()
            self.kept.add(item, work.document(texts, ends), None)
            self.done.answered += 1
        except (NoWorker, PoolExhausted) as error:
            self.done.stopped = str(error)
        except (RequestInvalid, BackendFailed, ValueError, TimeoutError) as error:
            self.done.failed += 1
            self.kept.add(item, None, {"code": type(error).__name__, "message": str(error) or "it took too long"})
        self.progress(self.done)


@dataclass(frozen=True, slots=True)
class _Work:
    """An item in workers' terms, and how their answers make OpenAI's document."""

    model: str
    bodies: list[dict[str, Any]]
    document: Callable[[list[str], list[Finished]], dict[str, Any]]

    @classmethod
    def of(cls, item: BatchItem, client: AsyncClient) -> _Work:
        """RequestInvalid."""
        if item.url == _EMBEDDINGS:
            model, texts, packed = checked(embedding_texts, item.body)
            bodies = text_bodies(texts)
            return cls(model, bodies, lambda _, ends: _embedded(model, bodies, ends, packed))
        chat = item.url == _CHAT
        question = checked(chat_question if chat else completion_question, item.body)
        if len(question.bodies) != 1:
            raise RequestInvalid("a batch asks for one answer a line")
        made = Conversation(CHAT if chat else TEXT, question.model, question.seed, ())
        bodies = [client.with_max_tokens(question.bodies[0])]
        return cls(question.model, bodies, lambda texts, ends: _proven(made.whole(texts, ends), ends))


def _embedded(model: str, bodies: list[dict[str, Any]], ends: list[Finished], packed: bool) -> dict[str, Any]:
    as_text, as_numbers = unpack_vectors(bodies, ends)
    return _proven(embeddings_document(model, as_text if packed else as_numbers, ends, ()), ends)


def _proven(document: dict[str, Any], ends: list[Finished]) -> dict[str, Any]:
    """There is no gateway that keeps receipts: they go along."""
    receipts = [end.proof.to_json(new_receipt_id()) for end in ends]
    document["cocoon"] |= {"receipts": [receipt["id"] for receipt in receipts], "proofs": receipts}
    return document


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    """(number, value) of each line that is not empty. BatchInvalid."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BatchInvalid(f"{path} can't be read: {error}") from error
    return _parsed(path, data)


def _parsed(path: Path, data: bytes) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                raise BatchInvalid(f"{path}, line {number}: this is no JSON object: {error}") from error
