"""Long texts as messages Telegram takes: it counts UTF-16 code units, and drops white space at both ends."""

from __future__ import annotations

__all__ = ["MOST_UNITS", "clean", "split", "units"]

MOST_UNITS = 4096
_LOOK_BACK = 512  # how far before the limit a nicer place to cut is looked for


def units(text: str) -> int:
    """The length of `text` as Telegram counts it."""
    return len(text) + sum(ord(character) > 0xFFFF for character in text)


def clean(text: str) -> str:
    """Without what no message may hold: a model's bytes need not be a text."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def split(text: str, most: int = MOST_UNITS) -> list[str]:
    """Parts of at most `most` units, none empty; cut after a line or a word where there is one near the limit.

    A part followed by another does not change when the text grows, so what was sent stays as it is.
    """
    parts, rest = [], text.lstrip()
    while units(rest) > most:
        window = _prefix(rest, most)
        near = max(0, len(window) - _LOOK_BACK)
        cut = max(window.rfind("\n", near), window.rfind(" ", near) if "\n" not in window[near:] else -1) + 1
        cut = cut if cut > 0 else len(window)
        parts.append(window[:cut].rstrip())
        rest = rest[cut:].lstrip()
    return [part for part in (*parts, rest.rstrip()) if part]


def _prefix(text: str, most: int) -> str:
    """The longest prefix of at most `most` units."""
    counted = 0
    for position, character in enumerate(text[: most + 1]):
        counted += 2 if ord(character) > 0xFFFF else 1
        if counted > most:
            return text[:position]
    return text
