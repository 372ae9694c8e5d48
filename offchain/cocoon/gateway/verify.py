"""Whether a receipt holds: by itself (signature, usage, price), and against what the chain knows of its worker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pytoniq_core import Address

from ..chain.base import Chain
from ..client.workers import read_worker
from ..crypto.ed25519 import verify
from ..crypto.errors import CryptoError
from ..crypto.usage import price
from ..deployment import Deployment
from ..errors import ClientError
from ..wire.common import DOMAIN_TAG, Kind
from ..wire.escrow import EscrowStorage
from ..wire.registry import RegistryStorage
from .estimate import streamed_price
from .receipts import Proof

__all__ = ["Check", "check_offline", "check_on_chain"]

_KINDS = (Kind.STREAM_RECEIPT, Kind.FORCED_RECEIPT)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. holds: None if it could not be decided, which `detail` explains."""

    name: str
    holds: bool | None
    detail: str


def check_offline(proof: Proof) -> list[Check]:
    """What can be known without a network: that the key signed exactly this, and that fee and usage agree."""
    return list(_offline(proof))


def _offline(proof: Proof) -> Iterator[Check]:
    said, domain = proof.signed.receipt, proof.signed.receipt.domain
    try:
        verify(proof.session_key, said, proof.signed.signature)
        yield Check("signature", True, f"the session key {_short(proof.session_key)} signed this receipt")
    except CryptoError as error:
        yield Check("signature", False, f"{error}: this receipt was not made by that key")
    bound = (domain.global_id, domain.contract, domain.epoch, domain.key_epoch) == (
        proof.channel.global_id, proof.channel.escrow, proof.channel.epoch, proof.channel.key_epoch,
    )  # fmt: skip
    fine = bound and domain.tag == DOMAIN_TAG and domain.kind in _KINDS
    yield Check(
        "domain", fine, f"signed for channel {_name(proof.channel.escrow)}" if fine else "signed for another use"
    )
    committed = proof.usage.commitment == said.outcome.disclosure.usage_commitment
    counts = f"{proof.usage.prompt} prompt, {proof.usage.cached} cached, {proof.usage.completion} completion tokens"
    yield Check("usage", committed, counts if committed else "the token counts are not those the worker committed to")
    streamed = domain.kind == Kind.STREAM_RECEIPT
    owed = streamed_price(proof.usage, proof.terms) if streamed else price(proof.usage, proof.terms)
    yield Check(
        "fee", proof.fee_nano <= owed, f"{proof.fee_nano} nanoTON taken, {owed} owed for this usage at these terms"
    )


async def check_on_chain(proof: Proof, chain: Chain) -> list[Check]:
    """What the chain's proven state says: whose key it is, whether it is slashable, what became of the channel."""
    if chain.global_id != proof.channel.global_id:
        detail = f"the receipt is of network {proof.channel.global_id}, this is {chain.global_id}: choose the other"
        return [Check("network", False, detail)]
    derived = Deployment(proof.registry).worker(proof.worker_index) == proof.worker
    checks = [
        Check(
            "worker",
            derived or None,
            f"worker {proof.worker_index} of registry {_name(proof.registry)}"
            if derived
            else "the address does not follow from registry and index by this release's Worker code",
        )
    ]
    checks += [await _escrow(proof, chain), await _key(proof, chain)]
    checks.append(await _measurement(proof, chain))
    return checks


async def _escrow(proof: Proof, chain: Chain) -> Check:
    data = (await chain.account(proof.channel.escrow)).data
    if data is None or not data.refs:
        return Check("channel", None, "it has been closed since; its transactions remain on the chain")
    state = EscrowStorage.from_cell(data)
    parties = (state.identity.registry, state.identity.worker) == (proof.registry, proof.worker)
    if not parties:
        return Check("channel", False, "this escrow is between others")
    if state.epoch != proof.channel.epoch:
        return Check("channel", None, "it was opened anew since; the receipt is of an earlier time")
    binding = state.binding
    if binding is None or binding.key_epoch != proof.channel.key_epoch:
        return Check("channel", None, "it has been bound to newer keys since")
    mine = (binding.keys.session_key, binding.keys.measurement, binding.model_id, binding.terms) == (
        proof.session_key, proof.measurement, proof.model_id, proof.terms,
    )  # fmt: skip
    return Check(
        "channel", mine,
        "the escrow is bound to this key, measurement, model and these prices" if mine
        else "the escrow is bound to another key, measurement, model or other prices",
    )  # fmt: skip


async def _key(proof: Proof, chain: Chain) -> Check:
    try:
        worker = await read_worker(chain, proof.worker)
    except ClientError as error:
        return Check("session key", None, str(error))
    if worker.people.keys.session_key == proof.session_key:
        return Check("session key", True, "it is the worker's present key; its stake answers for this receipt")
    if proof.session_key in worker.people.slashable.old_keys:
        return Check("session key", True, "it is an earlier key of the worker, for which its stake still answers")
    return Check("session key", None, "the worker has no such key (any more): compare with the channel")


async def _measurement(proof: Proof, chain: Chain) -> Check:
    if proof.measurement == 0:
        return Check("measurement", None, "nothing was attested: whoever runs the worker could read prompt and answer")
    data = (await chain.account(proof.registry)).data
    if data is None:
        return Check("measurement", None, "there is no registry at this address")
    known = RegistryStorage.from_cell(data).measurements
    if proof.measurement in known.denied:
        return Check("measurement", False, "governance has denied this measurement: do not trust what it ran")
    if proof.simulated_tee:
        return Check("measurement", None, "simulated: no hardware stands behind it")
    if proof.measurement in known.listed:
        return Check("measurement", True, f"{_short(proof.measurement)} is on the registry's list")
    return Check(
        "measurement", None, f"{_short(proof.measurement)} is not on the list: accepted by the client's choice"
    )


def _name(address: Address) -> str:
    name: str = address.to_str(is_user_friendly=False)
    return name


def _short(value: int) -> str:
    return f"{value:064x}"[:16] + "…"
