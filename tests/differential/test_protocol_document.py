"""`docs/protocol.md` leaves out no message, no error and no value of an enumeration; no link leads nowhere."""

import re
from pathlib import Path

import pytest
import tolk_sources

from cocoon.exit_codes import exit_codes

ROOT = Path(__file__).parents[2]
PAGES = ("protocol.md", "attestation.md")
WORDS = {word for page in PAGES for word in re.findall(r"\b[A-Z]\w+\b", (ROOT / "docs" / page).read_text())}


def test_protocol_document_names_every_message() -> None:
    assert {struct.name for struct in tolk_sources.structs(ROOT / "contracts") if struct.prefix} <= WORDS


def test_protocol_document_names_every_error_and_reason() -> None:
    assert {entry.name for entry in exit_codes() if entry.contract != "Attestation"} - WORDS == set()
    for name, (width, values) in tolk_sources.enums(ROOT / "contracts").items():
        assert width is None or set(values) <= WORDS, name


DOCUMENTS = sorted(path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")))


@pytest.mark.parametrize("path", DOCUMENTS)
def test_document_links_lead_somewhere(path: str) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", (ROOT / path).read_text())
    assert [target for target in targets if not ((ROOT / path).parent / target).exists()] == []
