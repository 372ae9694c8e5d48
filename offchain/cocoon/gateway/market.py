"""The production backend: every request goes to the best worker, over a channel of the pool, verified piece by piece.

Before the first token the next worker is tried when one fails, and tried beside it when one is slow (a hedge: both are
paid what they prepaid, the answer of the first to speak is taken). After the first token nothing is ever tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from ..client.evidence import Equivocated
from ..client.stream import Delta as RawDelta
from ..client.stream import Finished as RawFinished
from ..client.stream import StreamLied, StreamRefused, StreamStalled
from ..crypto.errors import PayloadMalformed, PayloadTooLarge
from ..crypto.usage import Usage
from ..errors import CocoonError
from ..stream.asked import Asked
from ..wire.common import ModelTerms
from .backend import Delta, Finished, Model, Quote
from .choice import ChoicePolicy, Experience, exclusion, order
from .errors import BackendFailed, NoWorker, RequestRefused
from .estimate import Estimate, streamed_price
from .facts import Facts, FactsWatcher, WorkerFacts
from .metrics import MarketMetrics
from .pool import ChannelPool
from .race import CLIENTS_FAULT, Attempt, MarketSettings, Race
from .receipts import Proof
from .reporting import Reporter

__all__ = ["Market"]

log = logging.getLogger(__name__)
_TTFT_WEIGHT = 0.2
_OURS = frozenset({"deposit", "quantum", "store"})  # why our side of a channel sends nothing


class Market:
    """A `Backend`. names: what clients may call a model -> model id."""

    def __init__(
        self,
        watcher: FactsWatcher,
        pool: ChannelPool,
        policy: ChoicePolicy,
        settings: MarketSettings,
        names: Mapping[str, str],
        metrics: MarketMetrics,
        reporter: Reporter,
    ) -> None:
        self._watcher, self._pool, self.policy, self.settings = watcher, pool, policy, settings
        self._names, self.metrics, self._reporter = dict(names), metrics, reporter
        self.experiences: dict[int, Experience] = {}

    @property
    def facts(self) -> Facts | None:
        return self._watcher.current

    @property
    def refused(self) -> str | None:
        """Why nothing is asked of this network, if nothing is."""
        return self._watcher.refused

    @property
    def reported(self) -> set[int]:
        """Workers reported to Slashing, by index."""
        return self._reporter.reported

    def models(self) -> list[Model]:
        facts = self._watcher.current
        offered = {} if facts is None else {model: None for worker in facts.workers for model in worker.models}
        ids = dict.fromkeys([*self._names.values(), *(f"{model:064x}" for model in offered)])
        return [self._model(model_id) for model_id in ids]

    def model_id(self, name: str) -> str | None:
        if name in self._names:
            return self._names[name]
        facts = self._watcher.current
        offered = facts is not None and any(f"{model:064x}" == name for w in facts.workers for model in w.models)
        return name if offered or name in self._names.values() else None

    def quote(self, body: dict[str, Any], model_id: str) -> Quote:
        asked, estimate, model = _sendable(body), Estimate.of(body), int(model_id, 16)
        workers, bound = self._ordered(estimate, model)
        terms = [bound.get(worker.index, worker.models[model]) for worker in workers[: self.settings.attempts]]
        most, prompt = (max(streamed_price(usage, t) for t in terms) for usage in (estimate.most, estimate.prompt))
        return Quote(model_id, asked, estimate, most, prompt)

    def why_not(self, worker: WorkerFacts, model_id: int) -> str | None:
        """Why the worker is left out now; None if it is not."""
        facts = self._watcher.current
        if facts is None:
            return self._watcher.refused or "the network has not been read yet"
        return exclusion(worker, model_id, facts, self.policy, self.experience(worker.index), clock=time.monotonic())

    async def run(self, quote: Quote) -> AsyncIterator[Delta | Finished]:
        """See `Backend.run`. RequestRefused if the request itself is at fault."""
        model, most = int(quote.model_id, 16), quote.estimate.most
        workers, bound = self._ordered(quote.estimate, model)
        simulated = self._watcher.banner is not None
        terms = {worker.index: bound.get(worker.index, worker.models[model]) for worker in workers}
        payable = [worker for worker in workers if streamed_price(most, terms[worker.index]) <= quote.most_nano]
        race = Race(
            lambda attempt: self._pump(attempt, quote.asked, model, quote.most_nano), self.settings, self.metrics,
            payable[: self.settings.attempts], self.experience,
        )  # fmt: skip
        try:
            winner = await race.first()
            # Until tokens have come nothing is known but that the prompt may have been paid for.
            spent = prompt = streamed_price(quote.estimate.prompt, terms[winner.worker.index])
            while True:
                event = await self._next(winner, spent)
                if isinstance(event, RawFinished):
                    yield self._finished(event, winner, simulated)
                    return
                spent = min(quote.most_nano, event.cost_nano or prompt)
                yield Delta(event.text, event.tokens, spent, winner.worker.index)
        finally:
            await race.end()

    # ---- one attempt ----

    async def _pump(self, attempt: Attempt, asked: Asked, model_id: int, max_fee: int) -> None:
        """Runs one attempt in a task of its own. Its failures end up in `attempt`, and in the worker's record."""
        seen = self.experience(attempt.worker.index)
        began = time.monotonic()
        try:
            async with self._pool.use(attempt.worker, model_id, need_nano=max_fee) as lease:
                held = lease.held
                attempt.asked(held)
                assert held.fast is not None
                async with contextlib.aclosing(held.fast.stream(asked, max_fee=max_fee)) as events:  # type: ignore[type-var]
                    lease.sent()
                    async for event in events:
                        if not attempt.started.done():
                            ttft = time.monotonic() - began
                            self.metrics.first_token(ttft)
                            old = seen.ttft_sec
                            seen.ttft_sec = ttft if old is None else old + _TTFT_WEIGHT * (ttft - old)
                            attempt.started.set_result(None)
                        await attempt.queue.put(event)
                        if isinstance(event, RawFinished):
                            seen.answers += 1
                            return
            raise StreamStalled("the stream ended without an end")
        except (CocoonError, OSError, TimeoutError) as error:
            self._failed(attempt.worker, seen, error)
            attempt.fail(error)
        except asyncio.CancelledError:
            attempt.fail(BackendFailed("the request was given up"))
            raise
        finally:
            attempt.asked(None)
            if not attempt.started.done():  # a bug, which the task ends with: nobody waits for it in vain
                attempt.fail(BackendFailed("the gateway failed; see its log"))

    def _failed(self, worker: WorkerFacts, seen: Experience, error: Exception) -> None:
        if isinstance(error, StreamRefused) and error.reason in CLIENTS_FAULT | _OURS:
            return
        if isinstance(error, BackendFailed):  # the pool's own limits
            return
        if isinstance(error, StreamRefused) and error.reason == "history":
            self._pool.retire(worker.index)  # the books of this channel never fit together again; another one's will
        kind = type(error).__name__
        log.warning("worker %d failed: %s: %s", worker.index, kind, error)
        self.metrics.worker_failed(kind)
        seen.failures += 1
        seen.last_failure = kind
        seen.resting_until = time.monotonic() + self.settings.rest_sec
        if isinstance(error, StreamLied):
            seen.lied = True
            self._pool.retire(worker.index)
            if isinstance(error, Equivocated):
                self._reporter.report(worker.index, error.channel, error.evidence)

    async def _next(self, winner: Attempt, spent_nano: int) -> RawDelta | RawFinished:
        try:
            event = await asyncio.wait_for(winner.queue.get(), self.settings.stall_sec)
        except TimeoutError:
            event = TimeoutError(f"nothing came for {self.settings.stall_sec:g} s")
        if isinstance(event, Exception):
            raise BackendFailed(f"worker {winner.worker.index} broke off: {event}", spent_nano=spent_nano) from event
        return event

    def _finished(self, event: RawFinished, winner: Attempt, simulated: bool) -> Finished:
        assert winner.held is not None
        binding = winner.held.binding
        proof = Proof(
            event.channel, self._pool.registry, winner.worker.address, winner.worker.index, binding.keys.session_key,
            binding.terms, event.usage, event.receipt, simulated,
        )  # fmt: skip
        return Finished(event.finish_reason, event.body, event.usage, event.fee_nano, proof)

    # ---- choosing ----

    def _ordered(self, estimate: Estimate, model_id: int) -> tuple[list[WorkerFacts], dict[int, ModelTerms]]:
        """(workers that may be asked, best first; terms of open channels). NoWorker, with reasons, if there is none."""
        facts = self._watcher.current
        if facts is None:
            refused = self._watcher.refused
            raise NoWorker(refused or "the network has not been read yet; try again in a moment")
        if time.time() - facts.read_at > self.settings.stale_sec:
            raise NoWorker(
                f"the network could not be read for more than {self.settings.stale_sec:g} s; try again later"
            )
        offering = [worker for worker in facts.workers if model_id in worker.models]
        reasons = {worker.index: self.why_not(worker, model_id) for worker in offering}
        usable = [worker for worker in offering if reasons[worker.index] is None]
        if not usable:
            said = "; ".join(f"worker {index}: {reason}" for index, reason in list(reasons.items())[:8])
            raise NoWorker(f"no worker can be used for this model now ({said or 'none offers it'})")
        bound = self._pool.terms(model_id)
        return order(usable, model_id, self.policy, self.experiences, typical=estimate.typical, bound=bound), bound

    def _model(self, model_id: str) -> Model:
        facts, number = self._watcher.current, int(model_id, 16)
        workers = (
            [] if facts is None else [w for w in facts.workers if number in w.models and not self.why_not(w, number)]
        )
        cheapest = min(
            (w.models[number] for w in workers),
            key=lambda t: streamed_price(Usage(1000, 0, 1000, b""), t),
            default=None,
        )
        names = tuple(name for name, known in self._names.items() if known == model_id)
        return Model(model_id, (*names, model_id), len(workers), cheapest)

    def experience(self, index: int) -> Experience:
        return self.experiences.setdefault(index, Experience())


def _sendable(body: dict[str, Any]) -> Asked:
    """RequestRefused for what no worker could be sent: it must not be taken for a worker's failure."""
    try:
        return Asked.of(body)
    except PayloadTooLarge as error:
        raise RequestRefused("too_long", str(error)) from error
    except PayloadMalformed as error:
        raise RequestRefused("malformed", str(error)) from error
