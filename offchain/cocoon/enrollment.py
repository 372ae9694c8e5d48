"""Attesting a worker's keys once, for programs that hold the keys themselves. An agent keeps them attested."""

from __future__ import annotations

from dataclasses import dataclass, field

from .attestation.enrolling import EnclaveKeys, attest_message, report_data
from .attestation.errors import AttestationError
from .attestation.evidence import EvidenceSource
from .attestation.fetching import CollateralSource
from .attestation.onchain import fresh_block, read_attestation, read_tcb_store
from .attestation.pck import PckExtension
from .attestation.posting import missing_collateral
from .attestation.quote import Quote
from .attestation.report_data import REPORT_DATA_SIZE
from .chain.base import Chain, ChainTransaction
from .chain.trace import trace
from .chain.wallet import MAX_TRANSFERS, Transfer, Wallet
from .client.reading import messages_to, succeeded
from .client.workers import read_worker
from .deployment import Deployment
from .exit_codes import explain
from .fees import Fees
from .wire.attestation import QuoteVerified

__all__ = ["Attested", "attest_worker"]


@dataclass(frozen=True, slots=True)
class Attested:
    """What it took: posting Intel's documents (nothing if they were there), then the quote; and the verdict."""

    verdict: QuoteVerified
    posting: tuple[ChainTransaction, ...] = field(repr=False)
    transactions: tuple[ChainTransaction, ...] = field(repr=False)


async def attest_worker(
    chain: Chain,
    operator: Wallet,
    deployment: Deployment,
    worker_index: int,
    keys: EnclaveKeys,
    evidence: EvidenceSource,
    collateral: CollateralSource,
) -> Attested:
    """Have the chain verify a quote for `keys` and the worker take them.

    AttestationError, with what to do, if a document or the quote is refused, or the worker does not take the keys.
    """
    worker, fees = deployment.worker(worker_index), await Fees.of(chain)
    sample = await evidence.quote(bytes(REPORT_DATA_SIZE))
    now = await chain.time()
    documents = await collateral.collateral(sample, now)
    state = await read_attestation(chain, deployment.attestation)
    if state is None:
        raise AttestationError("the network's Attestation has no policy yet: anyone can send SyncAttestation")
    quote = Quote.parse(sample)
    platform = PckExtension.of(quote.signature_data.pck_chain[0])
    store = await read_tcb_store(chain, deployment.attestation, state.policy, platform.fmspc)
    posted: list[ChainTransaction] = []
    postings = missing_collateral(state, store, quote, documents, now=now, fees=fees)
    for start in range(0, len(postings), MAX_TRANSFERS):
        batch = postings[start : start + MAX_TRANSFERS]
        transfers = [Transfer(deployment.attestation, one.value_nano, one.body) for one in batch]
        posted += await trace(chain, await operator.send_all(chain, transfers))
        _check(posted, "one of Intel's documents")

    people = (await read_worker(chain, worker)).people
    said = report_data(
        keys,
        global_id=chain.global_id,
        registry=deployment.registry,
        worker=worker,
        attest_seq=people.attest_seq + 1,
        block=await fresh_block(chain, state.policy, people.block_seqno),
    )
    message = await attest_message(evidence, keys, said, documents.tcb_info.tcb_evaluation_data_number)
    caused = await trace(chain, await operator.send(chain, worker, fees.attest(), message.to_cell()))
    _check(caused, "the quote")
    for _, verdict in messages_to(caused, worker, QuoteVerified):
        taken = (await read_worker(chain, worker)).people.keys
        if (taken.session_key, taken.hpke_key_hash) == (keys.session_key, said.hpke_key_hash):
            return Attested(verdict, tuple(posted), tuple(caused))
    raise AttestationError(
        "the worker did not take the keys: see that its owner approved this software's measurement, and try again"
    )


def _check(transactions: list[ChainTransaction], what: str) -> None:
    for done in transactions:
        if not succeeded(done):
            raise AttestationError(f"{what} was refused: {explain(done.exit_code or done.action_code or -1)}")
