"""What the worker's contract should say about this agent, and the messages that make it say so."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from pytoniq_core import Address

from ..chain.base import Chain
from ..signer.client import Signer
from ..wire.common import ModelTerms
from ..wire.escrow import RebindChannel
from ..wire.worker import SetIdentity, SetOffer, WorkerStatus
from .errors import SetupError
from .parcels import Parcel
from .views import WorkerView, read_escrow, read_worker

__all__ = ["Offer", "Upkeep"]

_log = logging.getLogger(__name__)
_RUNNING = frozenset({WorkerStatus.PENDING, WorkerStatus.ACTIVE, WorkerStatus.PAUSED, WorkerStatus.UNBONDING})


@dataclass(frozen=True, slots=True)
class Offer:
    """Terms by model id, and how many forced jobs may be open at once."""

    forced_slots: int = 2
    models: dict[int, ModelTerms] = field(default_factory=dict)


class Upkeep:
    """Compares the contract with signer and offer, and asks for what is missing. Renews the lease at half its life."""

    def __init__(
        self, chain: Chain, signer: Signer, worker: Address, index: int, wallet: Address, offer: Offer
    ) -> None:
        self._chain = chain
        self._signer = signer
        self._worker = worker
        self._index = index
        self._wallet = wallet
        self._offer = offer
        self._rebound: set[tuple[Address, int, int]] = set()  # escrow, its epoch, the worker's key epoch

    async def check(self) -> None:
        """SetupError if this agent can't work for this worker, and why."""
        view = read_worker(await self._chain.account(self._worker))
        if view is None:
            raise SetupError(
                f"worker {self._index} ({self._worker.to_str()}) is not registered: register it first, "
                f"with {self._wallet.to_str(is_bounceable=False)} as its operator's wallet"
            )
        if view.operator_wallet != self._wallet:
            raise SetupError(
                f"worker {self._index} is operated by {view.operator_wallet.to_str(is_bounceable=False)}, and this "
                f"agent's wallet is {self._wallet.to_str(is_bounceable=False)}: use that wallet's key, or have the "
                f"owner change the operator"
            )
        if view.attestation_required:
            raise SetupError("this network takes identities from verified quotes only, which this release can't make")
        if view.status not in _RUNNING:
            _log.warning("worker %d is %s and gets no new jobs; finishing what is open", self._index, view.status.name)

    async def wanted(self, value_nano: int, rebind_nano: int) -> list[Parcel]:
        """The messages that are missing now; what is left of what is attached comes back.

        value_nano: for each message to the worker. rebind_nano: for each RebindChannel.
        """
        view = read_worker(await self._chain.account(self._worker))
        if view is None or view.status not in _RUNNING:
            return []
        parcels = []
        identity = await self._identity(view, value_nano)
        if identity is not None:
            parcels.append(identity)
        if (view.forced_slots, view.models) != (self._offer.forced_slots, self._offer.models):
            body = SetOffer(0, self._offer.forced_slots, self._offer.models).to_cell()
            parcels.append(Parcel("offer", self._worker, value_nano, body))
        return parcels + await self._rebindings(view, rebind_nano)

    async def _rebindings(self, view: WorkerView, value_nano: int) -> list[Parcel]:
        """Ends jobs whose key a restart of the signer destroyed while that costs less than missing them."""
        if view.session_key != (await self._signer.identity()).session_key:
            return []  # the new key is not on the chain yet
        parcels = []
        for account_id, job in view.open_jobs.items():
            address = Address((0, account_id.to_bytes(32, "big")))
            attempt = (address, job.epoch, view.key_epoch)
            if attempt in self._rebound:
                continue
            escrow = read_escrow(await self._chain.account(address))
            binding = None if escrow is None else escrow.binding
            if escrow is None or binding is None or binding.key_epoch >= view.key_epoch:
                self._rebound.add(attempt)  # nothing was lost here, or it ended meanwhile
                continue
            if not escrow.is_open or await self._chain.time() >= escrow.deadline:
                continue
            self._rebound.add(attempt)
            body = RebindChannel(0, binding.keys.measurement).to_cell()
            parcels.append(Parcel(f"rebind {address.hash_part.hex()} {job.epoch}", address, value_nano, body))
        return parcels

    async def _identity(self, view: WorkerView, value_nano: int) -> Parcel | None:
        mine = await self._signer.identity()
        same_key = view.session_key == mine.session_key
        registered = same_key and view.hpke_key_hash == mine.hpke_key.cell_hash
        if registered and view.lease_end - await self._chain.time() > view.lease_sec // 2:
            return None
        # The contract counts the key's generation up when the session key changes.
        key_epoch = view.key_epoch if same_key else view.key_epoch + 1
        possession = await self._signer.possession(
            global_id=self._chain.global_id, worker=self._worker, index=self._index, key_epoch=key_epoch
        )
        body = SetIdentity(0, mine.session_key, mine.hpke_key.to_cell(), possession).to_cell()
        return Parcel("identity", self._worker, value_nano, body)
