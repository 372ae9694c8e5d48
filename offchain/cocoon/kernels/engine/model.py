"""A bundle, opened and running: text in, text or vectors out. One thread drives it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..bundle.limits import Limits
from ..bundle.loader import Bundle, open_bundle
from ..bundle.manifest import Build, Tensor
from ..errors import BundleInvalid, InvalidRequest, PromptTooLong
from ..progress import ProgressCallback, silent
from .batcher import Batcher
from .chat import ChatTemplate, Message
from .golden import check_golden
from .mapper import Arrays, Mapper
from .runtime import CompiledCache, Runtime
from .tokenizer import Tokenizer
from .wordpiece import WordPieces, tokenizer_kind

__all__ = ["Model", "choose_build"]


class Model:
    """batcher: for `generate`; mapper: for `map`."""

    def __init__(
        self,
        folder: Path,
        *,
        build_id: str | None = None,
        expected: bytes | None = None,
        limits: Limits | None = None,
        cache: CompiledCache | None = None,
        before_programs: Callable[[Bundle, Build], None] = lambda bundle, build: None,
        progress: ProgressCallback = silent,
    ) -> None:
        """before_programs: called once every file is read, and before anything in them is parsed by more than Python.

        Raises a KernelError.
        """
        bundle = open_bundle(folder, limits, expected=expected, progress=progress)
        build = choose_build(bundle, build_id)
        bundle.read_programs(build)
        before_programs(bundle, build)
        self.bundle, self.build = bundle, build
        self._tokenizer: Tokenizer | None = None
        self._words: WordPieces | None = None
        if bundle.tokenizer is not None:
            if tokenizer_kind(bundle.tokenizer) == "wordpiece":
                self._words = WordPieces(bundle.tokenizer)
            else:
                self._tokenizer = Tokenizer(bundle.tokenizer)
        self._template = self._read_template()
        self.runtime = Runtime(bundle, build, cache=cache, progress=progress)
        check_golden(bundle, build, self.runtime)
        self.batcher: Batcher | None = None
        self.mapper: Mapper | None = None
        if bundle.core.kind == "generate":
            assert self._tokenizer is not None
            self.batcher = Batcher(self.runtime, self._tokenizer)
        else:
            self.mapper = Mapper(self.runtime)

    @property
    def longest_token(self) -> int:
        """The most bytes of text one token stands for."""
        return 1 if self._tokenizer is None else self._tokenizer.longest_bytes

    def encode(self, prompt: str | Sequence[Message]) -> list[int]:
        """Tokens of a conversation, or of a text as its only message. Raises PromptTooLong or InvalidRequest."""
        if self._tokenizer is None or self._template is None:
            raise InvalidRequest("this model takes tokens or vectors, not messages")
        messages = [Message("user", prompt)] if isinstance(prompt, str) else prompt
        limit = self.build.capacity - 1  # room for one token of the answer
        # A text this long can't fit however it is tokenized; don't spend time on it.
        least = sum(len(m.content) for m in messages) // self._tokenizer.longest_bytes
        if least > limit:
            raise PromptTooLong(least, limit)
        tokens = self._template.encode(messages)
        if len(tokens) > limit:
            raise PromptTooLong(len(tokens), limit)
        return tokens

    def map(self, inputs: Arrays) -> Arrays:
        """Raises InvalidRequest."""
        if self.mapper is None:
            raise InvalidRequest("this model generates text: send messages")
        return self.mapper.run(inputs)

    def map_texts(self, texts: Sequence[str]) -> tuple[Arrays, int]:
        """Outputs with one row for each text, and how many tokens the texts have. Raises what `count_texts` does."""
        encoded = self._encode_texts(texts)
        assert self.mapper is not None
        rows = max(1, self.mapper.largest("batch"))
        parts: list[Arrays] = []
        for start in range(0, len(encoded), rows):
            part = encoded[start : start + rows]
            width = max(map(len, part))
            tokens, mask = np.zeros((len(part), width), np.int32), np.zeros((len(part), width), np.int32)
            for row, ids in enumerate(part):
                tokens[row, : len(ids)], mask[row, : len(ids)] = ids, 1
            parts.append(self.mapper.run({"tokens": tokens, "mask": mask}))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, sum(map(len, encoded))

    def count_texts(self, texts: Sequence[str]) -> int:
        """How many tokens the texts have. Raises PromptTooLong or InvalidRequest."""
        return sum(map(len, self._encode_texts(texts)))

    @property
    def text_width(self) -> int | None:
        """How many numbers the model makes of a text; None if it takes no texts, or makes something else of them."""
        inputs = [(tensor.name, tensor.dtype, tensor.dims) for tensor in self.bundle.core.inputs]
        if self._words is None or inputs != [(name, "i32", ("batch", "length")) for name in ("tokens", "mask")]:
            return None
        match self.bundle.core.outputs:
            case [Tensor(dtype="f32", dims=("batch", int(width)))]:
                return width
        return None

    def _encode_texts(self, texts: Sequence[str]) -> list[list[int]]:
        if self.mapper is None or self._words is None:
            raise InvalidRequest("this model does not take texts")
        return self._words.encode(texts, self.mapper.largest("length"))

    def _read_template(self) -> ChatTemplate | None:
        core, text = self.bundle.core, self.bundle.chat_template
        if core.generate is None:
            return None
        if self._tokenizer is None or self._tokenizer.size != core.generate.vocabulary:
            raise BundleInvalid("a generate model needs a tokenizer with as many tokens as its vocabulary")
        if text is None:
            return None
        try:
            return ChatTemplate(text.decode("utf-8"), self._tokenizer)
        except UnicodeDecodeError as error:
            raise BundleInvalid("chat_template.jinja is not UTF-8") from error


def choose_build(bundle: Bundle, build_id: str | None) -> Build:
    """The build with this id (or beginning of it); the first one if none is named. Raises BundleInvalid."""
    builds = bundle.manifest.builds
    found = [build for build in builds if build_id is None or build.id.startswith(build_id)]
    if not found or (build_id is not None and len(found) > 1):
        known = ", ".join(f"{build.id[:12]} ({build.precision}, {build.slots} slots)" for build in builds) or "none"
        raise BundleInvalid(f"{len(found)} builds match {build_id or 'any'}; there are: {known}")
    return found[0]
