"""Which workers a request may go to, and in what order: pure functions of facts, owner's policy and experience.

A worker is left out for a reason that can be named. Those that remain are ordered by a cost: the price of a typical
request, multiplied by factors (1 or more) for slowness, bad reputation, crowding and a channel yet to be opened.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pytoniq_core import Address

from ..crypto.usage import Usage
from ..errors import ClientError
from ..wire.common import ModelTerms
from ..wire.worker import WorkerStatus
from .estimate import streamed_price
from .facts import Facts, WorkerFacts

__all__ = ["ChoicePolicy", "Experience", "distrust", "exclusion", "order", "reputation"]

_LEAST_COST = 1000  # nanoTON: free workers are compared by everything else
_EXPECTED_TTFT_SEC = 0.5  # of a worker never tried
_MISS_WEIGHT = 5  # a miss says more than a job done
_PRIOR_JOBS = 10  # what a newcomer is credited with
_UNOPENED = 1.3
_SLOWNESS_SEC = 1.0  # waiting so long doubles the cost


@dataclass(frozen=True, slots=True)
class ChoicePolicy:
    """The owner's. accepted: measurements, on the registry's list or not. max_terms: the highest prices paid (its
    min_duration_sec is not looked at). lease_margin_sec: less left of a lease is as good as none. diversity: 0 lets one
    owner serve everything, 1 makes an owner that serves everything look twice as dear.
    """

    max_terms: ModelTerms
    accepted: frozenset[int] = frozenset()
    refused: frozenset[int] = frozenset()
    lease_margin_sec: int = 60
    diversity: float = 1.0


@dataclass(slots=True)
class Experience:
    """What this gateway has seen of a worker. `resting_until`, in seconds of the caller's clock: not asked before."""

    ttft_sec: float | None = None
    answers: int = 0
    failures: int = 0
    in_flight: int = 0
    resting_until: float = 0.0
    lied: bool = False
    last_failure: str = field(default="", repr=False)

    def leave(self) -> None:
        self.in_flight -= 1


def exclusion(
    worker: WorkerFacts, model_id: int, facts: Facts, policy: ChoicePolicy, seen: Experience, *, clock: float
) -> str | None:
    """Why `worker` must not be asked; None if it may. clock: seconds, as in `Experience.resting_until`."""
    terms = worker.models.get(model_id)
    state = worker.state
    if state.status != WorkerStatus.ACTIVE:
        return f"it is {worker.status_name}"
    if terms is None:
        return "it does not offer this model"
    if state.bond_nano < state.policy.min_bond_nano:
        return "its miss bond is too low"
    if (refusal := distrust(worker, facts, policy)) is not None:
        return refusal
    if state.lease_end <= facts.now + policy.lease_margin_sec:
        return "its attestation is about to end"
    if _too_dear(terms, policy.max_terms):
        return "it is dearer than allowed"
    if worker.index in policy.refused:
        return "the gateway's owner refuses it"
    if seen.lied:
        return "it has lied to this gateway"
    if worker.endpoint is None:
        if worker.announced is None:
            return "it announces no endpoint"
        return "what it announces is no endpoint such as https://host:port that this gateway would ask"
    if clock < seen.resting_until:
        return f"it failed a moment ago ({seen.last_failure})"
    return None


def order(
    workers: Iterable[WorkerFacts],
    model_id: int,
    policy: ChoicePolicy,
    experiences: Mapping[int, Experience],
    *,
    typical: Usage,
    bound: Mapping[int, ModelTerms],
) -> list[WorkerFacts]:
    """Best first; ties by index. bound: terms of channels open already, which hold instead of the offer's."""
    candidates = list(workers)
    owners: dict[Address, int] = {}
    for worker in candidates:
        owners[worker.owner] = owners.get(worker.owner, 0) + _seen(experiences, worker).in_flight
    total = sum(owners.values())

    def cost(worker: WorkerFacts) -> float:
        seen = _seen(experiences, worker)
        terms = bound.get(worker.index, worker.models[model_id])
        crowding = policy.diversity * owners[worker.owner] / (total + 1) + seen.in_flight / 8
        slowness = (_EXPECTED_TTFT_SEC if seen.ttft_sec is None else seen.ttft_sec) / _SLOWNESS_SEC
        opening = 1.0 if worker.index in bound else _UNOPENED
        own = (seen.answers + 1) / (seen.answers + seen.failures + 1)
        base = max(streamed_price(typical, terms), _LEAST_COST)
        return base * (1 + slowness) * (1 + crowding) * opening / (reputation(worker) * own)

    return sorted(candidates, key=lambda worker: (cost(worker), worker.index))


def reputation(worker: WorkerFacts) -> float:
    """(0, 1]: the share of jobs a worker did not fail, by the chain's own count; a newcomer starts at 1."""
    state = worker.state
    done = state.jobs + _PRIOR_JOBS
    return done / (done + _MISS_WEIGHT * state.misses + state.key_losses)


def distrust(worker: WorkerFacts, facts: Facts, policy: ChoicePolicy) -> str | None:
    """Why the worker's keys may not be given a prompt, by what the chain says now; None if they may."""
    accepted = worker.measurement if worker.measurement in policy.accepted else None
    try:
        facts.trust.check_worker(worker.state, facts.now, accepted)
    except ClientError as error:
        return str(error)
    return None


def _too_dear(terms: ModelTerms, most: ModelTerms) -> bool:
    return (
        terms.prompt_nano > most.prompt_nano
        or terms.cached_nano > most.cached_nano
        or terms.completion_nano > most.completion_nano
        or terms.floor_fee_nano > most.floor_fee_nano
    )


def _seen(experiences: Mapping[int, Experience], worker: WorkerFacts) -> Experience:
    return experiences.get(worker.index) or Experience()
