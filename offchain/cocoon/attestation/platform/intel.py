"""The simulated Intel: a throw-away root, the authorities below it, and what they sign."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from ..certificates import Certificate, to_pem
from ..collateral import Collateral, SignedDocument
from . import issuing
from .hardware import CertificateAuthority, Hardware
from .keys import SigningKey, derive_bytes
from .publication import DAY, Publication
from .sgx_extension import of_hardware

__all__ = ["Publication", "Role", "SimulatedIntel", "Validity"]

ORGANIZATION = "SIMULATED, NO TEE"
_ROOT_END = 2_524_607_999  # 2049-12-31 23:59:59
_ROOT_CRL_URI = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
_PCK_CRL_URI = "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca={}&encoding=der"


class Role(StrEnum):
    """Whose certificate it is; the value is its common name."""

    ROOT = "Intel SGX Root CA"
    PLATFORM_CA = "Intel SGX PCK Platform CA"
    PROCESSOR_CA = "Intel SGX PCK Processor CA"
    TCB_SIGNING = "Intel SGX TCB Signing"
    PCK = "Intel SGX PCK Certificate"


@dataclass(frozen=True, slots=True)
class Validity:
    """First and last second, unix time."""

    start: int
    end: int


class SimulatedIntel:
    """Everything follows from `seed` (which keys) and `time` (which dates, unless `validity` says otherwise)."""

    def __init__(
        self,
        seed: bytes,
        time: int,
        *,
        validity: Mapping[Role, Validity] | None = None,
        organization: str = ORGANIZATION,
    ) -> None:
        self.seed, self.time, self._organization = seed, time, organization
        self._validity = {
            Role.ROOT: Validity(time - 3000 * DAY, _ROOT_END),
            Role.PLATFORM_CA: Validity(time - 2000 * DAY, time + 3000 * DAY),
            Role.PROCESSOR_CA: Validity(time - 2000 * DAY, time + 3000 * DAY),
            Role.TCB_SIGNING: Validity(time - 200 * DAY, time + 2000 * DAY),
            Role.PCK: Validity(time - 100 * DAY, time + 2400 * DAY),
            **(validity or {}),
        }

    @cached_property
    def root(self) -> Certificate:
        return self._authority(Role.ROOT, path_length=1)

    @cached_property
    def tcb_signing(self) -> Certificate:
        """The certificate of the key that signs TCB info and identities."""
        return self._issue(
            Role.TCB_SIGNING,
            issuer=Role.ROOT,
            crl_uri=_ROOT_CRL_URI,
            rest=[issuing.key_usage(authority=False), issuing.basic_constraints(None)],
        )

    @cached_property
    def platform_ca(self) -> Certificate:
        return self._authority(Role.PLATFORM_CA, path_length=0)

    @cached_property
    def processor_ca(self) -> Certificate:
        return self._authority(Role.PROCESSOR_CA, path_length=0)

    def pck_ca(self, authority: CertificateAuthority) -> Certificate:
        return self.platform_ca if authority is CertificateAuthority.PLATFORM else self.processor_ca

    def key(self, role: Role) -> SigningKey:
        """The private key of an authority or of the TCB signer."""
        return SigningKey.derive(self.seed, role.value)

    def certify(self, hardware: Hardware, public_key: bytes) -> Certificate:
        """A PCK certificate for a platform's key (x ‖ y)."""
        ppid = derive_bytes(self.seed, f"ppid {hardware.instance}", 16)
        instance_id = derive_bytes(self.seed, f"instance {hardware.instance}", 16)
        role = Role.PLATFORM_CA if hardware.authority is CertificateAuthority.PLATFORM else Role.PROCESSOR_CA
        sgx = of_hardware(hardware, ppid, instance_id)
        return self._issue(
            Role.PCK,
            issuer=role,
            crl_uri=_PCK_CRL_URI.format(hardware.authority.value),
            rest=[issuing.key_usage(authority=False), issuing.basic_constraints(None), sgx],
            public_key=public_key,
            serial=int.from_bytes(derive_bytes(self.seed, f"serial {hardware!r}", 20)),
        )

    def publish(self, publication: Publication) -> Collateral:
        """The documents and lists, signed."""
        authority = Role.PLATFORM_CA if publication.authority is CertificateAuthority.PLATFORM else Role.PROCESSOR_CA
        signer, chain = self.key(Role.TCB_SIGNING), to_pem((self.tcb_signing, self.root))
        tcb_info, qe_identity = publication.tcb_info.to_bytes(), publication.qe_identity.to_bytes()
        ca_chain = to_pem((self.pck_ca(publication.authority), self.root))
        return Collateral(
            SignedDocument(tcb_info, signer.sign(tcb_info), chain),
            SignedDocument(qe_identity, signer.sign(qe_identity), chain),
            self._crl(publication, authority, publication.pck_crl_number, publication.revoked_pck),
            ca_chain,
            self._crl(publication, Role.ROOT, publication.root_crl_number, publication.revoked_ca),
        )

    def _crl(self, publication: Publication, role: Role, number: int, revoked: tuple[int, ...]) -> bytes:
        tbs = issuing.revocation_list_tbs(
            issuer=self._name(role),
            issuer_key_id=_key_id(self.key(role).public_key),
            this_update=publication.crl_issued_at,
            next_update=publication.crl_next_update,
            number=number,
            revoked=revoked,
        )
        return issuing.signed(tbs, self.key(role))

    def _authority(self, role: Role, *, path_length: int) -> Certificate:
        rest = [issuing.key_usage(authority=True), issuing.basic_constraints(path_length)]
        return self._issue(role, issuer=Role.ROOT, crl_uri=_ROOT_CRL_URI, rest=rest)

    def _issue(
        self,
        role: Role,
        *,
        issuer: Role,
        crl_uri: str,
        rest: list[bytes],
        public_key: bytes | None = None,
        serial: int | None = None,
    ) -> Certificate:
        public_key = self.key(role).public_key if public_key is None else public_key
        key_id = _key_id(public_key)
        validity = self._validity[role]
        tbs = issuing.certificate_tbs(
            serial=int.from_bytes(key_id) if serial is None else serial,  # as in Intel's own authorities
            issuer=self._name(issuer),
            validity=(validity.start, validity.end),
            subject=self._name(role),
            public_key=public_key,
            extensions=[
                issuing.authority_key_id(_key_id(self.key(issuer).public_key)),
                issuing.crl_distribution(crl_uri),
                issuing.subject_key_id(key_id),
                *rest,
            ],
        )
        return Certificate.parse(issuing.signed(tbs, self.key(issuer)))

    def _name(self, role: Role) -> bytes:
        return issuing.name(role.value, self._organization)


def _key_id(public_key: bytes) -> bytes:
    return derive_bytes(public_key, "key identifier", 20)
