"""WordPiece, as BERT-type encoders use it: texts to tokens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tokenizers import Tokenizer as WordTokenizer
from tokenizers import models, normalizers, pre_tokenizers

from ..bundle.canonical import dumps, loads
from ..bundle.records import from_json, to_json
from ..errors import BundleInvalid, InvalidRequest, PromptTooLong

__all__ = ["WordPieceFile", "WordPieces", "tokenizer_kind"]

_MAX_TEXTS = 256


def tokenizer_kind(file: bytes) -> str:
    """What kind of tokenizer.json it is."""
    try:
        found: Any = json.loads(file)
    except (ValueError, RecursionError) as error:
        raise BundleInvalid("tokenizer.json is not JSON") from error
    return str(found.get("kind")) if isinstance(found, dict) else ""


@dataclass(frozen=True, slots=True)
class WordPieceFile:
    """first, last: tokens around every text. unknown: the piece for what is not in the vocabulary."""

    kind: Literal["wordpiece"]
    pieces: tuple[str, ...]
    unknown: str
    first: int
    last: int
    lowercase: bool

    def __post_init__(self) -> None:
        known = set(self.pieces)
        if len(known) != len(self.pieces) or self.unknown not in known:
            raise BundleInvalid("a token occurs twice, or the unknown token is none")
        if not all(0 <= token < len(self.pieces) for token in (self.first, self.last)):
            raise BundleInvalid("a special token is outside the vocabulary")

    def to_bytes(self) -> bytes:
        return dumps(to_json(self))


class WordPieces:
    """Immutable."""

    def __init__(self, file: bytes) -> None:
        spec = from_json(WordPieceFile, loads(file, "tokenizer.json"), "tokenizer")
        vocabulary = {piece: index for index, piece in enumerate(spec.pieces)}
        words = WordTokenizer(models.WordPiece(vocab=vocabulary, unk_token=spec.unknown))
        words.normalizer = normalizers.BertNormalizer(lowercase=spec.lowercase)
        words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        self._words, self._spec = words, spec

    def encode(self, texts: Sequence[str], longest: int) -> list[list[int]]:
        """One list for each text. Raises InvalidRequest, or PromptTooLong if one has more than `longest` tokens."""
        if not 0 < len(texts) <= _MAX_TEXTS:
            raise InvalidRequest(f"there are {len(texts)} texts: send 1 to {_MAX_TEXTS}")
        try:
            found = [self._words.encode(text, add_special_tokens=False).ids for text in texts]
        except (UnicodeEncodeError, TypeError) as error:
            raise InvalidRequest("a text is not valid Unicode") from error
        spec = self._spec
        most = max(map(len, found)) + 2
        if most > longest:
            raise PromptTooLong(most, longest)
        return [[spec.first, *ids, spec.last] for ids in found]
