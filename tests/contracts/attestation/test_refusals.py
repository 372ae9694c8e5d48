"""What must never get a verdict: each line is one attack, on an otherwise genuine quote."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from enclaves import HEAD, NOW, REGISTRY, WORKER, Enclaves, block
from pytoniq_core import Address, Builder, Cell, begin_cell
from test_collateral import pieces_of

from cocoon.attestation.pcs import SvnLevel, TcbStatus
from cocoon.attestation.platform import CertificateAuthority, Hardware, Role, SimulatedIntel, SimulatedMachine, Validity
from cocoon.attestation.quote import Quote
from cocoon.attestation.report_data import MasterBlock
from cocoon.attestation.witness_certificates import pck_document
from cocoon.attestation.witness_chains import chain, signed
from cocoon.wire.attestation import P256Hint, QuoteRefused, QuoteVerified, SignedDocument, VerifyQuote
from cocoon_sandbox.ledger import Ledger

OTHER = Address((0, b"\x77" * 32))


def attributes(*bits: int) -> bytes:
    return sum(1 << bit for bit in bits).to_bytes(8, "little")


# ---- the report ----


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"td_attributes": attributes(0, 28)}, 523),
        ({"td_attributes": attributes(3, 28)}, 523),
        ({"td_attributes": attributes(7, 28)}, 523),
        ({"td_attributes": attributes()}, 524),
        ({"td_attributes": attributes(28, 29)}, 524),
        ({"td_attributes": attributes(8, 28)}, 524),
        ({"td_attributes": attributes(27, 28)}, 524),
        ({"td_attributes": attributes(28, 32)}, 524),
        ({"td_attributes": attributes(28, 62)}, 524),
        ({"mr_signer_seam": b"\1" + bytes(47)}, 526),
        ({"mr_signer_seam": bytes(47) + b"\1"}, 526),
        ({"seam_attributes": b"\1" + bytes(7)}, 526),
    ],
    ids=[
        "debug",
        "reserved 3",
        "reserved 7",
        "no SEPT_VE_DISABLE",
        "migratable",
        "reserved 8",
        "reserved 27",
        "reserved 32",
        "reserved 62",
        "signer",
        "signer's end",
        "seam attributes",
    ],
)
def test_verify_td_its_host_could_read_or_move_is_refused(
    enclaves: Enclaves, changes: dict[str, Any], code: int
) -> None:
    """A-3, A.11."""
    enclaves.verify(enclaves.evidence(enclaves.quote(**changes))).assert_refused(code)


@pytest.mark.parametrize("position", [0, 31, 32, 47])
def test_verify_td_with_service_td_is_refused(enclaves: Enclaves, position: int) -> None:
    """A-3."""
    bound = bytes(position) + b"\1" + bytes(47 - position)
    enclaves.verify(enclaves.evidence(enclaves.quote(version_15=True, mr_service_td=bound))).assert_refused(525)


def test_verify_attributes_the_policy_demands_or_forbids_decide(enclaves: Enclaves) -> None:
    pks = 1 << 6 << 32  # bit 30, in the report's byte order
    enclaves.set_policy(version=2, required_attributes=pks).assert_succeeded()
    enclaves.verify().assert_refused(524)
    with_pks = enclaves.evidence(enclaves.quote(td_attributes=attributes(28, 30)))
    enclaves.verify(with_pks).assert_succeeded().one(QuoteVerified)
    enclaves.set_policy(version=3, forbidden_attributes=pks).assert_succeeded()
    enclaves.verify(with_pks).assert_refused(524)


@pytest.mark.parametrize(
    "name",
    [
        "td_attributes",
        "xfam",
        "mr_td",
        "mr_config_id",
        "mr_owner",
        "mr_owner_config",
        "rt_mr0",
        "rt_mr1",
        "rt_mr2",
        "rt_mr3",
    ],
)
def test_verify_everything_that_tells_enclaves_apart_is_in_the_measurement(enclaves: Enclaves, name: str) -> None:
    """A-3."""
    usual = enclaves.verify().one(QuoteVerified).platform.keys.measurement
    value = attributes(28, 31) if name == "td_attributes" else getattr(enclaves.quote().report, name)[:-1] + b"\x5a"
    other = enclaves.verify(enclaves.evidence(enclaves.quote(**{name: value}))).one(QuoteVerified)
    assert other.platform.keys.measurement != usual


def altered_header(quote: Quote, **changes: Any) -> Quote:
    """Signed by the attestation key all the same."""
    return replace(quote, header=replace(quote.header, **changes))


def resign(enclaves: Enclaves, quote: Quote) -> Quote:
    signature = enclaves.machine.attestation_key.sign(quote.signed_bytes)
    return replace(quote, signature_data=replace(quote.signature_data, signature=signature))


@pytest.mark.parametrize(
    "changes", [{"qe_vendor_id": bytes(16)}, {"version": 3}, {"tee_type": 0}, {"attestation_key_type": 3}], ids=str
)
def test_verify_quote_of_another_kind_is_refused(enclaves: Enclaves, changes: dict[str, Any]) -> None:
    quote = resign(enclaves, altered_header(enclaves.quote(), **changes))
    enclaves.verify(enclaves.evidence(quote)).assert_refused(520)


def test_verify_version_5_with_unknown_body_type_is_refused(enclaves: Enclaves) -> None:
    evidence = enclaves.evidence(enclaves.quote(version=5))
    root = evidence.report.text
    bits = bytearray(root.data[:118])
    bits[48] = 4
    cell = Builder().store_bytes(bytes(bits))
    for ref in root.refs:
        cell.store_ref(ref)
    enclaves.verify(replace(evidence, report=replace(evidence.report, text=cell.end_cell()))).assert_refused(520)


# ---- whom it is for ----


@pytest.mark.parametrize(
    "changes",
    [
        {"global_id": -239},
        {"registry": OTHER},
        {"worker": OTHER},
        {"attest_seq": 2},
        {"session_key": 1},
        {"hpke_key_hash": 1},
        {"gpu_evidence_digest": 1},
        {"block": MasterBlock(HEAD - 4, block(HEAD - 4).root_hash, block(HEAD - 4).file_hash)},
        {"block": MasterBlock(HEAD - 3, block(HEAD - 4).root_hash, block(HEAD - 3).file_hash)},
        {"block": MasterBlock(HEAD - 3, block(HEAD - 3).root_hash, block(HEAD - 4).file_hash)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_verify_quote_that_says_anything_else_is_refused(enclaves: Enclaves, changes: dict[str, Any]) -> None:
    """A-2."""
    quote = enclaves.quote(said=enclaves.statement(**changes))
    enclaves.verify(enclaves.evidence(quote)).assert_refused(521)


def test_verify_report_data_with_a_second_half_is_refused(enclaves: Enclaves) -> None:
    data = enclaves.statement().to_bytes()[:32] + bytes(31) + b"\1"
    enclaves.verify(enclaves.evidence(enclaves.quote(said=data))).assert_refused(521)


def test_verify_another_workers_quote_is_refused(enclaves: Enclaves) -> None:
    """A-1, A-2: The verdict goes to the sender, so the quote must name the sender."""
    enclaves.verify(sender=OTHER).assert_refused(521)


def test_verify_from_masterchain_is_refused(enclaves: Enclaves) -> None:
    sender = Address((-1, WORKER.hash_part))
    quote = enclaves.quote(said=enclaves.statement(worker=sender))
    enclaves.verify(enclaves.evidence(quote), sender=sender).assert_refused(505)


@pytest.mark.parametrize(
    ("seqno", "good"),
    [
        (HEAD, True),
        (HEAD - 15, True),
        (HEAD - 16, False),
        (HEAD - 50, True),
        (HEAD - 51, False),
        (HEAD - 950, True),
        (HEAD - 1050, False),
        (HEAD + 1, False),
        (HEAD + 50, False),
    ],
)
def test_verify_block_must_be_one_the_network_shows_and_young_enough(
    enclaves: Enclaves, seqno: int, good: bool
) -> None:
    """A-2: The last 16, then every hundredth; the policy allows 1,000 blocks."""
    said = enclaves.statement(seqno=seqno)
    outcome = enclaves.verify(enclaves.evidence(enclaves.quote(said=said), seqno=seqno))
    if good:
        assert outcome.assert_succeeded().one(QuoteVerified).platform.block_seqno == seqno
    else:
        outcome.assert_refused(522)


def test_verify_block_age_is_bounded_by_policy(enclaves: Enclaves) -> None:
    """A-2."""
    enclaves.set_policy(version=2, max_block_age=2).assert_succeeded()
    enclaves.verify().assert_refused(522)


# ---- the chain of signatures ----


def other_machine(enclaves: Enclaves) -> SimulatedMachine:
    return SimulatedMachine(enclaves.intel, Hardware(instance="another"))


def test_verify_mixed_quotes_are_refused(enclaves: Enclaves) -> None:
    """A-1: Parts of two platforms' quotes, each genuine."""
    mine = enclaves.evidence()
    other = other_machine(enclaves).quote(enclaves.quote().report)
    theirs = enclaves.evidence(other)
    key = {"attestation_key_x": theirs.attestation_key_x, "attestation_key_y": theirs.attestation_key_y}
    enclaves.verify(replace(mine, enclave=theirs.enclave)).assert_refused(527)
    enclaves.verify(replace(mine, certificate=theirs.certificate)).assert_refused(511)
    enclaves.verify(replace(mine, report=theirs.report)).assert_refused(511)
    enclaves.verify(replace(mine, report=theirs.report, **key)).assert_refused(527)


def test_verify_attestation_key_the_enclave_never_named_is_refused(enclaves: Enclaves) -> None:
    """A key of our own signs the report; enclave and certificate are genuine."""
    own = other_machine(enclaves).attestation_key
    quote = enclaves.quote()
    data = replace(quote.signature_data, signature=own.sign(quote.signed_bytes), attestation_key=own.public_key)
    enclaves.verify(enclaves.evidence(replace(quote, signature_data=data))).assert_refused(527)


@pytest.mark.parametrize(
    ("part", "code"), [("report", 514), ("enclave", 515), ("certificate", 516)], ids=["quote", "enclave", "certificate"]
)
def test_verify_signature_of_another_document_is_refused(enclaves: Enclaves, part: str, code: int) -> None:
    """A-1: The signature is genuine, the hints fit it and this document: only that it was made for another one."""
    other = other_machine(enclaves)
    quote = enclaves.quote()
    data = quote.signature_data
    if part == "report":
        data = replace(data, signature=enclaves.machine.attestation_key.sign(b"something else"))
    elif part == "enclave":
        data = replace(data, qe_report_signature=enclaves.machine.pck_key.sign(b"something else"))
    evidence = enclaves.evidence(replace(quote, signature_data=data))
    if part == "certificate":
        leaf = replace(data.pck_chain[0], signature=other.pck.signature)
        evidence = replace(evidence, certificate=pck_document(leaf, data.pck_chain[1].public_key))
    enclaves.verify(evidence).assert_refused(code)


@pytest.mark.parametrize("part", ["report", "enclave", "certificate"])
@pytest.mark.parametrize(("name", "code"), [("c", 510), ("c_x", 511), ("slope", 511)])
def test_verify_altered_hint_is_refused(enclaves: Enclaves, part: str, name: str, code: int) -> None:
    """A-1."""
    evidence = enclaves.evidence()
    document: SignedDocument = getattr(evidence, part)
    hint: P256Hint = replace(document.hint, **{name: getattr(document.hint, name) ^ 1})
    enclaves.verify(replace(evidence, **{part: replace(document, hint=hint)})).assert_refused(code)


def test_verify_certificate_of_foreign_root_is_refused(enclaves: Enclaves) -> None:
    """A-1."""
    foreign = Enclaves.on(enclaves.ledger, seed=b"foreign")
    quote = foreign.machine.quote(enclaves.quote().report)
    assert enclaves.verify(enclaves.evidence(quote)).exit_code in (511, 516)


def test_verify_wrong_issuer_named_is_refused(enclaves: Enclaves) -> None:
    for issuer in (0, 2):
        enclaves.verify(replace(enclaves.evidence(), issuer=issuer)).assert_refused(535)


def test_verify_root_named_as_issuer_is_refused_under_either_ca(ledger: Ledger) -> None:
    """The root issues no PCK certificates, and its name must not stand for the Processor CA's."""
    enclaves = Enclaves.on(ledger, Hardware(authority=CertificateAuthority.PROCESSOR)).ready()
    enclaves.verify(replace(enclaves.evidence(), issuer=0)).assert_refused(535)


@pytest.mark.parametrize(
    "changes",
    [
        {"mr_signer": bytes(32)}, {"isv_prod_id": 1}, {"attributes": bytes(16)}, {"misc_select": b"\1\0\0\0"},
    ],
    ids=lambda changes: next(iter(changes)),
)  # fmt: skip
def test_verify_foreign_quoting_enclave_is_refused(enclaves: Enclaves, changes: dict[str, Any]) -> None:
    """Any enclave can have a report signed by the PCK key; only Intel's quoting enclave counts."""
    report = replace(enclaves.machine.enclave_report(), **changes)
    quote = enclaves.machine.quote(enclaves.quote().report, qe_report=report)
    enclaves.verify(enclaves.evidence(quote)).assert_refused(528)


def test_verify_quoting_enclave_below_every_level_is_refused(enclaves: Enclaves) -> None:
    report = replace(enclaves.machine.enclave_report(), isv_svn=1)
    quote = enclaves.machine.quote(enclaves.quote().report, qe_report=report)
    enclaves.verify(enclaves.evidence(quote)).assert_refused(563)


def test_verify_out_of_date_quoting_enclave_makes_the_platform_out_of_date(enclaves: Enclaves) -> None:
    report = replace(enclaves.machine.enclave_report(), isv_svn=3)
    quote = enclaves.machine.quote(enclaves.quote().report, qe_report=report)
    assert enclaves.verify(enclaves.evidence(quote)).one(QuoteRefused).error == 564
    enclaves.set_policy(version=2, accepted_statuses=0b10001).assert_succeeded()
    assert enclaves.verify(enclaves.evidence(quote)).one(QuoteVerified).tcb_status == 4


def test_verify_report_data_of_enclave_with_second_half_is_refused(enclaves: Enclaves) -> None:
    report = enclaves.machine.enclave_report()
    report = replace(report, report_data=report.report_data[:63] + b"\1")
    quote = enclaves.machine.quote(enclaves.quote().report, qe_report=report)
    enclaves.verify(enclaves.evidence(quote)).assert_refused(527)


# ---- how it is cut ----


def recut(cell: Cell, move: int) -> Cell:
    """The same bytes, `move` of them taken from the second cell into the first, or (negative) the other way."""
    first, second = cell, cell.refs[0]
    data, more = first.data[: len(first.bits) // 8], second.data[: len(second.bits) // 8]
    whole, size = data + more, len(data) + move
    rest = Builder().store_bytes(whole[size:])
    for ref in second.refs:
        rest.store_ref(ref)
    head = Builder().store_bytes(whole[:size]).store_ref(rest.end_cell())
    for ref in first.refs[1:]:
        head.store_ref(ref)
    return head.end_cell()


def with_text(document: SignedDocument, text: Cell) -> SignedDocument:
    return replace(document, text=text)


def test_verify_report_cut_elsewhere_is_refused(enclaves: Enclaves) -> None:
    """Header and report have one layout only: a moved cut would move fields."""
    evidence = enclaves.evidence()
    text = recut(evidence.report.text, 1)
    assert enclaves.verify(replace(evidence, report=with_text(evidence.report, text))).exit_code in (9, 513, 526)


def grown(cell: Cell, path: tuple[int, ...]) -> Cell:
    """The same tree with an empty cell hung to the cell at `path`."""
    builder = Builder().store_bits(cell.bits)
    for number, ref in enumerate(cell.refs):
        builder.store_ref(grown(ref, path[1:]) if path and path[0] == number else ref)
    if not path:
        builder.store_ref(begin_cell().end_cell())
    return builder.end_cell()


@pytest.mark.parametrize(("path", "code"), [((0,), 9), ((1,), 9), ((2,), 9), ((3,), 513), ((3, 0), 513)], ids=str)
def test_verify_report_with_a_cell_that_nobody_signed_is_refused(
    enclaves: Enclaves, path: tuple[int, ...], code: int
) -> None:
    evidence = enclaves.evidence()
    text = grown(evidence.report.text, path)
    enclaves.verify(replace(evidence, report=with_text(evidence.report, text))).assert_refused(code)


@pytest.mark.parametrize("path", [(0,), (1,), (2,)], ids=str)
def test_verify_enclave_with_a_cell_that_nobody_signed_is_refused(enclaves: Enclaves, path: tuple[int, ...]) -> None:
    evidence = enclaves.evidence()
    text = grown(evidence.enclave.text, path)
    enclaves.verify(replace(evidence, enclave=with_text(evidence.enclave, text))).assert_refused(9)


def test_verify_enclave_report_cut_elsewhere_is_refused(enclaves: Enclaves) -> None:
    evidence = enclaves.evidence()
    text = recut(evidence.enclave.text, 1)
    assert enclaves.verify(replace(evidence, enclave=with_text(evidence.enclave, text))).exit_code in (9, 513, 528)


def test_verify_certificate_cut_elsewhere_is_refused_or_the_same(enclaves: Enclaves) -> None:
    evidence = enclaves.evidence()
    text = recut(evidence.certificate.text.refs[0], -1)
    head = evidence.certificate.text
    whole = Builder().store_bytes(head.data[: len(head.bits) // 8]).store_ref(text).end_cell()
    outcome = enclaves.verify(replace(evidence, certificate=with_text(evidence.certificate, whole)))
    assert outcome.exit_code == 0
    assert outcome.one(QuoteVerified)  # a cut inside the subject: the same bytes are skipped


@pytest.mark.parametrize("part", ["report", "enclave"])
def test_verify_cell_with_trailing_bits_is_refused(enclaves: Enclaves, part: str) -> None:
    evidence = enclaves.evidence()
    document: SignedDocument = getattr(evidence, part)
    cell = document.text
    longer = Builder().store_bits(cell.bits).store_uint(0, 8)
    for ref in cell.refs:
        longer.store_ref(ref)
    enclaves.verify(replace(evidence, **{part: with_text(document, longer.end_cell())})).assert_refused(9)


def test_verify_certificate_with_a_cell_too_many_or_too_few_is_refused(enclaves: Enclaves) -> None:
    evidence = enclaves.evidence()
    for step in (-1, 1):
        document = replace(evidence.certificate, cells=evidence.certificate.cells + step)
        assert enclaves.verify(replace(evidence, certificate=document)).exit_code in (9, 513)
    enclaves.verify(replace(evidence, certificate=replace(evidence.certificate, cells=6))).assert_refused(513)


def test_verify_auth_data_with_a_reference_is_refused(enclaves: Enclaves) -> None:
    evidence = enclaves.evidence()
    text = evidence.enclave.text
    auth = Builder().store_bits(text.refs[3].bits).store_ref(begin_cell().end_cell()).end_cell()
    cell = Builder().store_bits(text.bits)
    for ref in (*text.refs[:3], auth):
        cell.store_ref(ref)
    enclaves.verify(replace(evidence, enclave=with_text(evidence.enclave, cell.end_cell()))).assert_refused(513)


def test_verify_message_with_trailing_data_is_refused(enclaves: Enclaves) -> None:
    body = VerifyQuote(1, enclaves.session_key, enclaves.hpke_key_hash, 0, enclaves.evidence()).to_cell()
    longer = Builder().store_cell(body).store_bit(1).end_cell()
    enclaves.send(WORKER, enclaves.address, longer).assert_refused(9)


def test_verify_evidence_with_trailing_data_is_refused(enclaves: Enclaves) -> None:
    body = Builder().store_uint(0xC0C00602, 32).store_uint(1, 64).store_uint(enclaves.session_key, 256)
    body.store_uint(enclaves.hpke_key_hash, 256).store_uint(0, 256)
    body.store_ref(Builder().store_cell(enclaves.evidence().to_cell()).store_bit(0).end_cell())
    enclaves.send(WORKER, enclaves.address, body.end_cell()).assert_refused(9)


# ---- the platform's level ----


def judged(
    ledger: Ledger, hardware: Hardware, change: Callable[[Enclaves], None] | None = None, **quote: Any
) -> tuple[Enclaves, Any]:
    enclaves = Enclaves.on(ledger, hardware)
    if change is not None:
        change(enclaves)
    enclaves.ready()
    return enclaves, enclaves.verify(enclaves.evidence(enclaves.quote(**quote)))


def test_verify_platform_of_another_fmspc_is_refused(enclaves: Enclaves) -> None:
    """Nobody has posted TCB info for it: there is no store to ask."""
    machine = SimulatedMachine(enclaves.intel, Hardware(fmspc=bytes.fromhex("c0c00b000000")))
    outcome = enclaves.verify(enclaves.evidence(machine.quote(enclaves.quote().report)))
    refused = outcome.one(QuoteRefused)
    assert (refused.attest_seq, refused.error) == (enclaves.attest_seq, 557)
    assert outcome.received(WORKER) > 9 * 10**8


def test_verify_platform_of_another_pceid_is_refused(enclaves: Enclaves) -> None:
    machine = SimulatedMachine(enclaves.intel, Hardware(pce_id=b"\0\1"))
    assert enclaves.verify(enclaves.evidence(machine.quote(enclaves.quote().report))).one(QuoteRefused).error == 560


@pytest.mark.parametrize("index", range(16))
def test_verify_platform_with_one_component_too_low_is_not_up_to_date(enclaves: Enclaves, index: int) -> None:
    """Each of the sixteen counts, whatever the others are."""
    needed = [component.svn for component in enclaves.publication.tcb_info.levels[0].sgx_components]
    if needed[index] == 0:
        return
    has = [255] * 16
    has[index] = needed[index] - 1
    machine = SimulatedMachine(enclaves.intel, Hardware(components=tuple(has)))
    outcome = enclaves.verify(enclaves.evidence(machine.quote(enclaves.quote().report)))
    assert outcome.one(QuoteRefused).error in (561, 564)


@pytest.mark.parametrize(
    ("tee_tcb_svn", "codes"),
    [(b"\x06\x01\x01", (561, 564)), (b"\x06\x02\x03", (562,)), (b"\x01\x01\x03", (562,))],
    ids=["late microcode", "unknown module", "module too old"],
)
def test_verify_platform_with_wrong_tdx_versions_is_refused(
    enclaves: Enclaves, tee_tcb_svn: bytes, codes: tuple[int, ...]
) -> None:
    quote = enclaves.quote(tee_tcb_svn=tee_tcb_svn.ljust(16, b"\0"))
    assert enclaves.verify(enclaves.evidence(quote)).one(QuoteRefused).error in codes


def test_verify_out_of_date_tdx_module_makes_the_platform_out_of_date(enclaves: Enclaves) -> None:
    quote = enclaves.quote(tee_tcb_svn=b"\x02\x01\x03".ljust(16, b"\0"))
    assert enclaves.verify(enclaves.evidence(quote)).one(QuoteRefused).error == 564
    enclaves.set_policy(version=2, accepted_statuses=0b10001).assert_succeeded()
    assert enclaves.verify(enclaves.evidence(quote)).one(QuoteVerified).tcb_status == 4


def test_verify_low_pcesvn_is_out_of_date(ledger: Ledger) -> None:
    enclaves, outcome = judged(ledger, Hardware(pce_svn=5))
    assert outcome.one(QuoteRefused).error == 564
    enclaves.set_policy(version=2, accepted_statuses=0b10001).assert_succeeded()
    verdict = enclaves.verify().one(QuoteVerified)
    assert verdict.tcb_status == 4
    assert verdict.tcb_date == enclaves.publication.tcb_info.levels[1].date


def test_verify_platform_below_every_level_is_refused(ledger: Ledger) -> None:
    _, outcome = judged(ledger, Hardware(components=(0,) * 16))
    assert outcome.one(QuoteRefused).error == 561


@pytest.mark.parametrize("status", list(TcbStatus))
def test_verify_status_counts_only_if_the_policy_accepts_it(ledger: Ledger, status: TcbStatus) -> None:
    def rate(enclaves: Enclaves) -> None:
        info = enclaves.publication.tcb_info
        enclaves.publication = enclaves.publication.with_tcb_info(
            levels=(replace(info.levels[0], status=status), *info.levels[1:])
        )

    number = list(TcbStatus).index(status)
    enclaves, outcome = judged(ledger, Hardware(), rate)
    assert bool(outcome.every(QuoteVerified)) == (number == 0)
    if number not in (0, 6):
        enclaves.set_policy(version=2, accepted_statuses=1 << number).assert_succeeded()
        assert enclaves.verify().one(QuoteVerified).tcb_status == number


def test_verify_all_of_many_levels_are_considered(ledger: Ledger) -> None:
    def many(enclaves: Enclaves) -> None:
        info = enclaves.publication.tcb_info
        steps = tuple(
            replace(info.levels[0], pce_svn=30 - step, status=TcbStatus.OUT_OF_DATE, date=info.levels[0].date + step)
            for step in range(12)
        )
        enclaves.publication = enclaves.publication.with_tcb_info(levels=steps)

    enclaves, outcome = judged(ledger, Hardware(pce_svn=20), many)
    assert outcome.one(QuoteRefused).error == 564
    enclaves.set_policy(version=2, accepted_statuses=0b10000).assert_succeeded()
    assert enclaves.verify(value=enclaves.fees()[0]).one(QuoteVerified).tcb_date == 1_710_288_000 + 10


# ---- who is revoked ----


def test_verify_revoked_platform_is_refused(ledger: Ledger) -> None:
    """A-4."""

    def revoke(enclaves: Enclaves) -> None:
        serial = enclaves.machine.pck.serial
        enclaves.publication = replace(
            enclaves.publication, revoked_pck=(*range(1 << 150, (1 << 150) + 40), serial, 1 << 155)
        )

    _, outcome = judged(ledger, Hardware(), revoke)
    outcome.assert_refused(532)


@pytest.mark.parametrize("count", [1, 6, 7, 18, 19, 54])
def test_verify_each_revoked_serial_number_is_found_and_no_other(ledger: Ledger, count: int) -> None:
    """A-4: In indexes of one leaf, of full leaves, of several nodes."""
    enclaves = Enclaves.on(ledger)
    serial = enclaves.machine.pck.serial
    around = [serial + step for step in range(-(count // 2), count - count // 2) if step]
    enclaves.publication = replace(enclaves.publication, revoked_pck=tuple(around))
    enclaves.ready()
    enclaves.verify().assert_succeeded().one(QuoteVerified)
    later = replace(enclaves.publication, revoked_pck=(*around, serial), crl_issued_at=NOW - 1)
    enclaves.post(enclaves.collateral_messages(later)[2]).assert_succeeded()
    enclaves.verify().assert_refused(532)


def test_verify_expired_pck_certificate_is_refused(enclaves: Enclaves) -> None:
    enclaves.set_policy(version=2).assert_succeeded()
    enclaves.ledger.advance(3600)
    enclaves.verify().assert_succeeded()
    for start, end in ((NOW - 100, NOW + 3600), (NOW + 3601, NOW + 9000)):
        intel = SimulatedIntel(enclaves.intel.seed, NOW, validity={Role.PCK: Validity(start, end)})
        quote = SimulatedMachine(intel, Hardware()).quote(enclaves.quote().report)
        enclaves.verify(enclaves.evidence(quote)).assert_refused(531)
    intel = SimulatedIntel(enclaves.intel.seed, NOW, validity={Role.PCK: Validity(NOW + 3600, NOW + 3601)})
    quote = SimulatedMachine(intel, Hardware()).quote(enclaves.quote().report)
    enclaves.verify(enclaves.evidence(quote)).assert_succeeded()


def test_verify_evidence_names_nothing_of_registry(enclaves: Enclaves) -> None:
    """The registry in report_data is the contract's own, not the message's."""
    assert enclaves.state.registry == REGISTRY


def test_verify_levels_of_quoting_enclave_are_considered_in_order(ledger: Ledger) -> None:
    def many(enclaves: Enclaves) -> None:
        levels = tuple(
            SvnLevel(40 - step, 1_700_000_000, TcbStatus.UP_TO_DATE if step == 39 else TcbStatus.REVOKED)
            for step in range(40)
        )
        enclaves.publication = enclaves.publication.with_qe_identity(levels=levels)

    _, outcome = judged(ledger, Hardware(), many)
    assert outcome.one(QuoteRefused).error == 564


# ---- certificates the CA signed but that are no PCK certificates ----

MISPLACED = {
    "outer tag": b"\x30\x82",
    "version": b"\xa0\x03\x02\x01\x02",
    "algorithm": bytes.fromhex("300a06082a8648ce3d040302"),
    "validity": bytes.fromhex("301e170d"),
    "end of validity": b"Z\x17\x0d",
    "common name's OID": bytes.fromhex("5a3070312230200603550403"),
    "common name": b"Intel SGX PCK Certificate",
    "key": bytes.fromhex("3059301306072a8648ce3d0201"),
    "PCESVN": bytes.fromhex("060b2a864886f84d010d010211"),
    "CPUSVN": bytes.fromhex("060b2a864886f84d010d010212"),
    "PCEID": bytes.fromhex("060a2a864886f84d010d0103"),
    "FMSPC": bytes.fromhex("060a2a864886f84d010d0104"),
}


def test_verify_signed_certificate_without_room_for_its_fields_is_refused(enclaves: Enclaves) -> None:
    """Of less than seven cells the last three would be some of the first four: one byte would be read as two fields."""
    evidence = enclaves.evidence()
    pieces = pieces_of(evidence.certificate.text)
    short = [*pieces[:3], pieces[3][:64] + pieces[-3][-18:], *pieces[-2:]]
    text = b"".join(short)
    signature = enclaves.intel.key(Role.PLATFORM_CA).sign(text)
    key = enclaves.intel.platform_ca.public_key
    document = signed(chain(short), len(short), sha256(text).digest(), signature, key)
    enclaves.verify(replace(evidence, certificate=document)).assert_refused(513)


@pytest.mark.parametrize("name", sorted(MISPLACED))
def test_verify_signed_certificate_laid_out_otherwise_is_refused(enclaves: Enclaves, name: str) -> None:
    """Genuinely signed and hinted; one constant differs. Nothing is guessed."""
    evidence = enclaves.evidence()
    pieces = pieces_of(evidence.certificate.text)
    text, constant = b"".join(pieces), MISPLACED[name]
    at = text.index(constant) + len(constant) - 1
    altered = text[:at] + bytes([text[at] ^ 0x40]) + text[at + 1 :]
    recut_pieces, start = [], 0
    for piece in pieces:
        recut_pieces.append(altered[start : start + len(piece)])
        start += len(piece)
    key = enclaves.intel.key(Role.PLATFORM_CA)
    document = signed(
        chain(recut_pieces),
        len(pieces),
        sha256(altered).digest(),
        key.sign(altered),
        enclaves.intel.platform_ca.public_key,
    )
    enclaves.verify(replace(evidence, certificate=document)).assert_refused(530)
