"""The README's first command: the whole story as a process of its own, every figure checked against another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cocoon.attestation.simulation import Simulation

TON = 10**9


@pytest.mark.timeout(280)
def test_demo_any_prompt_is_answered_paid_and_faults_are_punished() -> None:
    command = [
        sys.executable,
        "-m",
        "cocoon",
        "demo",
        "--json",
        "--max-tokens",
        "24",
        "--prompt",
        "What is the capital of Italy?",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=270, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads(done.stdout)

    assert "Rome" in figures["answer"]
    assert figures["prompt_tokens"] > 10
    assert 0 < figures["completion_tokens"] <= 24
    assert figures["worker_paid_nano"] == figures["fee_nano"] > 0
    # the client pays the fee and, beside it, only what validators took and the rent a channel used up
    assert figures["fee_nano"] < figures["client_spent_nano"] < figures["fee_nano"] + TON // 40
    assert figures["refund_nano"] >= TON // 10
    assert figures["penalty_nano"] == TON
    assert figures["compensation_nano"] == TON // 5
    assert figures["slashed_nano"] == 10 * TON
    assert figures["slash_reward_nano"] == 2 * TON
    # the console breaks lines
    assert "SIMULATED TEE: NOTHING IS CONFIDENTIAL" in " ".join(done.stderr.split())

    # the same question through the gateway, by OpenAI's SDK
    assert "Rome" in figures["stream_answer"]
    assert figures["stream_pieces"] > 3
    assert figures["stream_receipt"].startswith("rcpt_")
    checks = figures["stream_receipt_checks"]
    assert all(checks[name] for name in ("signature", "domain", "usage", "fee", "worker", "channel", "session key"))
    assert checks["measurement"] is None  # simulated
    assert 0 < figures["stream_fee_nano"] <= figures["voucher_nano"]
    assert figures["stream_answers"] > 1
    assert figures["stream_worker_paid_nano"] == max(figures["stream_fees_nano"], figures["voucher_nano"])
    assert 0 < figures["channel_fees_nano"] < TON // 20
    (claimed,) = [tx for tx in figures["transactions"] if tx["hash"] == figures["claim_transaction"]]
    assert (claimed["name"], claimed["what"].split(":")[0]) == ("Escrow", "ClaimVoucher")

    # vectors of three texts from another worker, by the same SDK: the first two texts mean the same
    assert figures["embedding_dimensions"] == 384
    alike, *apart = figures["embedding_likeness"]
    assert alike > 0.6 > 0.3 > max(apart)
    assert figures["embedding_tokens"] == 26
    assert figures["embedding_fee_nano"] > 0
    assert figures["embedding_receipt_checks"]["signature"]
    assert figures["embedding_model_id"] != figures["model_id"]

    # both workers' keys were attested, by documents that were posted once
    assert figures["measurement"] == f"{Simulation(b'any seed').measurement:064x}"
    assert figures["tcb_status"] == "UpToDate"
    assert figures["collateral_documents"] == 6
    assert 5 * 30_000 < figures["collateral_gas"] < 500_000
    assert 60_000 < figures["attest_gas"] < 150_000
    assert TON // 500 < figures["attest_cost_nano"] < TON // 50
    assert figures["attest_cost_nano"] < figures["collateral_cost_nano"] < TON // 5

    transactions = figures["transactions"]
    assert len({tx["hash"] for tx in transactions}) == len(transactions) > 40
    # a wallet may run out of gas on change smaller than its gas: it keeps the money, and is no contract of ours
    ours = ("Registry", "Slashing", "Attestation", "TcbStore", "Escrow")
    contracts = [tx for tx in transactions if tx["name"] in ours or "contract" in tx["name"]]
    assert all(tx["exit_code"] == 0 for tx in contracts)
    quotes = [tx for tx in transactions if tx["what"].startswith("Attest") and tx["name"] == "Attestation"]
    assert len(quotes) == 4  # the signatures of each worker's quote, and the verdict on its platform
    assert len(contracts) > 40
    for what in ("PostJob", "DeliverJob", "ExpireJob", "SubmitEquivocation", "ClaimVoucher", "CloseCooperative"):
        assert any(tx["what"].startswith(what) and tx["gas"] > 5000 for tx in transactions)


@pytest.fixture
def directory() -> Iterator[Path]:
    """A temporary folder with a short name: a socket's path has less than 100 bytes."""
    with tempfile.TemporaryDirectory(prefix="cocoon-") as made:
        yield Path(made)


@pytest.mark.timeout(200)
def test_demo_told_to_stop_takes_its_processes_and_files_along(directory: Path) -> None:
    """SIGTERM as the agent starts; both it and its signer would outlive a demo that just died."""
    command = [sys.executable, "-m", "cocoon", "demo"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(directory)},
    ) as demo:
        assert demo.stdout is not None
        told = False
        for line in demo.stdout:
            if (not told and list(directory.glob("cocoon-demo-*/worker-a/signer/signer.sock"))) or "posts an" in line:
                told = True
                demo.terminate()
        assert demo.wait(30) == 1
    assert told
    assert list(directory.iterdir()) == []
    running = [path.read_bytes() for path in _command_lines()]
    assert not [line for line in running if str(directory).encode() in line]


def _command_lines() -> list[Path]:
    return [path for path in Path("/proc").glob("[0-9]*/cmdline") if path.parent.name != str(os.getpid())]
