"""Making a chain out of a ledger, or out of a database that a chain was kept in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pytoniq_core import Address

from cocoon_sandbox.account import AccountView
from cocoon_sandbox.blocks.archive import Archive
from cocoon_sandbox.blocks.chain import Chain, Head
from cocoon_sandbox.blocks.collator import LEDGER_NUMBERS
from cocoon_sandbox.blocks.convert import from_pytoniq, to_pytoniq
from cocoon_sandbox.blocks.genesis import make_genesis, network_params
from cocoon_sandbox.blocks.libraries import LibraryBook
from cocoon_sandbox.blocks.resume import Damaged, resume
from cocoon_sandbox.blocks.store import Store
from cocoon_sandbox.config import with_params
from cocoon_sandbox.errors import ConfigError
from cocoon_sandbox.ledger import Ledger
from cocoon_sandbox.message import Message
from cocoon_sandbox.state import dictionary
from cocoon_sandbox.state.boc import one_from_boc, to_boc
from cocoon_sandbox.state.builder import Slice
from cocoon_sandbox.state.cell import Cell
from cocoon_sandbox.tlb.account import AccountHead
from cocoon_sandbox.tlb.ids import BASECHAIN, MASTERCHAIN, BlockId
from cocoon_sandbox.tlb.validators import Validator

__all__ = ["Booted", "create_chain", "reopen_chain"]

_CONFIG_ADDRESS, _GLOBAL_VERSION, _GLOBAL_ID = 0, 8, 19

type _Accounts = dict[int, dict[int, AccountHead]]


@dataclass(frozen=True, slots=True)
class Booted:
    """A chain ready for its next block; `zerostate` names the masterchain's."""

    chain: Chain
    archive: Archive
    zerostate: BlockId


def create_chain(ledger: Ledger, store: Store, validator: Validator, utime: int) -> Booted:
    """Zerostates with the ledger's accounts. The ledger's config gets the parameters that name this network."""
    ledger.now = utime
    accounts = _heads(ledger.accounts)
    global_id = Slice(_param(from_pytoniq(ledger.config), _GLOBAL_ID)).sint(32)
    params = network_params(from_pytoniq(ledger.config), validator, utime, accounts[BASECHAIN], global_id)
    ledger.config = with_params(ledger.config, {number: to_pytoniq(cell) for number, cell in params.items()})
    config = from_pytoniq(ledger.config)
    libraries = LibraryBook().updated(accounts[MASTERCHAIN])
    genesis = make_genesis(
        config=config,
        validator=validator,
        utime=utime,
        global_id=global_id,
        accounts=accounts,
        libraries=libraries.root,
    )
    store.put_meta({"config": to_boc(config)})
    store.put_accounts((x.wc, x.hash_part, view.boc) for x, view in ledger.accounts.items())
    archive = Archive(store)
    for block, state in ((genesis.shard_id, genesis.shard), (genesis.master_id, genesis.master)):
        store.put_zerostate(block, utime, to_boc(state.root))
        archive.add_state(block, state)
    return Booted(_chain(Chain.first_head(genesis, libraries), config, validator), archive, genesis.master_id)


def reopen_chain(ledger: Ledger, store: Store, validator: Validator) -> Booted:
    """Go on where the database ends; the ledger, which must be empty, is filled from it."""
    raw_config = store.meta("config")
    zerostate = store.block(MASTERCHAIN, 0)
    if raw_config is None or zerostate is None:
        raise Damaged("the chain's database is incomplete: remove its directory to start a new chain")
    config = one_from_boc(raw_config)
    ledger.config = to_pytoniq(config)
    for workchain, account, boc in store.accounts():
        address = Address((workchain, account))
        ledger.accounts[address] = AccountView(address, boc)
    for name in LEDGER_NUMBERS:
        value = store.meta(name)
        if value is None:
            raise Damaged(f"the chain's database lacks {name!r}: remove its directory to start a new chain")
        setattr(ledger, name, int(value))
    resumed = resume(
        store,
        config=(Slice(_param(config, _CONFIG_ADDRESS)).raw(32), config),
        validator=validator,
        global_id=Slice(_param(config, _GLOBAL_ID)).sint(32),
        accounts=_heads(ledger.accounts),
    )
    ledger.pending = [Message(to_pytoniq(message.cell)) for message in resumed.pending]
    archive = Archive(store)
    archive.add_state(resumed.head.shard_ref.id, resumed.head.shard)
    archive.add_state(resumed.head.master_ref.id, resumed.head.master)
    archive.publish()
    return Booted(_chain(resumed.head, config, validator), archive, zerostate.id)


def _chain(head: Head, config: Cell, validator: Validator) -> Chain:
    version = Slice(_param(config, _GLOBAL_VERSION))
    version.uint(8)
    return Chain(
        head,
        validator=validator,
        global_id=Slice(_param(config, _GLOBAL_ID)).sint(32),
        version=version.uint(32),
        capabilities=version.uint(64),
    )


def _param(config: Cell, number: int) -> Cell:
    found = dictionary.parse(config, 32).get(number)
    if found is None:
        raise ConfigError(f"this config has no parameter {number}, which blocks are made with")
    return found.ref()


def _heads(views: Mapping[Address, AccountView]) -> _Accounts:
    accounts: _Accounts = {BASECHAIN: {}, MASTERCHAIN: {}}
    for address, view in views.items():
        head = AccountHead.read(one_from_boc(view.boc, verify=False))
        accounts[address.wc][int.from_bytes(address.hash_part, "big")] = head
    return accounts
