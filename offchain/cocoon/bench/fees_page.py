"""`docs/fees.md`: what operations and rent cost, beside the existing network and the goals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..fees import Formulas, Prices
from .existing import EXISTING, EXISTING_ACCOUNTS, EXISTING_LEAST_VALUE_NANO
from .operation import Operation
from .rent import YEAR_SEC, Rent

__all__ = ["LEAST_VALUE_GOAL_NANO", "render"]

LEAST_VALUE_GOAL_NANO = 20_000_000

_HEAD = """# What it costs

Measured in the official executor, every operation attached exactly the least value it takes. Gas is what the
protocol's contracts burn (a receiving wallet burns its own), fees are all that validators collect for the operation
after the caller's own wallet. Today's prices in nanoTON: {gas} per gas; {lump:,} a message, {bit} per bit and
{cell:,} per cell of it; {storage:,} per cell stored for a year. Gas, transactions and sizes don't depend on prices,
and tests hold the contracts to them exactly (`tests/contracts/gas.json`).

Made by `cocoon bench gas --markdown > docs/fees.md`; a test compares the two."""

_LEAST = """The least value is what to attach beyond what is credited to somebody: ask `get_fees` of the
contract for it, never write it down. It covers the whole cascade in the worst case, and prepaid
rent; what is not used comes back. The existing network asks for {existing} TON with every
operation."""

_RENT = """Accounts in use, code included. An Escrow's rent is prepaid for its term and {margin} days more, and comes
back when it closes earlier; a Worker's is prepaid for {worker} days at registration."""


def render(operations: Sequence[Operation], rents: Sequence[Rent], prices: Prices) -> str:
    """The text of `docs/fees.md`."""
    figures = {
        "gas": round(prices.gas_price / 65536, 2),
        "lump": prices.lump,
        "bit": round(prices.forward_bit / 65536, 2),
        "cell": round(prices.forward_cell / 65536),
        "storage": round(prices.storage_cell * YEAR_SEC / 65536),
    }
    sections = [
        _HEAD.format(**figures),
        "## Operations",
        _LEAST.format(existing=_ton(EXISTING_LEAST_VALUE_NANO, 1)),
        "\n".join(_operations(operations)),
        "## Beside the existing network",
        "\n".join(_comparison({operation.name: operation for operation in operations})),
        "## Goals",
        "\n".join(_goals(operations, rents)),
        "## Rent",
        _RENT.format(margin=_days("RENT_MARGIN_SEC"), worker=_days("WORKER_RENT_SEC")),
        "\n".join(_rents(rents, prices)),
    ]
    return "\n\n".join(sections) + "\n"


def _operations(operations: Sequence[Operation]) -> Iterator[str]:
    yield "| operation | gas by contract | gas | transactions | fees, TON | least value, TON |"
    yield "|---|---|---:|---:|---:|---:|"
    for operation in operations:
        contracts = ", ".join(f"{name} {gas:,}" for name, gas in operation.gas)
        least = "" if operation.least_value_nano is None else _ton(operation.least_value_nano)
        figures = f"{operation.total_gas:,} | {operation.transactions} | {_ton(operation.fees_nano)} | {least}"
        yield f"| {operation.name} | {contracts} | {figures} |"


def _comparison(operations: dict[str, Operation]) -> Iterator[str]:
    yield "| there | gas | transactions | here | gas | transactions | gas here / there |"
    yield "|---|---:|---:|---|---:|---:|---:|"
    for existing in EXISTING:
        ours = [operations[name] for name in existing.ours]
        gas, transactions = sum(o.total_gas for o in ours), sum(o.transactions for o in ours)
        here = ", ".join(existing.ours) + (f" ({existing.note})" if existing.note else "")
        there = f"| {existing.theirs} | {existing.gas:,} | {existing.transactions} "
        yield f"{there}| {here} | {gas:,} | {transactions} | {gas / existing.gas:.2f} |"


def _goals(operations: Sequence[Operation], rents: Sequence[Rent]) -> Iterator[str]:
    yield "| goal | at most | is | |"
    yield "|---|---:|---:|---|"
    for operation in operations:
        if operation.goal is not None:
            figures = f"{operation.goal.gas:,} | {operation.total_gas:,}"
            yield f"| gas of {operation.name} | {figures} | {_verdict(bool(operation.meets_goal))} |"
    dearest = max(operations, key=lambda operation: operation.least_value_nano or 0)
    least = dearest.least_value_nano or 0
    goal, verdict = _ton(LEAST_VALUE_GOAL_NANO, 2), _verdict(least <= LEAST_VALUE_GOAL_NANO)
    yield f"| least value of every operation, TON (dearest: {dearest.name}) | {goal} | {_ton(least)} | {verdict} |"
    for rent in rents:
        if rent.goal_nano is not None:
            goal, verdict = _ton(rent.goal_nano, 3), _verdict(rent.year_nano <= rent.goal_nano)
            yield f"| rent of a year, TON: {rent.account} | {goal} | {_ton(rent.year_nano)} | {verdict} |"


def _rents(rents: Sequence[Rent], prices: Prices) -> Iterator[str]:
    yield "| account | cells | bits | a year, TON |"
    yield "|---|---:|---:|---:|"
    for rent in rents:
        yield f"| {rent.account} | {rent.cells} | {rent.bits:,} | {_ton(rent.year_nano)} |"
    for name, (cells, bits) in EXISTING_ACCOUNTS.items():
        year = prices.storage_fee(YEAR_SEC, bits, cells)
        yield f"| existing network: {name} | {cells} | {bits:,} | {_ton(year)} |"


def _days(constant: str) -> int:
    return Formulas.load().constants[constant] // 86_400


def _verdict(met: bool) -> str:
    return "met" if met else "**missed**"


def _ton(nano: int, digits: int = 6) -> str:
    return f"{nano / 10**9:.{digits}f}"
