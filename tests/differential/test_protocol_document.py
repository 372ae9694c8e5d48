"""`docs/protocol.md` leaves out no message, no error and no value of an enumeration; no link leads nowhere."""

import re
from pathlib import Path

import pytest
import tolk_sources

from cocoon.exit_codes import exit_codes

ROOT = Path(__file__).parents[2]
WORDS = set(re.findall(r"\b[A-Z]\w+\b", (ROOT / "docs" / "protocol.md").read_text()))


def test_protocol_document_names_every_message() -> None:
    assert {struct.name for struct in tolk_sources.structs(ROOT / "contracts") if struct.prefix} <= WORDS


def test_protocol_document_names_every_error_and_reason() -> None:
    assert {entry.name for entry in exit_codes()} - WORDS == set()
    for name, (width, values) in tolk_sources.enums(ROOT / "contracts").items():
        assert width is None or set(values) <= WORDS, name


@pytest.mark.parametrize("path", ["docs/protocol.md", "docs/peculiarities.md", "docs/errors.md", "SECURITY.md"])
def test_document_links_lead_somewhere(path: str) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", (ROOT / path).read_text())
    assert [target for target in targets if not ((ROOT / path).parent / target).exists()] == []
