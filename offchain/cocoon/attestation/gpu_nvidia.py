"""GPU evidence before NVIDIA's own verifier, `nv-attestation-sdk`.

That package pins an old `cryptography` and can't share an environment with this one, so it lives in one of its own and
runs there as a child process: `python -m venv DIR && DIR/bin/pip install nv-attestation-sdk==2.7.3`. It sends the
evidence to NVIDIA's remote attestation service and checks that service's signature with keys it fetches from there, so
it needs the internet, and it tells NVIDIA which GPUs are asked about. Variables that would redirect it are dropped.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
from pathlib import Path

from .gpu import GpuCheck, GpuEvidence, GpuOutcome, GpuVerdict, check_nonce

__all__ = ["NvidiaVerifier"]

_CHILD = Path(__file__).with_name("gpu_nvidia_child.py")
_CHECKS = (GpuCheck.NONCE, GpuCheck.SIGNATURE, GpuCheck.CHAIN, GpuCheck.REVOCATION, GpuCheck.MEASUREMENTS)
_ACCEPTED, _REFUSED = 40, 41  # as in the child


class NvidiaVerifier:
    """Runs the verifier in the environment of `python`, for at most `timeout_sec`."""

    def __init__(self, python: Path, *, timeout_sec: float = 120) -> None:
        self._python, self._timeout_sec = python, timeout_sec

    async def verify(self, evidence: tuple[GpuEvidence, ...], nonce: bytes) -> GpuVerdict:
        """As GpuVerifier.verify. Anything but a clear answer leaves every check NotChecked."""
        check_nonce(nonce)
        try:
            process = await asyncio.create_subprocess_exec(
                self._python,
                "-I",
                _CHILD,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={key: value for key, value in os.environ.items() if not key.startswith("NV")},
            )
        except OSError as error:
            return _nothing(f"{self._python} does not run: {error.strerror}")
        try:
            async with asyncio.timeout(self._timeout_sec):
                output, complaints = await process.communicate(_request(evidence, nonce))
        except TimeoutError:
            return _nothing(f"no answer within {self._timeout_sec:g} seconds")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode not in (_ACCEPTED, _REFUSED):
            return _nothing(complaints.decode(errors="replace").strip()[-300:] or "it said nothing")
        outcome = GpuOutcome.PASSED if process.returncode == _ACCEPTED else GpuOutcome.FAILED
        said = output.decode(errors="replace").strip().splitlines()
        return GpuVerdict(
            dict.fromkeys(_CHECKS, outcome),
            f"checked by NVIDIA's remote attestation service: {said[-1] if said else '?'}",
        )


def _nothing(reason: str) -> GpuVerdict:
    return GpuVerdict({}, f"NVIDIA's verifier gave no answer: {reason}")


def _request(evidence: tuple[GpuEvidence, ...], nonce: bytes) -> bytes:
    parts = [
        {
            "arch": one.architecture,
            "evidence": base64.b64encode(one.report).decode(),
            "certificate": base64.b64encode(one.certificate_chain).decode(),
        }
        for one in evidence
    ]
    return json.dumps({"nonce": nonce.hex(), "evidence": parts}).encode()
