"""What a network's Attestation and its TcbStores hold, from proven state, and the block that a fresh quote names."""

from __future__ import annotations

from pytoniq_core import Address

from ..chain.base import Chain
from ..wire.attestation import AttestationPolicy, AttestationStorage, TcbStoreIdentity, TcbStoreStorage
from ..wire.common import child_address
from .report_data import MasterBlock

__all__ = ["fresh_block", "read_attestation", "read_tcb_store"]

_STRIDE = 100
_ARRIVAL_BLOCKS = 300  # some minutes of the fastest network


async def read_attestation(chain: Chain, attestation: Address) -> AttestationStorage | None:
    """None until the Registry has given it a policy. WireError if it is of another version."""
    data = (await chain.account(attestation)).data
    return None if data is None or not data.refs else AttestationStorage.from_cell(data)


async def read_tcb_store(
    chain: Chain, attestation: Address, policy: AttestationPolicy, fmspc: bytes
) -> TcbStoreStorage | None:
    """None until somebody has posted TCB info for this family of platforms (6 bytes)."""
    code = policy.store_code
    identity = TcbStoreIdentity(attestation, int.from_bytes(fmspc))
    store = child_address(int.from_bytes(code.hash, "big"), code.get_depth(0), identity.to_cell())
    data = (await chain.account(store)).data
    return None if data is None or not data.refs else TcbStoreStorage.from_cell(data)


async def fresh_block(chain: Chain, policy: AttestationPolicy, after: int = 0) -> MasterBlock:
    """A masterchain block for a quote to name, later than block `after`.

    Contracts know the last 16, and those whose number is a multiple of 100 for as long as the policy allows: the latter
    leave a message time to arrive. The newest one if there is no such block, or it is about to be too old.
    """
    newest = await chain.master_block()
    lasting = newest.seqno - newest.seqno % _STRIDE
    if lasting > after and newest.seqno - lasting + _ARRIVAL_BLOCKS <= policy.max_block_age:
        newest = await chain.master_block(lasting)
    return MasterBlock(newest.seqno, newest.root_hash, newest.file_hash)
