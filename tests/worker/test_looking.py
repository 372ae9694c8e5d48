"""What is shown of a worker: advice, earnings, counts, logs; and workers that would get in each other's way."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pytoniq_core import Address, Cell

from cocoon.agent.config import DEFAULT_TERMS, AgentConfig
from cocoon.agent.errors import JournalInUse
from cocoon.agent.jobs import JobKey, Outcome
from cocoon.agent.journal import Ended, Journal
from cocoon.agent.kernel import Ended as StreamEnded
from cocoon.agent.kernel import Event, StreamKernel
from cocoon.agent.vouchers import VoucherBook
from cocoon.amounts import parse_ton, ton_text
from cocoon.bench.null_kernel import NullKernel
from cocoon.kernels.engine.request import Metering
from cocoon.kernels.errors import EngineBusy, InvalidRequest, KernelCrashed, KernelError, OverBudget, PromptTooLong
from cocoon.wire.common import Payment, PaymentReason
from cocoon.wire.worker import WorkerStatus
from cocoon.worker.attention import Urgency, advise
from cocoon.worker.books import Books, ChannelBook, open_books, read_books
from cocoon.worker.counting import Tally, counted
from cocoon.worker.directory import WorkerDirectory
from cocoon.worker.earnings import read_earnings
from cocoon.worker.errors import WorkerCommandError
from cocoon.worker.facts import WorkerFacts
from cocoon.worker.logs import start_logging
from cocoon.worker.several import Planned, check_apart
from cocoon.worker.watching import Look, Observer

TON = 10**9
NOW = 1_800_000_000
OPERATOR = Address((0, b"\x02" * 32))
RAW = OPERATOR.to_str(is_user_friendly=False)
WELL = WorkerFacts(
    time=NOW, index=0, worker=Address((0, b"\x01" * 32)), owner=Address((0, b"\x04" * 32)), operator=OPERATOR,
    payout=Address((0, b"\x03" * 32)), status=WorkerStatus.ACTIVE, stake_nano=10 * TON, bond_nano=2 * TON,
    min_stake_nano=10 * TON, min_bond_nano=2 * TON, lease_end=NOW + 5 * 86400, key_epoch=1, session_key=77,
    measurement=9, approved=9, is_listed=True, is_denied=False, forced_slots=2, models={1: DEFAULT_TERMS}, open_jobs=0,
    jobs=0, misses=0, rejections=0, key_losses=0, volume_nano=0, operator_nano=TON, attest_nano=TON // 50,
)  # fmt: skip


def problems(facts: WorkerFacts, **changes: Any) -> list[tuple[str, str]]:
    known: dict[str, Any] = {"is_running": True, "own_key": 77, "own_operator": RAW, **changes}
    return [(one.urgency.value, one.problem) for one in advise(facts, **known)]


def test_advise_of_a_worker_that_is_well_says_nothing() -> None:
    assert problems(WELL) == []


@pytest.mark.parametrize(
    ("facts", "situation", "expected"),
    [
        ({"status": WorkerStatus.PAUSED}, {}, "now the worker is paused"),
        ({"status": WorkerStatus.UNBONDING}, {}, "soon the worker is unbonding"),
        ({"status": WorkerStatus.CLOSED}, {}, "now the worker is closed"),
        ({"status": WorkerStatus.JAILED}, {}, "now the worker was slashed"),
        ({"is_denied": True}, {}, "now the network has denied"),
        ({"is_listed": False}, {}, "soon the approved measurement is not"),
        ({"session_key": 0}, {}, "now the worker's keys have never been attested"),
        ({"lease_end": NOW}, {}, "now the lease has ended"),
        ({"lease_end": NOW + 7200}, {}, "soon the lease ends in 2 h"),
        ({}, {"own_key": None}, "now no signer runs here"),
        ({}, {"own_key": 78}, "now the signer here has other keys"),
        ({}, {"is_running": False}, "now the agent does not run"),
        ({}, {"own_operator": "0:" + "00" * 32}, "now the operator's key here is not the worker's"),
        ({"bond_nano": TON}, {}, "now the bond is below"),
        ({"stake_nano": TON}, {}, "now the stake is below"),
        ({"operator_nano": TON // 25}, {}, "soon the operator's wallet holds only"),
        ({"operator_nano": TON // 100}, {}, "now the operator's wallet holds only"),
        ({"models": {}}, {}, "now the worker offers no model"),
    ],
)
def test_advise_names_each_problem(facts: dict[str, Any], situation: dict[str, Any], expected: str) -> None:
    found = [f"{urgency} {problem}" for urgency, problem in problems(replace(WELL, **facts), **situation)]
    assert len(found) == 1
    assert found[0].startswith(expected)


def test_advise_puts_the_urgent_first() -> None:
    found = problems(replace(WELL, is_listed=False, operator_nano=0))
    assert [urgency for urgency, _ in found] == [Urgency.NOW, Urgency.SOON]


def test_health_follows_what_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr("cocoon.worker.watching.time.monotonic", lambda: clock.now)
    observer = Observer(SimpleNamespace(), SimpleNamespace())  # type: ignore[arg-type]
    assert observer.health() == (False, {"status": "starting"})

    def see(facts: WorkerFacts) -> None:
        advice = advise(facts, is_running=True, own_key=77, own_operator=RAW)
        observer.latest = Look(clock.now, facts, SimpleNamespace(), tuple(advice))  # type: ignore[arg-type]

    see(WELL)
    assert observer.health()[0]
    see(replace(WELL, is_listed=False))
    is_fine, body = observer.health()
    assert (is_fine, body["status"], len(body["warnings"])) == (True, "ok", 1)
    see(replace(WELL, lease_end=NOW - 1))
    is_fine, body = observer.health()
    assert (is_fine, body["status"]) == (False, "in trouble")
    see(WELL)
    clock.now += 61
    assert observer.health()[1]["status"] == "network or signer unreachable"
    see(WELL)
    observer.draining = True
    assert observer.health()[0] is False
    assert observer.health()[1]["status"] == "draining"


def test_low_operator_balance_is_warned_of_once_an_hour(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr("cocoon.worker.watching.time.monotonic", lambda: clock.now)
    observer = Observer(SimpleNamespace(), SimpleNamespace())  # type: ignore[arg-type]
    poor = replace(WELL, operator_nano=0)
    look = Look(0.0, poor, SimpleNamespace(), tuple(advise(poor, is_running=True, own_key=77, own_operator=RAW)))  # type: ignore[arg-type]
    for wait in (0, 10, 3600):
        clock.now += wait
        observer._warn(look)
    assert len([one for one in caplog.records if "operator's wallet holds only 0 TON" in one.message]) == 2


class PayoutChain:
    """The payout address's transactions: (from, comment, nanoTON) each."""

    def __init__(self, paid: list[tuple[Address, str, int]]) -> None:
        self.paid, self.asked_after = paid, 0

    async def transactions(self, address: Address, *, after_lt: int = 0, limit: int = 64) -> list[Any]:
        self.asked_after = after_lt
        made = [
            SimpleNamespace(
                lt=number + 1,
                in_msg=SimpleNamespace(
                    kind="internal", src=sender, value=nano, bounced=False, body=self._body(comment)
                ),
            )
            for number, (sender, comment, nano) in enumerate(self.paid)
        ]
        return [one for one in made if one.lt > after_lt][:limit]

    @staticmethod
    def _body(comment: str) -> Cell:
        return Payment(comment).to_cell() if comment else Cell.empty()


async def test_earnings_count_known_channels_once_and_nobodys_jokes(tmp_path: Path) -> None:
    mine, joker = (Address((0, bytes([number]) * 32)) for number in (7, 8))
    escrow = mine.to_str(is_user_friendly=False)
    earned = PaymentReason.EARNINGS.value
    chain = PayoutChain([(mine, earned, 5), (joker, earned, 100), (mine, "Cocoon refund", 9), (mine, "", 3)])
    memory = tmp_path / "earnings.json"
    for _ in range(2):
        found = await read_earnings(chain, WELL.payout, memory)  # type: ignore[arg-type]
        assert (found.received((escrow,)), found.others((escrow,))) == (5, 100)
    assert chain.asked_after == 4  # what was read is not read again
    chain.paid.append((mine, earned, 2))
    assert (await read_earnings(chain, WELL.payout, memory)).received((escrow,)) == 7  # type: ignore[arg-type]
    other = await read_earnings(chain, WELL.owner, memory)  # type: ignore[arg-type]
    assert other.received((escrow,)) == 7  # another address: everything is read again, not added
    memory.write_text("{")
    assert (await read_earnings(chain, WELL.payout, memory)).received((escrow,)) == 7  # type: ignore[arg-type]


async def test_books_read_each_ended_job_once_and_tell_what_is_open(tmp_path: Path) -> None:
    escrows = [Address((0, bytes([number]) * 32)) for number in (5, 6)]
    with (
        contextlib.closing(Journal(tmp_path / "journal.sqlite")) as journal,
        contextlib.closing(VoucherBook(tmp_path / "vouchers.sqlite")) as vouchers,
    ):
        keys = [JobKey(escrow, 1, 1, 0) for escrow in escrows]
        journal.record(WELL.worker, 1, [*keys, Ended(escrows[0], 1, 1, Outcome.DELIVERED)])
        record = await vouchers.load(escrows[1], 3)
        record.cumulative, record.earned, record.receipts = 9, 8, 2
        await vouchers.save(record)
        fees: dict[int, int] = {}
        found = await read_books(journal, vouchers, fees)
        assert (found.jobs, found.outcomes, found.unfinished) == ({"settled": 1, "seen": 1}, {"delivered": 1}, 1)
        assert found.escrows == tuple(escrow.to_str(is_user_friendly=False) for escrow in escrows)
        assert found.channels == (ChannelBook(found.escrows[1], 3, 9, 8, 2, False),)
        assert [state for _, state, _ in found.open_jobs] == ["seen"]
        assert Books.from_json(json.loads(json.dumps(found.to_json()))) == found
        assert list(fees.values()) == [0]
        fees[next(iter(fees))] = 40
        assert (await read_books(journal, vouchers, fees)).forced_nano == 40
        with pytest.raises(JournalInUse):
            await open_books(tmp_path)
    assert await open_books(tmp_path) == found
    assert await open_books(tmp_path / "other") is None


def test_counting_kernel_counts_answers_tokens_and_failures() -> None:
    kernel, tally = counted(NullKernel())
    assert isinstance(kernel, StreamKernel)
    done = kernel.complete({"prompt": "a b c"}, max_tokens=2, cancel=threading.Event())
    assert done.body["text"] == "c b"
    assert (tally.prompt_tokens, tally.completion_tokens, tally.answers, tally.failures) == (3, 2, 1, 0)
    with pytest.raises(InvalidRequest):
        kernel.complete({}, max_tokens=2, cancel=threading.Event())
    assert (tally.answers, tally.failures, tally.running) == (1, 0, 0)  # the client's mistake, not the kernel's
    heard: list[Any] = []
    before = time.monotonic()
    run = kernel.start({"prompt": "d e"}, metering(allowed=1), heard.append, max_tokens=9)
    assert (tally.running, tally.first_tokens) == (1, 1)
    assert 0 < tally.first_tokens_sec <= time.monotonic() - before
    run.allow(9)
    assert tally.first_tokens == 1
    assert (tally.running, tally.answers, tally.streams, tally.completion_tokens) == (0, 2, 1, 4)
    assert tally.tokens_per_sec() == pytest.approx(4 / 60)
    assert len(heard) == 4


class Scripted(NullKernel):
    """Streams as it is told to."""

    def __init__(self, say: Callable[[Callable[[Event], None]], None]) -> None:
        super().__init__()
        self._say = say

    def start(self, request: Any, metering: Any, told: Callable[[Event], None], **_: Any) -> Any:
        self._say(told)


def streamed(say: Callable[[Callable[[Event], None]], None]) -> Tally:
    """What is counted of such a stream."""
    kernel, tally = counted(Scripted(say))
    assert isinstance(kernel, StreamKernel)
    with contextlib.suppress(KernelError):
        kernel.start({}, metering(allowed=1), lambda _: None, max_tokens=1)
    return tally


@pytest.mark.parametrize(
    ("error", "failures"),
    [(OverBudget(9), 0), (PromptTooLong(9, 8), 0), (KernelCrashed("it died"), 1), (EngineBusy("later"), 1)],
)
def test_counting_kernel_counts_only_the_kernels_own_failures(error: Exception, failures: int) -> None:
    def fail(_: Any) -> None:
        raise error

    for say in (fail, lambda told: told(error)):
        tally = streamed(say)
        assert (tally.failures, tally.answers, tally.streams, tally.running) == (failures, 0, 0, 0)


def test_counting_kernel_counts_a_stream_only_with_the_lock_held() -> None:
    kept: list[Callable[[Event], None]] = []
    tally = streamed(kept.append)
    ending = threading.Thread(target=kept[0], args=(StreamEnded({}),))
    with tally._lock:
        ending.start()
        ending.join(0.2)
        assert tally.streams == 0  # nobody counts past one who counts
    ending.join()
    assert tally.streams == 1


def metering(*, allowed: int) -> Metering:
    made: Any = SimpleNamespace(prepaid=100, allowed=allowed, most=lambda _: None)
    found: Metering = made
    return found


def test_counting_kernel_without_streams_has_none() -> None:
    plain = SimpleNamespace(model_id=b"\0" * 32, count_tokens=None, asked_tokens=None, complete=None)
    kernel, _ = counted(plain)  # type: ignore[arg-type]
    assert not isinstance(kernel, StreamKernel)


def test_json_log_is_one_object_a_line_and_levels_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    before = logging.getLogger().handlers[:]
    levels = start_logging(as_json=True)
    try:
        logging.getLogger("cocoon.x").warning("two\nlines of %s", "text")
        logging.getLogger("cocoon.x").info("fine")
    finally:
        logging.getLogger().handlers[:] = before
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (first["level"], first["message"], second["level"]) == ("warning", "two\nlines of text", "info")
    assert levels.counts == {"warning": 1}


def planned(tmp_path: Path, name: str, **changes: Any) -> Planned:
    key = tmp_path / f"{name}.key"
    key.write_text(Ed25519PrivateKey.generate().private_bytes_raw().hex())
    settings: dict[str, Any] = {
        "network": tmp_path / "net", "registry": WELL.owner, "worker_index": len(list(tmp_path.glob("*.key"))),
        "data_dir": tmp_path / name, "wallet_key": key, "listen": None,
    }  # fmt: skip
    metrics = changes.pop("metrics", None)
    return Planned(tmp_path / name, AgentConfig(**{**settings, **changes}), metrics)


@pytest.mark.parametrize(
    ("shared", "saying"),
    [
        (lambda one: {"metrics": one.metrics}, "port 4000"),
        (lambda one: {"listen": "0.0.0.0:4000"}, "port 4000"),
        (lambda one: {"data_dir": one.config.data_dir}, "data directory"),
        (lambda one: {"signer_socket": one.config.socket}, "signer"),
        (lambda one: {"worker_index": one.config.worker_index}, "worker"),
        (lambda one: {"wallet_key": one.config.wallet_key}, "operator's wallet"),
    ],
)
def test_workers_that_share_something_are_not_started(
    tmp_path: Path, shared: Callable[[Planned], dict[str, Any]], saying: str
) -> None:
    one = planned(tmp_path, "one", metrics="127.0.0.1:4000")
    check_apart([one, planned(tmp_path, "two", metrics="127.0.0.1:4001")])
    with pytest.raises(WorkerCommandError, match=f"share the {saying}"):
        check_apart([one, planned(tmp_path, "three", **shared(one))])


def test_operator_key_is_made_once_and_a_damaged_one_refused(tmp_path: Path) -> None:
    directory = WorkerDirectory(tmp_path)
    wallet, is_new = directory.operator()
    again, is_new_again = directory.operator()
    assert (is_new, is_new_again, wallet.address) == (True, False, again.address)
    directory.operator_key.write_text("")
    with pytest.raises(WorkerCommandError, match="restore it"):
        directory.operator()


@pytest.mark.parametrize("text", ["1", "0.000000001", "12.5", "0"])
def test_amounts_are_read_as_written(text: str) -> None:
    assert ton_text(parse_ton(text)) == text


@pytest.mark.parametrize("text", ["", "x", "-1", "1e-10", "NaN", "Infinity", "1e30"])
def test_amounts_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="TON"):
        parse_ton(text)
