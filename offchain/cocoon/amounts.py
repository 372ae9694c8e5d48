"""Amounts as people write them."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

__all__ = ["parse_ton", "ton_text"]

_MOST = 1 << 63


def parse_ton(text: str) -> int:
    """nanoTON of `1.5`. ValueError."""
    try:
        nano = Decimal(text) * 10**9
    except InvalidOperation as error:
        raise ValueError(f"{text!r} is no number of TON") from error
    if not nano.is_finite() or nano != nano.to_integral_value() or not 0 <= nano < _MOST:
        raise ValueError(f"{text!r}: give 0 or more TON with at most nine decimals")
    return int(nano)


def ton_text(nano: int) -> str:
    """The inverse."""
    return f"{Decimal(nano).scaleb(-9).normalize():f}"
