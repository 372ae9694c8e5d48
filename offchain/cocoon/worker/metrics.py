"""What Prometheus can read of a worker, computed when it asks."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from .counting import Tally
from .logs import LevelCounter
from .watching import Look, Observer

__all__ = ["WorkerMetrics"]

_PREFIX = "cocoon_worker_"


class WorkerMetrics(Collector):
    """Of one observer. What is not known yet is left out."""

    def __init__(self, observer: Observer, levels: LevelCounter) -> None:
        self._observer, self._levels = observer, levels
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def show(self) -> bytes:
        """The exposition, as of now."""
        return bytes(generate_latest(self._registry))

    def collect(self) -> Iterator[Metric]:
        yield from _of_kernel(self._observer.tally)
        server = self._observer.agent.server
        yield _gauge("streams_running", "Streamed answers under way", 0 if server is None else server.running)
        yield _gauge("draining", "Whether it is about to stop", self._observer.draining)
        yield _gauge("healthy", "Whether /health says ok", self._observer.health()[0])
        errors = CounterMetricFamily(_PREFIX + "log_records", "Log records from WARNING on", labels=["level"])
        for level in ("warning", "error", "critical"):
            errors.add_metric([level], self._levels.counts[level])
        yield errors
        if self._observer.latest is not None:
            yield from _of_look(self._observer.latest)


def _of_kernel(tally: Tally) -> Iterator[Metric]:
    yield _counter("answers", "Answers computed, forced and streamed", tally.answers)
    yield _counter("streams", "Streamed answers ended", tally.streams)
    yield _counter("kernel_failures", "Answers that the kernel did not finish, or refused", tally.failures)
    tokens = CounterMetricFamily(_PREFIX + "tokens", "Tokens worked on", labels=["kind"])
    for kind, count in (
        ("prompt", tally.prompt_tokens), ("cached", tally.cached_tokens), ("completion", tally.completion_tokens),
    ):  # fmt: skip
        tokens.add_metric([kind], count)
    yield tokens
    yield SummaryMetricFamily(
        _PREFIX + "first_token_seconds", "From a stream's start, waiting included, to its first token",
        count_value=tally.first_tokens, sum_value=tally.first_tokens_sec,
    )  # fmt: skip
    yield _gauge("tokens_per_second", "Completion tokens over the last minute", tally.tokens_per_sec())
    yield _gauge("queue", "Answers begun that wait for a slot", tally.waiting)
    yield _gauge("slots_used", "Answers being computed", tally.running - tally.waiting)
    if tally.slots is not None:
        yield _gauge("slots", "Answers the kernel computes together", tally.slots)


def _of_look(look: Look) -> Iterator[Metric]:
    facts, books = look.facts, look.books
    earned = CounterMetricFamily(_PREFIX + "earned_nano", "nanoTON earned, by way", labels=["way"])
    earned.add_metric(["forced"], books.forced_nano)
    earned.add_metric(["streamed"], sum(channel.earned_nano for channel in books.channels))
    yield earned
    jobs = GaugeMetricFamily(_PREFIX + "forced_jobs", "Forced jobs in the journal, by state", labels=["state"])
    for state, count in books.jobs.items():
        jobs.add_metric([state], count)
    yield jobs
    for name, about, count in (
        ("chain_jobs", "Forced jobs the chain has counted", facts.jobs),
        ("chain_misses", "Forced jobs missed", facts.misses),
        ("chain_rejections", "Forced jobs rejected", facts.rejections),
        ("chain_key_losses", "Forced jobs whose key was lost", facts.key_losses),
        ("chain_volume_nano", "Volume credited by channels", facts.volume_nano),
    ):
        yield _counter(name, about, count)
    for name, about, value in (
        ("status", "1 pending, 2 active, 3 paused, 4 unbonding, 5 closed, 6 jailed", int(facts.status)),
        ("open_jobs", "Forced jobs open on the chain", facts.open_jobs),
        ("channels", "Channels that vouchers came over", len(books.channels)),
        ("lease_seconds", "Until the lease ends", facts.lease_end - facts.time),
        ("stake_nano", "nanoTON", facts.stake_nano),
        ("bond_nano", "nanoTON", facts.bond_nano),
        ("operator_nano", "nanoTON in the operator's wallet", facts.operator_nano),
    ):
        yield _gauge(name, about, value)


def _gauge(name: str, about: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(_PREFIX + name, about, value=value)


def _counter(name: str, about: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(_PREFIX + name, about, value=value)
