"""What needs somebody's attention, and what to do about it; the most urgent first."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ..chain.wallet import format_ton
from ..wire.worker import WorkerStatus
from .facts import WorkerFacts

__all__ = ["Advice", "Urgency", "advise", "low_water_nano"]

_RENEWALS = 3  # that the operator's wallet should hold enough for
_LEASE_WARNING_SEC = 86_400
_SERVING = (WorkerStatus.PENDING, WorkerStatus.ACTIVE, WorkerStatus.PAUSED, WorkerStatus.UNBONDING)


class Urgency(StrEnum):
    NOW = "now"  # nothing is earned, or money is being lost
    SOON = "soon"


@dataclass(frozen=True, slots=True)
class Advice:
    urgency: Urgency
    problem: str
    remedy: str


def low_water_nano(facts: WorkerFacts) -> int:
    """Below this the operator's wallet will soon be unable to renew the lease."""
    return _RENEWALS * facts.attest_nano


def advise(facts: WorkerFacts, *, is_running: bool, own_key: int | None, own_operator: str | None) -> list[Advice]:
    """is_running: the agent. own_key: the signer's, None if none answers; own_operator: the address of the key that is
    here, if one is.
    """
    found = [*_status(facts), *_keys(facts, own_key), *_money(facts)]
    if not is_running and facts.status in _SERVING:
        remedy = "start it with `cocoon worker run`: a forced job that is not answered in time costs a part of the bond"
        found.insert(0, Advice(Urgency.NOW, "the agent does not run", remedy))
    if own_operator is not None and facts.operator.to_str(is_user_friendly=False) != own_operator:
        remedy = "put the right key in place, or have the owner send ChangeOperator"
        found.insert(0, Advice(Urgency.NOW, "the operator's key here is not the worker's", remedy))
    return sorted(found, key=lambda advice: advice.urgency != Urgency.NOW)


def _status(facts: WorkerFacts) -> list[Advice]:
    match facts.status:
        case WorkerStatus.PAUSED:
            return [Advice(Urgency.NOW, "the worker is paused", "the owner or operator sends ResumeWorker")]
        case WorkerStatus.UNBONDING:
            return [
                Advice(Urgency.SOON, "the worker is unbonding", "keep the agent running until its notice has ended")
            ]
        case WorkerStatus.CLOSED:
            return [
                Advice(Urgency.NOW, "the worker is closed", "register another one; this one's stake is with its owner")
            ]
        case WorkerStatus.JAILED:
            return [
                Advice(Urgency.NOW, "the worker was slashed: two answers to one job", "find out which machine signed")
            ]
    return []


def _keys(facts: WorkerFacts, own_key: int | None) -> list[Advice]:
    found = []
    if facts.is_denied:
        remedy = "run software that is on the network's list, and have the owner send ApproveMeasurement"
        found.append(Advice(Urgency.NOW, "the network has denied the approved measurement", remedy))
    elif not facts.is_listed:
        remedy = "have it listed by governance; until then only clients that name it come"
        found.append(Advice(Urgency.SOON, "the approved measurement is not on the network's list", remedy))
    if facts.session_key == 0:
        remedy = "start the agent and look at its log for refused quotes"
        found.append(Advice(Urgency.NOW, "the worker's keys have never been attested", remedy))
        return found
    left = facts.lease_end - facts.time
    if left <= 0:
        found.append(
            Advice(Urgency.NOW, "the lease has ended: no new channels", "see the agent's log for refused quotes")
        )
    elif left < _LEASE_WARNING_SEC:
        found.append(
            Advice(Urgency.SOON, f"the lease ends in {left // 3600} h", "see that the agent runs and renews it")
        )
    if own_key is None:
        found.append(Advice(Urgency.NOW, "no signer runs here", "start the agent: it starts one, with new keys"))
    elif own_key != facts.session_key:
        remedy = "keep the agent running: it has the new keys attested"
        found.append(Advice(Urgency.NOW, "the signer here has other keys than the worker on the chain", remedy))
    return found


def _money(facts: WorkerFacts) -> list[Advice]:
    found = []
    if facts.bond_nano < facts.min_bond_nano:
        remedy = f"the owner sends TopUpStake: {format_ton(facts.min_bond_nano - facts.bond_nano)} are missing"
        found.append(Advice(Urgency.NOW, "the bond is below the network's minimum: no new channels", remedy))
    if facts.stake_nano < facts.min_stake_nano:
        remedy = f"the owner sends TopUpStake: {format_ton(facts.min_stake_nano - facts.stake_nano)} are missing"
        found.append(Advice(Urgency.NOW, "the stake is below the network's minimum: no new channels", remedy))
    if facts.operator_nano < low_water_nano(facts):
        urgency = Urgency.NOW if facts.operator_nano < facts.attest_nano else Urgency.SOON
        remedy = f"send some Toncoin to {facts.operator.to_str(is_bounceable=False)}"
        found.append(Advice(urgency, f"the operator's wallet holds only {format_ton(facts.operator_nano)}", remedy))
    if not facts.models:
        found.append(
            Advice(Urgency.NOW, "the worker offers no model", "start the agent: it puts its offer on the chain")
        )
    return found
