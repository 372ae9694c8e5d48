"""The validator set: one local key that signs every block, told to clients by the configuration."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cocoon_sandbox.state import dictionary
from cocoon_sandbox.state.builder import Builder
from cocoon_sandbox.state.cell import Cell
from cocoon_sandbox.state.crc import crc32c
from cocoon_sandbox.tlb.ids import BlockId

__all__ = ["CATCHAIN_SEQNO", "Validator", "key_id"]

CATCHAIN_SEQNO = 1  # the validators' session never changes here

_KEY_TAG = b"\xc6\xb4\x13\x48"  # pub.ed25519
_SIGN_TAG = b"\x70\x6e\x0b\xc5"  # ton.blockId
_SET_MAGIC = -1877581587  # test0.validatorSet
_WEIGHT = 1 << 44
_FOREVER = (1 << 32) - 1
_NO_AUG = dictionary.NoAugmentation()


def key_id(public_key: bytes) -> bytes:
    """Short id of an Ed25519 public key, as ADNL and block signatures use it."""
    return hashlib.sha256(_KEY_TAG + public_key).digest()


@dataclass(frozen=True, slots=True)
class Validator:
    """The only validator."""

    key: Ed25519PrivateKey

    @property
    def public_key(self) -> bytes:
        return self.key.public_key().public_bytes_raw()

    @property
    def node_id(self) -> bytes:
        return key_id(self.public_key)

    def set_hash(self, catchain_seqno: int) -> int:
        """validator_list_hash_short: what a block's header says of who signs it."""
        data = struct.pack("<iII", _SET_MAGIC, catchain_seqno, 1)
        data += self.public_key + struct.pack("<Q", _WEIGHT) + self.node_id
        return crc32c(data)

    def config(self, since: int) -> Cell:
        """ConfigParam 34: validators_ext, valid from `since` on."""
        one = Builder().uint(0x73, 8).uint(0x8E81278A, 32).raw(self.public_key).uint(_WEIGHT, 64).raw(self.node_id)
        builder = Builder().uint(0x12, 8).uint(since, 32).uint(_FOREVER, 32).uint(1, 16).uint(1, 16).uint(_WEIGHT, 64)
        return dictionary.store(builder, dictionary.build({0: one}, 16), _NO_AUG).cell()

    def sign(self, block: BlockId) -> bytes:
        """Signature of a block's two hashes."""
        return self.key.sign(_SIGN_TAG + block.root_hash + block.file_hash)

    def signatures(self, signature: bytes) -> dictionary.Node | None:
        """The one entry of prev_blk_signatures for a signature made by this validator."""
        pair = Builder().raw(self.node_id).uint(5, 4).raw(signature)
        return dictionary.build({0: pair}, 16)
