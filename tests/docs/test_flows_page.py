"""`docs/flows.md` is drawn from what the contracts do now, and leaves out no message."""

from __future__ import annotations

import re
from pathlib import Path

import message_flows
import pytest
from recording import Flow, Recorder, pascal
from tlb import Schema

from cocoon_sandbox.executor import Executor

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "flows.md").read_text()
SCHEMA = Schema.parse((ROOT / "contracts" / "scheme.tlb").read_text())

RECEIVERS = (
    "RegistryMessage",
    "WorkerMessage",
    "EscrowMessage",
    "SlashingMessage",
    "AttestationMessage",
    "TcbStoreMessage",
    "WalletMessage",
)


@pytest.fixture(scope="module")
def played(executor: Executor) -> list[tuple[Flow, Recorder]]:
    return message_flows.record()


def test_flows_page_is_what_is_recorded_now(played: list[tuple[Flow, Recorder]]) -> None:
    assert message_flows.render(played) == PAGE, "run `make docs`, and look at the difference"


def test_flows_conserve_money(played: list[tuple[Flow, Recorder]]) -> None:
    for flow, recorder in played:
        assert recorder.lines, flow.title
        recorder.world.ledger.check_conservation()


def test_flows_page_shows_every_message() -> None:
    """A message without a flow is one that no reader sees in use."""
    arrows = set(re.findall(r"->>\w+: (?:StateInit \+ )?(\w+)", PAGE))
    assert {pascal(made.name) for kind in RECEIVERS for made in SCHEMA.types[kind]} - arrows == set()
