"""DER, as much of it as Intel's certificates and revocation lists use: read with positions, written byte for byte.

A prover must say where in the signed bytes a field lies, so every `Node` knows its place in the document. Reading is
strict: definite and minimal lengths, one-byte tags, children that fill their parent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from .errors import CertificateMalformed
from .layout import Span

__all__ = ["Node", "Tag", "encode", "integer", "oid", "parse", "sequence", "time"]

_LONGEST_OID, _LONGEST_NUMBER = 64, 64  # far above what occurs; bounds what hostile bytes can cost


class Tag:
    """The tags that occur."""

    BOOLEAN = 0x01
    INTEGER = 0x02
    BIT_STRING = 0x03
    OCTET_STRING = 0x04
    OID = 0x06
    ENUMERATED = 0x0A
    UTF8_STRING = 0x0C
    PRINTABLE_STRING = 0x13
    UTC_TIME = 0x17
    GENERALIZED_TIME = 0x18
    SEQUENCE = 0x30
    SET = 0x31

    @staticmethod
    def context(number: int, *, constructed: bool = True) -> int:
        """The context-specific tag `[number]`."""
        return (0xA0 if constructed else 0x80) | number


@dataclass(frozen=True, slots=True)
class Node:
    """One element: `document[start:end]`, whose contents begin at `content`."""

    document: bytes
    start: int
    content: int
    end: int

    @property
    def tag(self) -> int:
        return self.document[self.start]

    @property
    def encoded(self) -> bytes:
        """Tag, length and contents."""
        return self.document[self.start : self.end]

    @property
    def value(self) -> bytes:
        """The contents."""
        return self.document[self.content : self.end]

    @property
    def span(self) -> Span:
        """Where the contents lie."""
        return Span(self.content, self.end)

    def expect(self, tag: int, what: str) -> Node:
        """Itself. CertificateMalformed unless the tag is `tag`."""
        if self.tag != tag:
            raise CertificateMalformed(f"{what}: tag {self.tag:#04x} where {tag:#04x} belongs, at byte {self.start}")
        return self

    def children(self) -> list[Node]:
        """The elements inside, which must fill it."""
        return list(_elements(self.document, self.content, self.end))

    def inner(self) -> Node:
        """The one element inside an octet string or an explicit tag."""
        found = self.children()
        if len(found) != 1:
            raise CertificateMalformed(f"{len(found)} elements where one belongs, at byte {self.start}")
        return found[0]

    def number(self, what: str = "number") -> int:
        """An INTEGER or ENUMERATED that is not negative."""
        if self.tag not in (Tag.INTEGER, Tag.ENUMERATED):
            self.expect(Tag.INTEGER, what)
        raw = self.value
        if len(raw) > _LONGEST_NUMBER:
            raise CertificateMalformed(f"{what} at byte {self.start} has {len(raw)} bytes")
        if not raw or raw[0] & 0x80 or (len(raw) > 1 and raw[0] == 0 and not raw[1] & 0x80):
            raise CertificateMalformed(f"{what} at byte {self.start} is negative or not in its shortest form")
        return int.from_bytes(raw)

    def dotted(self) -> str:
        """An OBJECT IDENTIFIER, as in "1.2.840.10045.2.1"."""
        raw = self.expect(Tag.OID, "object identifier").value
        if not 1 <= len(raw) <= _LONGEST_OID or raw[-1] & 0x80:
            raise CertificateMalformed(f"an object identifier at byte {self.start} is cut off or too long")
        arcs, arc = [], 0
        for byte in raw:
            arc = arc << 7 | byte & 0x7F
            if not byte & 0x80:
                arcs.append(arc)
                arc = 0
        first = min(arcs[0] // 40, 2)
        return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))

    def bits(self) -> bytes:
        """A BIT STRING of whole bytes."""
        raw = self.expect(Tag.BIT_STRING, "bit string").value
        if not raw or raw[0] != 0:
            raise CertificateMalformed(f"the bit string at byte {self.start} is not made of whole bytes")
        return raw[1:]

    def unix_time(self) -> int:
        """A UTCTime or GeneralizedTime in seconds since 1970."""
        pattern = {Tag.UTC_TIME: "%y%m%d%H%M%SZ", Tag.GENERALIZED_TIME: "%Y%m%d%H%M%SZ"}.get(self.tag)
        if pattern is None:
            raise CertificateMalformed(f"tag {self.tag:#04x} at byte {self.start} is not a time")
        try:
            text = self.value.decode("ascii")
            moment = datetime.strptime(text, pattern).replace(tzinfo=UTC)
        except ValueError as error:
            raise CertificateMalformed(f"no time at byte {self.start}: {self.value!r}") from error
        if self.tag == Tag.UTC_TIME and moment.year >= 2050:  # X.509's pivot, not C's
            moment = moment.replace(year=moment.year - 100)
        if time(int(moment.timestamp()))[2:] != self.value:
            raise CertificateMalformed(f"{self.value!r} at byte {self.start} is not how X.509 writes that time")
        return int(moment.timestamp())


def parse(document: bytes) -> Node:
    """The one element that `document` is. CertificateMalformed if it is cut off or something follows."""
    document = bytes(document)
    elements = list(_elements(document, 0, len(document)))
    if len(elements) != 1:
        raise CertificateMalformed(f"{len(elements)} DER elements where one belongs: cut off what follows the first")
    return elements[0]


def encode(tag: int, contents: bytes) -> bytes:
    """An element."""
    size = len(contents)
    if size < 0x80:
        return bytes((tag, size)) + contents
    raw = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(raw))) + raw + contents


def sequence(*elements: bytes) -> bytes:
    """A SEQUENCE of encoded elements."""
    return encode(Tag.SEQUENCE, b"".join(elements))


def integer(value: int) -> bytes:
    """An INTEGER that is not negative."""
    return encode(Tag.INTEGER, value.to_bytes(value.bit_length() // 8 + 1))


def oid(dotted: str) -> bytes:
    """An OBJECT IDENTIFIER."""
    first, second, *others = map(int, dotted.split("."))
    raw = b""
    for arc in (40 * first + second, *others):
        group = [arc & 0x7F]
        while arc := arc >> 7:
            group.append(0x80 | arc & 0x7F)
        raw += bytes(reversed(group))
    return encode(Tag.OID, raw)


def time(unix: int) -> bytes:
    """A time as X.509 wants it: UTCTime up to 2049, GeneralizedTime from then on."""
    moment = datetime.fromtimestamp(unix, UTC)
    if 1950 <= moment.year < 2050:
        return encode(Tag.UTC_TIME, moment.strftime("%y%m%d%H%M%SZ").encode())
    return encode(Tag.GENERALIZED_TIME, moment.strftime("%Y%m%d%H%M%SZ").encode())


def _elements(document: bytes, at: int, end: int) -> Iterator[Node]:
    while at < end:
        content, after = _header(document, at, end)
        yield Node(document, at, content, after)
        at = after


def _header(document: bytes, at: int, end: int) -> tuple[int, int]:
    if document[at] & 0x1F == 0x1F:
        raise CertificateMalformed(f"a tag of several bytes at byte {at}")
    if at + 2 > end:
        raise CertificateMalformed(f"the element at byte {at} is cut off")
    size, content = document[at + 1], at + 2
    if size & 0x80:
        count = size & 0x7F
        raw = document[content : content + count]
        if not 1 <= count <= 4 or len(raw) < count or content + count > end:
            raise CertificateMalformed(f"no length at byte {at + 1}")
        size, content = int.from_bytes(raw), content + count
        if size < 0x80 or raw[0] == 0:
            raise CertificateMalformed(f"the length at byte {at + 1} is not in its shortest form")
    if content + size > end:
        raise CertificateMalformed(f"the element at byte {at} takes {size} bytes, only {end - content} are there")
    return content, content + size
