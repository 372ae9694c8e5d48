"""The flows of `docs/flows.md`, played on the in-process ledger and drawn from what was recorded.

`make docs` prints the page anew; a test compares it.
"""

from __future__ import annotations

import channel_flows
import network_flows
from recording import Flow, Recorder
from world import World

from cocoon_sandbox.ledger import Ledger

__all__ = ["FLOWS", "record", "render"]

_HEAD = """# Message flows

Every message of the protocol's operations as it was delivered in the official executor, with the value it brought and
the gas its receiver burned, at today's prices. Receivers without gas are wallets; a broken arrow is a bounce. Every
sender attaches exactly the least value. Messages are those of [`contracts/scheme.tlb`](../contracts/scheme.tlb); what
each does is in [protocol.md](protocol.md). Drawn from recorded traces by `make docs`; a test plays every flow again
and compares.
"""

FLOWS = (
    Flow("Register a worker", network_flows.register),
    Flow("Collateral", network_flows.collateral),
    Flow("Attestation and offer", network_flows.attest_and_offer),
    Flow("A quote that is refused", network_flows.refused_quote),
    Flow("Open a channel", channel_flows.open),
    Flow("Opening refused", channel_flows.refuse),
    Flow("Opening bounced", channel_flows.absent),
    Flow("Opening cancelled", channel_flows.cancelled),
    Flow("Top up", channel_flows.top_up),
    Flow("Claim a voucher", channel_flows.claim),
    Flow("Forced job, delivered", channel_flows.delivered),
    Flow("Forced job, rejected", channel_flows.rejected),
    Flow("Forced job, not admitted", channel_flows.not_admitted),
    Flow("Forced job, missed", channel_flows.missed),
    Flow("A report that was lost", channel_flows.lost_report),
    Flow("New keys in the middle of a job", channel_flows.rebind),
    Flow("Close cooperatively", channel_flows.cooperative),
    Flow("Release", channel_flows.release),
    Flow("Close alone", channel_flows.unilateral),
    Flow("Count volume", channel_flows.volume),
    Flow("Allow and deny a measurement", network_flows.governance),
    Flow("Ownership moves", network_flows.ownership),
    Flow("A new policy reaches a worker", network_flows.policy),
    Flow("New demands on enclaves", network_flows.attestation_policy),
    Flow("Slash", network_flows.slash),
    Flow("A worker's other messages", network_flows.manage),
    Flow("Other evidence", network_flows.adopt),
    Flow("Leave", network_flows.leave),
)


def record() -> list[tuple[Flow, Recorder]]:
    """Every flow, played on a network of its own."""
    played = [(flow, Recorder(World(Ledger()).deploy())) for flow in FLOWS]
    for flow, recorder in played:
        flow.play(recorder)
    return played


def render(played: list[tuple[Flow, Recorder]]) -> str:
    """The text of `docs/flows.md`."""
    parts = [_HEAD]
    for flow, recorder in played:
        total = f"{recorder.gas:,} gas in all."
        parts.append(f"## {flow.title}\n\n{flow.text} {total}\n\n```mermaid\n{recorder.diagram()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(render(record()), end="")
