"""Attestation on a ledger of its own: what is posted to it, what it says of a quote, and what that costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytoniq_core import Address, Cell

from ..contracts_build import ContractsError, load
from ..errors import WireError
from ..exit_codes import ExitCode, exit_codes
from ..wire.attestation import (
    AttestationIdentity,
    AttestationPolicy,
    CrlIssuer,
    TcbStatusCode,
    UpdateAttestationPolicy,
)
from ..wire.codec import Struct
from . import witness, witness_certificates, witness_collateral
from .certificates import Certificate
from .collateral import Collateral
from .errors import AttestationError
from .pcs import TcbStatus
from .quote import Quote
from .trust import TrustedRoot

if TYPE_CHECKING:
    from cocoon_sandbox.ledger import Ledger
    from cocoon_sandbox.stack import StackValue

__all__ = ["AttestationCode", "Judgement", "Refusal", "Refused", "Stage", "Step", "refusal"]

TON = 10**9
COLLATERAL_MISSING, STATUS_REFUSED = 557, 564  # of contracts/attestation/errors.tolk
_LEASE_SEC, _BLOCK_AGE = 86_400, 100


@dataclass(frozen=True, slots=True)
class AttestationCode:
    """Code of Attestation and of its TcbStores."""

    attestation: Cell
    store: Cell

    @classmethod
    def committed(cls) -> AttestationCode:
        """The builds this version was made with. ContractsError if there are none."""
        return cls(load("Attestation").code, load("TcbStore").code)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a step was refused. `code` is the contract's exit code; None if the evidence did not get as far."""

    step: str
    code: int | None
    name: str
    meaning: str
    remedy: str

    def __str__(self) -> str:
        code = "" if self.code is None else f" ({self.code})"
        return f"{self.step}: {self.name}{code}: {self.meaning}" + (f"; {self.remedy}" if self.remedy else "")


@dataclass(frozen=True, slots=True)
class Step:
    """One message with all it caused, or one get-method: gas by contract, and fees in nanoTON (0 for a get-method)."""

    name: str
    gas: tuple[tuple[str, int], ...]
    fees_nano: int

    @property
    def total_gas(self) -> int:
        return sum(used for _, used in self.gas)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the contracts say of a genuine quote: measurement (32 bytes), joined TCB status, date of the TCB level."""

    measurement: bytes
    report_data: bytes
    fmspc: bytes
    tcb_status: TcbStatus
    tcb_date: int


class Refused(Exception):
    """A step was refused."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


class Stage:
    """A ledger with Attestation on it."""

    def __init__(self, code: AttestationCode, root: TrustedRoot, at: int, accepted: Sequence[TcbStatus]) -> None:
        from cocoon_sandbox.ledger import Ledger
        from cocoon_sandbox.message import state_init

        self.ledger: Ledger = Ledger(now=at)
        self.steps: list[Step] = []
        self._root = root
        self.registry, self._poster = (self.ledger.treasury(name, 1000 * TON) for name in ("registry", "poster"))
        init = state_init(code.attestation, AttestationIdentity(self.registry.address).to_cell())
        self.attestation = Address((0, init.hash))
        self._names = {self.attestation: "Attestation"}
        policy = AttestationPolicy(
            version=1,
            root_key_x=int.from_bytes(root.public_key[:32]),
            root_key_y=int.from_bytes(root.public_key[32:]),
            accepted_statuses=sum(1 << TcbStatusCode[status.name] for status in set(accepted)),
            required_attributes=0,
            forbidden_attributes=0,
            min_evaluation_number=0,
            max_block_age=_BLOCK_AGE,
            lease_sec=_LEASE_SEC,
            store_code=code.store,
        )
        body = UpdateAttestationPolicy(1, policy).to_cell()
        self.registry.send(self.ledger, self.attestation, 10 * TON, body, state_init=init)

    def post_collateral(self, ca: Certificate, collateral: Collateral) -> None:
        """Every document, in an order in which each finds what it depends on."""
        root_key, certificates = self._root.public_key, witness_certificates
        signer = self._prepare("TCB signing certificate", lambda: collateral.tcb_info_document.issuer_chain[0])
        issuer = self._prepare("PCK CA certificate", lambda: witness.issuer_of(ca))
        self._post("root CRL", lambda: certificates.crl(collateral.root_ca_crl, CrlIssuer.ROOT, root_key))
        self._post("PCK CA certificate", lambda: certificates.ca_certificate(ca, root_key))
        self._post("PCK CRL", lambda: certificates.crl(collateral.pck_crl, issuer, ca.public_key))
        self._post("TCB signing certificate", lambda: certificates.ca_certificate(signer, root_key))
        self._post("QE identity", lambda: witness_collateral.qe_identity(collateral.qe_identity_document))
        self._post("TCB info", lambda: witness_collateral.tcb_info(collateral.tcb_info_document))

    def judge(self, quote: Quote, collateral: Collateral) -> Judgement:
        """Its signatures, then its platform."""
        number = self._prepare("quote", lambda: collateral.tcb_info.tcb_evaluation_data_number)
        evidence = self._prepare("quote", lambda: witness.quote_evidence(quote, number, 0).to_cell())
        claims = self._get("quote", self.attestation, "get_quote_claims", evidence)
        fmspc, pce_id, pce_svn, cpu_svn, tee_tcb_svn, qe_status, measured, first, second, _, epoch = map(
            _integer, claims
        )
        store = self._store(fmspc)
        judged = self._get(
            "TCB level", store, "get_judgement", epoch, number, qe_status, pce_id, pce_svn, cpu_svn, tee_tcb_svn
        )
        status, date = map(_integer, judged)
        return Judgement(
            measurement=measured.to_bytes(32),
            report_data=first.to_bytes(32) + second.to_bytes(32),
            fmspc=fmspc.to_bytes(6),
            tcb_status=TcbStatus[TcbStatusCode(status).name],
            tcb_date=date,
        )

    def quote_value_nano(self) -> int:
        """As the contract asks for it."""
        return _integer(self.ledger.get(self.attestation, "get_fees", 0)[0])

    def _prepare[T](self, step: str, make: Callable[[], T]) -> T:
        try:
            return make()
        except (AttestationError, WireError) as error:
            raise Refused(Refusal(step, None, type(error).__name__, str(error), "")) from error

    def _post(self, step: str, make: Callable[[], Struct]) -> None:
        body = self._prepare(step, lambda: make().to_cell())
        before = self.ledger.burned_fees
        sending, *caused = self._poster.send(self.ledger, self.attestation, 10 * TON, body)
        ours = [done for done in caused if done.account != self._poster.address]
        gas = tuple((self._names.get(done.account, "TcbStore"), done.gas_used) for done in ours)
        self.steps.append(Step(step, gas, self.ledger.burned_fees - before - sending.total_fees))
        for done in ours:
            if not done.success:
                raise Refused(refusal(step, done.exit_code if done.exit_code else done.action_code, ""))

    def _store(self, fmspc: int) -> Address:
        from cocoon_sandbox.errors import GetterFailed

        try:
            (found,) = self.ledger.get(self.attestation, "get_store_address", fmspc)
            address: Address = found.load_address()
        except GetterFailed as error:
            raise Refused(refusal("TCB level", error.exit_code, "")) from error
        if self.ledger.account(address).status != "active":
            raise Refused(refusal("TCB level", COLLATERAL_MISSING, f"no TCB info for {fmspc:012x}"))
        return address

    def _get(self, step: str, address: Address, method: str, *stack: StackValue) -> list[StackValue]:
        account = self.ledger.account(address)
        assert account.code is not None, "deployed before"
        result = self.ledger.executor.run_getter(
            config=self.ledger.config,
            code=account.code,
            data=account.data or Cell.empty(),
            address=address,
            balance=account.balance,
            now=self.ledger.now,
            method=method,
            stack=stack,
        )
        self.steps.append(Step(step, ((self._names.get(address, "TcbStore"), result.gas_used),), 0))
        if result.exit_code not in (0, 1):
            raise Refused(refusal(step, result.exit_code, ""))
        return result.stack


def _integer(value: StackValue) -> int:
    assert isinstance(value, int), "the get-methods return integers"
    return value


def refusal(step: str, code: int | None, detail: str) -> Refusal:
    known = {entry.code: entry for entry in _codes()}
    entry = known.get(code) if code is not None else None
    if entry is None:
        return Refusal(step, code, f"exit code {code}", detail or "the contract refused", "see docs/errors.md")
    meaning = f"{entry.meaning} ({detail})" if detail else entry.meaning
    return Refusal(step, code, entry.name, meaning, entry.remedy)


def _codes() -> list[ExitCode]:
    """Empty in an installed package, which has no sources to read their meanings from."""
    try:
        return exit_codes()
    except ContractsError:
        return []
