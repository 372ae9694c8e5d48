"""Checks of the network: that it is what it is said to be, takes this evidence, and that there is money enough."""

from __future__ import annotations

from dataclasses import dataclass

from pytoniq_core import Address

from ..agent.platform import Platform, make_platform
from ..attestation.errors import AttestationError
from ..attestation.onchain import read_attestation, read_tcb_store
from ..attestation.pck import PckExtension
from ..attestation.posting import missing_collateral, policy_root
from ..attestation.quote import Quote
from ..attestation.report_data import REPORT_DATA_SIZE
from ..attestation.trust import banner
from ..attestation.witness import measurement
from ..chain.base import Chain
from ..chain.networks import check_network as check_network_name
from ..chain.wallet import format_ton
from ..client.trust import NetworkTrust, check_network
from ..deployment import Deployment
from ..errors import CocoonError
from ..fees import Fees, Prices
from ..wire.attestation import AttestationStorage
from ..wire.common import Policy
from ..wire.registry import RegistryStorage
from .choices import Choices
from .findings import Finding, failed, fine, warning

__all__ = ["EvidenceFound", "check_balance", "check_evidence", "check_registry", "check_stake"]

_CARRIED_GAS = 50_000
_MESSAGE_NANO = 20_000_000  # for the wallet's own gas
_SPARE_MESSAGES = 4  # the offer, and what may have to be sent again


@dataclass(frozen=True, slots=True)
class EvidenceFound:
    """measurement: of what runs here. start_nano: what the operator needs until the worker can be used."""

    measurement: int
    start_nano: int


async def check_registry(chain: Chain, choices: Choices) -> tuple[list[Finding], NetworkTrust | None]:
    """Whose verdicts count there, and that this release knows the contracts."""
    try:
        check_network_name(choices.network, chain.global_id)
    except CocoonError as error:
        return [failed("network", str(error))], None
    network = fine("network", f"{choices.network}, global id {chain.global_id}, block proven")
    allowed = choices.attestation.allow_simulated_tee
    try:
        trust = await check_network(chain, Deployment(choices.registry), allow_simulated_tee=allowed)
    except CocoonError as error:
        return [network, failed("registry", str(error))], None
    said = banner(trust.root)
    name = choices.registry.to_str(is_user_friendly=False)
    return [network, fine("registry", name) if said is None else warning("registry", f"{name}. {said}")], trust


async def read_policy(chain: Chain, registry: Address) -> Policy:
    """The network's rules, for workers that register now."""
    data = (await chain.account(registry)).data
    if data is None:
        raise ValueError("the registry was checked before")
    return RegistryStorage.from_cell(data).policy


def check_stake(choices: Choices, policy: Policy) -> Finding:
    if choices.stake_nano < policy.min_stake_nano or choices.bond_nano < policy.min_bond_nano:
        return failed(
            "stake", f"stake {format_ton(choices.stake_nano)} and bond {format_ton(choices.bond_nano)}: the network "
            f"wants {format_ton(policy.min_stake_nano)} and {format_ton(policy.min_bond_nano)} at least"
        )  # fmt: skip
    misses = choices.bond_nano // policy.miss_penalty_nano if policy.miss_penalty_nano else 0
    return fine(
        "stake", f"stake {format_ton(choices.stake_nano)}, lost only for two answers to one job; bond "
        f"{format_ton(choices.bond_nano)}, of which a missed job takes {format_ton(policy.miss_penalty_nano)} "
        f"(enough for {misses})"
    )  # fmt: skip


async def check_evidence(
    chain: Chain, choices: Choices, trust: NetworkTrust
) -> tuple[list[Finding], EvidenceFound | None]:
    """Takes a quote that says nothing, fetches what goes with it, and compares both with what the network wants."""
    deployment = Deployment(choices.registry)
    now = await chain.time()
    try:
        platform = make_platform(choices.attestation, choices.endpoint, now)
        quote = Quote.parse(sample := await platform.evidence.quote(bytes(REPORT_DATA_SIZE)))
        state = await read_attestation(chain, deployment.attestation)
        if state is None:
            raise AttestationError("the network's Attestation has no policy yet: anyone can send SyncAttestation")
        _check_root(quote, state)
        posting_nano, count = await _posting_cost(chain, deployment, platform, state, quote, sample, now)
    except CocoonError as error:
        return [failed("evidence", str(error))], None
    own = int.from_bytes(measurement(quote))
    prices = await Prices.of(chain)
    start = posting_nano + Fees(prices).attest() + prices.gas_fee(_CARRIED_GAS)
    start += (count + _SPARE_MESSAGES) * _MESSAGE_NANO
    found = [fine("evidence", f"a test quote was taken; {count} of Intel's documents have to be posted first")]
    return [*found, check_measurement(own, trust)], EvidenceFound(own, start)


def check_measurement(own: int, trust: NetworkTrust) -> Finding:
    if own in trust.measurements.denied:
        return failed("measurement", f"{own:064x} is denied by the network: run other software")
    if own not in trust.measurements.listed:
        return warning(
            "measurement", f"{own:064x} is not on the network's list: only clients that name it as their accepted "
            "measurement will use this worker, until governance lists it"
        )  # fmt: skip
    return fine("measurement", f"{own:064x} is on the network's list")


def check_balance(name: str, address: Address, balance: int, needed: int) -> Finding:
    if balance < needed:
        shown = address.to_str(is_bounceable=False)
        return failed(
            name, f"{shown} holds {format_ton(balance)} and needs {format_ton(needed)}: send it "
            f"{format_ton(needed - balance)}"
        )  # fmt: skip
    return fine(name, f"holds {format_ton(balance)}, needs {format_ton(needed)}")


def _check_root(quote: Quote, state: AttestationStorage) -> None:
    root = quote.signature_data.pck_chain[-1].public_key
    if root != policy_root(state.policy).public_key:
        raise AttestationError(
            "the evidence leads to another root than the one the network trusts: a simulated platform on a real "
            "network, or another seed"
        )


async def _posting_cost(
    chain: Chain,
    deployment: Deployment,
    platform: Platform,
    state: AttestationStorage,
    quote: Quote,
    sample: bytes,
    now: int,
) -> tuple[int, int]:
    """(nanoTON to attach, documents) for what the network lacks today."""
    documents = await platform.collateral.collateral(sample, now)
    fmspc = PckExtension.of(quote.signature_data.pck_chain[0]).fmspc
    store = await read_tcb_store(chain, deployment.attestation, state.policy, fmspc)
    postings = missing_collateral(state, store, quote, documents, now=now, fees=await Fees.of(chain))
    return sum(one.value_nano for one in postings), len(postings)
