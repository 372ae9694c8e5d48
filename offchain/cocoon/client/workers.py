"""What a client learns about workers, from proven state and verified transactions."""

from __future__ import annotations

from collections.abc import Callable

from pytoniq_core import Address

from ..attestation.enrolling import MAX_ENDPOINT_BYTES
from ..chain.base import Chain
from ..crypto.errors import KeyMalformed
from ..crypto.hpke import HpkePublicKey
from ..errors import ClientError, WireError
from ..wire.blob import cell_to_bytes
from ..wire.codec import read_body
from ..wire.worker import Attest, WorkerStorage
from .reading import succeeded
from .store import ClientStore

__all__ = ["find_endpoint", "find_hpke_key", "read_worker"]

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
    """The key whose cell has `key_hash`, out of the Attest message that brought it. ClientError if there is none."""
    if (known := store.recall_key(key_hash)) is not None:
        return HpkePublicKey(known)
    said = await _find_attest(chain, worker, lambda found: int.from_bytes(found.hpke_key.hash, "big") == key_hash)
    if said is None:
        raise ClientError("the worker's HPKE key is in none of its transactions; use another worker")
    try:
        key = HpkePublicKey.from_cell(said.hpke_key)
    except KeyMalformed as error:
        raise ClientError(f"the worker registered an unusable HPKE key ({error}); use another worker") from error
    store.remember_key(key_hash, key.raw)
    return key


async def find_endpoint(chain: Chain, worker: Address) -> str | None:
    """Where the worker says it can be reached directly; None if it does not say.

    From the newest Attest with the keys in force. Nobody vouches for the text: whoever answers there must prove to have
    the attested keys.
    """
    keys = (await read_worker(chain, worker)).people.keys

    def is_in_force(found: Attest) -> bool:
        hpke_key_hash = int.from_bytes(found.hpke_key.hash, "big")
        return (found.session_key, hpke_key_hash) == (keys.session_key, keys.hpke_key_hash)

    said = await _find_attest(chain, worker, is_in_force)
    try:
        text = "" if said is None else cell_to_bytes(said.endpoint, max_bytes=MAX_ENDPOINT_BYTES).decode()
    except (WireError, UnicodeDecodeError):
        return None
    return text if text and text.isprintable() else None


async def _find_attest(chain: Chain, worker: Address, wanted: Callable[[Attest], bool]) -> Attest | None:
    """The newest one like that. Searched backwards in ever wider windows, since it is usually recent."""
    last_lt = (await chain.account(worker)).last_lt
    window = _FIRST_WINDOW_LT
    while True:
        after = max(0, last_lt - window)
        for transaction in reversed(await chain.transactions(worker, after_lt=after, limit=_ALL)):
            message = transaction.in_msg
            if message is None or not succeeded(transaction):
                continue
            said = read_body(message.body, Attest)
            if said is not None and wanted(said):
                return said
        if after == 0:
            return None
        window *= _WIDEN
