"""Every message to Attestation or a store ends where its layout ends: one bit or reference more, and it is refused."""

from __future__ import annotations

from collateral import messages
from enclaves import POSTER, WORKER, Enclaves
from pytoniq_core import Address
from test_strict_bodies import CELL_UNDERFLOW, longer
from test_tcb_store import ANY_PLATFORM

from cocoon.wire.attestation import JudgePlatform, PlatformJudged, StoreTcb, UpdateAttestationPolicy, VerifyQuote
from cocoon.wire.codec import Struct


def test_trailing_data_of_any_message_is_refused_whoever_sends_it(enclaves: Enclaves) -> None:
    """B.22: not for the sender, not for the state: for its length."""
    collateral = messages(enclaves)
    sent: list[tuple[Address, Struct]] = [
        *((enclaves.address, body) for body in collateral.values()),
        (enclaves.address, VerifyQuote(1, 2, 3, 4, enclaves.evidence())),
        (enclaves.address, PlatformJudged(enclaves.fmspc, WORKER, 1, 0, 0, ANY_PLATFORM)),
        (enclaves.address, UpdateAttestationPolicy(1, enclaves.policy(version=2))),
        (enclaves.store, JudgePlatform(1, WORKER, 0, 17, 1, 0, 0, 0, 0, 0, ANY_PLATFORM)),
        (enclaves.store, StoreTcb(1, POSTER, 0, 17, collateral["tcb"].tcb)),
    ]
    for address, message in sent:
        bodies = longer(message.to_cell())
        assert bodies
        for body in bodies:
            outcome = enclaves.send(POSTER, address, body)
            assert outcome.exit_code == CELL_UNDERFLOW, f"{type(message).__name__}: {outcome}"
            assert not outcome.changed
