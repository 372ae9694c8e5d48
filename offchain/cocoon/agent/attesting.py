"""Keeping the worker's keys attested: Intel's documents first, then a quote, and patience when one is refused.

Every quote costs gas, whatever comes of it. So nothing is sent that is known to be in vain, one quote is under way at a
time, and after a refusal the next waits twice as long as the one before: the chain's own record of what this worker
tried is what counts, so a restart of the agent does not begin anew.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from ..attestation import onchain
from ..attestation.collateral import Collateral
from ..attestation.enrolling import EnclaveKeys, attest_message, report_data
from ..attestation.errors import AttestationError
from ..attestation.pck import PckExtension
from ..attestation.posting import Posting, missing_collateral
from ..attestation.quote import Quote
from ..attestation.report_data import REPORT_DATA_SIZE, MasterBlock
from ..attestation.witness import measurement
from ..chain.base import Chain
from ..chain.wallet import MAX_TRANSFERS
from ..deployment import Deployment
from ..exit_codes import explain
from ..fees import Fees
from ..signer.client import Signer
from ..signer.keys import SignerIdentity
from ..wire.attestation import AttestationStorage
from .journal import Journal
from .parcels import Parcel
from .platform import Platform
from .verdicts import Attempt, Verdicts
from .views import WorkerView, read_worker

__all__ = ["Attester"]

_log = logging.getLogger(__name__)
_PURPOSE = "attest"
_FIRST_PAUSE_SEC = 30
_LONGEST_PAUSE_SEC = 3600
_VERDICT_SEC = 120  # a verdict that has not come by then is lost
_LEASE_CHECK_SEC = 3600
_ENDED_SEC = 6 * 3600  # between complaints that the lease has ended
_FIRST_FETCH_PAUSE_SEC = 5.0
_LONGEST_FETCH_PAUSE_SEC = 600.0


@dataclass(slots=True)
class _Collateral:
    """What was fetched last, and when (the chain's time)."""

    found: Collateral
    at: int


class Attester:
    """One worker's. `serve` runs beside the loop that asks for what is `wanted`."""

    def __init__(
        self, chain: Chain, signer: Signer, journal: Journal, deployment: Deployment, index: int, platform: Platform
    ) -> None:
        self._chain = chain
        self._signer = signer
        self._journal = journal
        self._deployment = deployment
        self._worker = deployment.worker(index)
        self._platform = platform
        self._verdicts = Verdicts(chain, self._worker)
        self._reported: set[tuple[int, int]] = set()  # attempts whose end has been logged: seq and time
        self._not_before = 0
        self._troubles = 0  # in a row, on this side of the chain
        self._lease_sec: tuple[int, int] | None = None  # the policy's, and when it was read
        self._warn_at = 0
        self._sample: bytes | None = None  # a quote that says nothing, for what it tells about the platform
        self._collateral: _Collateral | None = None
        self._asked = asyncio.Event()
        self._asked_at = 0
        self._is_service_away = False  # then what was fetched earlier is used for as long as it lasts

    async def serve(self) -> None:
        """Fetches collateral whenever it is asked for. Until cancelled."""
        pause = _FIRST_FETCH_PAUSE_SEC
        while True:
            await self._asked.wait()
            try:
                sample, now = await self._own_quote(), self._asked_at
                self._collateral = _Collateral(await self._platform.collateral.collateral(sample, now), now)
                pause = _FIRST_FETCH_PAUSE_SEC
                self._is_service_away = False
                self._asked.clear()
            except AttestationError as error:
                self._is_service_away = True
                _log.warning("trying again in %.0f s: no collateral: %s", pause, error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_FETCH_PAUSE_SEC)

    async def wanted(self, view: WorkerView, fees: Fees) -> list[Parcel]:
        """The messages that keep the signer's keys attested; none while there is nothing to do but wait."""
        now = await self._chain.time()
        mine = await self._signer.identity()
        lease_sec = await self._policy_lease(view, now)
        left = view.lease_end - now
        if _is_registered(view, mine) and left > lease_sec // 2:
            return []
        if _is_registered(view, mine):
            self._warn_of_the_end(now, left, lease_sec)
        if now < self._not_before or self._journal.attempts(_PURPOSE).under_way:
            return []
        if await self._must_wait(view, now):
            return []
        try:
            found = await self._parcels(view, mine, now, fees)
            self._troubles = 0
        except AttestationError as error:
            self._troubles += 1
            self._postpone(now, self._troubles)
            _log.error("the keys can't be attested: %s; trying again in %d s", error, self._not_before - now)
            return []
        return found

    async def _policy_lease(self, view: WorkerView, now: int) -> int:
        """How long a lease lasts today; 0 while the network's Attestation has no policy, or is one we can't read."""
        if view.attestation != self._deployment.attestation:
            return 0
        if self._lease_sec is None or not self._lease_sec[0] or now >= self._lease_sec[1] + _LEASE_CHECK_SEC:
            state = await onchain.read_attestation(self._chain, view.attestation)
            self._lease_sec = (0 if state is None else state.policy.lease_sec, now)
        return self._lease_sec[0]

    def _warn_of_the_end(self, now: int, left: int, lease_sec: int) -> None:
        """Once a quarter of the lease is left, and each time half of the rest has gone by."""
        if left <= lease_sec // 4 and now >= self._warn_at:
            self._warn_at = now + (max(600, left // 2) if left > 0 else _ENDED_SEC)
            if left > 0:
                _log.warning("the lease ends in %d s and is not renewed yet: see the refusals above", left)
            else:
                _log.error("the lease has ended: no new channels are bound until a quote is verified")

    # ---- what became of earlier quotes ----

    async def _must_wait(self, view: WorkerView, now: int) -> bool:
        """Whether a verdict is due, or too little time has gone by since the last refusal."""
        attempts = await self._verdicts.read(view.attestation)
        fresh = read_worker(await self._chain.account(self._worker)) or view  # no older than the verdicts
        if _progress(fresh) != _progress(view):
            return True
        failures = _failures(attempts, view)
        if not failures:
            return False
        last = failures[-1]
        if not last.is_answered and now < last.at + _VERDICT_SEC:
            return True
        self._postpone(last.at, len(failures))
        if (last.seq, last.at) not in self._reported:
            self._reported.add((last.seq, last.at))
            _log.error("%s; the next quote is sent in %d s", _complaint(last), max(0, self._not_before - now))
        return now < self._not_before

    def _postpone(self, since: int, failures: int) -> None:
        """Twice as long after each failure in a row."""
        self._not_before = since + min(_FIRST_PAUSE_SEC << min(failures - 1, 16), _LONGEST_PAUSE_SEC)

    # ---- the next one ----

    async def _parcels(self, view: WorkerView, mine: SignerIdentity, now: int, fees: Fees) -> list[Parcel]:
        state = await self._usable_attestation(view)
        sample = Quote.parse(await self._own_quote())
        self._check_measurement(view, sample)
        known = self._collateral
        if known is None or now >= known.at + self._platform.refresh_sec:
            self._asked_at = now
            self._asked.set()
            if known is None or not self._is_service_away:
                return []
        platform = PckExtension.of(sample.signature_data.pck_chain[0])
        store = await onchain.read_tcb_store(self._chain, view.attestation, state.policy, platform.fmspc)
        postings = missing_collateral(state, store, sample, known.found, now=now, fees=fees)
        if postings:
            return self._postings(view, postings)
        block = await onchain.fresh_block(self._chain, state.policy, view.block_seqno)
        if block.seqno <= view.block_seqno:
            return []
        return [await self._attest(view, mine, block, known.found, fees)]

    async def _usable_attestation(self, view: WorkerView) -> AttestationStorage:
        if view.attestation != self._deployment.attestation:
            raise AttestationError(
                "the network verifies quotes by a contract that this release does not know: update the agent"
            )
        state = await onchain.read_attestation(self._chain, view.attestation)
        if state is None:
            raise AttestationError("the network's Attestation has no policy yet: anyone can send SyncAttestation")
        return state

    def _check_measurement(self, view: WorkerView, sample: Quote) -> None:
        """The Worker takes keys of no other software than its owner approved, and a quote of other software is lost
        money.
        """
        own = int.from_bytes(measurement(sample))
        if view.approved_measurement != own:
            raise AttestationError(
                f"this is software of measurement {own:064x}, and the worker's owner approved "
                f"{view.approved_measurement:064x}: have the owner send ApproveMeasurement for this, or run the other"
            )

    def _postings(self, view: WorkerView, postings: tuple[Posting, ...]) -> list[Parcel]:
        """As many as may go at once: each needs those before it, so one that fails holds up the others."""
        parcels = [
            Parcel(f"{one.document} of {one.issued_at}", view.attestation, one.value_nano, one.body,
                   patience_sec=_LONGEST_PAUSE_SEC)
            for one in postings
        ]  # fmt: skip
        attempts = [self._journal.attempts(parcel.purpose) for parcel in parcels]
        if any(one.under_way for one in attempts):
            return []
        return parcels[:1] if attempts[0].failures else parcels[:MAX_TRANSFERS]

    async def _attest(
        self, view: WorkerView, mine: SignerIdentity, block: MasterBlock, collateral: Collateral, fees: Fees
    ) -> Parcel:
        platform = self._platform
        keys = EnclaveKeys(mine.session_key, mine.hpke_key.to_cell(), platform.endpoint, platform.gpu_evidence_digest)
        said = report_data(
            keys,
            global_id=self._chain.global_id,
            registry=self._deployment.registry,
            worker=self._worker,
            attest_seq=view.attest_seq + 1,
            block=block,
        )
        number = collateral.tcb_info.tcb_evaluation_data_number
        message = await attest_message(platform.evidence, keys, said, number)
        return Parcel(_PURPOSE, self._worker, fees.attest(), message.to_cell(), patience_sec=_LONGEST_PAUSE_SEC)

    async def _own_quote(self) -> bytes:
        if self._sample is None:
            self._sample = await self._platform.evidence.quote(bytes(REPORT_DATA_SIZE))
        return self._sample


def _is_registered(view: WorkerView, mine: SignerIdentity) -> bool:
    return (view.session_key, view.hpke_key_hash) == (mine.session_key, mine.hpke_key.cell_hash)


def _progress(view: WorkerView) -> tuple[int, ...]:
    """What a quote changes."""
    return view.attest_seq, view.session_key, view.hpke_key_hash, view.lease_end


def _failures(attempts: list[Attempt], view: WorkerView) -> list[Attempt]:
    """The latest attempts since one that counted. A verdict that the Worker did not take shows in its lease."""
    found: list[Attempt] = []
    for attempt in reversed(attempts):
        verified = attempt.lease_end is not None
        is_last = not found
        if verified and (not is_last or (attempt.lease_end, attempt.session_key) == (view.lease_end, view.session_key)):
            break
        found.insert(0, attempt)
    return found


def _complaint(attempt: Attempt) -> str:
    if attempt.error is not None:
        who = "the Worker" if attempt.seq == 0 else "the chain"
        return f"{who} refused the quote: {explain(attempt.error)}"
    if attempt.lease_end is not None:
        return (
            f"quote {attempt.seq} was verified and the Worker did not take it: another Attest, or another approval by "
            "the owner, came in between; see that only this agent has the operator's wallet"
        )
    return f"no verdict on quote {attempt.seq} has come within {_VERDICT_SEC} s"
