"""Documents that Intel's keys signed but that are not written as Intel writes them: nothing is guessed.

Every constant a contract recognises a field by is altered byte by byte, and the document signed again by its rightful
issuer. Lengths and counts are tried at their bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

import pytest
from collateral import issued, messages, pieces_of, with_level
from enclaves import NOW, Enclaves
from pytoniq_core import Builder, Cell
from test_documents import PARTS

from cocoon.attestation.pcs import SvnLevel, TcbStatus
from cocoon.attestation.platform import Role
from cocoon.attestation.platform.keys import SigningKey
from cocoon.attestation.witness_chains import chain, signed
from cocoon.wire.attestation import SignedDocument, TcbInfoHints
from cocoon_sandbox.ledger import Snapshot

LAYOUT, CERTIFICATE, REVOKED, SUBJECT, LIST, DOCUMENT = 513, 530, 532, 534, 540, 550
KEY_HEAD = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
ALGORITHM_AND_NAME = bytes.fromhex("300a06082a8648ce3d04030230")
CRL_NUMBER = bytes.fromhex("0603551d14")


@dataclass(frozen=True)
class Signed:
    """A document in cells, who signs it, and what comes of showing it to the contract: an exit code. `written` is what
    the contract writes itself in front of the last piece."""

    pieces: Sequence[bytes]
    key: SigningKey
    show: Callable[[SignedDocument], int | None]
    written: bytes = b""

    @property
    def text(self) -> bytes:
        return b"".join(self.pieces)

    def shown(self, pieces: Sequence[bytes]) -> int | None:
        *before, last = pieces
        text = b"".join(before) + self.written + last
        document = signed(
            chain(list(pieces)), len(pieces), sha256(text).digest(), self.key.sign(text), self.key.public_key
        )
        return self.show(document)

    def altered(self, at: int) -> int | None:
        """With one byte of the text changed, in the same cells."""
        text = bytearray(self.text)
        text[at] ^= 0x40
        return self.shown(self.recut(bytes(text)))

    def recut(self, text: bytes) -> list[bytes]:
        pieces, start = [], 0
        for piece in self.pieces:
            pieces.append(text[start : start + len(piece)])
            start += len(piece)
        return pieces


def pck(enclaves: Enclaves) -> Signed:
    evidence = enclaves.evidence()

    def show(document: SignedDocument) -> int | None:
        return enclaves.verify(replace(evidence, certificate=document)).exit_code

    return Signed(pieces_of(evidence.certificate.text), enclaves.intel.key(Role.PLATFORM_CA), _fresh(enclaves, show))


def authority(enclaves: Enclaves, name: str) -> Signed:
    """The certificate of a CA or of the TCB signer, to a contract that has none yet."""
    found = messages(enclaves)
    enclaves.post(found["root_crl"]).assert_succeeded()
    body = found[name]

    def show(document: SignedDocument) -> int | None:
        return enclaves.post(replace(body, certificate=document)).exit_code

    return Signed(pieces_of(body.certificate.text), enclaves.intel.key(Role.ROOT), _fresh(enclaves, show))


def revocations(enclaves: Enclaves, serials: tuple[int, ...]) -> Signed:
    later = replace(enclaves.publication, revoked_pck=serials, crl_issued_at=NOW - 1)
    body = messages(enclaves, later)["pck_crl"]

    def show(document: SignedDocument) -> int | None:
        return enclaves.post(replace(body, list=document)).exit_code

    entries = b"".join(
        bytes.fromhex("30330214") + serial.to_bytes(20) + body.order.data[:29] for serial in serials
    )  # two of twenty bytes without a sign byte
    return Signed(pieces_of(body.list.text), enclaves.intel.key(Role.PLATFORM_CA), _fresh(enclaves, show), entries)


def _fresh(enclaves: Enclaves, show: Callable[[SignedDocument], int | None]) -> Callable[[SignedDocument], int | None]:
    start: Snapshot = enclaves.ledger.snapshot()

    def once(document: SignedDocument) -> int | None:
        enclaves.ledger.restore(start)
        return show(document)

    return once


def places(text: bytes, constant: bytes, after: int = 0) -> range:
    start = text.index(constant, after)
    return range(start, start + len(constant))


def head_places(text: bytes) -> list[range]:
    """Of any certificate: outer tag, version, algorithm, the tags around two dates, the key's head."""
    validity = text.index(bytes.fromhex("301e170d"))
    return [
        range(2),
        range(4, 10),
        places(text, ALGORITHM_AND_NAME),
        range(validity, validity + 4),
        range(validity + 16, validity + 19),
        range(validity + 31, validity + 33),
        places(text, KEY_HEAD),
    ]


def test_pck_certificate_with_any_byte_of_its_form_changed_is_refused(enclaves: Enclaves) -> None:
    """A-4."""
    found = pck(enclaves)
    text = found.text
    ranges = head_places(text)
    ranges.append(places(text, bytes.fromhex("06035504030c19") + b"Intel SGX PCK Certificate"))
    for head in ("06 0b2a864886f84d010d01 0211 02", "06 0b2a864886f84d010d01 0212 04 10"):
        ranges.append(places(text, bytes.fromhex(head)))
    for head in ("06 0a2a864886f84d010d01 03 04 02", "06 0a2a864886f84d010d01 04 04 06"):
        ranges.append(places(text, bytes.fromhex(head)))
    assert found.shown(found.pieces) == 0
    assert {at: found.altered(at) for one in ranges for at in one} == {at: CERTIFICATE for one in ranges for at in one}


@pytest.mark.parametrize("name", ["ca", "signer"])
def test_authority_with_any_byte_of_its_form_changed_is_refused(bare: Enclaves, name: str) -> None:
    """A-4."""
    found = authority(bare, name)
    ranges = head_places(found.text)
    assert found.shown(found.pieces) == 0
    assert {at: found.altered(at) for one in ranges for at in one} == {at: CERTIFICATE for one in ranges for at in one}


@pytest.mark.parametrize("name", ["ca", "signer"])
def test_authority_with_any_byte_of_its_name_changed_is_refused(bare: Enclaves, name: str) -> None:
    """A-4: whose it is, is said by the whole of its common name."""
    found = authority(bare, name)
    common = b"Intel SGX PCK Platform CA" if name == "ca" else b"Intel SGX TCB Signing"
    after = found.text.index(bytes.fromhex("301e170d"))
    whole = places(found.text, bytes.fromhex("06035504030c") + bytes([len(common)]) + common, after)
    codes = {at: found.altered(at) for at in whole}
    length = whole.start + 6
    assert codes.pop(length) in (SUBJECT, 9)
    assert codes == {at: SUBJECT for at in whole if at != length}


@pytest.mark.parametrize("serials", [(), (1 << 158, 1 << 157)], ids=["empty", "two"])
def test_list_with_any_byte_of_its_form_changed_is_refused(enclaves: Enclaves, serials: tuple[int, ...]) -> None:
    """A-5."""
    found = revocations(enclaves, serials)
    text = found.text
    number = text.index(CRL_NUMBER)
    extensions = text.index(b"\xa0", places(text, ALGORITHM_AND_NAME).stop + 100)
    dates = text.index(b"\x17\x0d")
    assert found.shown(found.pieces) == 0
    expected = {0: LIST, **{at: LIST for at in range(text.index(b"\x02\x01\x01"), text.index(b"\x02\x01\x01") + 3)}}
    expected |= {at: LIST for at in places(text, ALGORITHM_AND_NAME)}
    expected |= {at: CERTIFICATE for at in (dates, dates + 1, dates + 14, dates + 15, dates + 16, dates + 29)}
    expected |= {
        at: LIST for at in (extensions, extensions + 2, extensions + 4, *range(number, number + 5), number + 7)
    }
    assert {at: found.altered(at) for at in expected} == expected


def test_number_of_a_list_fills_the_extension_it_is_in(enclaves: Enclaves) -> None:
    """A-5: three lengths say where it ends, and all have to say the same; of at most eight bytes."""
    found = revocations(enclaves, ())
    text = found.text
    number = text.index(CRL_NUMBER)
    for at in (number - 1, number + 6, number + 8):
        for length in (text[at] - 1, text[at] + 1):
            changed = text[:at] + bytes([length]) + text[at + 1 :]
            assert found.shown(found.recut(changed)) == LIST


def with_number(text: bytes, size: int) -> bytes:
    """The list under a number of `size` bytes, every length right."""
    at = text.index(CRL_NUMBER)
    old = text[at + 8]
    more = size - old
    found = bytearray(text[: at + 9] + b"\x01" * size + text[at + 9 + old :])
    for length in (at - 1, at + 6, at + 8):
        found[length] += more
    return bytes(found)


@pytest.mark.parametrize(("size", "code"), [(8, 0), (9, LIST)])
def test_number_of_a_list_has_at_most_eight_bytes(enclaves: Enclaves, size: int, code: int) -> None:
    found = revocations(enclaves, ())
    text = with_number(found.text, size)
    assert found.shown([*found.pieces[:1], text[len(found.pieces[0]) :]]) == code
    kept = enclaves.state.platform_ca
    assert kept is not None
    assert kept.crl is not None
    assert kept.crl.number == (1 if code else int.from_bytes(b"\x01" * size))


@pytest.mark.parametrize(("head", "code"), [("3081", 0), ("308200", 0), ("30830000", LIST), ("30ff", LIST)])
def test_length_of_a_list_has_at_most_two_bytes(enclaves: Enclaves, head: str, code: int) -> None:
    """A-5: no list of Intel's is longer."""
    found = revocations(enclaves, ())
    first, *rest = found.pieces
    assert first[:2] == bytes.fromhex("3081")
    text = bytes.fromhex(head) + first[2:] + b"".join(rest)
    assert found.shown([text[: len(first)], text[len(first) :]]) == code


@pytest.mark.parametrize("sizes", [(9, 9, 9), (9, 9, 10), (9, 10, 10)], ids=["126 bytes", "127 bytes", "128 bytes"])
def test_entries_of_any_length_are_counted(enclaves: Enclaves, sizes: tuple[int, ...]) -> None:
    """The length of the entries has one byte up to 127 and more from there."""
    serials = tuple((1 << (8 * size - 2)) + place for place, size in enumerate(sizes))
    later = replace(enclaves.publication, revoked_pck=serials, crl_issued_at=NOW - 1)
    body = messages(enclaves, later)["pck_crl"]
    enclaves.post(body).assert_succeeded()
    assert enclaves.state.platform_ca is not None
    assert enclaves.state.platform_ca.crl is not None
    assert enclaves.state.platform_ca.crl.revoked == body.revoked


@pytest.mark.parametrize(("size", "code"), [(21, 0), (22, CERTIFICATE), (30, CERTIFICATE)])
def test_serial_number_has_at_most_160_bits(enclaves: Enclaves, size: int, code: int) -> None:
    """A-4: twenty bytes and one for the sign, as X.509 says."""
    found = pck(enclaves)
    text = found.text
    old = text[10]
    longer = text[:10] + bytes([size, 0]) + b"\x07" * (size - 1) + text[11 + old :]
    first, *_ = found.pieces
    key = longer.index(KEY_HEAD) + len(KEY_HEAD)
    pieces = [longer[: len(first)], longer[len(first) : len(first) + 127], longer[len(first) + 127 : key]]
    pieces += found.pieces[3:]
    assert b"".join(pieces) == longer
    assert found.shown(pieces) == code


@pytest.mark.parametrize("bits", range(1, 8))
def test_free_text_is_cut_between_bytes_only(enclaves: Enclaves, bits: int) -> None:
    """A-4: a brace in two halves would be none."""
    body = messages(enclaves, issued(enclaves, NOW))["tcb"]
    brace = f"{ord('{'):08b}"
    second = Builder().store_bits(brace[bits:]).end_cell()
    halves = Builder().store_bits(brace[:bits]).store_ref(second).end_cell()
    assert enclaves.post(with_level(body, advisories=halves)).exit_code == LAYOUT


def test_free_text_is_not_cut_into_bits(enclaves: Enclaves) -> None:
    """A-4: not even where the cells make whole bytes together."""
    body = messages(enclaves, issued(enclaves, NOW))["tcb"]
    text: Cell | None = None
    for bit in f"{ord('{'):08b}"[::-1]:
        builder = Builder().store_bits(bit)
        text = (builder if text is None else builder.store_ref(text)).end_cell()
    assert enclaves.post(with_level(body, advisories=text)).exit_code == LAYOUT


def test_every_place_of_the_index_is_looked_at(enclaves: Enclaves) -> None:
    """A-5: the last number of a leaf, the first, those of the last node: whoever is on the list is found."""
    serial = enclaves.machine.pck.serial
    others = [serial - 100 + step for step in range(20)] + [serial + 80 + step for step in range(20)]
    start = enclaves.ledger.snapshot()
    for below in range(21):
        enclaves.ledger.restore(start)
        serials = (*others[below:20], serial, *others[20 : 20 + below])  # of 21 numbers, 20 - below are less
        later = replace(enclaves.publication, revoked_pck=serials, crl_issued_at=NOW - 1)
        enclaves.post(messages(enclaves, later)["pck_crl"]).assert_succeeded()
        assert enclaves.verify().exit_code == REVOKED, below


@pytest.mark.parametrize(("size", "code"), [(1, 0), (2, 0), (3, 0), (4, CERTIFICATE), (5, CERTIFICATE)])
def test_pce_svn_has_at_most_three_bytes(enclaves: Enclaves, size: int, code: int) -> None:
    """A-4: sixteen bits, and a byte for the sign."""
    found = pck(enclaves)
    *before, last, platform, rest = found.pieces
    head = places(last, bytes.fromhex("060b2a864886f84d010d0102110201"))
    entry = bytearray(last[head.start - 2 : head.stop])
    entry[1] += size - 1
    entry[-1] += size - 1
    longer = last[: head.start - 2] + bytes(entry) + b"\x7f".rjust(size, b"\0")
    assert found.shown([*before, longer, platform, rest]) == code


def test_pck_certificate_has_seven_cells_at_least(enclaves: Enclaves) -> None:
    """Four for what comes first, three for what comes last; what lies between is only hashed."""
    found = pck(enclaves)
    assert len(found.pieces) > 7
    assert found.shown([*found.pieces[:4], *found.pieces[-3:]]) == 0
    assert found.shown([*found.pieces[:4], *found.pieces[-2:]]) == LAYOUT


@pytest.mark.parametrize("document", ["pck", "ca"])
def test_key_is_in_the_cell_that_is_its_own(request: pytest.FixtureRequest, document: str) -> None:
    """A-4: cut elsewhere, other bytes would be read for the key; whether they are one is not asked."""
    if document == "pck":
        found = pck(request.getfixturevalue("enclaves"))
    else:
        found = authority(request.getfixturevalue("bare"), "ca")
    first, second, third, fourth, *rest = found.pieces
    assert found.shown([first, second, third + fourth[:1], fourth[1:], *rest]) == LAYOUT
    if len(fourth) < 127:
        assert found.shown([first, second, third[:-1], third[-1:] + fourth, *rest]) in (9, CERTIFICATE)


@pytest.mark.parametrize(("name", "field"), [("issue_date", "issueDate"), ("next_update", "nextUpdate")])
def test_document_of_another_century_is_refused(enclaves: Enclaves, name: str, field: str) -> None:
    """A-4: dates begin with 20. The contract reads the other digits only, and would take 1925 for 2025."""
    usual = enclaves.intel.publish(issued(enclaves, NOW)).tcb_info_document
    body = messages(enclaves, issued(enclaves, NOW))["tcb"]
    hints = TcbInfoHints.from_cell(body.document.text)
    date = getattr(hints, name)
    text = usual.body.replace(f'"{field}":"'.encode() + date, f'"{field}":"'.encode() + b"19" + date[2:])
    assert text != usual.body
    key = enclaves.intel.key(Role.TCB_SIGNING)
    changed = replace(hints, **{name: b"19" + date[2:]}).to_cell()
    digest = sha256(text).digest()
    document = signed(changed, body.document.cells, digest, key.sign(text), key.public_key)
    assert enclaves.post(replace(body, document=document)).exit_code == DOCUMENT


@pytest.mark.parametrize("status", [one for one in TcbStatus if one not in PARTS], ids=str)
def test_enclaves_and_modules_have_three_statuses_only(enclaves: Enclaves, status: TcbStatus) -> None:
    """A-4: how the others of a platform would join with them, nobody has said."""
    info = enclaves.publication.tcb_info
    levels = (SvnLevel(1, NOW, status),)
    modules = tuple(replace(identity, levels=levels) for identity in info.module_identities)
    publication = issued(enclaves, NOW).with_tcb_info(module_identities=modules).with_qe_identity(levels=levels)
    for name in ("identity", "tcb"):
        assert enclaves.post(messages(enclaves, publication)[name]).exit_code == DOCUMENT
