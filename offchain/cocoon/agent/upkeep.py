"""What the worker's contract should say about this agent, and the messages that make it say so."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from pytoniq_core import Address

from ..chain.base import Chain
from ..fees import Fees
from ..signer.client import Signer
from ..wire.common import ModelTerms
from ..wire.escrow import RebindChannel
from ..wire.worker import SetOffer, WorkerStatus
from .attesting import Attester
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
    """Compares the contract with signer and offer, and asks for what is missing."""

    def __init__(
        self,
        chain: Chain,
        signer: Signer,
        worker: Address,
        index: int,
        wallet: Address,
        offer: Offer,
        attester: Attester,
    ) -> None:
        self._chain = chain
        self._signer = signer
        self._worker = worker
        self._index = index
        self._wallet = wallet
        self._offer = offer
        self._attester = attester
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
        if view.status not in _RUNNING:
            _log.warning("worker %d is %s and gets no new jobs; finishing what is open", self._index, view.status.name)

    async def wanted(self, value_nano: int, fees: Fees) -> list[Parcel]:
        """The messages that are missing now; what is left of what is attached comes back.

        value_nano: for an offer.
        """
        view = read_worker(await self._chain.account(self._worker))
        if view is None or view.status not in _RUNNING:
            return []
        parcels = await self._attester.wanted(view, fees)
        if (view.forced_slots, view.models) != (self._offer.forced_slots, self._offer.models):
            body = SetOffer(0, self._offer.forced_slots, self._offer.models).to_cell()
            parcels.append(Parcel("offer", self._worker, value_nano, body))
        return parcels + await self._rebindings(view, fees.rebind())

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
