"""Amounts of money: nanograms plus extra currencies (CurrencyCollection)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cocoon_sandbox.state import dictionary
from cocoon_sandbox.state.builder import Builder, Slice

__all__ = ["ZERO", "Currency", "total"]

_NO_AUG = dictionary.NoAugmentation()


@dataclass(frozen=True, slots=True)
class Currency:
    """CurrencyCollection; `other` is sorted pairs of extra currency id and amount, without zero amounts."""

    grams: int
    other: tuple[tuple[int, int], ...] = ()

    def __add__(self, more: Currency) -> Currency:
        if not self.other and not more.other:
            return Currency(self.grams + more.grams)
        return self._combine(more, 1)

    def __sub__(self, less: Currency) -> Currency:
        if not self.other and not less.other:
            return Currency(self.grams - less.grams)
        return self._combine(less, -1)

    def _combine(self, second: Currency, sign: int) -> Currency:
        amounts = dict(self.other)
        for key, amount in second.other:
            amounts[key] = amounts.get(key, 0) + sign * amount
        other = tuple(sorted((key, amount) for key, amount in amounts.items() if amount))
        return Currency(self.grams + sign * second.grams, other)

    @property
    def negative(self) -> bool:
        """Whether any amount is below zero."""
        return self.grams < 0 or any(amount < 0 for _, amount in self.other)

    def write(self, builder: Builder) -> Builder:
        """Append CurrencyCollection."""
        builder.coins(self.grams)
        if not self.other:
            return builder.bit(0)
        root = dictionary.build({key: Builder().var_uint(amount, 5) for key, amount in self.other}, 32)
        return dictionary.store(builder, root, _NO_AUG)

    @staticmethod
    def read(source: Slice) -> Currency:
        """Read CurrencyCollection."""
        grams = source.coins()
        root = source.maybe_ref()
        if root is None:
            return Currency(grams)
        entries = dictionary.parse(root, 32)
        return Currency(grams, tuple(sorted((key, value.var_uint(5)) for key, value in entries.items())))


ZERO = Currency(0)


def total(amounts: Iterable[Currency]) -> Currency:
    """The sum of `amounts`."""
    result = ZERO
    for amount in amounts:
        result = result + amount
    return result
