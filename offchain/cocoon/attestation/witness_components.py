"""The texts between the numbers of TCB components, as a contract takes them.

The cells are those of `contracts/attestation/components.tolk`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from pytoniq_core import Cell

from .errors import CollateralMalformed
from .pcs import COMPONENTS
from .witness_chains import CELL_BYTES, chain

__all__ = ["component_texts"]

_COMPONENT = re.compile(rb'\{"svn":(\d+)([^{}]*)\}')
_ZERO = (b"0", b"")
_MAX_ZEROS = 7
_MAX_TEXTS = 80  # bytes; one more component, its number and seven zeros would not fit a part behind more
_NUMBER, _BETWEEN, _ZERO_BYTES = (
    3,
    9,
    10,
)  # bytes of a number at most; of what is constant around it; of {"svn":0} and a comma

type _Entry = tuple[bytes, int]  # texts of a component; how many {"svn":0} follow it


def component_texts(text: bytes) -> Cell:
    """What the contract needs beside the numbers of a list, given what stands between its brackets.

    CollateralMalformed if there are not sixteen components, or one has uncommonly long texts.
    """
    found = [match.groups() for match in _COMPONENT.finditer(text)]
    if len(found) != COMPONENTS:
        raise CollateralMalformed(f"{len(found)} components instead of {COMPONENTS}")
    if any(len(words) > _MAX_TEXTS for _, words in found):
        raise CollateralMalformed(f"a component has more than {_MAX_TEXTS} bytes of texts, more than a contract takes")
    return chain(list(_cells(_entries(found))))


def _entries(found: list[tuple[bytes, ...]]) -> Iterator[_Entry]:
    index = 0
    while index < COMPONENTS:
        words, zeros = found[index][1], 0
        while (
            zeros < _MAX_ZEROS
            and found[index + zeros + 1 : index + zeros + 2] == [_ZERO]
            and _written((words, zeros + 1)) + _NUMBER <= CELL_BYTES
        ):
            zeros += 1
        yield words, zeros
        index += 1 + zeros


def _written(entry: _Entry) -> int:
    """Bytes of an entry in the part it is written into."""
    words, zeros = entry
    return _NUMBER + len(words) + _BETWEEN + _ZERO_BYTES * zeros


def _cells(entries: Iterable[_Entry]) -> Iterator[bytes]:
    batch: list[_Entry] = []
    for entry in entries:
        sizes = [*map(_written, batch), _written(entry)]
        if sum(sizes) + _NUMBER > CELL_BYTES:
            yield _packed(batch)
            batch = []
        batch.append(entry)
    yield _packed(batch)


def _packed(batch: list[_Entry]) -> bytes:
    return b"".join(bytes([len(words), zeros]) + words for words, zeros in batch)
