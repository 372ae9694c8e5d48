"""The rule that no transaction may break: money a contract owes is there, and only storage fees nibble at the rest.

`spare` is what an account holds beyond what it owes. A message pays for itself, so a transaction may lower `spare` by
no more than the storage fees it collected.
"""

from __future__ import annotations

from functools import lru_cache

from cocoon.contracts_build import load
from cocoon.wire.escrow import EscrowStorage
from cocoon.wire.worker import WorkerStorage
from cocoon_sandbox.account import AccountView
from cocoon_sandbox.transaction import Transaction

__all__ = ["assert_pays_for_itself", "owed_by"]


@lru_cache(maxsize=256)
def owed_by(account: AccountView) -> int | None:
    """What an Escrow or Worker owes by its own ledger; None for any other account, or one before its first message.

    Remembered: a view never changes, and is asked about after every transaction until another takes its place.
    """
    if account.status != "active" or account.code_hash not in (load("Escrow").hash, load("Worker").hash):
        return None
    data = account.data
    if data is None or not data.refs:
        return None
    if account.code_hash == load("Escrow").hash:
        escrow = EscrowStorage.from_cell(data)
        return escrow.deposit_nano - escrow.claimed_nano + escrow.job_funds_nano
    worker = WorkerStorage.from_cell(data)
    return worker.stake_nano + worker.bond_nano


def assert_pays_for_itself(before: AccountView, after: AccountView, transaction: Transaction) -> None:
    """AssertionError if `transaction` spent money that it neither brought nor was owed to whom it went."""
    owed_before, owed_after = owed_by(before), owed_by(after)
    if owed_after is None:
        return
    if owed_before is None:
        assert after.balance >= owed_after, f"begins with a debt of {owed_after - after.balance}: {transaction!r}"
        return
    spare_before, spare_after = before.balance - owed_before, after.balance - owed_after
    lost = spare_before - spare_after - transaction.storage_fees
    assert lost <= 0, f"spent {lost} nanoTON that were not its own: {transaction!r}"
