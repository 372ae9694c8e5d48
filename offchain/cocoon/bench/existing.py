"""The existing network of the same purpose: its public contracts, run in the same executor, beside ours."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["EXISTING", "EXISTING_ACCOUNTS", "EXISTING_LEAST_VALUE_NANO", "EXISTING_SETTLEMENT_NANO", "Existing"]


@dataclass(frozen=True, slots=True)
class Existing:
    """What `theirs` takes there; `ours` are the operations (names of `bench.gas`) that do the same here."""

    theirs: str
    gas: int
    transactions: int
    ours: tuple[str, ...]
    note: str = ""


EXISTING = (
    Existing("top-up of a client", 18_178, 3, ("top up",)),
    Existing("signed charge of a client, signed payout to the worker", 30_458, 7, ("claim",)),
    Existing("withdrawal by a client", 21_140, 4, ("close cooperatively",), "closes the channel, too"),
    Existing("cooperative refund", 23_412, 4, ("close cooperatively",)),
    Existing("refund, both phases", 43_396, 8, ("begin close", "finish close")),
    Existing("registration of a worker", 5_496, 3, ("register",), "there without stake, bond or attestation"),
)

EXISTING_LEAST_VALUE_NANO = 100_000_000
"""Least value attached to each operation there."""

EXISTING_ACCOUNTS = {"client's account": (39, 18_108), "worker's account": (13, 5_288)}
"""Cells and bits of accounts there."""

EXISTING_SETTLEMENT_NANO = 17_000_000
"""Fees of one settlement there (signed charge of a client, signed payout to the worker), at 400 nanoTON a gas unit."""
