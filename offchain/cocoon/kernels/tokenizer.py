"""The byte-level BPE tokenizer a GGUF file describes, and the way back from a stream of tokens to text.

Text never becomes a control token: control tokens are not in the vocabulary the BPE works with, so a user who writes
`<|im_end|>` gets the ordinary tokens of those characters. Only `Tokenizer.encode_marked`, which the chat template uses,
places control tokens, and only where no character came from a message.
"""

import codecs
import hashlib
import json
import re
from collections.abc import Iterable

from tokenizers import Tokenizer as BPETokenizer
from tokenizers import models, pre_tokenizers

from cocoon.kernels.errors import InvalidRequest, ModelFormatError, UnsupportedModel
from cocoon.kernels.gguf_file import GGUFFile

__all__ = ["StreamDecoder", "Tokenizer"]

_NORMAL, _CONTROL = 1, 3  # token types; others (user-defined, byte, unknown) belong to tokenizers not supported yet

# What ends a turn besides the file's own end token: a chat model may use another one than its base.
_END_NAMES = frozenset({"<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<|end|>"})


class Tokenizer:
    """Immutable; safe to share between threads.

    control: text -> id of control tokens. bos, eos: ids. ends: ids that end an answer. digest: SHA-256 over everything
    that decides how text becomes tokens. longest_bytes: the most bytes one token stands for.
    """

    def __init__(self, file: GGUFFile) -> None:
        """Raises UnsupportedModel for another kind of tokenizer, ModelFormatError for an inconsistent one."""
        model, flavour = file.get("tokenizer.ggml.model", str), file.get_or("tokenizer.ggml.pre", "default")
        if model != "gpt2" or flavour not in ("smollm", "gpt-2"):
            raise UnsupportedModel(f"{file.path} has tokenizer {model!r} with pre-tokenizer {flavour!r}, not supported")
        pieces: list[str] = file.get("tokenizer.ggml.tokens", list)
        kinds: list[int] = file.get("tokenizer.ggml.token_type", list)
        merges: list[str] = file.get("tokenizer.ggml.merges", list)
        if len(kinds) != len(pieces) or len(set(pieces)) != len(pieces):
            raise ModelFormatError(f"{file.path}: tokens and token types don't match, or a token occurs twice")
        if other := set(kinds) - {_NORMAL, _CONTROL}:
            raise UnsupportedModel(f"{file.path} has tokens of types {sorted(other)}, not supported")
        self.control = {piece: i for i, piece in enumerate(pieces) if kinds[i] == _CONTROL}
        self.bos = _special(file, "bos", pieces)
        self.eos = _special(file, "eos", pieces)
        self.ends = frozenset({self.eos} | {i for piece, i in self.control.items() if piece in _END_NAMES})
        self._prefix = [self.bos] if file.get_or("tokenizer.ggml.add_bos_token", False) else []
        described = [model, flavour, pieces, kinds, merges, self.bos, sorted(self.ends), self._prefix]
        self.digest = hashlib.sha256(json.dumps(described, separators=(",", ":")).encode()).digest()
        self._absent = _absent_bytes(pieces, file)
        self._bytes = _token_bytes(pieces, kinds, file)
        self.longest_bytes = max(map(len, self._bytes))
        self._control_pattern = re.compile("|".join(map(re.escape, _longest_first(self.control))) or r"(?!)")
        self._hazard_pattern = _hazard_pattern(self.control)
        self._bpe = _build_bpe(pieces, kinds, merges, flavour, file)

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


def _special(file: GGUFFile, name: str, pieces: list[str]) -> int:
    token = file.get(f"tokenizer.ggml.{name}_token_id", int)
    if not 0 <= token < len(pieces):
        raise ModelFormatError(f"{file.path}: the {name} token {token} is outside the vocabulary")
    return token


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


def _absent_bytes(pieces: list[str], file: GGUFFile) -> frozenset[int]:
    """The byte values no token stands for alone."""
    known = set(pieces)
    absent = frozenset(byte for char, byte in _byte_alphabet().items() if char not in known)
    if not absent.isdisjoint("\ufffd".encode()):
        raise UnsupportedModel(f"{file.path} has no tokens for U+FFFD, which stands for what it can't represent")
    return absent


def _token_bytes(pieces: list[str], kinds: list[int], file: GGUFFile) -> list[bytes]:
    alphabet = _byte_alphabet()
    try:
        return [
            b"" if kind == _CONTROL else bytes([alphabet[char] for char in piece])
            for piece, kind in zip(pieces, kinds, strict=True)
        ]
    except KeyError as error:
        raise ModelFormatError(f"{file.path}: a token holds {error}, which stands for no byte") from error


def _build_bpe(pieces: list[str], kinds: list[int], merges: list[str], flavour: str, file: GGUFFile) -> BPETokenizer:
    vocabulary = {piece: i for i, piece in enumerate(pieces) if kinds[i] != _CONTROL}
    pairs = []
    for merge in merges:
        left, _, right = merge.partition(" ")
        if not {left, right, left + right} <= vocabulary.keys():
            raise ModelFormatError(f"{file.path}: merge {merge!r} makes no token")
        pairs.append((left, right))
    bpe = BPETokenizer(models.BPE(vocab=vocabulary, merges=pairs))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    digits = pre_tokenizers.Digits(individual_digits=True)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level]) if flavour == "smollm" else byte_level
    return bpe
