"""Augmentations of the dictionaries in blocks and states: what each node sums up about the entries below it."""

from __future__ import annotations

from dataclasses import dataclass

from cocoon_sandbox.state.builder import Builder, Slice
from cocoon_sandbox.tlb.currency import ZERO, Currency

__all__ = [
    "CURRENCY",
    "DEPTH_BALANCE",
    "IMPORT_FEES",
    "KEY_MAX_LT",
    "MIN_LT",
    "SHARD_FEES",
    "ImportFees",
    "KeyMaxLt",
    "ShardFeeCreated",
]


class CurrencyAug:
    """CurrencyCollection: account blocks, transactions, outbound messages."""

    def fork(self, left: Currency, right: Currency) -> Currency:
        return left + right

    def empty(self) -> Currency:
        return ZERO

    def write(self, builder: Builder, extra: Currency) -> None:
        extra.write(builder)

    def skip(self, source: Slice) -> Currency:
        return Currency.read(source)


class DepthBalanceAug:
    """DepthBalanceInfo of the accounts dictionary. Split depth is 0: no account here asks to be split."""

    def fork(self, left: Currency, right: Currency) -> Currency:
        return left + right

    def empty(self) -> Currency:
        return ZERO

    def write(self, builder: Builder, extra: Currency) -> None:
        extra.write(builder.uint(0, 5))

    def skip(self, source: Slice) -> Currency:
        source.uint(5)
        return Currency.read(source)


@dataclass(frozen=True, slots=True)
class ImportFees:
    """Fees collected for forwarding a message to its destination, and the value it brought into the shard."""

    fees: int
    value: Currency


class ImportFeesAug:
    """ImportFees of the inbound message descriptors."""

    def fork(self, left: ImportFees, right: ImportFees) -> ImportFees:
        return ImportFees(left.fees + right.fees, left.value + right.value)

    def empty(self) -> ImportFees:
        return ImportFees(0, ZERO)

    def write(self, builder: Builder, extra: ImportFees) -> None:
        extra.value.write(builder.coins(extra.fees))

    def skip(self, source: Slice) -> ImportFees:
        return ImportFees(source.coins(), Currency.read(source))


class MinLtAug:
    """uint64 of the outbound message queue: the oldest message's logical time."""

    def fork(self, left: int, right: int) -> int:
        return min(left, right)

    def empty(self) -> int:
        return 0

    def write(self, builder: Builder, extra: int) -> None:
        builder.uint(extra, 64)

    def skip(self, source: Slice) -> int:
        return source.uint(64)


@dataclass(frozen=True, slots=True)
class KeyMaxLt:
    """Whether a key block is among the blocks below, and the greatest end logical time."""

    key: bool
    max_end_lt: int


class KeyMaxLtAug:
    """KeyMaxLt of the dictionary of previous masterchain blocks."""

    def fork(self, left: KeyMaxLt, right: KeyMaxLt) -> KeyMaxLt:
        return KeyMaxLt(left.key or right.key, max(left.max_end_lt, right.max_end_lt))

    def empty(self) -> KeyMaxLt:
        return KeyMaxLt(False, 0)

    def write(self, builder: Builder, extra: KeyMaxLt) -> None:
        builder.bit(extra.key).uint(extra.max_end_lt, 64)

    def skip(self, source: Slice) -> KeyMaxLt:
        return KeyMaxLt(source.bit(), source.uint(64))


@dataclass(frozen=True, slots=True)
class ShardFeeCreated:
    """What a shard hands to the masterchain: fees it collected, money it created."""

    fees: Currency
    create: Currency


class ShardFeesAug:
    """ShardFeeCreated of the masterchain block's shard fees."""

    def fork(self, left: ShardFeeCreated, right: ShardFeeCreated) -> ShardFeeCreated:
        return ShardFeeCreated(left.fees + right.fees, left.create + right.create)

    def empty(self) -> ShardFeeCreated:
        return ShardFeeCreated(ZERO, ZERO)

    def write(self, builder: Builder, extra: ShardFeeCreated) -> None:
        extra.create.write(extra.fees.write(builder))

    def skip(self, source: Slice) -> ShardFeeCreated:
        return ShardFeeCreated(Currency.read(source), Currency.read(source))


CURRENCY = CurrencyAug()
DEPTH_BALANCE = DepthBalanceAug()
IMPORT_FEES = ImportFeesAug()
MIN_LT = MinLtAug()
KEY_MAX_LT = KeyMaxLtAug()
SHARD_FEES = ShardFeesAug()
