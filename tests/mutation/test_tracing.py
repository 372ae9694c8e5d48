"""A test that starts from a snapshot rests on what was run to make it."""

from __future__ import annotations

from world import World

from cocoon.mutation.tracing import Tracer
from cocoon_sandbox.ledger import Ledger


def test_tracer_restored_snapshot_brings_along_what_made_it(ledger: Ledger) -> None:
    tracer = Tracer()
    with tracer.tracing():
        world = World(ledger).deploy()
        registered = set(tracer.own)
        start = ledger.snapshot()
        tracer.clear()
        other = Ledger(ledger.executor)
        other.restore(start)
        assert tracer.own == set()
        assert tracer.inherited <= registered
        assert tracer.inherited
        other.get(world.registry, "get_rebuilders")
        assert tracer.own
        assert tracer.own - tracer.inherited


def test_tracer_snapshot_of_a_restored_ledger_remembers_both(ledger: Ledger) -> None:
    tracer = Tracer()
    with tracer.tracing():
        world = World(ledger).deploy()
        first = ledger.snapshot()
        other = Ledger(ledger.executor)
        other.restore(first)
        other.get(world.registry, "get_rebuilders")
        second = other.snapshot()
        tracer.clear()
        ledger.restore(first)
        from_first = set(tracer.inherited)
        tracer.clear()
        ledger.restore(second)
        assert tracer.inherited > from_first
