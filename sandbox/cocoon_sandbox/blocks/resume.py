"""Stopping and going on: what a restart needs besides blocks and accounts, and the way back to a chain's head.

The head is not stored: it is rebuilt from the tables, and its states must then hash to what the last blocks say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from cocoon_sandbox.blocks.chain import Head
from cocoon_sandbox.blocks.draft import Imported
from cocoon_sandbox.blocks.genesis import accounts_trie
from cocoon_sandbox.blocks.libraries import LibraryBook
from cocoon_sandbox.blocks.sealed import SealedState
from cocoon_sandbox.blocks.store import Store
from cocoon_sandbox.errors import SandboxError
from cocoon_sandbox.state import dictionary
from cocoon_sandbox.state.boc import one_from_boc
from cocoon_sandbox.state.builder import Builder, Slice
from cocoon_sandbox.state.cell import Cell
from cocoon_sandbox.tlb.account import AccountHead
from cocoon_sandbox.tlb.currency import Currency
from cocoon_sandbox.tlb.ids import BASECHAIN, MASTERCHAIN, BlockRef
from cocoon_sandbox.tlb.message import Message
from cocoon_sandbox.tlb.state import MasterchainExtra, ShardState, previous_block_entry
from cocoon_sandbox.tlb.validators import CATCHAIN_SEQNO, Validator

__all__ = ["Damaged", "Resumed", "head_meta", "resume"]

_META = "head"


class Damaged(SandboxError):
    """A database whose parts don't fit together."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """The head of a stored chain; `pending` are the messages in flight, oldest first."""

    head: Head
    pending: list[Message]


def head_meta(head: Head, undeliverable: set[bytes]) -> dict[str, bytes]:
    """What isn't in any table: fees, imports, and messages in the queues that will never be delivered."""
    imported = {
        str(workchain): [[item.message.hash.hex(), item.import_lt] for item in items]
        for workchain, items in head.imported.items()
    }
    values = {
        "imported": imported,
        "undeliverable": sorted(digest.hex() for digest in undeliverable),
        "validator_fees": _currency(head.master.state.validator_fees),
        "global_balance": _currency(head.extra.global_balance),
        "processed": {str(state.workchain): _processed(state) for state in (head.shard.state, head.master.state)},
    }
    return {_META: json.dumps(values).encode()}


def _currency(amount: Currency) -> list[object]:
    return [str(amount.grams), [[key, str(value)] for key, value in amount.other]]


def _read_currency(value: list[object]) -> Currency:
    grams, other = value
    assert isinstance(other, list)
    return Currency(int(str(grams)), tuple((key, int(amount)) for key, amount in other))


def _processed(state: ShardState) -> list[object] | None:
    return None if state.processed is None else [state.processed[0], state.processed[1], state.processed[2].hex()]


def resume(
    store: Store,
    *,
    config: tuple[bytes, Cell],
    validator: Validator,
    global_id: int,
    accounts: Mapping[int, Mapping[int, AccountHead]],
) -> Resumed:
    """Rebuild the head from the database; `Damaged` when the states' hashes aren't those in the last blocks."""
    raw = store.meta(_META)
    refs = store.master_refs()
    if raw is None or len(refs) < 2 or [ref.id.seqno for ref in refs] != list(range(len(refs))):
        raise Damaged("the chain's database is incomplete: remove its directory to start a new chain")
    meta = json.loads(raw)
    last, before = refs[-1], refs[-2]
    shard_block = store.block(BASECHAIN, last.id.seqno)
    master_block = store.block(MASTERCHAIN, last.id.seqno)
    if shard_block is None or master_block is None:
        raise Damaged("the chain's last blocks are missing: remove its directory to start a new chain")
    roots = {
        BASECHAIN: one_from_boc(store.boc(shard_block.id), verify=False),
        MASTERCHAIN: one_from_boc(store.boc(last.id), verify=False),
    }
    libraries = LibraryBook().updated(accounts.get(MASTERCHAIN, {}))
    queues = {workchain: _queue(store, workchain) for workchain in (BASECHAIN, MASTERCHAIN)}
    messages = {message.hash: message for _, found in queues.values() for message in found}
    imported = {
        int(workchain): [Imported(messages[bytes.fromhex(digest)], lt) for digest, lt in items]
        for workchain, items in meta["imported"].items()
    }

    def state(workchain: int) -> ShardState:
        processed = meta["processed"][str(workchain)]
        master = workchain == MASTERCHAIN
        return ShardState(
            global_id=global_id,
            workchain=workchain,
            seqno=last.id.seqno,
            gen_utime=master_block.gen_utime,
            gen_lt=(master_block if master else shard_block).end_lt,
            min_ref_mc_seqno=before.id.seqno,
            accounts=accounts_trie(accounts.get(workchain, {})),
            queue=queues[workchain][0],
            queue_size=len(queues[workchain][1]),
            processed=None if processed is None else (processed[0], processed[1], bytes.fromhex(processed[2])),
            libraries=libraries.root if master else None,
            validator_fees=_read_currency(meta["validator_fees"]) if master else Currency(0),
            master=None if master else before,
            custom=None,
        )

    extra = _extra(refs, roots[MASTERCHAIN], config, validator, _read_currency(meta["global_balance"]))
    shard_state = state(BASECHAIN)
    master_state = state(MASTERCHAIN).with_custom(extra.cell())
    states = {found.workchain: SealedState(found, found.cell()) for found in (shard_state, master_state)}
    for workchain, root in roots.items():
        if root.refs[2].refs[1].hash_at(0) != states[workchain].root.hash:
            raise Damaged(
                f"the stored state of workchain {workchain} is not that of its last block: the disk lost data"
            )
    waiting = _waiting(messages, imported, meta["undeliverable"])
    head = Head(
        shard=states[BASECHAIN],
        shard_ref=BlockRef(shard_block.id, shard_block.end_lt),
        master=states[MASTERCHAIN],
        master_ref=last,
        master_signature=master_block.signature,
        extra=extra,
        key=refs[1],
        imported=imported,
        libraries=libraries,
    )
    return Resumed(head, waiting)


def _waiting(
    messages: Mapping[bytes, Message], imported: Mapping[int, list[Imported]], undeliverable: list[str]
) -> list[Message]:
    done = {item.message.hash for items in imported.values() for item in items}
    done.update(bytes.fromhex(digest) for digest in undeliverable)
    return sorted((m for m in messages.values() if m.hash not in done), key=lambda message: message.created_lt)


def _queue(store: Store, workchain: int) -> tuple[dictionary.Node | None, list[Message]]:
    editor = dictionary.Editor(None, 352)
    messages = []
    for key, lt, boc in store.queue(workchain):
        wrapped = one_from_boc(boc, verify=False)
        editor.put(key, Builder().uint(lt, 64).ref(wrapped), lt)
        messages.append(Message.read(Slice(wrapped).ref()))
    return editor.root, messages


def _extra(
    refs: list[BlockRef], last_root: Cell, config: tuple[bytes, Cell], validator: Validator, balance: Currency
) -> MasterchainExtra:
    previous = dictionary.Editor(None, 32)
    for ref in refs[:-1]:
        previous.put(*previous_block_entry(ref.id, ref.end_lt, ref.id.seqno <= 1))
    last = refs[-1].id.seqno
    return MasterchainExtra(
        shard_hashes=last_root.refs[3].refs[3].refs[0],
        config=config,
        validator_hash=validator.set_hash(CATCHAIN_SEQNO),
        catchain_seqno=CATCHAIN_SEQNO,
        previous=previous.root,
        after_key_block=last == 1,
        last_key_block=refs[1] if last > 1 else refs[0],
        global_balance=balance,
    )
