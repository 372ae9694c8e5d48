"""Clients that come and go: the process must not keep anything of those that went."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cocoon.kernels.engine.sampling import Sampling
from cocoon.kernels.sandboxed.host import KernelHost
from cocoon.kernels.sandboxed.process import Order

REQUESTS, CLIENTS = 2000, 8
_SETTLED_SEC = 20.0


@pytest.fixture
def host(tiny_bundle: Path, tmp_path: Path) -> Iterator[KernelHost]:
    host = KernelHost(Order(tiny_bundle, None, compiled=tmp_path, strict=sys.platform == "linux"))
    host.load()
    yield host
    host.close()


class Kind:
    """A request, and what it answers alone."""

    def __init__(self, host: KernelHost, number: int) -> None:
        draw = random.Random(number)
        self.tokens = [draw.randrange(3, 259) for _ in range(draw.choice([1, 15, 16, 40]))]
        self.options = {
            "max_tokens": draw.randrange(2, 30),
            "sampling": Sampling(draw.choice([0.0, 1.0]), 1.0, number),
            "owner": draw.choice([None, "a", "b"]),
        }
        self.alone = host.complete(tokens=self.tokens, **self.options).tokens


def client(host: KernelHost, kinds: list[Kind], seed: int, wrong: list[str]) -> None:
    draw = random.Random(seed)
    for _ in range(REQUESTS // 2 // CLIENTS):
        kind, way = draw.choice(kinds), draw.choice(["stays", "stays", "cancels", "drops"])
        cancel = threading.Event()
        generation = host.generate(tokens=kind.tokens, cancel=cancel if way == "cancels" else None, **kind.options)
        leaves_after = draw.randrange(len(kind.alone)) if way != "stays" else None
        found = []
        for token in generation:
            found.append(token.id)
            if token.index == leaves_after:
                if way == "drops":
                    break  # as a connection that is lost: nobody says that it is
                cancel.set()
        if tuple(found) != kind.alone[: len(found)] or (way == "stays" and len(found) != len(kind.alone)):
            wrong.append(f"{way}: {found} instead of {kind.alone}")


def resident_kib(host: KernelHost) -> int:
    status = Path(f"/proc/{host.running()._child.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


@pytest.mark.skipif(sys.platform != "linux", reason="reads the process's memory from /proc")
def test_clients_that_cancel_or_drop_out_leave_no_slot_taken_and_no_memory_used(host: KernelHost) -> None:
    """And those that stay get the answer they would get alone."""
    kinds = [Kind(host, number) for number in range(24)]
    wrong: list[str] = []
    memory = []
    for half in range(2):
        clients = [
            threading.Thread(target=client, args=(host, kinds, 100 * half + number, wrong)) for number in range(CLIENTS)
        ]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join()
        until = time.monotonic() + _SETTLED_SEC
        while (found := host.metrics())["busy_slots"] or found["queue"]:
            assert time.monotonic() < until, f"requests nobody waits for are still there: {found}"
            time.sleep(0.05)
        memory.append(resident_kib(host))
    assert wrong == []
    assert found["requests"] == found["finished"] > REQUESTS
    assert host.crashes == 0
    assert memory[1] - memory[0] < 8 << 10, f"KiB after each half: {memory}"
