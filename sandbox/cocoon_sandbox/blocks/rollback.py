"""Going back: a snapshot of the chain's head and its ledger, and the undoing of everything since."""

from __future__ import annotations

from dataclasses import dataclass

from cocoon_sandbox.blocks.chain import Head
from cocoon_sandbox.blocks.collator import Collator
from cocoon_sandbox.blocks.store import QueueChange
from cocoon_sandbox.ledger import Snapshot as LedgerSnapshot

__all__ = ["Snapshot", "roll_back", "take_snapshot"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A point to roll back to: the chain after masterchain block `seqno`, and the clock's lead over the real time.

    It holds no copy of the chain, only the roots that the chain had, so it is cheap; it lives as long as its process.
    """

    seqno: int
    offset: int
    head: Head
    ledger: LedgerSnapshot
    queue: QueueChange
    fates: tuple[dict[bytes, int], frozenset[bytes]]


def take_snapshot(collator: Collator, offset: int) -> Snapshot:
    """The chain as it is. No round may be under way."""
    head = collator.chain.head
    return Snapshot(
        seqno=head.master_ref.id.seqno,
        offset=offset,
        head=head,
        ledger=collator.ledger.snapshot(),
        queue=collator.store.queue_rows(),
        fates=collator.schedule.fates(),
    )


def roll_back(collator: Collator, snapshot: Snapshot) -> None:
    """Put ledger, chain and database back. No round may be under way, and no snapshot taken since is valid any more."""
    ledger = collator.ledger
    then, now = snapshot.ledger.accounts, ledger.accounts
    changed = [
        (address.wc, address.hash_part, then[address].boc if address in then else None)
        for address in now
        if then.get(address) is not now[address]
    ]
    collator.chain.head = snapshot.head
    ledger.restore(snapshot.ledger)
    collator.schedule.restore(snapshot.fates)
    meta = collator.meta() | {"offset": str(snapshot.offset).encode()}
    collator.store.truncate(snapshot.seqno, changed, snapshot.queue, meta)
    collator.archive.forget_after(snapshot.seqno)
    for ref, state in (
        (snapshot.head.shard_ref, snapshot.head.shard),
        (snapshot.head.master_ref, snapshot.head.master),
    ):
        collator.archive.add_state(ref.id, state)
    collator.archive.publish()
