"""Crashes: at every call the agent makes to chain, signer and journal it is killed, before and after; the next one
finishes.

Acceptance: the job is delivered exactly once, one receipt signed, the worker paid once, and the money on the ledger
adds up.
"""

import inspect
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from agent_world import World

from cocoon.wire.escrow import DeliverJob, RejectJob
from cocoon.wire.worker import Attest, SetOffer
from cocoon_sandbox.ledger import Ledger

_MUTATES = frozenset({
    "send", "sign_receipt", "sign_rejection", "record", "accept", "answer", "refuse", "lose", "sending_used",
    "sending_void", "parcel_arrived", "claim",
})  # fmt: skip


class Crash(BaseException):
    """The process dies here."""


class Fuse:
    """Counts calls; burns at one of them, before or after it takes effect."""

    def __init__(self, at: int | None = None, *, after: bool = False) -> None:
        self.calls: list[str] = []
        self.burnt = False
        self._at = at
        self._after = after

    def wrap(self, part: str, inner: Any) -> Any:
        return _Fused(self, part, inner)

    def before(self, name: str) -> int:
        self.calls.append(name)
        if self._burns(len(self.calls), after=False):
            raise Crash(name)
        return len(self.calls)

    def after(self, number: int, name: str) -> None:
        if self._burns(number, after=True):
            raise Crash(name)

    def _burns(self, number: int, *, after: bool) -> bool:
        if self._at != number or self._after != after:
            return False
        self.burnt = True
        return True


class _Fused:
    def __init__(self, fuse: Fuse, part: str, inner: Any) -> None:
        self._fuse = fuse
        self._part = part
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found) or name == "close":
            return found
        label = f"{self._part}.{name}"
        if inspect.iscoroutinefunction(found):

            async def call(*args: Any, **kwargs: Any) -> Any:
                number = self._fuse.before(label)
                result = await found(*args, **kwargs)
                self._fuse.after(number, label)
                return result

            return call

        def plain(*args: Any, **kwargs: Any) -> Any:
            number = self._fuse.before(label)
            result = found(*args, **kwargs)
            self._fuse.after(number, label)
            return result

        return plain


async def _run_with(
    world: World, directory: Path, fuse: Fuse, holds: Callable[[Any], bool], *, later: bool = False
) -> None:
    """An agent whose every call passes the fuse, until `holds` or it burns; then another one without a fuse until
    `holds`.
    """
    for fused in (True, False):
        agent = world.agent(directory, wrap=fuse.wrap if fused else _unfused)
        finished = getattr(agent.journal, "_inner", agent.journal)
        try:
            await world.run_until(agent, lambda finished=finished: holds(finished))
        except* Crash:
            assert fuse.burnt
        if not (fused and fuse.burnt):
            return
        if later:
            world.settle()  # the network goes on while the agent is dead


def _journal_dir(root: Path, name: str, case: str) -> Path:
    """For answers, the journal of the agent that registered, which finds the job as an event; else a new one."""
    if case == "answer":
        shutil.copytree(root / "setup", root / name)
    return root / name


def _unfused(_part: str, inner: Any) -> Any:
    return inner


async def _calls(world: World, directory: Path, holds: Callable[[Any], bool]) -> list[str]:
    """What an agent calls on a run without a crash."""
    fuse = Fuse()
    await _run_with(world, directory, fuse, holds)
    return fuse.calls


def _points(calls: list[str], *, every: bool = True) -> list[tuple[int, bool]]:
    """Where to crash: before `every` call, or those that change something only, and after these."""
    changing = [n for n, name in enumerate(calls, 1) if name.partition(".")[2] in _MUTATES]
    points = [(number, False) for number in (range(1, len(calls) + 1) if every else changing)]
    points += [(number, True) for number in changing]
    return sorted(points)


@pytest.mark.parametrize(("case", "later"), [("answer", False), ("answer", True), ("reject", True)])
async def test_agent_killed_at_any_call_ends_the_job_exactly_once(
    ledger: Ledger, tmp_path: Path, case: str, later: bool
) -> None:
    world = World(ledger)
    await world.run_until(world.agent(tmp_path / "setup"), lambda: world.ready)
    world.settle()
    world.open()
    posted, channel = world.post({"prompt": "one two three"} if case == "answer" else {}), world.channel()
    start = ledger.snapshot()
    opcode = (DeliverJob if case == "answer" else RejectJob).PREFIX[0]
    paid_before = world.payout.balance(ledger)

    def done(journal: Any) -> bool:
        return bool(jobs := journal.jobs()) and jobs[0].outcome is not None

    def check(where: str) -> None:
        ended = world.transactions_with(world.escrow, opcode)
        assert [one.exit_code for one in ended].count(0) == 1, where
        assert len(ended) == 1, where
        assert len(world.keys._table) == 1, where
        paid = world.payout.balance(ledger) - paid_before
        if case == "answer":
            answer, receipt = world.answer(posted, channel)
            assert answer.body == {"text": "three two one"}, where
            assert receipt.fee_nano - 100 <= paid <= receipt.fee_nano, where
        else:
            assert -100 <= paid <= 0, where
        ledger.check_conservation()

    world.reset(start)
    calls = await _calls(world, _journal_dir(tmp_path, "count", case), done)
    check("without a crash")
    points = _points(calls, every=not later)
    crashes = 0
    for number, after in points:
        world.reset(start)
        fuse = Fuse(number, after=after)
        await _run_with(world, _journal_dir(tmp_path, f"{number}{after}", case), fuse, done, later=later)
        crashes += fuse.burnt
        check(f"{'after' if after else 'before'} call {number}, {calls[number - 1]}")
    assert crashes >= len(points) * 3 // 4  # a run may take a round less than the one that was counted


async def test_agent_killed_at_any_call_registers_exactly_once(ledger: Ledger, tmp_path: Path) -> None:
    world = World(ledger)
    start = ledger.snapshot()

    def done(_journal: Any) -> bool:
        return world.ready

    calls = await _calls(world, tmp_path / "count", done)
    for number, after in _points(calls, every=False):
        world.reset(start)
        await _run_with(world, tmp_path / f"{number}{after}", Fuse(number, after=after), done, later=after)
        world.settle()
        where = f"{'after' if after else 'before'} call {number}"
        for struct in (Attest, SetOffer):
            sent = world.transactions_with(world.worker, struct.PREFIX[0])
            assert [done.exit_code for done in sent] == [0], where
        ledger.check_conservation()


async def test_agent_whose_journal_was_rolled_back_sends_what_was_signed(ledger: Ledger, tmp_path: Path) -> None:
    """A.17: the host restores an old disk after every step; the signer's memory alone prevents a second signature."""
    world = World(ledger)
    await world.run_until(world.agent(tmp_path / "setup"), lambda: world.ready)
    world.settle()
    world.open()
    posted, channel = world.post(), world.channel()
    agent = world.agent(tmp_path / "first")
    world.chain.lose_messages = 1
    await world.run_until(agent, lambda: agent.journal.open_sending() is not None)
    (first,) = world.keys._table._entries.values()
    agent = world.agent(tmp_path / "second")
    await world.run_until(agent, world.settled(agent))
    (second,) = world.keys._table._entries.values()
    assert first == second
    assert world.kernel.runs == 1
    answer, receipt = world.answer(posted, channel)
    assert answer.body == {"text": "three two one"}
    assert receipt == first.statement
