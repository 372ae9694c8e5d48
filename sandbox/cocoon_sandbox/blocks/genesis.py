"""The first states: block 0 of the basechain and of the masterchain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cocoon_sandbox.blocks.sealed import SealedState, seal_state
from cocoon_sandbox.state import dictionary
from cocoon_sandbox.state.builder import Builder, Slice
from cocoon_sandbox.state.cell import Cell
from cocoon_sandbox.tlb.account import AccountHead
from cocoon_sandbox.tlb.currency import ZERO
from cocoon_sandbox.tlb.ids import BASECHAIN, MASTERCHAIN, BlockId
from cocoon_sandbox.tlb.shards import ShardDescr, shard_hashes
from cocoon_sandbox.tlb.state import MasterchainExtra, ShardState
from cocoon_sandbox.tlb.validators import CATCHAIN_SEQNO, Validator

__all__ = ["Genesis", "make_genesis", "network_params"]

_NO_MASTERCHAIN_YET = (1 << 32) - 1
_NO_AUG = dictionary.NoAugmentation()
_PARAM_CONFIG_ADDRESS, _PARAM_WORKCHAINS, _PARAM_VALIDATORS = 0, 12, 34


@dataclass(frozen=True, slots=True)
class Genesis:
    """Both zerostates with their names."""

    shard: SealedState
    shard_id: BlockId
    master: SealedState
    master_id: BlockId
    extra: MasterchainExtra


def accounts_trie(accounts: Mapping[int, AccountHead]) -> dictionary.Node | None:
    """ShardAccounts of the accounts that exist."""
    editor = dictionary.Editor(None, 256)
    for key, head in accounts.items():
        if head.exists:
            editor.put(key, head.write(), head.balance)
    return editor.root


def network_params(
    config: Cell, validator: Validator, utime: int, shard_accounts: Mapping[int, AccountHead], global_id: int
) -> dict[int, Cell]:
    """Configuration parameters that name this very network: its validator set and the basechain's zerostate."""
    _, zerostate = seal_state(_shard_state(shard_accounts, utime, global_id))
    workchain = Builder().uint(0xA6, 8).uint(utime, 32).uint(0, 24)  # enabled since; never split
    workchain.bit(1).bit(1).bit(1).uint(0, 13).raw(zerostate.root_hash).raw(zerostate.file_hash)
    workchain.uint(0, 32).uint(1, 4).sint(-1, 32).uint(0, 64)  # TVM workchains: wfmt_basic
    workchains = dictionary.build({BASECHAIN: workchain}, 32)
    return {
        _PARAM_WORKCHAINS: dictionary.store(Builder(), workchains, _NO_AUG).cell(),
        _PARAM_VALIDATORS: validator.config(utime),
    }


def _shard_state(accounts: Mapping[int, AccountHead], utime: int, global_id: int) -> ShardState:
    return ShardState(
        global_id=global_id,
        workchain=BASECHAIN,
        seqno=0,
        gen_utime=utime,
        gen_lt=0,
        min_ref_mc_seqno=_NO_MASTERCHAIN_YET,
        accounts=accounts_trie(accounts),
        queue=None,
        queue_size=0,
        processed=None,
        libraries=None,
        validator_fees=ZERO,
        master=None,
        custom=None,
    )


def make_genesis(
    *,
    config: Cell,
    validator: Validator,
    utime: int,
    global_id: int,
    accounts: Mapping[int, Mapping[int, AccountHead]],
    libraries: dictionary.Node | None,
) -> Genesis:
    """Zerostates with `accounts` (workchain -> account id -> account) at time `utime`.

    `config` is the full configuration, `network_params` included.
    """
    shard_state = _shard_state(accounts.get(BASECHAIN, {}), utime, global_id)
    shard, shard_id = seal_state(shard_state)
    master_accounts = accounts_trie(accounts.get(MASTERCHAIN, {}))
    description = ShardDescr(shard_id, 0, 0, 0, utime, _NO_MASTERCHAIN_YET, CATCHAIN_SEQNO, ZERO)
    master_state = ShardState(
        global_id=global_id,
        workchain=MASTERCHAIN,
        seqno=0,
        gen_utime=utime,
        gen_lt=0,
        min_ref_mc_seqno=_NO_MASTERCHAIN_YET,
        accounts=master_accounts,
        queue=None,
        queue_size=0,
        processed=None,
        libraries=libraries,
        validator_fees=ZERO,
        master=None,
        custom=None,
    )
    address = Slice(dictionary.parse(config, 32)[_PARAM_CONFIG_ADDRESS].ref()).raw(32)
    extra = MasterchainExtra(
        shard_hashes=shard_hashes(description),
        config=(address, config),
        validator_hash=validator.set_hash(CATCHAIN_SEQNO),
        catchain_seqno=CATCHAIN_SEQNO,
        previous=None,
        after_key_block=True,  # a zerostate counts as a key block
        last_key_block=None,
        global_balance=shard_state.balance + master_state.balance,
    )
    master, master_id = seal_state(master_state.with_custom(extra.cell()))
    return Genesis(shard, shard_id, master, master_id, extra)
