"""The agent end to end on the real contracts: it registers, finds jobs, answers, rejects, and gets its worker paid."""

import asyncio
import logging
import random
from pathlib import Path
from typing import Any

import pytest
from agent_kernel import MODEL
from agent_world import SALT, TERMS, TON, World
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pytoniq_core import Address, Cell, begin_cell

from cocoon.agent.compute import Limits
from cocoon.agent.errors import JournalFull, JournalInUse, JournalOfAnother, SetupError
from cocoon.agent.jobs import Job, JobState, Outcome
from cocoon.agent.journal import Journal
from cocoon.chain.wallet import Wallet
from cocoon.crypto.request import seal_request
from cocoon.errors import ChainError, ChainUnavailable
from cocoon.signer.errors import SignerUnavailable
from cocoon.signer.keys import SignerKeys
from cocoon.wire.blob import bytes_to_cell
from cocoon.wire.escrow import DeliverJob, ExpireJob, RebindChannel, RejectReason
from cocoon.wire.worker import AdmitJob, ChangeOperator, ReportMiss, SettleJob
from cocoon_sandbox.ledger import Ledger


@pytest.fixture
async def world(ledger: Ledger, tmp_path: Path) -> World:
    """An agent has registered its identity and offer, journaling in `tmp_path`; a client has opened an escrow."""
    made = World(ledger)
    await made.run_until(made.agent(tmp_path), lambda: made.ready)
    made.settle()
    made.open()
    return made


def _jobs(directory: Path) -> list[Job]:
    journal = Journal(directory / "journal.sqlite")
    found = journal.jobs()
    journal.close()
    return found


async def _serve(world: World, directory: Path, **changes: Any) -> Job:
    """Runs an agent until all jobs are settled: the last job."""
    agent = world.agent(directory, **changes)
    await world.run_until(agent, world.settled(agent))
    return _jobs(directory)[-1]


# ---- registering ----


async def test_agent_registers_identity_and_offer_once(ledger: Ledger, tmp_path: Path) -> None:
    world = World(ledger)
    assert not world.ready
    await world.run_until(world.agent(tmp_path), lambda: world.ready)
    view = world.worker_view()
    assert (view.key_epoch, view.forced_slots, view.models) == (1, 2, {MODEL: TERMS})
    world.settle()
    blocks, before = world.chain.blocks, len(world.chain.history)
    await world.run_until(world.agent(tmp_path), lambda: world.chain.blocks > blocks + 20)
    assert len(world.chain.history) == before


async def test_agent_renews_its_lease_at_half_its_life(world: World, tmp_path: Path) -> None:
    """A.19."""
    lease_end = world.worker_view().lease_end
    world.ledger.advance(4 * 86400)
    await world.run_until(world.agent(tmp_path), lambda: world.worker_view().lease_end > lease_end)
    assert world.worker_view().key_epoch == 1


async def test_agent_of_a_new_signer_rotates_the_key(world: World, tmp_path: Path) -> None:
    world.keys = SignerKeys()
    await world.run_until(world.agent(tmp_path), lambda: world.ready)
    assert world.worker_view().key_epoch == 2


async def test_agent_with_another_wallet_or_index_is_told_so(world: World, tmp_path: Path) -> None:
    stranger = Wallet(Ed25519PrivateKey.generate())
    for name, changes, message in (
        ("a", {"wallet": stranger}, "is operated by"),
        ("b", {"worker_index": 5}, "not registered"),
    ):
        agent = world.agent(tmp_path / name, **changes)
        with pytest.raises(SetupError, match=message):
            await agent.run()
        agent.journal.close()


async def test_agent_replaced_as_operator_is_told_so(world: World, tmp_path: Path) -> None:
    world.owner.send(world.ledger, world.worker, TON // 10, ChangeOperator(1, world.client.address).to_cell())
    world.settle()
    agent = world.agent(tmp_path)
    with pytest.raises(SetupError, match="have the owner change"):
        await agent.run()
    agent.journal.close()


# ---- answering ----


async def test_agent_answers_a_job_and_its_worker_is_paid(world: World, tmp_path: Path) -> None:
    posted, channel = world.post(), world.channel()
    paid, hot = world.payout.balance(world.ledger), world.ledger.balance(world.wallet.address)
    job = await _serve(world, tmp_path)
    assert (job.state, job.outcome) == (JobState.SETTLED, Outcome.DELIVERED)
    answer, receipt = world.answer(posted, channel)
    assert answer.body == {"text": "three two one"}
    assert (answer.usage.prompt, answer.usage.completion) == (3, 3)
    assert receipt.fee_nano == max(TERMS.floor_fee_nano, 3 * 1000 + 3 * 2000)
    rent = 100  # nanoTON that a payout account is charged for the time that passes
    assert receipt.fee_nano - rent <= world.payout.balance(world.ledger) - paid <= receipt.fee_nano
    assert hot - world.ledger.balance(world.wallet.address) < TON // 100
    assert world.kernel.runs == 1
    assert job.note is None


async def test_agent_pays_nothing_for_what_its_fee_does_not_cover(world: World, tmp_path: Path) -> None:
    """A fee that pays for two of three asked tokens gets two."""
    posted, channel = world.post(max_fee=10_000), world.channel()
    world.kernel.runs = 0
    await _serve(world, tmp_path)
    answer, receipt = world.answer(posted, channel)
    assert answer.body == {"text": "three two one"}
    assert receipt.fee_nano == 10_000
    posted = world.post({"prompt": "a b c d e f"}, max_fee=10_000)
    await _serve(world, tmp_path)
    answer, receipt = world.answer(posted, channel)
    assert answer.body == {"text": "f e"}
    assert receipt.fee_nano == 10_000


async def test_agent_late_on_its_deadline_delivers_what_it_has(world: World, tmp_path: Path) -> None:
    world.kernel.wait_for_cancel = True
    posted, channel = world.post(duration=35), world.channel()
    world.chain.block_sec = 0
    job = await _serve(world, tmp_path, limits=Limits(reserve_sec=34.5))
    assert job.outcome == Outcome.DELIVERED
    assert world.answer(posted, channel)[0].body == {"text": "three"}


async def test_agent_whose_kernel_breaks_down_tries_again(world: World, tmp_path: Path) -> None:
    world.kernel.broken = 2
    world.post()
    assert (await _serve(world, tmp_path)).outcome == Outcome.DELIVERED
    assert world.kernel.runs == 3


async def test_agent_rejects_what_its_kernel_stumbles_over(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tried until its deadline, it would be paid for out of the bond."""

    def stumble(_request: object) -> int:
        raise OverflowError

    monkeypatch.setattr(world.kernel, "count_tokens", stumble)
    world.post()
    assert (await _serve(world, tmp_path)).outcome == Outcome.REJECTED


async def test_agent_started_after_the_job_expired_takes_note(world: World, tmp_path: Path) -> None:
    world.post()
    world.ledger.advance(3600 + 61)
    world.client_sends(world.escrow, TON // 10, ExpireJob(1).to_cell())
    job = await _serve(world, tmp_path)
    assert job.outcome == Outcome.MISSED
    assert world.kernel.runs == 0


async def test_agent_serves_jobs_one_after_another_and_remembers_them(world: World, tmp_path: Path) -> None:
    channel = world.channel()
    for number in range(3):
        posted = world.post({"prompt": f"job {number}"})
        await _serve(world, tmp_path)
        assert world.answer(posted, channel)[0].body == {"text": f"{number} job"}
    assert [job.outcome for job in _jobs(tmp_path)] == [Outcome.DELIVERED] * 3


async def test_agent_with_a_new_journal_finds_the_jobs_that_are_open(world: World, tmp_path: Path) -> None:
    """Of the past it needs nothing but the worker's state and the escrow's transactions since its opening."""
    channel = world.channel()
    world.post()
    await _serve(world, tmp_path)
    posted = world.post({"prompt": "second job"})
    world.posted = 1  # all that a new journal will know of
    job = await _serve(world, tmp_path / "new")
    assert (job.key.seq, job.outcome) == (2, Outcome.DELIVERED)
    assert world.answer(posted, channel)[0].body == {"text": "job second"}


async def test_agent_delivers_jobs_of_several_escrows(world: World, tmp_path: Path) -> None:
    posts = []
    for salt in (SALT, SALT + 1):
        world.salt = salt
        if salt != SALT:
            world.open()
        posts.append((salt, world.post({"prompt": f"escrow {salt}"}), world.channel()))
    before = len(world.chain.history)
    await _serve(world, tmp_path)
    for salt, posted, channel in posts:
        world.salt = salt
        assert world.answer(posted, channel)[0].body == {"text": f"{salt} escrow"}
    orders = [done for done in world.chain.history[before:] if done.in_msg and done.in_msg.kind == "external-in"]
    assert sum(len(done.out_msgs) for done in orders) == 2


async def test_agent_long_away_starts_again_from_what_is_open(world: World, tmp_path: Path) -> None:
    """The server has forgotten the worker's transactions since the journal's last one."""
    world.post()
    world.ledger.advance(3600 + 61)
    world.client_sends(world.escrow, TON // 10, ExpireJob(1).to_cell())
    posted, channel = world.post({"prompt": "still open"}), world.channel()
    forgotten = world.ledger.account(world.worker).last_lt

    class Forgetful:
        def __getattr__(self, name: str) -> Any:
            return getattr(world.chain, name)

        async def transactions(self, address: Address, *, after_lt: int = 0, limit: int = 64) -> Any:
            if address == world.worker and after_lt < forgotten:
                raise ChainError("the server has no history that old")
            return await world.chain.transactions(address, after_lt=after_lt, limit=limit)

    world.posted = 1
    agent = world.agent(tmp_path, wrap=lambda name, made: Forgetful() if name == "chain" else made)
    await world.run_until(agent, world.settled(agent))
    assert world.answer(posted, channel)[0].body == {"text": "open still"}


async def test_agent_whose_disk_is_full_stops_and_signs_nothing(world: World, tmp_path: Path) -> None:
    world.post({"prompt": "one two", "padding": "x" * 6000})  # more than the pages that are there can take
    agent = world.agent(tmp_path)
    pages = agent.journal._database.read("PRAGMA page_count")[0][0]
    agent.journal._database.read(f"PRAGMA max_page_count = {pages}")
    sent = len(world.chain.history)
    with pytest.RaisesGroup(JournalFull, allow_unwrapped=True, flatten_subgroups=True):
        async with asyncio.timeout(10):
            await agent.run()
    agent.journal.close()
    assert len(world.keys._table) == 0
    assert len(world.chain.history) == sent
    assert (await _serve(world, tmp_path)).outcome == Outcome.DELIVERED


# ---- the client's faults ----


def _bomb() -> Cell:
    """A cell that refers to itself so often that walking its paths would take for ever."""
    node = begin_cell().store_uint(1, 8).end_cell()
    for _ in range(60):
        node = begin_cell().store_uint(1, 8).store_ref(node).store_ref(node).store_ref(node).end_cell()
    return node


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("garbage", RejectReason.UNDECRYPTABLE),
        ("empty cell", RejectReason.UNDECRYPTABLE),
        ("cell bomb", RejectReason.UNDECRYPTABLE),
        ("another key", RejectReason.UNDECRYPTABLE),
        ("another model", RejectReason.UNDECRYPTABLE),
        ("no prompt", RejectReason.MALFORMED),
        ("too long", RejectReason.TOO_LONG),
        ("fee too low", RejectReason.FEE_TOO_LOW),
        ("model gone", RejectReason.UNKNOWN_MODEL),
    ],
)
async def test_agent_rejects_a_request_at_fault(world: World, tmp_path: Path, case: str, reason: RejectReason) -> None:
    """B.30."""
    paid = world.payout.balance(world.ledger)
    match case:
        case "garbage":
            world.post(request=bytes_to_cell(b"\7" * 3000))
        case "empty cell":
            world.post(request=begin_cell().end_cell())
        case "cell bomb":
            world.post(request=_bomb())
        case "another key":
            world.post(request=seal_request({}, to=SignerKeys().identity().hpke_key, binding=world.binding())[0])
        case "another model":
            world.post(request=seal_request({}, to=world.keys.identity().hpke_key, binding=world.binding(model=1))[0])
        case "no prompt":
            world.post({"question": "who?"})
        case "too long":
            world.post({"prompt": "word " * 101})
        case "fee too low":
            world.post({"prompt": "word " * 50}, max_fee=10_000)
        case "model gone":
            world.kernel.model_id = bytes(32)
            world.post()
    job = await _serve(world, tmp_path)
    assert (job.outcome, job.reason) == (Outcome.REJECTED, reason)
    assert paid - 100 <= world.payout.balance(world.ledger) <= paid
    assert world.kernel.runs == 0
    assert not world.transactions_with(world.escrow, DeliverJob.PREFIX[0])


async def test_agent_is_not_fooled_by_forged_messages(world: World, tmp_path: Path) -> None:
    """B.4, B.12: a stranger who writes to Worker and Escrow as if it were the other contract gets nothing done."""
    world.post()
    stranger = world.ledger.treasury("stranger")
    late = world.ledger.now + 1000
    for body in (
        AdmitJob(1, 1, late, 1, world.client.address, SALT).to_cell(),
        AdmitJob(1, 1, late, 1, stranger.address, SALT).to_cell(),
        SettleJob(world.channel().epoch, 1, 1).to_cell(),
        ReportMiss(world.channel().epoch, 1, stranger.address).to_cell(),
    ):
        world.ledger.enqueue(stranger.message(world.ledger, world.worker, TON // 10, body))
        world.settle()
    job = await _serve(world, tmp_path)
    assert len(_jobs(tmp_path)) == 1
    assert (job.key.escrow, job.outcome) == (world.escrow, Outcome.DELIVERED)


# ---- bad weather ----


class _Flaky:
    """Fails one call in three, at random but the same way every time."""

    def __init__(self, inner: Any, error: Exception) -> None:
        self._inner = inner
        self._error = error
        self._random = random.Random(1)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        async def call(*args: Any, **kwargs: Any) -> Any:
            if self._random.random() < 1 / 3:
                raise self._error
            return await found(*args, **kwargs)

        return call


@pytest.mark.parametrize(
    ("part", "error"), [("chain", ChainUnavailable("the server is gone")), ("signer", SignerUnavailable("it is gone"))]
)
async def test_agent_whose_server_or_signer_goes_away_waits_and_goes_on(
    world: World, tmp_path: Path, part: str, error: Exception
) -> None:
    posted, channel = world.post(), world.channel()
    agent = world.agent(tmp_path, wrap=lambda name, made: _Flaky(made, error) if name == part else made)
    await world.run_until(agent, world.settled(agent))
    assert _jobs(tmp_path)[-1].outcome == Outcome.DELIVERED
    assert world.answer(posted, channel)[0].body == {"text": "three two one"}


async def test_agent_whose_message_is_lost_sends_the_same_bytes_again(world: World, tmp_path: Path) -> None:
    """A.18."""
    world.post()

    def executed() -> int:
        of_wallet = [done for done in world.chain.history if done.account == world.wallet.address]
        return len([done for done in of_wallet if done.in_msg and done.in_msg.kind == "external-in"])

    before = executed()
    world.chain.lose_messages = 3
    assert (await _serve(world, tmp_path)).outcome == Outcome.DELIVERED
    assert executed() == before + 1


async def test_agent_whose_message_expired_signs_it_anew(world: World, tmp_path: Path) -> None:
    world.post()
    world.chain.lose_messages = 25
    world.chain.block_sec = 10
    assert (await _serve(world, tmp_path)).outcome == Outcome.DELIVERED
    assert len(world.transactions_with(world.escrow, DeliverJob.PREFIX[0])) == 1


async def test_agent_sharing_its_wallet_delivers_all_the_same(world: World, tmp_path: Path) -> None:
    """Another program takes the seqno while the agent's message is on its way."""
    world.post()
    world.chain.lose_messages = 1
    agent = world.agent(tmp_path)
    await world.run_until(agent, lambda: agent.journal.open_sending() is not None)
    seqno = await world.wallet.seqno(world.chain)
    await world.chain.send(world.wallet.sign(world.owner.address, 1, seqno=seqno, valid_until=world.ledger.now + 100))
    world.settle()
    assert (await _serve(world, tmp_path)).outcome == Outcome.DELIVERED


async def test_agent_with_an_empty_wallet_says_so_and_delivers_once_it_is_filled(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world.post()
    message = world.wallet.sign(
        world.owner.address, world.ledger.balance(world.wallet.address) - TON // 200,
        seqno=await world.wallet.seqno(world.chain), valid_until=world.ledger.now + 100,
    )  # fmt: skip
    await world.chain.send(message)
    world.settle()
    agent = world.agent(tmp_path)
    with caplog.at_level(logging.ERROR):
        await world.run_until(agent, lambda: "send it more" in caplog.text)
    assert _jobs(tmp_path)[-1].state == JobState.SIGNED
    world.ledger.credit(world.wallet.address, TON)
    assert (await _serve(world, tmp_path)).outcome == Outcome.DELIVERED


async def test_agent_refused_for_too_little_value_attaches_more(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cocoon.agent.agent._CARRIED_GAS", 5_000)
    world.post()
    assert (await _serve(world, tmp_path)).outcome == Outcome.DELIVERED
    codes = [done.exit_code for done in world.transactions_with(world.escrow, DeliverJob.PREFIX[0])]
    assert codes[-1] == 0
    assert set(codes[:-1]) == {305}


async def test_agent_whose_signer_lost_its_keys_ends_the_job_at_a_small_price(world: World, tmp_path: Path) -> None:
    """A.17, W-9: it registers its new keys and rebinds the channel, which costs less than a miss."""
    world.post()
    before = world.bond
    world.keys = SignerKeys()
    assert (await _serve(world, tmp_path)).outcome == Outcome.KEY_LOST
    world.settle()
    assert world.kernel.runs == 0
    assert not world.open_job
    assert 0 < before - world.bond < TON // 2
    world.post()
    await _serve(world, tmp_path)
    assert {job.key.seq: job.outcome for job in _jobs(tmp_path)} == {1: Outcome.KEY_LOST, 2: Outcome.DELIVERED}


async def test_agent_back_after_the_deadline_with_other_keys_leaves_the_job_to_its_expiry(
    world: World, tmp_path: Path
) -> None:
    """A.17: a miss is a miss; nothing is spent on rebinding what can only be expired."""
    world.post()
    world.keys = SignerKeys()
    world.ledger.advance(3600 + 61)
    agent = world.agent(tmp_path)
    await world.run_until(agent, lambda: bool(agent.journal.jobs(JobState.LOST)) and world.ready)
    assert not world.transactions_with(world.escrow, RebindChannel.PREFIX[0])
    world.client_sends(world.escrow, TON // 10, ExpireJob(1).to_cell())
    assert (await _serve(world, tmp_path)).outcome == Outcome.MISSED


async def test_agent_of_a_mistyped_worker_leaves_the_journal_to_the_right_one(world: World, tmp_path: Path) -> None:
    agent = world.agent(tmp_path)
    agent.worker_index = 7
    with pytest.raises(SetupError, match="is not registered"):
        await agent.run()
    agent.journal.claim(world.worker, world.chain.global_id)
    agent.journal.close()


async def test_second_agent_on_one_journal_is_refused(world: World, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    with pytest.raises(JournalInUse):
        Journal(tmp_path / "journal.sqlite")
    journal.claim(world.worker, -217)
    with pytest.raises(JournalOfAnother):
        journal.claim(world.worker, -3)
    with pytest.raises(JournalOfAnother):
        journal.claim(world.escrow, -217)
    journal.close()
