"""What the attestation tests work on: the real quote, where it is at hand, and simulated ones."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest

from cocoon.attestation.collateral import Collateral
from cocoon.attestation.platform import Hardware, Publication, SimulatedIntel, SimulatedMachine
from cocoon.attestation.quote import Quote

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "tdx"
REAL_TIME = int(datetime(2025, 6, 25, tzinfo=UTC).timestamp())
TIME = int(datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp())
SEED = b"attestation tests"


@dataclass(frozen=True)
class Sample:
    """A quote, its collateral and root, and when they go together."""

    raw: bytes
    collateral: Collateral
    root_der: bytes
    time: int

    @property
    def quote(self) -> Quote:
        return Quote.parse(self.raw)


def real_sample() -> Sample:
    """The real quote; skips the test where it is not at hand."""
    raw, collateral = _real_files()
    root = Quote.parse(raw).signature_data.pck_chain[-1].der
    return Sample(raw, Collateral.from_json(collateral), root, REAL_TIME)


def real_collateral_json() -> dict[str, str]:
    """The real collateral as it lies in its file."""
    entries: dict[str, str] = json.loads(_real_files()[1])
    return entries


@cache
def intel() -> SimulatedIntel:
    """The simulated Intel that most tests trust."""
    return SimulatedIntel(SEED, TIME)


def machine(hardware: Hardware | None = None) -> SimulatedMachine:
    """A platform it certifies."""
    return SimulatedMachine(intel(), hardware or Hardware())


def published(hardware: Hardware | None = None) -> Publication:
    """What it publishes for that kind of platform."""
    return Publication.at(TIME, hardware or Hardware())


def _real_files() -> tuple[bytes, str]:
    quote, collateral = DATA / "quote_v4.bin", DATA / "quote_v4_collateral.json"
    if not (quote.is_file() and collateral.is_file()):
        pytest.skip(f"no real quote in {DATA}")
    return quote.read_bytes(), collateral.read_text()
