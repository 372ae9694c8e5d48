"""Other formats' tokenizers as a bundle's tokenizer.json. Only byte-level BPE, which is what these families have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..engine.tokenizer import CONTROL, END_NAMES, NORMAL, RESERVED, BytePairs
from ..errors import ModelFormatError, UnsupportedModel
from .gguf_file import GGUFFile

__all__ = ["tokenizer_from_gguf", "tokenizer_from_json"]

_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_CUT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|" + _WORDS
# name in a GGUF -> (pattern, every digit alone, normalized)
_FLAVOURS: dict[str, tuple[str | None, bool, bool]] = {
    "gpt-2": (None, False, False),
    "smollm": (None, True, False),
    "llama-bpe": (_CUT % r"\p{N}{1,3}", False, False),
    "qwen2": (_CUT % r"\p{N}", False, True),
}
_GGUF_TYPES = {1: NORMAL, 3: CONTROL, 4: RESERVED, 5: RESERVED}


def tokenizer_from_gguf(file: GGUFFile) -> bytes:
    """Raises UnsupportedModel for another kind of tokenizer, ModelFormatError for an inconsistent one."""
    model, flavour = file.get("tokenizer.ggml.model", str), file.get_or("tokenizer.ggml.pre", "default")
    if model != "gpt2" or flavour not in _FLAVOURS:
        raise UnsupportedModel(f"{file.path} has tokenizer {model!r} with pre-tokenizer {flavour!r}, not supported")
    pieces: list[str] = file.get("tokenizer.ggml.tokens", list)
    types: list[int] = file.get("tokenizer.ggml.token_type", list)
    if other := set(types) - _GGUF_TYPES.keys():
        raise UnsupportedModel(f"{file.path} has tokens of types {sorted(other)}, not supported")
    bos = file.get_or("tokenizer.ggml.bos_token_id", -1)
    pattern, digits, nfc = _FLAVOURS[flavour]
    return _made(
        pieces,
        [_GGUF_TYPES[kind] for kind in types],
        file.get("tokenizer.ggml.merges", list),
        pattern=pattern,
        digits=digits,
        nfc=nfc,
        bos=bos if bos >= 0 else None,
        eos=file.get("tokenizer.ggml.eos_token_id", int),
        prefixed=file.get_or("tokenizer.ggml.add_bos_token", False),
        what=str(file.path),
    )


def tokenizer_from_json(path: Path, *, bos: str | None, eos: str, prefixed: bool, size: int) -> bytes:
    """Hugging Face's tokenizer.json. size: of the model's vocabulary, which may be padded."""
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        model, added = found["model"], found["added_tokens"]
        pieces: dict[int, tuple[str, int]] = {i: (piece, NORMAL) for piece, i in model["vocab"].items()}
        pieces |= {t["id"]: (t["content"], CONTROL if t["special"] else RESERVED) for t in added}
        merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
        pattern, digits = _cuts(found["pre_tokenizer"], str(path))
        ids = {piece: i for i, (piece, _) in pieces.items()}
        whole = [pieces.get(i, (f"<|unused-{i}|>", CONTROL)) for i in range(size)]
        normalizer = (found.get("normalizer") or {}).get("type")
        if model["type"] != "BPE" or normalizer not in (None, "NFC") or max(pieces) >= size:
            raise UnsupportedModel(f"{path} has a {model['type']} tokenizer, normalized by {normalizer}: not supported")
        return _made(
            [piece for piece, _ in whole],
            [kind for _, kind in whole],
            merges,
            pattern=pattern,
            digits=digits,
            nfc=normalizer == "NFC",
            bos=None if bos is None else ids[bos],
            eos=ids[eos],
            prefixed=prefixed,
            what=str(path),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelFormatError(f"{path} is not laid out as a tokenizer: {type(error).__name__} {error}") from error


def _cuts(found: dict[str, Any], what: str) -> tuple[str | None, bool]:
    """The pattern text is cut by, None for GPT-2's, and whether every digit stands alone."""
    pattern, digits, gpt2 = None, False, False
    for part in found.get("pretokenizers", [found]):
        match part:
            case {"type": "Digits", "individual_digits": True}:
                digits = True
            case {"type": "Split", "pattern": {"Regex": str(regex)}, "behavior": "Isolated", "invert": False}:
                pattern = regex
            case {"type": "ByteLevel", "add_prefix_space": False}:
                gpt2 = part.get("use_regex", True)
            case _:
                raise UnsupportedModel(f"{what} cuts text by {part.get('type')}, which is not supported")
    if gpt2 == (pattern is not None):
        raise UnsupportedModel(f"{what} cuts text in a way that is not supported")
    return pattern, digits


def _made(
    pieces: list[str],
    types: list[int],
    merges: list[str],
    *,
    pattern: str | None,
    digits: bool,
    nfc: bool,
    bos: int | None,
    eos: int,
    prefixed: bool,
    what: str,
) -> bytes:
    if len(types) != len(pieces) or not 0 <= eos < len(pieces):
        raise ModelFormatError(f"{what}: tokens and token types don't match, or the end token is none of them")
    if prefixed and bos is None:
        raise ModelFormatError(f"{what} wants a begin token before every prompt and names none")
    ends = {eos} | {i for i, piece in enumerate(pieces) if types[i] == CONTROL and piece in END_NAMES}
    return BytePairs(
        kind="byte-bpe",
        pieces=tuple(pieces),
        types=tuple(types),
        merges=tuple(merges),
        pattern=pattern,
        digits=digits,
        nfc=nfc,
        bos=bos,
        eos=eos,
        ends=tuple(sorted(ends)),
        prefix=(bos,) if prefixed and bos is not None else (),
    ).to_bytes()
