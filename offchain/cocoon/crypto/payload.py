"""Plaintexts: a header, one JSON object, and zeros up to the next size in a short list of sizes.

Layout: `header || length of the JSON (4 bytes, big-endian) || JSON (UTF-8) || zeros`. Padding to powers of two tells an
observer the order of magnitude of a message and nothing more.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from .errors import PayloadMalformed, PayloadTooLarge

__all__ = ["MAX_PADDED_BYTES", "decode_object", "encode_object", "pack", "pack_encoded", "padded_size", "unpack"]

MAX_PADDED_BYTES = 1 << 16
_LENGTH_BYTES = 4
_GREATEST = 1 << 64  # of a number's magnitude: whoever computes with greater ones is led into overflows


def padded_size(length: int, *, least: int) -> int:
    """The size, `least` times a power of two, that holds `length` bytes. PayloadTooLarge beyond MAX_PADDED_BYTES."""
    size = least
    while size < length:
        size *= 2
    if size > MAX_PADDED_BYTES:
        raise PayloadTooLarge(
            f"{length} bytes of plaintext are too many: at most {MAX_PADDED_BYTES} can be sent at once"
        )
    return size


def pack(header: bytes, body: dict[str, Any], *, least: int) -> bytes:
    """The padded plaintext. PayloadMalformed if `body` is not JSON, PayloadTooLarge if it is too long."""
    return pack_encoded(header, encode_object(body), least=least)


def pack_encoded(header: bytes, encoded: bytes, *, least: int) -> bytes:
    """`pack` of what `encode_object` gave. PayloadTooLarge."""
    content = header + len(encoded).to_bytes(_LENGTH_BYTES, "big") + encoded
    return content.ljust(padded_size(len(content), least=least), b"\0")


def unpack(plaintext: bytes, *, header_bytes: int, least: int) -> tuple[bytes, dict[str, Any]]:
    """(header, object). PayloadMalformed unless `plaintext` is laid out exactly as `pack` does it."""
    start = header_bytes + _LENGTH_BYTES
    if len(plaintext) < start:
        raise PayloadMalformed("the plaintext is shorter than its header")
    end = start + int.from_bytes(plaintext[header_bytes:start], "big")
    if end > len(plaintext) or any(plaintext[end:]):
        raise PayloadMalformed("the plaintext's length field or padding is wrong")
    if len(plaintext) > MAX_PADDED_BYTES or len(plaintext) != padded_size(end, least=least):
        raise PayloadMalformed("the plaintext is not padded to the next size")
    return plaintext[:header_bytes], decode_object(plaintext[start:end])


def encode_object(body: dict[str, Any]) -> bytes:
    """Compact JSON with sorted keys, in UTF-8. PayloadMalformed for what `decode_object` would not take."""
    try:
        encoded = _ENCODER.encode(body).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise PayloadMalformed(f"can't be sent as JSON: {error}") from error
    decode_object(encoded)
    return encoded


def decode_object(data: bytes) -> dict[str, Any]:
    """One JSON object. PayloadMalformed for anything else, repeated names, text that is not Unicode, NaN, and numbers
    of 64 bits or more.
    """
    try:
        value = _DECODER.decode(data.decode())
        if b"\\u" in data:  # escaped lone surrogates pass the decoder and nothing after it
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise PayloadMalformed(f"not a JSON object: {error}") from error
    if not isinstance(value, dict):
        raise PayloadMalformed("the JSON is not an object")
    return value


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name occurs twice")
    return made


def _integer(digits: str) -> int:
    value = int(digits)
    if abs(value) >= _GREATEST:
        raise ValueError("a number has 64 bits or more")
    return value


def _fraction(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value) or abs(value) >= _GREATEST:
        raise ValueError("a number has 64 bits or more")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# Made once: json.loads and json.dumps would make them anew for every message.
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
_DECODER = json.JSONDecoder(
    object_pairs_hook=_without_repeats, parse_constant=_no_constant, parse_int=_integer, parse_float=_fraction
)
