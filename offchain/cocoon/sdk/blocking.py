"""The client for code without an event loop: the same methods, which wait."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..gateway.backend import Model
from ..gateway.settings import GatewaySettings
from .answers import Answer, Vectors
from .asking import AsyncClient, Messages, TextStream

__all__ = ["BlockingStream", "Client"]


class BlockingStream(Iterator[str]):
    """See `TextStream`; `close` instead of `aclose`."""

    def __init__(self, client: Client, stream: TextStream) -> None:
        self._client, self._stream = client, stream

    @property
    def answer(self) -> Answer | None:
        return self._stream.answer

    def __next__(self) -> str:
        try:
            return self._client.wait(anext(self._stream))
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        self._client.wait(self._stream.aclose())


class Client:
    """See `AsyncClient`. Its event loop runs in a thread of its own; any thread may ask, several at a time."""

    def __init__(self, settings: GatewaySettings | str | Path, *, allow_simulated_tee: bool = False) -> None:
        """Opens at once; raises what `AsyncClient.open` raises."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="cocoon", daemon=True)
        self._thread.start()
        self._stack = contextlib.AsyncExitStack()
        try:
            opening = AsyncClient.open(settings, allow_simulated_tee=allow_simulated_tee)
            self._client = self.wait(self._stack.enter_async_context(opening))
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Settles and disconnects; channels stay open for the next time. Idempotent."""
        if self._thread.is_alive():
            try:
                self.wait(self._stack.aclose())
            finally:
                self._end()

    def models(self) -> list[Model]:
        return self._client.models()

    def stream(
        self, prompt: str | Messages, *, model: str, most_nano: int | None = None, **options: Any
    ) -> BlockingStream:
        return BlockingStream(self, self._client.stream(prompt, model=model, most_nano=most_nano, **options))

    def ask(self, prompt: str | Messages, *, model: str, most_nano: int | None = None, **options: Any) -> Answer:
        return self.wait(self._client.ask(prompt, model=model, most_nano=most_nano, **options))

    def embed(self, texts: Sequence[str], *, model: str, most_nano: int | None = None) -> Vectors:
        return self.wait(self._client.embed(texts, model=model, most_nano=most_nano))

    def wait[T](self, work: Coroutine[Any, Any, T]) -> T:
        """Runs `work` in the client's event loop. Whoever is interrupted meanwhile (Ctrl-C) ends it."""
        running = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return running.result()
        except BaseException:
            running.cancel()
            raise

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
