"""`cocoon attest verify`: what it prints, and exit status 0 for nothing but an accepted quote."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from evidence_samples import DATA, TIME, intel, machine, published, real_sample

from cocoon.attestation import verify_report
from cocoon.attestation.errors import SecondOpinionRefused
from cocoon.attestation.platform import Hardware, guest_report
from cocoon.attestation.rehearsal_stage import AttestationCode
from cocoon.attestation.witness import measurement
from cocoon.cli import main

QUOTE = machine().quote(guest_report(bytes(range(64))))


@pytest.fixture(autouse=True)
def _code(attestation_code: AttestationCode, monkeypatch: pytest.MonkeyPatch) -> None:
    """The contracts as their sources are, not as they were last built."""
    monkeypatch.setattr(AttestationCode, "committed", classmethod(lambda cls: attestation_code))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "quote.bin").write_bytes(QUOTE.to_bytes())
    (tmp_path / "collateral.json").write_text(intel().publish(published()).to_json())
    return tmp_path


def _verify(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["attest", "verify", *map(str, arguments)])


def _simulated(folder: Path, *arguments: object) -> Result:
    given = ("--collateral", folder / "collateral.json", "--at", TIME, "--allow-simulated-tee", *arguments)
    return _verify(folder / "quote.bin", *given)


def _json(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.mark.parametrize("at", ["2025-06-25", "2025-06-25T00:00:00Z", "2025-06-25T03:00:00+03:00", "1750809600"])
def test_verify_real_quote_at_its_date_is_accepted(at: str) -> None:
    sample = real_sample()
    quote, collateral = DATA / "quote_v4.bin", DATA / "quote_v4_collateral.json"
    result = _verify(quote, "--collateral", collateral, "--at", at, "--json")
    found = _json(result)
    assert result.exit_code == 0, found
    assert (found["verdict"], found["accepted"], found["simulated"]) == ("accepted", True, False)
    assert found["measurement"] == measurement(sample.quote).hex()
    assert (found["tcb_status"], found["tcb_date"]) == ("UpToDate", "2024-03-13T00:00:00Z")
    assert found["second_opinion"] == "accepts: UpToDate"
    assert found["at"] == "2025-06-25T00:00:00Z"
    assert found["not_checked"]
    steps = {step["step"]: step for step in found["steps"]}
    assert steps["quote"]["gas"] > 3 * 3 * 3500  # three signatures, three oracle calls each
    assert found["cost"]["quote_value_nano"] > 0
    assert found["cost"]["collateral_fees_nano"] == sum(step["fees_nano"] for step in found["steps"])


def test_verify_real_quote_today_is_refused() -> None:
    real_sample()
    collateral = DATA / "quote_v4_collateral.json"
    result = _verify(DATA / "quote_v4.bin", "--collateral", collateral, "--at", "2026-11-22", "--json")
    found = _json(result)
    assert result.exit_code == 1
    assert (found["verdict"], found["refusal"]["step"], found["refusal"]["exit_code"]) == ("refused", "root CRL", 542)
    assert found["second_opinion"].startswith("refuses: ")


def test_verify_simulated_quote_is_accepted_with_a_banner(files: Path) -> None:
    result = _simulated(files)
    assert result.exit_code == 0
    first, second, *_ = result.stdout.splitlines()
    assert "NOTHING IS CONFIDENTIAL" in first
    assert second == "ACCEPTED"
    assert measurement(QUOTE).hex() in result.stdout
    assert "TON" in result.stdout
    found = _json(_simulated(files, "--json"))
    assert found["simulated"] is True
    assert "NOTHING IS CONFIDENTIAL" in found["banner"]


def test_verify_simulated_quote_is_refused_unless_allowed(files: Path) -> None:
    given = ("--collateral", files / "collateral.json", "--at", TIME)
    result = _verify(files / "quote.bin", *given, "--json")
    assert result.exit_code == 1
    assert "--allow-simulated-tee" in _json(result)["reason"]


def test_verify_without_collateral_says_what_is_missing_and_where_it_is(files: Path) -> None:
    result = _verify(files / "quote.bin", "--json")
    found = _json(result)
    assert result.exit_code == 3
    assert (found["verdict"], found["accepted"]) == ("incomplete", False)
    assert [entry["what"].split()[0] for entry in found["missing"]] == ["TCB", "TD_QE", "PCK", "root"]
    assert "fmspc=c0c00a000000" in found["missing"][0]["where"]
    assert "ca=platform" in found["missing"][2]["where"]
    assert found["measurement"] == measurement(QUOTE).hex()
    plain = _verify(files / "quote.bin")
    assert plain.exit_code == 3
    assert "missing: root CRL" in plain.stdout


def test_verify_with_part_of_the_collateral_names_what_is_missing(files: Path) -> None:
    path = files / "collateral.json"
    entries = json.loads(path.read_text())
    del entries["qe_identity"]
    path.write_text(json.dumps(entries))
    result = _simulated(files, "--json")
    assert result.exit_code == 1
    assert "lacks qe_identity" in _json(result)["reason"]


def test_verify_old_platform_is_refused_unless_its_status_is_accepted(files: Path) -> None:
    (files / "quote.bin").write_bytes(machine(Hardware(pce_svn=10)).quote(QUOTE.report).to_bytes())
    result = _simulated(files, "--json")
    found = _json(result)
    assert result.exit_code == 1
    assert (found["verdict"], found["tcb_status"]) == ("refused", "OutOfDate")
    assert _simulated(files, "--accept", "OutOfDate").exit_code == 0


def test_verify_altered_quote_is_refused(files: Path) -> None:
    (files / "quote.bin").write_bytes(replace(QUOTE, report=replace(QUOTE.report, mr_td=bytes(48))).to_bytes())
    result = _simulated(files, "--json")
    found = _json(result)
    assert result.exit_code == 1
    assert found["refusal"]["exit_code"] == 514
    assert found["tcb_status"] is None


@pytest.mark.parametrize("raw", [b"", b"noise", QUOTE.to_bytes()[:-500]])
def test_verify_something_that_is_no_quote_is_unreadable(files: Path, raw: bytes) -> None:
    (files / "quote.bin").write_bytes(raw)
    result = _simulated(files, "--json")
    assert result.exit_code == 1
    assert _json(result)["verdict"] == "unreadable"


def test_verify_where_the_second_opinion_refuses_is_disputed(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise SecondOpinionRefused("because")

    monkeypatch.setattr(verify_report, "second_opinion", refuse)
    result = _simulated(files, "--json")
    found = _json(result)
    assert result.exit_code == 1
    assert (found["verdict"], found["accepted"]) == ("disputed", False)
    assert "because" in found["reason"]


@pytest.mark.parametrize(
    "arguments",
    [("--at", "yesterday"), ("--at", "0"), ("--at", "4294967296"), ("--at", "1960-01-01"), ("--accept", "Fine")],
)
def test_verify_with_impossible_options_is_a_usage_error(files: Path, arguments: tuple[str, str]) -> None:
    result = _simulated(files, *arguments)
    assert result.exit_code == 2
    assert "Invalid value" in result.stderr


def test_verify_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    assert _verify(tmp_path / "missing").exit_code == 2
