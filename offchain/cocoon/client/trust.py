"""Whether what the chain says about enclaves can be believed, judged from proven state alone.

A network decides by its policy who counts as an enclave. So a client looks at the policy before it trusts a verdict:
whose root it names, and whether the contracts that give the verdict are ones this version knows.
"""

from __future__ import annotations

from dataclasses import dataclass

from pytoniq_core import Address

from ..attestation.onchain import read_attestation
from ..attestation.posting import policy_root
from ..attestation.trust import TrustedRoot, banner, require_allowed
from ..chain.base import Chain
from ..contracts_build import load
from ..deployment import Deployment
from ..errors import ClientError
from ..wire.attestation import AttestationPolicy
from ..wire.common import PolicyChildren
from ..wire.registry import Measurements, RegistryStorage
from ..wire.worker import WorkerStorage

__all__ = ["NetworkTrust", "check_network"]


@dataclass(frozen=True, slots=True)
class NetworkTrust:
    """A network whose verdicts may be believed, as of now. `banner`, if there is one, belongs wherever results are
    shown.
    """

    root: TrustedRoot
    measurements: Measurements
    registry: Address

    @property
    def banner(self) -> str | None:
        return banner(self.root)

    def check_worker(self, worker: WorkerStorage, now: int, accepted_measurement: int | None = None) -> None:
        """ClientError unless the worker's keys may be given a prompt at `now` (unix seconds).

        accepted_measurement: of the one enclave that the caller accepts, on the network's list or not.
        """
        _check_attestation_code(worker.policy.children, "this worker's policy")
        measurement = worker.people.keys.measurement
        if measurement == 0:
            raise ClientError("this worker is not attested: it could read every prompt; choose another worker")
        if worker.lease_end <= now:
            raise ClientError(
                f"this worker's attestation ended {now - worker.lease_end} s ago: choose another worker, or wait until "
                "it has attested anew"
            )
        if measurement in self.measurements.denied:
            raise ClientError(
                f"this worker runs {measurement:064x}, which the network has denied: choose another worker"
            )
        if accepted_measurement is not None and accepted_measurement != measurement:
            raise ClientError(
                f"this worker runs {measurement:064x}, not the {accepted_measurement:064x} asked for: choose another"
            )
        if accepted_measurement is None and measurement not in self.measurements.listed:
            raise ClientError(
                f"this worker runs {measurement:064x}, which is not on the network's list: choose another worker, or "
                "name this measurement as accepted_measurement if you know what it is"
            )


async def check_network(chain: Chain, deployment: Deployment, *, allow_simulated_tee: bool = False) -> NetworkTrust:
    """What the network believes about hardware.

    SimulatedTeeRefused if that is another root than Intel's and nobody allowed it; ClientError if there is no such
    network, or if contracts decide about enclaves that this version does not know.
    """
    account = await chain.account(deployment.registry)
    name = deployment.registry.to_str(is_user_friendly=False)
    if account.data is None:
        raise ClientError(f"there is no registry {name} on this network (it is {account.status}); check its address")
    if account.code_hash != load("Registry").hash:
        raise ClientError(f"{name} is no Registry that this version knows; check its address, or update")
    registry = RegistryStorage.from_cell(account.data)
    _check_attestation_code(registry.policy.children, "the network's policy")
    found = await read_attestation(chain, deployment.attestation)
    if found is None:
        raise ClientError("the network's Attestation has no policy yet, so nothing is attested; try again later")
    # what is in force, and what the Registry has decided and anyone may bring into force at any moment
    root = _trusted(found.policy, allow_simulated_tee)
    decided = _trusted(registry.measurements.attestation, allow_simulated_tee)
    return NetworkTrust(root if root.simulated else decided, registry.measurements, deployment.registry)


def _trusted(policy: AttestationPolicy, allow_simulated_tee: bool) -> TrustedRoot:
    root = policy_root(policy)
    if root.simulated:
        require_allowed("this network trusts another root than Intel's", allow_simulated_tee)
    if policy.store_code.hash != load("TcbStore").hash:
        raise ClientError("the network judges platforms by a contract that this version does not know; update")
    return root


def _check_attestation_code(children: PolicyChildren, what: str) -> None:
    known = load("Attestation")
    if (children.attestation_code_hash, children.attestation_code_depth) != (
        int.from_bytes(known.hash, "big"),
        known.depth,
    ):
        raise ClientError(f"{what} has quotes verified by a contract that this version does not know; update")
