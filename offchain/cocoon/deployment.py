"""A deployment of the protocol: which code runs, the first data of each contract, and every address that follows.

Addresses are hashes of code and first data, so a client computes a worker's or an escrow's address offline and never
has to believe anybody about it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache

from pytoniq_core import Address, Cell

from .attestation.trust import INTEL_ROOT_KEY
from .contracts_build import CompiledContract, load
from .wire.attestation import (
    AttestationIdentity,
    AttestationPolicy,
    AttestationStorage,
    SharedCollateral,
    TcbStatusCode,
    TcbStoreIdentity,
)
from .wire.codec import Struct
from .wire.common import Policy, PolicyChildren, child_address, state_init
from .wire.escrow import EscrowIdentity
from .wire.registry import Measurements, Rebuilders, RegistryStorage
from .wire.slashing import SlashingData
from .wire.worker import WorkerIdentityData

__all__ = [
    "Deployment",
    "Rules",
    "attestation_data",
    "attestation_policy",
    "attestation_state_init",
    "policy",
    "registry_data",
    "registry_state_init",
    "slashing_address",
    "slashing_state_init",
]


@dataclass(frozen=True)
class Rules:
    """What governance decides at deployment; amounts in nanoTON, times in seconds, shares in basis points.

    `rebuilders` are Ed25519 public keys, `rebuild_threshold` of which must agree on a measurement. Without any, none
    can be allowed: clients name their own until governance has appointed rebuilders.

    What the chain demands of an enclave: `attestation_root`, the P-256 key x || y (64 bytes) of the CA at the root of
    all evidence; `accepted_statuses`, names of `TcbStatusCode`; TD attributes as the report's 8 bytes read as one
    number; `max_block_age` in masterchain blocks. `measurements` are allowed from the start: whoever joins sees them in
    the first data that the Registry's address commits to.
    """

    owner: Address
    rebuilders: tuple[int, ...] = ()
    rebuild_threshold: int = 1
    change_delay_sec: int = 7 * 86400
    min_stake_nano: int = 10 * 10**9
    min_bond_nano: int = 2 * 10**9
    miss_penalty_nano: int = 10**9
    key_loss_nano: int = 10**8
    miss_client_bps: int = 2000
    slash_reporter_bps: int = 1000
    slash_client_bps: int = 1000
    volume_burn_bps: int = 100
    max_term_sec: int = 30 * 86400
    dispute_sec: int = 86400
    grace_sec: int = 60
    notice_sec: int = 86400
    evidence_sec: int = 7 * 86400
    unbonding_sec: int = 45 * 86400
    measurements: tuple[int, ...] = ()
    attestation_root: bytes = INTEL_ROOT_KEY
    accepted_statuses: tuple[str, ...] = ("UP_TO_DATE", "SW_HARDENING_NEEDED")
    required_attributes: int = 0
    forbidden_attributes: int = 0
    min_evaluation_number: int = 0
    max_block_age: int = 1600
    lease_sec: int = 7 * 86400


@dataclass(frozen=True)
class Deployment:
    """The contracts of one network. `registry` is all that has to be known about it."""

    registry: Address

    @classmethod
    def of(cls, rules: Rules) -> Deployment:
        """The deployment these rules give."""
        return cls(registry=child_address(_hash(load("Registry")), load("Registry").depth, registry_data(rules)))

    def worker(self, index: int) -> Address:
        """The worker with this index, registered or not."""
        return _address(load("Worker"), WorkerIdentityData(self.registry, index))

    def escrow(self, client: Address, worker: Address, salt: int = 0) -> Address:
        """The channel between `client` and `worker` with this salt, opened or not."""
        return _address(load("Escrow"), self.escrow_identity(client, worker, salt))

    def escrow_identity(self, client: Address, worker: Address, salt: int = 0) -> EscrowIdentity:
        return EscrowIdentity(self.registry, client, worker, salt)

    def escrow_state_init(self, client: Address, worker: Address, salt: int = 0) -> Cell:
        """What a client sends along with OpenEscrow."""
        return state_init(load("Escrow").code, self.escrow_identity(client, worker, salt).to_cell())

    @property
    def slashing(self) -> Address:
        return slashing_address()

    @property
    def attestation(self) -> Address:
        return _address(load("Attestation"), AttestationIdentity(self.registry))

    def tcb_store(self, fmspc: int) -> Address:
        """Where Attestation keeps the TCB levels of this family of platforms."""
        return _address(load("TcbStore"), TcbStoreIdentity(self.attestation, fmspc))


def slashing_data() -> Cell:
    code = load("Escrow")
    return SlashingData(_hash(code), code.depth).to_cell()


def slashing_address() -> Address:
    code = load("Slashing")
    return child_address(_hash(code), code.depth, slashing_data())


def slashing_state_init() -> Cell:
    return state_init(load("Slashing").code, slashing_data())


def attestation_state_init(registry: Address) -> Cell:
    return state_init(load("Attestation").code, AttestationIdentity(registry).to_cell())


def attestation_data(registry: Address, first_policy: AttestationPolicy) -> Cell:
    """What Attestation holds once the Registry has given it its first policy."""
    nothing = SharedCollateral(None, None, None, None)
    return AttestationStorage(registry, 0, first_policy, None, None, nothing).to_cell()


def policy(rules: Rules, version: int = 1) -> Policy:
    """The first policy; a later one takes the current version + 1."""
    escrow, attestation = load("Escrow"), load("Attestation")
    children = PolicyChildren(_hash(escrow), escrow.depth, slashing_address(), _hash(attestation), attestation.depth)
    shared = {name: getattr(rules, name) for name in _POLICY_FIELDS}
    return Policy(version=version, children=children, **shared)


def attestation_policy(rules: Rules, version: int = 1) -> AttestationPolicy:
    """The first demands on enclaves; later ones take the current version + 1."""
    shared = {name: getattr(rules, name) for name in _ATTESTATION_FIELDS}
    return AttestationPolicy(
        version=version,
        root_key_x=int.from_bytes(rules.attestation_root[:32]),
        root_key_y=int.from_bytes(rules.attestation_root[32:]),
        accepted_statuses=sum(1 << TcbStatusCode[name] for name in set(rules.accepted_statuses)),
        store_code=load("TcbStore").code,
        **shared,
    )


def rebuilders(rules: Rules) -> Rebuilders:
    return Rebuilders(rules.rebuild_threshold, dict.fromkeys(rules.rebuilders))


def registry_data(rules: Rules) -> Cell:
    worker = load("Worker")
    storage = RegistryStorage(
        owner=rules.owner,
        proposed_owner=None,
        next_index=0,
        change_delay_sec=rules.change_delay_sec,
        policy_version=1,
        policy=policy(rules),
        worker_code_hash=_hash(worker),
        worker_code_depth=worker.depth,
        worker_code=worker.code,
        measurements=Measurements(
            len(rules.measurements),
            0,
            dict.fromkeys(rules.measurements),
            {},
            rebuilders(rules),
            attestation_policy(rules),
        ),
        proposal=None,
    )
    return storage.to_cell()


def registry_state_init(rules: Rules) -> Cell:
    return state_init(load("Registry").code, registry_data(rules))


_ATTESTATION_FIELDS = (
    "required_attributes", "forbidden_attributes", "min_evaluation_number", "max_block_age", "lease_sec",
)  # fmt: skip
_POLICY_FIELDS = tuple(f.name for f in fields(Policy) if f.name not in ("version", "children"))


@lru_cache(maxsize=4096)
def _address(contract: CompiledContract, identity: Struct) -> Address:
    """Remembered: a market asks for the same workers and channels again and again."""
    return child_address(_hash(contract), contract.depth, identity.to_cell())


def _hash(contract: CompiledContract) -> int:
    return int.from_bytes(contract.code.hash, "big")
