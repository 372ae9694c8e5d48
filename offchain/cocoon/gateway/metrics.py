"""What Prometheus can read: requests, latencies, tokens, money, workers' failures."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["GatewayMetrics", "MarketMetrics"]

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class MarketMetrics:
    """What happens between the gateway and workers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._ttft = Histogram(
            "cocoon_gateway_worker_first_token_seconds", "From asking a worker to its first token",
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._failures = Counter(
            "cocoon_gateway_worker_failures", "Attempts that ended without an answer", ["kind"], registry=registry
        )
        self._hedges = Counter(
            "cocoon_gateway_hedges", "Second workers asked because a first was slow", registry=registry
        )

    def first_token(self, seconds: float) -> None:
        self._ttft.observe(seconds)

    def worker_failed(self, kind: str) -> None:
        self._failures.labels(kind).inc()

    def hedged(self) -> None:
        self._hedges.inc()


class GatewayMetrics:
    """What clients see of the gateway, and its money."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.market = MarketMetrics(self.registry)
        self._requests = Counter(
            "cocoon_gateway_requests", "Requests answered, by endpoint and status", ["endpoint", "status"],
            registry=self.registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "cocoon_gateway_request_seconds", "Duration of requests", ["endpoint"], buckets=_SECONDS,
            registry=self.registry,
        )  # fmt: skip
        tokens = Counter("cocoon_gateway_tokens", "Tokens billed", ["kind"], registry=self.registry)
        self._prompt, self._cached, self._completion = map(tokens.labels, ("prompt", "cached", "completion"))
        self._fees = Counter("cocoon_gateway_fees_nano", "nanoTON billed by workers", registry=self.registry)
        self._live = Gauge("cocoon_gateway_live_requests", "Requests under way", registry=self.registry)
        self._channels = Gauge("cocoon_gateway_channels", "Channels held", registry=self.registry)
        self._locked = Gauge("cocoon_gateway_locked_nano", "nanoTON in deposits", registry=self.registry)
        self._wallet = Gauge("cocoon_gateway_wallet_nano", "nanoTON in the wallet", registry=self.registry)

    def answered(self, endpoint: str, status: int, seconds: float) -> None:
        self._requests.labels(endpoint, str(status)).inc()
        self._seconds.labels(endpoint).observe(seconds)

    def billed(self, prompt: int, cached: int, completion: int, fee_nano: int) -> None:
        self._prompt.inc(prompt)
        self._cached.inc(cached)
        self._completion.inc(completion)
        self._fees.inc(fee_nano)

    def show(self, *, live: int, channels: int, locked_nano: int, wallet_nano: int | None) -> bytes:
        """The exposition, with the gauges as they are now."""
        self._live.set(live)
        self._channels.set(channels)
        self._locked.set(locked_nano)
        if wallet_nano is not None:
            self._wallet.set(wallet_nano)
        return bytes(generate_latest(self.registry))
