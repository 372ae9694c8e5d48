"""The executor's log of a transaction, made by running it again.

Execution is deterministic: on the account as it was, the message, time and logical time of the transaction give the
same transaction, which is checked by its hash. The account is taken from the state of an earlier block while that is
kept in memory; else its whole history is run again from its first transaction.
"""

from __future__ import annotations

import asyncio

from pytoniq_core import Address

from cocoon_sandbox.account import AccountView, empty_account
from cocoon_sandbox.blocks.archive import NotAvailable
from cocoon_sandbox.blocks.store import StoredBlock, StoredTransaction
from cocoon_sandbox.boc import parse_boc
from cocoon_sandbox.errors import SandboxError
from cocoon_sandbox.executor import Executed, Verbosity
from cocoon_sandbox.network import Network
from cocoon_sandbox.state import dictionary
from cocoon_sandbox.state.boc import to_boc
from cocoon_sandbox.tlb.ids import MASTERCHAIN
from cocoon_sandbox.transaction import Transaction

__all__ = ["replay"]

_LONGEST_HISTORY = 2_000
_NO_AUG = dictionary.NoAugmentation()


async def replay(network: Network, target: StoredTransaction, verbosity: Verbosity) -> str:
    """The VM log of a stored transaction. SandboxError if it can't be reproduced."""
    before, steps = _start(network, target)
    for step in steps[:-1]:
        before = AccountView(before.address, (await _run(network, before, step, "short")).shard_account_boc)
    return (await _run(network, before, steps[-1], verbosity)).vm_log


def _start(network: Network, target: StoredTransaction) -> tuple[AccountView, list[StoredTransaction]]:
    """An account state from before `target`, and the transactions from there up to it."""
    account = _account_before(network, target)
    base = account or empty_account(Address((target.workchain, target.account)))
    steps = [target]
    while (previous := Transaction(parse_boc(steps[-1].boc, verify=False)).prev_lt) > base.last_lt:
        found = network.store.transaction(target.workchain, target.account, previous)
        if found is None:
            raise SandboxError(f"transaction {previous} of the account is not in the database")
        if len(steps) == _LONGEST_HISTORY:
            raise SandboxError(
                "no log: the state before this transaction is not kept any more, and the account's history is longer "
                f"than {_LONGEST_HISTORY:,} transactions"
            )
        steps.append(found)
    return base, steps[::-1]


def _account_before(network: Network, target: StoredTransaction) -> AccountView | None:
    """The account as of the block before the one `target` is in; None if that state is not in memory any more."""
    block = network.archive.find(target.workchain, target.seqno - 1)
    if block is None:
        return None
    try:
        state = network.archive.state(block.id)
    except NotAvailable:
        return None
    value = dictionary.get(state.state.accounts, int.from_bytes(target.account, "big"), 256)
    address = Address((target.workchain, target.account))
    return empty_account(address) if value is None else AccountView(address, to_boc(value.cell()))


def _libraries(network: Network, reference: StoredBlock | None) -> bytes | None:
    """The libraries published as of a masterchain block, or today's where its state is not in memory any more."""
    if reference is None:
        return None
    try:
        published = network.archive.state(reference.id).state.libraries
    except NotAvailable:
        return network.chain.head.libraries.bag()  # if they were others then, the transaction's hash will show it
    return None if published is None else to_boc(published.cell(_NO_AUG))


async def _run(network: Network, account: AccountView, step: StoredTransaction, verbosity: Verbosity) -> Executed:
    """Run one stored transaction again; SandboxError unless it comes out the same."""
    stored = Transaction(parse_boc(step.boc, verify=False), workchain=step.workchain)
    if stored.in_msg is None:
        raise SandboxError("no log: this transaction was not caused by a message")
    reference = network.archive.find(MASTERCHAIN, step.seqno - 1)
    done = await asyncio.to_thread(
        network.executor.run_transaction,
        config=network.config,
        shard_account=account.boc,
        message=stored.in_msg.cell,
        now=stored.now,
        lt=stored.lt,
        prev_blocks=None if reference is None else network.previous_blocks(reference.id),
        libs=_libraries(network, reference),
        verbosity=verbosity,
    )
    if done.transaction.hash != stored.hash:
        raise SandboxError(
            "no log: run again, the transaction comes out differently; the state it began with is not known any more"
        )
    return done
