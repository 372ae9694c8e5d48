"""One sequence on the model: its KV cache, its position, and the choice of program shapes."""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from cocoon.kernels.llama import LlamaConfig, LlamaWeights, empty_cache, forward, grow_cache

__all__ = ["Session"]

# Few shapes compile: prompts run in chunks of these lengths (the last one padded), decode in chunks of one.
_CHUNKS = (512, 64)
_FIRST_CAPACITY = 512  # a multiple of every chunk length, so that no padded chunk reaches beyond the cache


class Session:
    """Feeds tokens and returns logits. Not for use by two threads at once; sessions share nothing but the weights.

    The shapes used for a token depend only on its position and the prompt's length, never on how many tokens will
    follow, so an answer cut short equals the beginning of the longer one bit for bit.
    """

    def __init__(self, config: LlamaConfig, weights: LlamaWeights) -> None:
        self.position = 0  # tokens in the cache
        self._config = config
        self._weights = weights
        self._cache = empty_cache(config, _FIRST_CAPACITY)

    def prefill(self, tokens: Sequence[int], cancel: threading.Event | None = None) -> Any | None:
        """Feeds a non-empty prompt to a new session: logits [vocabulary] after its last token, or None if cancelled."""
        logits = None
        while self.position < len(tokens):
            if cancel is not None and cancel.is_set():
                return None
            remaining = len(tokens) - self.position
            length = next((chunk for chunk in _CHUNKS if chunk <= remaining), _CHUNKS[-1])
            logits = self._feed(tokens[self.position : self.position + length], length)
        return logits

    def step(self, token: int) -> Any:
        """Feeds one token: logits [vocabulary] after it."""
        return self._feed([token], 1)

    def _feed(self, tokens: Sequence[int], length: int) -> Any:
        """Runs one chunk padded to `length`. The caller keeps the position within the model's context."""
        if self.position + length > self._cache.capacity:
            self._cache = grow_cache(self._cache, capacity=self._cache.capacity * 2)
        padded = np.zeros(length, np.int32)
        padded[: len(tokens)] = tokens
        start, last = np.int32(self.position), np.int32(len(tokens) - 1)
        logits, self._cache = forward(self._weights, self._cache, padded, start, last, config=self._config)
        self.position += len(tokens)
        return logits
