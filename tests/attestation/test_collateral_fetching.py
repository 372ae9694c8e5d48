"""Collateral over the network: complete and unchanged, or an error that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from evidence_samples import intel, machine, published
from pcs_server import PcsServer, pcs_server

from cocoon.attestation.collateral import Collateral
from cocoon.attestation.errors import CollateralUnavailable, QuoteMalformed
from cocoon.attestation.fetching import fetch_collateral
from cocoon.attestation.platform import CertificateAuthority, Hardware, guest_report
from cocoon.cli import main

QUOTE = machine().quote(guest_report(bytes(64))).to_bytes()
COLLATERAL = intel().publish(published())


@pytest.fixture
def server() -> Iterator[PcsServer]:
    with pcs_server(COLLATERAL) as served:
        yield served


async def test_fetch_collateral_gives_what_was_published(server: PcsServer) -> None:
    assert await fetch_collateral(QUOTE, server.url) == COLLATERAL
    assert any("fmspc=C0C00A000000" in path for path in server.asked)
    assert any("ca=platform" in path for path in server.asked)


async def test_fetch_collateral_of_processor_platform_asks_for_its_list(server: PcsServer) -> None:
    hardware = Hardware(authority=CertificateAuthority.PROCESSOR)
    await fetch_collateral(machine(hardware).quote(guest_report(bytes(64))).to_bytes(), server.url)
    assert any("ca=processor" in path for path in server.asked)


@pytest.mark.parametrize(
    "path", ["/tdx/certification/v4/tcb", "/tdx/certification/v4/qe/identity", "/sgx/certification/v4/pckcrl"]
)
async def test_fetch_collateral_that_is_not_there_is_unavailable(server: PcsServer, path: str) -> None:
    server.broken.add(path)
    with pytest.raises(CollateralUnavailable, match="try again, or another service"):
        await fetch_collateral(QUOTE, server.url)


async def test_fetch_collateral_from_nobody_is_unavailable(server: PcsServer) -> None:
    with pytest.raises(CollateralUnavailable, match=r"no collateral from http://127\.0\.0\.1:1:"):
        await fetch_collateral(QUOTE, "http://127.0.0.1:1")


async def test_fetch_collateral_from_slow_service_is_given_up(server: PcsServer) -> None:
    server.slow_sec = 1
    with pytest.raises(CollateralUnavailable, match=r"within 0\.2 seconds"):
        await fetch_collateral(QUOTE, server.url, timeout_sec=0.2)


async def test_fetch_collateral_for_no_quote_asks_nobody(server: PcsServer) -> None:
    with pytest.raises(QuoteMalformed):
        await fetch_collateral(b"noise", server.url)
    assert server.asked == []


def test_fetch_command_prints_what_verify_takes(server: PcsServer, tmp_path: Path) -> None:
    path = tmp_path / "quote.bin"
    path.write_bytes(QUOTE)
    result = CliRunner().invoke(main, ["attest", "fetch", str(path), "--service", server.url])
    assert result.exit_code == 0
    assert Collateral.from_json(result.stdout) == COLLATERAL


def test_fetch_command_without_service_says_so(tmp_path: Path) -> None:
    path = tmp_path / "quote.bin"
    path.write_bytes(QUOTE)
    result = CliRunner().invoke(main, ["attest", "fetch", str(path), "--service", "http://127.0.0.1:1"])
    assert result.exit_code == 1
    assert "no collateral from" in result.stderr
