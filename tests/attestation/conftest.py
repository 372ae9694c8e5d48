"""The Attestation contracts, compiled once from the sources at hand."""

from __future__ import annotations

import pytest

from cocoon.attestation.rehearsal_stage import AttestationCode
from cocoon.contracts_build import contracts_dir, sources
from cocoon_sandbox.executor import Executor


@pytest.fixture(scope="session")
def attestation_code() -> AttestationCode:
    files = sources(contracts_dir())
    compiled = (
        Executor.shared().compile_tolk(f"attestation/{name}.tolk", files).code for name in ("Attestation", "TcbStore")
    )
    return AttestationCode(*compiled)
