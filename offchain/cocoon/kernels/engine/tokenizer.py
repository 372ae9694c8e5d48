"""Byte-level BPE, and the way back from a stream of tokens to text.

Text never becomes a control token: control tokens are not in the vocabulary the BPE works with, so a user who writes
`<|im_end|>` gets the ordinary tokens of those characters. Only `Tokenizer.encode_marked`, which the chat template uses,
places control tokens, and only where no character came from a message.

A bundle's tokenizer.json is canonical JSON of a `BytePairs`; its vocabulary is spelled in GPT-2's byte alphabet.
"""

from __future__ import annotations

import codecs
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from tokenizers import Regex, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as BPETokenizer

from ..bundle.canonical import dumps, loads
from ..bundle.records import from_json, to_json
from ..errors import BundleInvalid, InvalidRequest

__all__ = ["CONTROL", "END_NAMES", "MAX_TOKEN_BYTES", "NORMAL", "RESERVED", "BytePairs", "StreamDecoder", "Tokenizer"]

NORMAL, CONTROL, RESERVED = 1, 3, 4  # as GGUF counts them; a reserved token is text that only templates can write
MAX_TOKEN_BYTES = 4096  # of text that one token may stand for; known vocabularies stay far below
# What ends a turn besides the model's own end token: a chat model may use another one than its base.
END_NAMES = frozenset({"<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<|end|>"})


@dataclass(frozen=True, slots=True)
class BytePairs:
    """pieces, types: the vocabulary; merges: pairs parted by a blank, the first ones first. pattern: how text is cut
    before merging (None: GPT-2's way); digits: every digit alone; nfc: normalized first. prefix: what every prompt
    starts with; ends: tokens that end an answer.
    """

    kind: Literal["byte-bpe"]
    pieces: tuple[str, ...]
    types: tuple[int, ...]
    merges: tuple[str, ...]
    pattern: str | None
    digits: bool
    nfc: bool
    bos: int | None
    eos: int
    ends: tuple[int, ...]
    prefix: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.types) != len(self.pieces) or len(set(self.pieces)) != len(self.pieces):
            raise BundleInvalid("tokens and token types don't match, or a token occurs twice")
        if not set(self.types) <= {NORMAL, CONTROL, RESERVED} or "" in self.pieces:
            raise BundleInvalid("a token is empty, or of a type that is not supported")
        ids = [self.eos, *self.ends, *self.prefix] + ([] if self.bos is None else [self.bos])
        if not all(0 <= token < len(self.pieces) for token in ids):
            raise BundleInvalid("a special token is outside the vocabulary")

    def to_bytes(self) -> bytes:
        return dumps(to_json(self))


class Tokenizer:
    """Immutable; safe to share between threads.

    control: text -> id of tokens that text can't become. bos, eos: ids. ends: ids that end an answer. digest: SHA-256
    of its file. longest_bytes: the most bytes one token stands for.
    """

    def __init__(self, file: bytes) -> None:
        """file: a tokenizer.json. Raises BundleInvalid."""
        spec = from_json(BytePairs, loads(file, "tokenizer.json"), "tokenizer")
        self.digest = hashlib.sha256(file).digest()
        self.size = len(spec.pieces)
        self.control = {piece: i for i, piece in enumerate(spec.pieces) if spec.types[i] != NORMAL}
        self.bos, self.eos, self.ends = spec.bos, spec.eos, frozenset({spec.eos, *spec.ends})
        self._prefix = list(spec.prefix)
        self._absent = _absent_bytes(spec)
        self._bytes = _token_bytes(spec)
        self.longest_bytes = max(map(len, self._bytes))
        if not 0 < self.longest_bytes <= MAX_TOKEN_BYTES:
            raise BundleInvalid(f"the longest token has {self.longest_bytes} bytes: 1 to {MAX_TOKEN_BYTES} are allowed")
        self._control_pattern = re.compile("|".join(map(re.escape, _longest_first(self.control))) or r"(?!)")
        self._hazard_pattern = _hazard_pattern(self.control)
        self._bpe = _build_bpe(spec)

    def encode(self, text: str) -> list[int]:
        """Tokens of plain text, never a control token. Raises InvalidRequest for text that isn't valid Unicode.

        A character with a byte the vocabulary lacks (rare control characters and planes) is read as U+FFFD: the BPE
        would drop such bytes, and the model would see a mangled character.
        """
        try:
            raw = text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InvalidRequest(f"character {error.start} is a lone surrogate: send valid Unicode") from error
        if not self._absent.isdisjoint(raw):
            text = "".join(char if self._absent.isdisjoint(char.encode()) else "\ufffd" for char in text)
        ids: list[int] = self._bpe.encode(text, add_special_tokens=False).ids
        return ids

    def protect(self, text: str, mark: str) -> str:
        """`text` with `mark` put inside everything that spells a control token, or might together with what follows it.

        `mark` is a character that does not occur in `text`; `encode_marked` takes it out again.
        """
        return self._hazard_pattern.sub(lambda match: match.group() + mark, text)

    def encode_marked(self, text: str, mark: str) -> list[int]:
        """Tokens of a rendered chat template whose message texts went through `protect` with the same `mark`."""
        ids: list[int] = []
        position = 0
        for match in self._control_pattern.finditer(text):
            ids += self.encode(text[position : match.start()].replace(mark, ""))
            ids.append(self.control[match.group()])
            position = match.end()
        ids += self.encode(text[position:].replace(mark, ""))
        # Some templates write the begin token themselves; it must not be doubled.
        return ids if ids[:1] == self._prefix else self._prefix + ids

    def token_bytes(self, token: int) -> bytes:
        """The bytes a token stands for; empty for control tokens."""
        return self._bytes[token]

    def decode(self, tokens: Iterable[int]) -> str:
        """Text of a whole sequence; bytes that are not UTF-8 become U+FFFD, control tokens vanish."""
        return b"".join(self._bytes[token] for token in tokens).decode("utf-8", errors="replace")


class StreamDecoder:
    """Turns a stream of tokens into text without ever splitting a UTF-8 character.

    A character whose bytes span several tokens appears with the token that completes it; the pieces joined equal
    `Tokenizer.decode` of the whole.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token: int) -> str:
        """The text that `token` completes, possibly empty."""
        return self._utf8.decode(self._tokenizer.token_bytes(token))

    def flush(self) -> str:
        """What remains at the end: U+FFFD if the stream stopped within a character, else empty."""
        return self._utf8.decode(b"", final=True)


def _longest_first(words: Iterable[str]) -> list[str]:
    return sorted(words, key=lambda word: (-len(word), word))


def _hazard_pattern(control: Iterable[str]) -> re.Pattern[str]:
    """Matches the first character of each control token in a text, or of a beginning of one that the text ends with."""
    whole = [re.escape(word) for word in control]
    beginnings = {re.escape(word[:end]) + r"\Z" for word in control for end in range(1, len(word))}
    return re.compile("(?=" + "|".join(_longest_first([*whole, *beginnings])) + ").", re.DOTALL)


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-in for each byte: itself where printable, else the next code point from U+0100."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(hidden)}


def _absent_bytes(spec: BytePairs) -> frozenset[int]:
    """The byte values no token stands for alone."""
    known = set(spec.pieces)
    absent = frozenset(byte for char, byte in _byte_alphabet().items() if char not in known)
    if not absent.isdisjoint("\ufffd".encode()):
        raise BundleInvalid("the tokenizer has no tokens for U+FFFD, which stands for what it can't represent")
    return absent


def _token_bytes(spec: BytePairs) -> list[bytes]:
    alphabet = _byte_alphabet()
    found = []
    for piece, kind in zip(spec.pieces, spec.types, strict=True):
        if kind != NORMAL:
            found.append(b"" if kind == CONTROL else piece.encode(errors="replace"))
            continue
        try:
            found.append(bytes([alphabet[char] for char in piece]))
        except KeyError as error:
            raise BundleInvalid(f"a token holds {error}, which stands for no byte") from error
    return found


def _build_bpe(spec: BytePairs) -> BPETokenizer:
    vocabulary = {piece: i for i, piece in enumerate(spec.pieces) if spec.types[i] == NORMAL}
    pairs = []
    for merge in spec.merges:
        left, _, right = merge.partition(" ")
        if not {left, right, left + right} <= vocabulary.keys():
            raise BundleInvalid(f"merge {merge[:60]!r} makes no token")
        pairs.append((left, right))
    bpe = BPETokenizer(models.BPE(vocab=vocabulary, merges=pairs))
    if spec.nfc:
        bpe.normalizer = normalizers.NFC()
    cuts: list[Any] = [pre_tokenizers.Digits(individual_digits=True)] if spec.digits else []
    if spec.pattern is not None:
        try:
            cuts.append(pre_tokenizers.Split(Regex(spec.pattern), "isolated"))
        except Exception as error:  # the library raises nothing more precise
            raise BundleInvalid(f"the tokenizer's pattern can't be compiled: {str(error)[:100]}") from error
    cuts.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=spec.pattern is None))
    bpe.pre_tokenizer = pre_tokenizers.Sequence(cuts)
    return bpe
