"""From a believed key block to a newer block: the validators that the key block names must have signed the newer one.

This is what makes a lite server's word worthless: starting at the init block of the global configuration, every later
block is believed because more than two thirds of the validators' weight signed it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pytoniq_core import Cell

from ..errors import LyingServer
from .blockid import BlockId
from .boc import parse_roots
from .cells import Reader, Unreadable, lookup
from .proofs import BlockHeader, block_header, key_block_config, proven_root

__all__ = ["check_forward_link", "validators"]

_SIGNED_BLOCK = b"\x70\x6e\x0b\xc5"
_ED25519_KEY_TL = b"\xc6\xb4\x13\x48"
_VALIDATORS = 34


@dataclass(frozen=True, slots=True)
class Validator:
    public_key: bytes
    weight: int


def check_forward_link(link: Mapping[str, Any], known: BlockId) -> tuple[BlockId, BlockHeader]:
    """The block that `link` leads to from key block `known`, and its header. LyingServer if any part does not hold."""
    if "config_proof" not in link or "signatures" not in link:
        raise LyingServer("the lite server proves a newer block by an older one's state; only signatures are believed")
    if BlockId.from_tl(link["from"]) != known:
        raise LyingServer("the lite server's proof of a block starts at another block than asked for")
    target = BlockId.from_tl(link["to"])
    if target.workchain != -1 or target.seqno <= known.seqno:
        raise LyingServer("the lite server's proof of a block does not lead forward in the masterchain")
    source = proven_root(_one_root(link["config_proof"]), known.root_hash, f"key block {known.seqno}")
    header = block_header(proven_root(_one_root(link["dest_proof"]), target.root_hash, f"block {target.seqno}"))
    if header.workchain != -1 or header.seqno != target.seqno:
        raise LyingServer(f"the lite server calls a block {target.seqno} that is {header.workchain}:{header.seqno}")
    config = key_block_config(source, (_VALIDATORS,))
    if _VALIDATORS not in config:
        raise LyingServer("a key block without validators")
    _check_signatures(validators(config[_VALIDATORS]), link["signatures"]["signatures"], target)
    return target, header


def validators(vset: Cell) -> dict[bytes, Validator]:
    """The masterchain validators of a ValidatorSet (config parameter 34), by short node id."""
    try:
        reader = Reader(vset)
        kind = reader.uint(8)
        if kind not in (0x11, 0x12):
            raise Unreadable("not a validator set")
        reader.skip(64)
        total, main = reader.uint(16), reader.uint(16)
        if kind == 0x12:
            reader.skip(64)
            root = reader.maybe_ref()
        else:
            root = reader.rest()
        found: dict[bytes, Validator] = {}
        for index in range(min(total, main)):
            leaf = lookup(root, index, 16)
            if leaf is None:
                raise Unreadable("a validator is missing")
            if leaf.uint(8) not in (0x53, 0x73):
                raise Unreadable("not a validator")
            leaf.expect(0x8E81278A, 32, "Ed25519 key")
            key = leaf.raw(32)
            found[hashlib.sha256(_ED25519_KEY_TL + key).digest()] = Validator(key, leaf.uint(64))
    except Unreadable as error:
        raise LyingServer(f"the validator set in a key block is not proven: {error}") from error
    return found


def _check_signatures(
    nodes: Mapping[bytes, Validator], signatures: Sequence[Mapping[str, Any]], block: BlockId
) -> None:
    """Each validator counts once; every signature given must be good."""
    signed = _SIGNED_BLOCK + block.root_hash + block.file_hash
    total = sum(node.weight for node in nodes.values())
    weight = 0
    seen: set[bytes] = set()
    for item in signatures:
        short_id = bytes.fromhex(item["node_id_short"])
        node = nodes.get(short_id)
        if node is None or short_id in seen:
            raise LyingServer(f"block {block.seqno} carries a signature by a stranger, or one twice")
        seen.add(short_id)
        try:
            Ed25519PublicKey.from_public_bytes(node.public_key).verify(item["signature"], signed)
        except InvalidSignature as error:
            raise LyingServer(f"block {block.seqno} carries a forged validator signature") from error
        weight += node.weight
    if 3 * weight <= 2 * total:
        raise LyingServer(f"block {block.seqno} is signed by {weight} of {total} of the validators' weight only")


def _one_root(data: bytes) -> Cell:
    roots = parse_roots(data, "a block")
    if len(roots) != 1:
        raise LyingServer("the lite server's proof of a block is malformed")
    return roots[0]
