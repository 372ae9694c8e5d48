"""What a lite server's proofs prove, checked cell by cell.

A proof is a Merkle-proof cell whose content has a hash that is already believed: a block's root hash, then the hash of
the state which that block leads to. Each function takes believed hashes and raw cells, and returns facts, or raises
`LyingServer` with a sentence that says what did not hold. Types are those of TON's `block.tlb`.
"""

from __future__ import annotations

from dataclasses import dataclass

from pytoniq_core import Address, Cell

from ..errors import ChainError, LyingServer
from .base import AccountState
from .boc import parse_roots
from .cells import MERKLE_PROOF, MERKLE_UPDATE, Reader, Unreadable, lookup

__all__ = [
    "BlockHeader", "PreviousBlock", "ProvenAccount", "account_entry", "account_state", "block_header", "config_params",
    "key_block_config", "master_extra", "proven_root", "shard_block",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class PreviousBlock:
    seqno: int
    root_hash: bytes
    file_hash: bytes


@dataclass(frozen=True, slots=True)
class BlockHeader:
    """A block's BlockInfo. `state_hash` is None if the proof does not show it, `previous` None after a merge."""

    global_id: int
    workchain: int
    seqno: int
    gen_utime: int
    start_lt: int
    end_lt: int
    key_block: bool
    previous: PreviousBlock | None
    state_hash: bytes | None


@dataclass(frozen=True, slots=True)
class ProvenAccount:
    """A shard state's entry for an account: the hash of its Account cell and its last transaction."""

    account_hash: bytes
    last_hash: bytes
    last_lt: int


def proven_root(proof: Cell, believed_hash: bytes, what: str) -> Cell:
    """The content of a Merkle proof whose original has `believed_hash`."""
    if proof.type_ != MERKLE_PROOF or len(proof.refs) != 1:
        raise LyingServer(f"the proof of {what} is not a Merkle proof")
    content: Cell = proof.refs[0]
    if content.get_hash(0) != believed_hash:
        raise LyingServer(f"the proof of {what} proves something else: the hashes differ")
    return content


def block_header(root: Cell) -> BlockHeader:
    """Read the header of a block (or of what a proof shows of it)."""
    try:
        block = Reader(root)
        block.expect(0x11EF55AA, 32, "block")
        global_id = block.sint(32)
        info = Reader(block.ref())
        block.ref()
        update = block.ref()
        info.expect(0x9BC7A987, 32, "block info")
        info.skip(32)
        not_master, after_merge = info.bit(), info.bit()
        info.skip(4)
        key_block = info.bit()
        info.skip(1)
        flags, seqno = info.uint(8), info.uint(32)
        info.skip(32)
        info.expect(0, 2, "shard identifier")
        info.skip(6)
        workchain = info.sint(32)
        info.skip(64)
        gen_utime, start_lt, end_lt = info.uint(32), info.uint(64), info.uint(64)
        info.skip(4 * 32)
        if flags & 1:
            info.skip(8 + 32 + 64)
        if not_master:
            info.ref()
        previous_cell = info.ref()
        previous = None if after_merge or previous_cell.is_exotic else _previous(Reader(previous_cell))
        state_hash = None
        if update.type_ == MERKLE_UPDATE:
            state_hash = update.data[33:65]
    except Unreadable as error:
        raise LyingServer(f"the lite server sent a malformed block header: {error}") from error
    return BlockHeader(global_id, workchain, seqno, gen_utime, start_lt, end_lt, key_block, previous, state_hash)


def _previous(reader: Reader) -> PreviousBlock:
    reader.skip(64)
    return PreviousBlock(reader.uint(32), reader.raw(32), reader.raw(32))


def shard_block(proof: bytes, mc_root_hash: bytes, address: Address) -> bytes:
    """Root hash of the shard block that a masterchain block commits for the shard `address` lies in."""
    mc_state = _state_of_block(proof, mc_root_hash, "the shard configuration")
    try:
        custom = Reader(master_extra(mc_state))
        custom.expect(0xCC26, 16, "masterchain state")
        leaf = lookup(custom.maybe_ref(), address.wc & 0xFFFFFFFF, 32)
        if leaf is None:
            raise ChainError(f"this network has no workchain {address.wc}; check the address")
        node = Reader(leaf.ref())
        account_bits = int.from_bytes(address.hash_part, "big")
        depth = 0
        while node.bit():
            depth += 1
            side = account_bits >> 256 - depth & 1
            left, right = node.ref(), node.ref()
            node = Reader(right if side else left)
        if node.uint(4) not in (0xA, 0xB):
            raise Unreadable("not a shard description")
        node.skip(32 + 32 + 64 + 64)
        return node.raw(32)
    except Unreadable as error:
        raise LyingServer(f"the proof of the shard configuration is malformed: {error}") from error


def account_entry(proof: bytes, block_root_hash: bytes, address: Address) -> ProvenAccount | None:
    """The entry of `address` in the state that a block leads to; None if the proof shows that there is none."""
    state = _state_of_block(proof, block_root_hash, f"account {_name(address)}")
    try:
        accounts = Reader(_state_refs(state)[1])
        leaf = lookup(accounts.maybe_ref(), int.from_bytes(address.hash_part, "big"), 256)
        if leaf is None:
            return None
        leaf.skip(5)
        leaf.currency()
        account = leaf.ref()
        return ProvenAccount(account.get_hash(0), leaf.raw(32), leaf.uint(64))
    except Unreadable as error:
        raise LyingServer(
            f"the lite server proves neither the state nor the absence of account {_name(address)}: {error}"
        ) from error


def account_state(address: Address, entry: ProvenAccount | None, state: bytes) -> AccountState:
    """Decode the account cell in the bag `state` after comparing it with its proven `entry`."""
    if entry is None:
        if state:
            raise LyingServer(f"the lite server sent a state of account {_name(address)}, which is proven absent")
        return AccountState(address, "nonexist", 0, None, None, 0, bytes(32))
    if not state:
        raise LyingServer(f"the lite server hides account {_name(address)}: its proof shows that there is one")
    roots = parse_roots(state, f"account {_name(address)}")
    if len(roots) != 1 or roots[0].hash != entry.account_hash:
        raise LyingServer(f"the state of account {_name(address)} is forged: its hash is not the proven one")
    try:
        return _decode_account(address, Reader(roots[0]), entry)
    except Unreadable as error:
        raise ChainError(f"account {_name(address)} has a layout this version does not know: {error}") from error


def _decode_account(address: Address, account: Reader, entry: ProvenAccount) -> AccountState:
    if not account.bit():
        return AccountState(address, "nonexist", 0, None, None, entry.last_lt, entry.last_hash)
    if account.address() != address:
        raise Unreadable("it names another address")
    account.var_uint(3)
    account.var_uint(3)
    if extra := account.uint(3):  # before TVM 11: the length of a third counter, always 0 in practice
        if extra != 1:
            raise Unreadable("unknown storage information")
        account.skip(256)
    account.skip(32)
    if account.bit():
        account.coins()
    account.skip(64)
    balance = account.currency()
    if not account.bit():
        frozen = account.bit()
        status = "frozen" if frozen else "uninit"
        return AccountState(
            address, "frozen" if status == "frozen" else "uninit", balance, None, None, entry.last_lt, entry.last_hash
        )
    if account.bit():
        account.skip(5)
    if account.bit():
        account.skip(2)
    code, data = account.maybe_ref(), account.maybe_ref()
    return AccountState(
        address, "active", balance, code.hash if code is not None else None, data, entry.last_lt, entry.last_hash
    )


def config_params(
    state_proof: bytes, config_proof: bytes, mc_root_hash: bytes, params: tuple[int, ...]
) -> dict[int, Cell]:
    """Configuration parameters of a masterchain block; those proven not to exist are left out."""
    block_roots, config_roots = parse_roots(state_proof, "the block"), parse_roots(config_proof, "the configuration")
    if len(block_roots) != 1 or len(config_roots) != 1:
        raise LyingServer("the proof of the configuration is malformed: it needs one root for each part")
    state_hash = block_header(proven_root(block_roots[0], mc_root_hash, "the block")).state_hash
    if state_hash is None:
        raise LyingServer("the proof of the configuration does not show the block's state")
    state = proven_root(config_roots[0], state_hash, "the configuration")
    try:
        custom = Reader(master_extra(state))
        custom.expect(0xCC26, 16, "masterchain state")
        custom.maybe_ref()
        custom.skip(256)
        return _params(custom.ref(), params)
    except Unreadable as error:
        raise LyingServer(f"the proof of the configuration is malformed: {error}") from error


def key_block_config(root: Cell, params: tuple[int, ...]) -> dict[int, Cell]:
    """Configuration parameters inside a key block."""
    try:
        block = Reader(root)
        block.skip(64)
        for _ in range(3):
            block.ref()
        extra = Reader(block.ref())
        extra.expect(0x4A33F6FD, 32, "block's content")
        for _ in range(3):
            extra.ref()
        extra.skip(512)
        custom_cell = extra.maybe_ref()
        if custom_cell is None:
            raise Unreadable("not a masterchain block")
        custom = Reader(custom_cell)
        custom.expect(0xCCA5, 16, "masterchain block's content")
        if not custom.bit():
            raise Unreadable("not a key block")
        custom.maybe_ref()
        custom.maybe_ref()
        custom.currency()
        custom.currency()
        custom.ref()
        custom.skip(256)
        return _params(custom.ref(), params)
    except Unreadable as error:
        raise LyingServer(f"the configuration in a key block is not proven: {error}") from error


def _params(config: Cell, params: tuple[int, ...]) -> dict[int, Cell]:
    found = {number: lookup(config, number & 0xFFFFFFFF, 32) for number in params}
    return {number: leaf.ref() for number, leaf in found.items() if leaf is not None}


def _state_of_block(proof: bytes, block_root_hash: bytes, what: str) -> Cell:
    """The state shown by a pair of proofs: block -> hash of its state, state -> content."""
    roots = parse_roots(proof, what)
    if len(roots) != 2:
        raise LyingServer(f"the lite server gave no proof of {what}")
    header = block_header(proven_root(roots[0], block_root_hash, f"the block behind {what}"))
    if header.state_hash is None:
        raise LyingServer(f"the proof of {what} does not show the block's state")
    return proven_root(roots[1], header.state_hash, what)


def _state_refs(state: Cell) -> list[Cell]:
    reader = Reader(state)
    reader.expect(0x9023AFE2, 32, "shard state")
    refs: list[Cell] = state.refs
    if len(refs) < 3:
        raise Unreadable("not a shard state")
    return refs


def master_extra(state: Cell) -> Cell:
    """The McStateExtra of a masterchain state. Unreadable for any other."""
    refs = _state_refs(state)
    if len(refs) != 4:
        raise Unreadable("not a masterchain state")
    return refs[3]


def _name(address: Address) -> str:
    name: str = address.to_str(is_user_friendly=False)
    return name
