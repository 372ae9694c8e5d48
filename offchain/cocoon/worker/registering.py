"""Getting a worker registered exactly once, whatever interrupts it.

What is signed is on the disk before it is sent, and nothing else is signed until its fate is known. Whether the worker
exists is read from the chain: it is the one with this owner and this operator's wallet, which no other worker has.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from pytoniq_core import Address, Cell

from ..chain.base import Chain
from ..chain.boc import to_boc
from ..chain.delivery import WalletOrder, deliver, patiently, wallet_seqno
from ..chain.trace import find_caused, trace
from ..chain.wallet import Transfer, Wallet
from ..client.reading import succeeded
from ..deployment import Deployment
from ..wire.registry import RegistryStorage
from ..wire.worker import WorkerStorage
from .directory import Progress, WorkerDirectory
from .errors import SetupFailed, StillWaiting

__all__ = ["begin", "find_worker", "send_registration", "settle", "wait_for_owner"]

_AT_ONCE = 8
_VALID_SEC = 300


async def begin(chain: Chain, directory: WorkerDirectory, progress: Progress) -> Progress:
    """Remembers from which index on the worker will be, before anything is sent."""
    if progress.first_index is not None:
        return progress
    registry = await _registry(chain, progress.choices.registry)
    return directory.update(progress, first_index=registry.next_index, query_id=secrets.randbits(63))


async def find_worker(chain: Chain, progress: Progress, operator: Address, *, since: int = 0) -> int | None:
    """The index of the worker with this owner and operator, if it is registered."""
    choices = progress.choices
    deployment, gate = Deployment(choices.registry), asyncio.Semaphore(_AT_ONCE)

    async def matches(index: int) -> bool:
        async with gate:
            account = await patiently(lambda: chain.account(deployment.worker(index)))
        if account.data is None or not account.data.refs:
            return False
        people = WorkerStorage.from_cell(account.data).people
        return (people.owner, people.operator_wallet) == (choices.owner, operator)

    end = (await _registry(chain, choices.registry)).next_index
    found = await asyncio.gather(*(matches(index) for index in range(since, end)))
    return next((since + number for number, match in enumerate(found) if match), None)


async def settle(chain: Chain, directory: WorkerDirectory, progress: Progress, operator: Address) -> Progress:
    """Finds out what became of a message that was signed earlier; sends it again if it can still be executed.

    Afterwards either the worker's index is known, or no message is under way.
    """
    if progress.message is not None and progress.index is None:
        message = Cell.one_from_boc(progress.message)
        order = WalletOrder.of(message)
        account = await patiently(lambda: chain.account(order.wallet))
        if wallet_seqno(account) == order.seqno and await patiently(chain.time) <= order.valid_until:
            await deliver(chain, message)
        await _wait_for_effects(chain, order, progress)
        since = progress.first_index or 0
        index = await find_worker(chain, progress, operator, since=since)
        progress = directory.update(progress, message=None, index=index)
    elif progress.index is None:
        index = await find_worker(chain, progress, operator, since=progress.first_index or 0)
        if index is not None:
            progress = directory.update(progress, index=index)
    return progress


async def send_registration(
    chain: Chain, directory: WorkerDirectory, progress: Progress, owner: Wallet, operator: Address, sent: list[Transfer]
) -> Progress:
    """Signs, remembers, sends. SetupFailed if the Registry refused; then the value came back."""
    seqno, valid_until = await owner.seqno(chain), await chain.time() + _VALID_SEC
    message = owner.sign_all(sent, seqno=seqno, valid_until=valid_until)
    after_lt = (await chain.account(owner.address)).last_lt
    progress = directory.update(progress, message=to_boc(message), after_lt=after_lt)
    progress = await settle(chain, directory, progress, operator)
    if progress.index is None:
        raise SetupFailed(
            "the Registry did not take the worker, and its value came back, less fees: see the owner's latest "
            "transactions and docs/errors.md, then run this again"
        )
    return progress


async def wait_for_owner(
    chain: Chain,
    directory: WorkerDirectory,
    progress: Progress,
    operator: Address,
    *,
    wait_sec: int | None,
    told: Callable[[str], None],
) -> Progress:
    """Until the owner's registration shows. wait_sec: of the chain's time; None: for as long as it takes.

    StillWaiting after that.
    """
    started = await patiently(chain.time)
    told("waiting for the registration to appear; it may be interrupted and run again at any time")
    while True:
        index = await find_worker(chain, progress, operator, since=progress.first_index or 0)
        if index is not None:
            return directory.update(progress, index=index)
        if wait_sec is not None and await patiently(chain.time) >= started + wait_sec:
            raise StillWaiting("the owner has not sent the registration yet: have it sent, then run this again")
        await patiently(chain.next_block)


async def _wait_for_effects(chain: Chain, order: WalletOrder, progress: Progress) -> None:
    """Until what the message caused has arrived, if it was executed at all."""
    registry = progress.choices.registry
    for transaction in await patiently(lambda: chain.transactions(order.wallet, after_lt=progress.after_lt)):
        incoming = transaction.in_msg
        if incoming is None or incoming.body.hash != order.body_hash:
            continue
        for message in transaction.out_msgs:
            if message.dst == registry:
                caused = await find_caused(chain, message)
                if succeeded(caused):
                    await trace(chain, caused)
        return


async def _registry(chain: Chain, address: Address) -> RegistryStorage:
    account = await patiently(lambda: chain.account(address))
    if account.data is None:
        name = address.to_str(is_user_friendly=False)
        raise SetupFailed(f"there is no registry {name} on this network (it is {account.status}); check its address")
    return RegistryStorage.from_cell(account.data)
