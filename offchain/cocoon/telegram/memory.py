"""The last turns of a chat, shown to the model again. In this process's memory only: a restart forgets them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

__all__ = ["Conversation"]


@dataclass(slots=True)
class Conversation:
    """turns: questions with their answers that are kept; bytes_kept: of text, in all of them together."""

    turns: int
    bytes_kept: int
    _said: deque[tuple[str, str]] = field(default_factory=deque, repr=False)

    def ask(self, question: str) -> list[dict[str, str]]:
        """The messages of a request."""
        messages = []
        for asked, answered in self._said:
            messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
        return [*messages, {"role": "user", "content": question}]

    def add(self, question: str, answer: str) -> None:
        """The oldest turns are forgotten for it; a turn that is too long alone is not kept at all."""
        self._said.append((question, answer))
        while self._said and (len(self._said) > self.turns or self._bytes() > self.bytes_kept):
            self._said.popleft()

    def _bytes(self) -> int:
        return sum(len(text.encode("utf-8", "replace")) for turn in self._said for text in turn)
