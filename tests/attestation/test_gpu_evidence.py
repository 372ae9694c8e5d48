"""GPU evidence: bound by its digest, and never called verified unless somebody verified all of it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from string import Template
from textwrap import dedent

import pytest
from pytoniq_core import Address

from cocoon.attestation.errors import EvidenceMalformed, GpuEvidenceRefused
from cocoon.attestation.gpu import (
    GpuCheck,
    GpuEvidence,
    GpuOutcome,
    GpuVerdict,
    NoGpuVerifier,
    check_gpus,
    gpu_digest,
    gpu_nonce,
)
from cocoon.attestation.gpu_nvidia import NvidiaVerifier
from cocoon.attestation.report_data import MasterBlock

ONE = GpuEvidence("HOPPER", b"report", b"chain")
BOTH = (ONE, GpuEvidence("HOPPER", b"other report", b"other chain"))
NONCE = bytes(range(32))
EVERYTHING = dict.fromkeys(GpuCheck, GpuOutcome.PASSED)


class Verifier:
    """Gives the outcomes it was made with."""

    def __init__(self, outcomes: dict[GpuCheck, GpuOutcome]) -> None:
        self._outcomes = outcomes

    async def verify(self, evidence: tuple[GpuEvidence, ...], nonce: bytes) -> GpuVerdict:
        return GpuVerdict(self._outcomes, "by a test")


@pytest.mark.parametrize(
    "other",
    [
        (ONE,),
        BOTH[::-1],
        (*BOTH, ONE),
        (replace(ONE, architecture="HOPPE", report=b"Rreport"), BOTH[1]),
        (replace(ONE, report=b"reportc", certificate_chain=b"hain"), BOTH[1]),
        (replace(ONE, report=b""), BOTH[1]),
    ],
)
def test_digest_of_other_evidence_is_another(other: tuple[GpuEvidence, ...]) -> None:
    assert gpu_digest(other) != gpu_digest(BOTH)


def test_digest_without_gpus_is_zero() -> None:
    assert gpu_digest(()) == 0
    assert 0 < gpu_digest(BOTH) < 1 << 256


def test_nonce_depends_on_worker_sequence_number_and_block() -> None:
    registry, worker, block = Address((0, bytes(32))), Address((0, b"\x01" * 32)), MasterBlock(1, bytes(32), bytes(32))
    nonces = {
        gpu_nonce(-239, registry, worker, 1, block),
        gpu_nonce(-3, registry, worker, 1, block),
        gpu_nonce(-239, worker, registry, 1, block),
        gpu_nonce(-239, registry, worker, 2, block),
        gpu_nonce(-239, registry, worker, 1, replace(block, seqno=2)),
        gpu_nonce(-239, registry, worker, 1, replace(block, file_hash=b"\x01" * 32)),
    }
    assert len(nonces) == 6
    assert {len(nonce) for nonce in nonces} == {32}


async def test_check_without_a_verifier_is_not_checked_and_not_verified() -> None:
    verdict = await check_gpus(BOTH, digest=gpu_digest(BOTH), nonce=NONCE, verifier=NoGpuVerifier())
    assert verdict.outcome(GpuCheck.DIGEST) is GpuOutcome.PASSED
    assert verdict.outcome(GpuCheck.SIGNATURE) is GpuOutcome.NOT_CHECKED
    assert not verdict.verified
    with pytest.raises(GpuEvidenceRefused, match="each report is signed by the GPU's key: NOT CHECKED"):
        verdict.require_verified()


async def test_check_of_evidence_the_quote_does_not_commit_to_fails_unseen() -> None:
    verdict = await check_gpus(BOTH, digest=gpu_digest((ONE,)), nonce=NONCE, verifier=Verifier(EVERYTHING))
    assert verdict.outcomes == {GpuCheck.DIGEST: GpuOutcome.FAILED}
    assert not verdict.verified


@pytest.mark.parametrize("missing", [check for check in GpuCheck if check is not GpuCheck.DIGEST])
@pytest.mark.parametrize("outcome", [None, GpuOutcome.NOT_CHECKED, GpuOutcome.FAILED])
async def test_check_with_any_one_not_passed_is_not_verified(missing: GpuCheck, outcome: GpuOutcome | None) -> None:
    outcomes = {check: found for check, found in EVERYTHING.items() if check is not missing}
    if outcome is not None:
        outcomes[missing] = outcome
    verdict = await check_gpus(BOTH, digest=gpu_digest(BOTH), nonce=NONCE, verifier=Verifier(outcomes))
    assert not verdict.verified
    assert f"{missing.value}: {(outcome or GpuOutcome.NOT_CHECKED).value}" in verdict.lines()


async def test_check_with_all_passed_is_verified() -> None:
    verdict = await check_gpus(BOTH, digest=gpu_digest(BOTH), nonce=NONCE, verifier=Verifier(EVERYTHING))
    verdict.require_verified()
    assert verdict.verified


async def test_check_without_gpus_is_not_verified() -> None:
    verdict = await check_gpus((), digest=0, nonce=NONCE, verifier=Verifier(EVERYTHING))
    assert not verdict.verified
    assert "no GPU" in verdict.detail


_SDK = {
    "gpu/attest_gpu_remote.py": """
        def attest(nonce, evidence, options):
            assert [one["arch"] for one in evidence] == ["HOPPER", "HOPPER"]
            assert set(evidence[0]) == {"arch", "evidence", "certificate"}
            return $accepted, $token
    """,
    "utils/nras_utils.py": """
        def decode_nras_token(url, token):
            assert token == "overall"
            return {"x-nvidia-overall-att-result": $result, "eat_nonce": "$nonce"}
    """,
    "utils/unified_eat_parser.py": """
        def get_overall_claims_token(token):
            return token[0][1]
    """,
    "utils/config.py": """
        REMOTE_GPU_VERIFIER_SERVICE_URL = "https://verifier.invalid/"
    """,
}


def _interpreter(folder: Path, **values: str) -> Path:
    """An interpreter for which nv-attestation-sdk is a package that behaves as `values` say."""
    given = {"accepted": "True", "token": '[["JWT", "overall"], {}]', "result": "True", "nonce": NONCE.hex()} | values
    for name, source in _SDK.items():
        path = folder / "nv_attestation_sdk" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Template(dedent(source)).substitute(given))
    wrapper = folder / "python"
    run = f"import sys, runpy; sys.path.insert(0, '{folder}'); runpy.run_path(sys.argv[1], run_name='__main__')"
    wrapper.write_text(f'#!/bin/sh\nshift\nexec {sys.executable} -c "{run}" "$@"\n')
    wrapper.chmod(0o755)
    return wrapper


async def test_nvidia_verifier_that_accepts_passes_its_checks(tmp_path: Path) -> None:
    verdict = await check_gpus(
        BOTH, digest=gpu_digest(BOTH), nonce=NONCE, verifier=NvidiaVerifier(_interpreter(tmp_path))
    )
    assert verdict.verified
    assert "NVIDIA's remote attestation service: it accepted the evidence for this nonce" in verdict.detail


@pytest.mark.parametrize(
    ("values", "outcome", "detail"),
    [
        ({"accepted": "False"}, GpuOutcome.FAILED, "it refused the evidence"),
        ({"result": "False"}, GpuOutcome.FAILED, "it refused the evidence"),
        ({"result": '"true"'}, GpuOutcome.FAILED, "it refused the evidence"),
        ({"nonce": "00" * 32}, GpuOutcome.FAILED, "accepted evidence for another nonce"),
        ({"token": '""'}, GpuOutcome.NOT_CHECKED, "could not be asked"),
        ({"token": '[["JWT", "forged"], {}]'}, GpuOutcome.NOT_CHECKED, "AssertionError"),
    ],
)
async def test_nvidia_verifier_that_does_not_clearly_accept_is_not_verified(
    tmp_path: Path, values: dict[str, str], outcome: GpuOutcome, detail: str
) -> None:
    verdict = await NvidiaVerifier(_interpreter(tmp_path, **values)).verify(BOTH, NONCE)
    assert verdict.outcome(GpuCheck.SIGNATURE) is outcome
    assert detail in verdict.detail
    assert not verdict.verified


async def test_nvidia_verifier_without_the_package_checks_nothing() -> None:
    verdict = await NvidiaVerifier(Path(sys.executable)).verify(BOTH, NONCE)
    assert verdict.outcomes == {}
    assert "nv-attestation-sdk is not installed" in verdict.detail


async def test_nvidia_verifier_without_an_interpreter_checks_nothing(tmp_path: Path) -> None:
    verdict = await NvidiaVerifier(tmp_path / "missing").verify(BOTH, NONCE)
    assert verdict.outcomes == {}
    assert "does not run" in verdict.detail


async def test_nvidia_verifier_that_hangs_is_stopped(tmp_path: Path) -> None:
    wrapper = tmp_path / "python"
    wrapper.write_text("#!/bin/sh\nexec sleep 60\n")
    wrapper.chmod(0o755)
    verdict = await NvidiaVerifier(wrapper, timeout_sec=0.2).verify(BOTH, NONCE)
    assert verdict.outcomes == {}
    assert "no answer within 0.2 seconds" in verdict.detail


async def test_nvidia_verifier_with_nonce_of_another_size_is_refused() -> None:
    with pytest.raises(EvidenceMalformed, match="32 bytes"):
        await NvidiaVerifier(Path(sys.executable)).verify(BOTH, bytes(31))
