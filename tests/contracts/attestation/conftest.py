"""A simulated platform and its Attestation, ready to judge quotes."""

from __future__ import annotations

import pytest
from enclaves import Enclaves

from cocoon_sandbox.ledger import Ledger, Snapshot

_READY: dict[str, tuple[Snapshot, Enclaves]] = {}


@pytest.fixture
def bare(ledger: Ledger) -> Enclaves:
    """Attestation with a policy and no collateral."""
    return Enclaves.on(ledger).deploy()


@pytest.fixture
def enclaves(ledger: Ledger) -> Enclaves:
    """Attestation with all collateral of the platform; made once, then restored."""
    if "ready" not in _READY:
        made = Enclaves.on(ledger).ready()
        _READY["ready"] = (ledger.snapshot(), made)
    snapshot, made = _READY["ready"]
    found = Enclaves.on(ledger)
    ledger.restore(snapshot)
    found.intel, found.machine, found.publication = made.intel, made.machine, made.publication
    return found
