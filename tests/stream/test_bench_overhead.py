"""The measurement of the hop goes through everything a request goes through, and comes back with figures."""

from __future__ import annotations

from cocoon.bench.overhead import measure


def test_overhead_of_the_protocol_alone_counts_the_fast_path_and_the_gateway() -> None:
    found = measure(streams=(), requests=64)["null_kernel"]
    for way in (found, found["gateway"]):
        assert way["requests_per_s"] > 1
        assert 0 < way["first_token_ms_alone_p50"] <= way["first_token_ms_alone_p99"]
