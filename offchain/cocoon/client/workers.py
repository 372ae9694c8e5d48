"""What a client learns about workers, from proven state and verified transactions."""

from __future__ import annotations

from pytoniq_core import Address

from ..chain.base import Chain
from ..crypto.errors import KeyMalformed
from ..crypto.hpke import HpkePublicKey
from ..errors import ClientError
from ..wire.codec import read_body
from ..wire.worker import SetIdentity, WorkerStorage
from .reading import succeeded
from .store import ClientStore

__all__ = ["find_hpke_key", "read_worker"]

_FIRST_WINDOW_LT = 2 * 10**9
_WIDEN = 8
_ALL = 1 << 20


async def read_worker(chain: Chain, worker: Address) -> WorkerStorage:
    """The worker's proven state. ClientError if there is none."""
    account = await chain.account(worker)
    name = worker.to_str(is_user_friendly=False)
    if account.status != "active" or account.data is None:
        raise ClientError(
            f"there is no worker {name} (it is {account.status}); check its index and the registry's address"
        )
    if not account.data.refs:
        raise ClientError(f"worker {name} has not been initialised; try again in a moment")
    return WorkerStorage.from_cell(account.data)


async def find_hpke_key(chain: Chain, worker: Address, key_hash: int, store: ClientStore) -> HpkePublicKey:
    """The key whose cell has `key_hash`, out of the SetIdentity message that registered it.

    Searched backwards in ever wider windows, since it is usually recent. ClientError if no such message is found.
    """
    if (known := store.recall_key(key_hash)) is not None:
        return HpkePublicKey(known)
    last_lt = (await chain.account(worker)).last_lt
    window = _FIRST_WINDOW_LT
    while True:
        after = max(0, last_lt - window)
        for transaction in reversed(await chain.transactions(worker, after_lt=after, limit=_ALL)):
            message = transaction.in_msg
            if message is None or not succeeded(transaction):
                continue
            said = read_body(message.body, SetIdentity)
            if said is not None and int.from_bytes(said.hpke_key.hash, "big") == key_hash:
                try:
                    key = HpkePublicKey.from_cell(said.hpke_key)
                except KeyMalformed as error:
                    raise ClientError(
                        f"the worker registered an unusable HPKE key ({error}); use another worker"
                    ) from error
                store.remember_key(key_hash, key.raw)
                return key
        if after == 0:
            raise ClientError("the worker's HPKE key is in none of its transactions; use another worker")
        window *= _WIDEN
