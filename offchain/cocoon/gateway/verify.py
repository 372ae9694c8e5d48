"""Whether a receipt holds: by itself (signature, usage, price), and against what the chain knows of its worker."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pytoniq_core import Address

from ..chain.base import Chain
from ..client.trust import NetworkTrust, check_network
from ..client.workers import read_worker
from ..crypto.ed25519 import verify
from ..crypto.errors import CryptoError
from ..crypto.usage import price
from ..deployment import Deployment
from ..errors import ClientError, WireError
from ..wire.common import DOMAIN_TAG, Kind
from ..wire.escrow import EscrowStorage
from .estimate import streamed_price
from .receipts import Proof

__all__ = ["Check", "check_offline", "check_on_chain", "missing", "verdict"]

_KINDS = (Kind.STREAM_RECEIPT, Kind.FORCED_RECEIPT)
_OWNERSHIP = ("channel", "session key")  # either of them shows that the key is the worker's


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. holds: None if it could not be decided, which `detail` explains."""

    name: str
    holds: bool | None
    detail: str


def verdict(checks: Iterable[Check]) -> bool | None:
    """False if anything fails. True only if the chain shows whose key it is: anyone can sign with one of their own.
    None if it does not, or was not asked; `missing` then says what that takes.
    """
    found = list(checks)
    if any(check.holds is False for check in found):
        return False
    return True if any(check.name in _OWNERSHIP and check.holds for check in found) else None


def missing(checks: Iterable[Check]) -> str:
    """Why the verdict is None."""
    said = "; ".join(f"{check.name}: {check.detail}" for check in checks if check.name in _OWNERSHIP)
    return f"nothing shows that this session key is the worker's ({said or 'the chain was not asked'})"


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


async def check_on_chain(proof: Proof, chain: Chain, *, registry: Address | None = None) -> list[Check]:
    """What the chain's proven state says: whose key it is, whether it is slashable, what became of the channel.

    registry: of the network that is meant. None believes the receipt, and so whoever made it, about which network it is
    of. ChainError.
    """
    if chain.global_id != proof.channel.global_id:
        detail = f"the receipt is of network {proof.channel.global_id}, this is {chain.global_id}: choose the other"
        return [Check("network", False, detail)]
    if registry is not None and registry != proof.registry:
        return [Check("network", False, f"the receipt is of registry {_name(proof.registry)}, another than meant")]
    deployment = Deployment(proof.registry)
    try:
        trust = await check_network(chain, deployment, allow_simulated_tee=True)
    except (ClientError, WireError) as error:
        return _unknown(str(error))
    if deployment.worker(proof.worker_index) != proof.worker:
        # some other contract, which says of itself what its maker likes
        return _unknown("the address does not follow from registry and index by this release's Worker code")
    channel, by_channel = await _escrow(proof, chain, deployment)
    key, by_worker = await _key(proof, chain)
    attested = by_worker if by_channel is None else by_channel
    known = bool(channel.holds or key.holds)
    return [
        Check("worker", True, f"worker {proof.worker_index} of registry {_name(proof.registry)}"),
        channel,
        key,
        _measurement(proof, trust, attested, known=known),
    ]


def _unknown(why: str) -> list[Check]:
    """Nothing that such a network or worker says counts."""
    after = "not looked at: the worker is not known"
    return [Check("worker", None, why), *(Check(name, None, after) for name in (*_OWNERSHIP, "measurement"))]


async def _escrow(proof: Proof, chain: Chain, deployment: Deployment) -> tuple[Check, int | None]:
    """With the measurement that the escrow has of the key, if the key is its."""
    data = (await chain.account(proof.channel.escrow)).data
    if data is None or not data.refs:
        return Check("channel", None, "no channel is open there: closed since, or there never was one"), None
    try:
        state = EscrowStorage.from_cell(data)
    except WireError:
        return Check("channel", None, "what is there is no escrow of this release"), None
    who = state.identity
    if (who.registry, who.worker) != (proof.registry, proof.worker):
        return Check("channel", False, "this escrow is between others"), None
    if deployment.escrow(who.client, who.worker, who.salt) != proof.channel.escrow:
        return Check("channel", None, "what is there is no escrow of this release"), None
    if state.epoch != proof.channel.epoch:
        return Check("channel", None, "it was opened anew; the receipt is of another time"), None
    binding = state.binding
    if binding is None or binding.key_epoch != proof.channel.key_epoch:
        return Check("channel", None, "it is bound to other keys by now"), None
    if (binding.keys.session_key, binding.keys.measurement, binding.model_id, binding.terms) != (
        proof.session_key, proof.measurement, proof.model_id, proof.terms,
    ):  # fmt: skip
        return Check("channel", False, "the escrow is bound to another key, measurement, model or other prices"), None
    detail = "the escrow is bound to this key, measurement, model and these prices"
    return Check("channel", True, detail), binding.keys.measurement


async def _key(proof: Proof, chain: Chain) -> tuple[Check, int | None]:
    """With the measurement that the worker has of the key; of earlier keys it has none."""
    try:
        worker = await read_worker(chain, proof.worker)
    except ClientError as error:
        return Check("session key", None, str(error)), None
    keys = worker.people.keys
    if keys.session_key == proof.session_key:
        detail = "it is the worker's present key; its stake answers for this receipt"
        return Check("session key", True, detail), keys.measurement
    until = worker.people.slashable.old_keys.get(proof.session_key)
    if until is None:
        return Check("session key", None, "the worker has no such key: forgotten since, or it never had one"), None
    answers = "for which its stake still answers" if until >= await chain.time() else "too old to be slashed for"
    return Check("session key", True, f"it is an earlier key of the worker, {answers}"), None


def _measurement(proof: Proof, trust: NetworkTrust, attested: int | None, *, known: bool) -> Check:
    """attested: what the chain says ran with the key; None if it does not say. known: the key is the worker's."""
    simulated, lists = trust.root.simulated, trust.measurements
    if proof.simulated_tee != simulated:
        truth = "is simulated" if simulated else "is Intel's"
        return Check("measurement", False, f"the receipt says otherwise, but this network's root of trust {truth}")
    if proof.measurement in lists.denied:
        return Check("measurement", False, "governance has denied this measurement: do not trust what it ran")
    if attested is not None and attested != proof.measurement:
        return Check("measurement", False, f"the key was attested for another measurement, {_short(attested)}")
    if not known:
        return Check("measurement", None, "whose key signed is not known, so neither is what ran")
    if proof.measurement == 0:
        return Check("measurement", None, "nothing was attested: whoever runs the worker could read prompt and answer")
    if attested is None:
        return Check("measurement", None, "the chain no longer says what this earlier key was attested for")
    if simulated:
        return Check("measurement", None, "simulated: no hardware stands behind it")
    if proof.measurement in lists.listed:
        return Check("measurement", True, f"{_short(proof.measurement)} is on the registry's list")
    return Check(
        "measurement", None, f"{_short(proof.measurement)} is not on the list: accepted by the client's choice"
    )


def _name(address: Address) -> str:
    name: str = address.to_str(is_user_friendly=False)
    return name


def _short(value: int) -> str:
    return f"{value:064x}"[:16] + "…"
