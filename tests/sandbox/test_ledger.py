"""The ledger: what real chains do to money in every kind of success and failure, to the nanoTON."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytoniq_core import Address, Builder, Cell

from cocoon_sandbox.boc import count_cells
from cocoon_sandbox.config import Prices, StoragePrices, network_config
from cocoon_sandbox.errors import (
    ConservationError,
    ExecutorTrapped,
    GetterFailed,
    LedgerError,
    MessageRejected,
)
from cocoon_sandbox.executor import Executor
from cocoon_sandbox.ledger import Ledger
from cocoon_sandbox.message import build_external, state_init
from cocoon_sandbox.transaction import Transaction
from cocoon_sandbox.treasury import Treasury

TON = 10**9
YEAR = 365 * 86_400
STRANGER = Address((0, b"\x5a" * 32))
PROBE_SOURCE = (Path(__file__).parent / "probe.tolk").read_text()


def op(number: int) -> Builder:
    return Builder().store_uint(number, 32)


def throw(code: int) -> Cell:
    return op(1).store_uint(code, 16).end_cell()


def send_too_much(mode: int) -> Cell:
    return op(2).store_uint(mode, 8).end_cell()


def log(value: int) -> Cell:
    return op(3).store_uint(value, 64).end_cell()


def forward(to: Address, value: int, mode: int = 0, *, bounce: bool = False, rich: bool = False) -> Cell:
    return op(4).store_address(to).store_coins(value).store_uint(mode, 8).store_bool(bounce).store_bool(rich).end_cell()


def destroy(to: Address) -> Cell:
    return op(5).store_address(to).end_cell()


def fan(to: Address, count: int, each: int) -> Cell:
    return op(7).store_address(to).store_uint(count, 8).store_coins(each).end_cell()


@pytest.fixture(scope="session")
def probe_init(executor: Executor) -> Cell:
    return state_init(executor.compile_tolk("probe.tolk", {"probe.tolk": PROBE_SOURCE}).code, Cell.empty())


@pytest.fixture
def alice(ledger: Ledger) -> Treasury:
    return ledger.treasury("alice")


@pytest.fixture
def probe(ledger: Ledger, alice: Treasury, probe_init: Cell) -> Address:
    """A deployed probe that holds 10 TON."""
    address = Address((0, probe_init.hash))
    done = alice.send(ledger, address, 10 * TON, state_init=probe_init)
    assert [transaction.success for transaction in done] == [True, True]
    ledger.check_conservation()
    return address


def ask(ledger: Ledger, alice: Treasury, probe: Address, body: Cell, value: int = TON) -> list[Transaction]:
    """Alice sends `body`; money is checked after every step. Returns the transactions after the wallet's own."""
    ledger.enqueue(alice.message(ledger, probe, value, body))
    done: list[Transaction] = []
    while ledger.pending:
        done.append(ledger.step())
        ledger.check_conservation()
    return done[1:]


def test_send_that_throws_bounces_the_value_back(ledger: Ledger, alice: Treasury, probe: Address) -> None:
    before = ledger.balance(probe)
    failed, returned = ask(ledger, alice, probe, throw(77))
    assert (failed.exit_code, failed.aborted, failed.bounced, failed.success) == (77, True, True, False)
    assert ledger.balance(probe) == before - failed.storage_fees
    assert returned.account == alice.address
    assert returned.in_msg is not None
    assert returned.in_msg.bounced
    assert returned.in_msg.value + returned.in_msg.fwd_fee + failed.total_fees == TON + failed.storage_fees


def test_send_to_an_absent_account_bounces(ledger: Ledger, alice: Treasury) -> None:
    skipped, returned = ask(ledger, alice, STRANGER, Cell.empty())
    assert (skipped.compute_skipped, skipped.bounced) == ("no state", True)
    assert returned.success
    assert ledger.account(STRANGER).status in ("nonexist", "uninit")


@pytest.mark.parametrize(("mode", "code", "bounced"), [(0, 37, False), (16, 37, True), (2, 0, False)])
def test_action_that_is_not_affordable_keeps_returns_or_skips(
    ledger: Ledger, alice: Treasury, probe: Address, mode: int, code: int, bounced: bool
) -> None:
    failed, *rest = ask(ledger, alice, probe, send_too_much(mode))
    assert (failed.exit_code, failed.action_code, failed.bounced) == (0, code, bounced)
    assert len(rest) == int(bounced)


def test_log_message_costs_its_forward_fee(ledger: Ledger, alice: Treasury, probe: Address) -> None:
    (logged,) = ask(ledger, alice, probe, log(9))
    (message,) = logged.external_out
    assert (message.opcode, message.kind) == (3, "external-out")
    assert ledger.pending == []


@pytest.mark.parametrize("rich", [False, True])
def test_forwarded_message_that_bounces_comes_back(ledger: Ledger, alice: Treasury, probe: Address, rich: bool) -> None:
    sent, bounced, returned = ask(ledger, alice, probe, forward(STRANGER, 2 * TON, bounce=True, rich=rich))
    assert sent.success
    assert bounced.compute_skipped == "no state"
    assert returned.account == probe
    assert returned.in_msg is not None
    assert returned.in_msg.opcode == (0xFFFFFFFE if rich else 0xFFFFFFFF)
    assert (sent.out_msgs[0].extra_flags != 0) == rich


def test_carry_value_and_destroy_leave_nothing(ledger: Ledger, alice: Treasury, probe: Address) -> None:
    gone, arrived = ask(ledger, alice, probe, destroy(alice.address))
    assert gone.phases.destroyed
    assert ledger.account(probe).status == "nonexist"
    assert arrived.in_msg is not None
    assert arrived.in_msg.value > 10 * TON


def test_fan_out_of_250_messages_is_delivered_in_lt_order(ledger: Ledger, alice: Treasury, probe: Address) -> None:
    sent, *rest = ask(ledger, alice, probe, fan(STRANGER, 250, 10**6))
    assert len(sent.out_msgs) == len(rest) == 250
    assert [t.in_msg.hash for t in rest if t.in_msg] == [message.hash for message in sent.out_msgs]
    assert ledger.balance(STRANGER) == 250 * (10**6 - ledger.prices().forward.fee(0, 0))
    times = [sent.lt, *(t.lt for t in rest)]
    assert times == sorted(set(times))
    assert all(t.in_msg is not None and t.lt > t.in_msg.created_lt for t in rest)


def test_storage_fees_of_a_year_are_what_the_prices_say(ledger: Ledger, alice: Treasury, probe: Address) -> None:
    account, paid_to = ledger.account(probe), ledger.now
    ledger.advance(YEAR)
    (transaction,) = ask(ledger, alice, probe, Cell.empty())
    used = account.storage_used
    assert account.last_paid == paid_to
    assert transaction.storage_fees == ledger.prices().storage.fee(used.cells, used.bits, YEAR) > 0
    assert ledger.account(probe).last_paid == ledger.now


def test_account_that_can_not_pay_storage_is_deleted_and_money_adds_up(executor: Executor, probe_init: Cell) -> None:
    # at today's prices no lifetime that fits a 32-bit clock is long enough
    ledger = Ledger(executor, config=network_config(prices=Prices(storage=StoragePrices(bit=1, cell=500))))
    address = Address((0, probe_init.hash))
    ledger.send(ledger.internal(src=STRANGER, dst=address, value=5_000_000, state_init=probe_init))
    statuses = []
    for years in (40, 35):
        ledger.advance(years * YEAR)
        ledger.send(ledger.internal(src=STRANGER, dst=address, value=1, bounce=False))
        ledger.check_conservation()
        statuses.append(ledger.account(address).status)
    assert statuses == ["uninit", "nonexist"]  # deleted, born again by the nanoTON that arrived, deleted


def test_gas_and_forward_fees_are_what_the_prices_say(ledger: Ledger, alice: Treasury, probe: Address) -> None:
    sent, arrived = ask(ledger, alice, probe, forward(STRANGER, TON))
    prices = ledger.prices()
    assert prices == Prices()
    assert sent.phases.compute.gas_fees == prices.gas.fee(sent.gas_used)
    fee = prices.forward.fee(0, 0)
    assert sent.phases.action is not None
    assert (sent.phases.action.forward_fees, sent.phases.action.action_fees) == (fee, prices.forward.sender_part(fee))
    assert arrived.in_msg is not None
    assert arrived.in_msg.fwd_fee == fee - prices.forward.sender_part(fee)


def test_forward_fee_of_a_message_with_state_is_what_the_prices_say(
    ledger: Ledger, alice: Treasury, probe_init: Cell
) -> None:
    sent, _ = alice.send(ledger, Address((0, probe_init.hash)), TON, state_init=probe_init)
    fee = ledger.prices().forward.fee(*count_cells(probe_init))
    assert sent.phases.action is not None
    assert sent.phases.action.forward_fees == fee


def test_external_that_is_not_accepted_changes_nothing(ledger: Ledger, probe: Address) -> None:
    before = ledger.account(probe).state_hash
    with pytest.raises(MessageRejected) as caught:
        ledger.send(build_external(dst=probe))
    assert caught.value.exit_code == 401
    assert (ledger.account(probe).state_hash, ledger.pending) == (before, [])
    accepted = ledger.send(build_external(dst=probe, body=log(1)))
    assert accepted[0].success
    ledger.check_conservation()


def test_message_that_traps_the_executor_is_lost_and_the_next_works(
    ledger: Ledger, alice: Treasury, probe: Address
) -> None:
    deep = Builder().end_cell()
    for _ in range(1000):
        deep = Builder().store_ref(deep).end_cell()
    with pytest.raises(ExecutorTrapped):
        ledger.send(ledger.internal(src=STRANGER, dst=probe, value=TON, body=deep))
    assert ledger.lost == TON
    assert ask(ledger, alice, probe, log(1))[0].success


def test_pending_can_be_permuted_dropped_and_duplicated(ledger: Ledger) -> None:
    first, second = (ledger.internal(src=STRANGER, dst=STRANGER, value=n, bounce=False) for n in (1, 2))
    for message in (first, second, second, first):
        ledger.enqueue(message)
    assert ledger.step(1).in_msg == ledger.pending[1]
    ledger.drop(2)
    ledger.check_conservation()
    assert [t.in_msg.value for t in ledger.run() if t.in_msg] == [1, 2]
    assert (ledger.balance(STRANGER), ledger.lost, ledger.minted) == (5, 1, 6)


def test_credit_of_a_new_account_stores_what_the_network_would(ledger: Ledger) -> None:
    ledger.credit(STRANGER, TON)
    other = Address((0, b"\x33" * 32))
    ledger.send(ledger.internal(src=STRANGER, dst=other, value=TON, bounce=False))
    assert ledger.account(STRANGER).storage_used == ledger.account(other).storage_used
    assert ledger.account(STRANGER).status == ledger.account(other).status == "uninit"


def test_credit_of_an_active_account_keeps_code_and_counts_bits(
    ledger: Ledger, alice: Treasury, probe: Address
) -> None:
    before = ledger.account(probe)
    ledger.credit(probe, 10**15)
    after = ledger.account(probe)
    assert (after.code, after.data, after.balance) == (before.code, before.data, before.balance + 10**15)
    assert after.storage_used.bits > before.storage_used.bits
    ledger.credit(probe, 1)
    credited = ledger.account(probe).storage_used
    ask(ledger, alice, probe, Cell.empty())
    assert ledger.account(probe).storage_used == credited


def test_get_returns_values_and_reports_failures(ledger: Ledger, probe: Address) -> None:
    assert ledger.get(probe, "balance") == [ledger.balance(probe)]
    assert ledger.get(probe, "time") == [ledger.now]
    with pytest.raises(GetterFailed, match="threw 11") as caught:
        ledger.get(probe, "nothing")
    assert caught.value.exit_code == 11
    with pytest.raises(GetterFailed, match="nonexist"):
        ledger.get(STRANGER, "balance")


def test_restore_brings_back_everything(ledger: Ledger, alice: Treasury, probe: Address) -> None:
    snapshot = ledger.snapshot()
    balances = {address: account.balance for address, account in ledger.accounts.items()}
    first = ask(ledger, alice, probe, forward(STRANGER, TON))
    ledger.advance(100)
    ledger.treasury("bob")
    ledger.restore(snapshot)
    assert {address: account.balance for address, account in ledger.accounts.items()} == balances
    assert (ledger.now, ledger.lt) == (snapshot.now, snapshot.lt)
    assert ledger.balance(ledger.treasury("bob").address) == 100 * TON
    again = ask(ledger, alice, probe, forward(STRANGER, TON))
    assert [t.hash for t in again] == [t.hash for t in first]


def test_treasury_that_is_too_poor_says_so(ledger: Ledger) -> None:
    poor = ledger.treasury("poor", TON)
    with pytest.raises(LedgerError, match="treasury poor"):
        poor.send(ledger, STRANGER, 2 * TON)
    ledger.check_conservation()


def test_treasury_has_the_same_address_in_every_ledger(ledger: Ledger, alice: Treasury) -> None:
    other = Ledger(ledger.executor)
    assert other.treasury("alice").address == alice.address
    assert other.treasury("alice", 5 * TON).balance(other) == 100 * TON


def test_advance_beyond_32_bits_or_backwards_is_refused(ledger: Ledger) -> None:
    for seconds in (-1, 1 << 32):
        with pytest.raises(LedgerError):
            ledger.advance(seconds)


def test_check_conservation_notices_a_single_nano(ledger: Ledger, alice: Treasury) -> None:
    ledger.minted += 1
    with pytest.raises(ConservationError, match=r"\(-1\)"):
        ledger.check_conservation()
    ledger.minted -= 1


def test_ledger_with_another_global_id_runs_as_that_network(executor: Executor) -> None:
    chain = Ledger(executor, config=network_config(global_id=-3))
    wallet = chain.treasury("alice")
    assert wallet.send(chain, STRANGER, TON, bounce=False)[1].success is False  # no code there: value arrives anyway
    assert chain.balance(STRANGER) == TON


def test_transaction_repr_tells_what_happened(ledger: Ledger, alice: Treasury, probe: Address) -> None:
    failed, returned = ask(ledger, alice, probe, throw(77))
    assert "exit 77" in repr(failed)
    assert "op 0x00000001" in repr(failed)
    assert "1 TON" in repr(failed)
    assert "(bounced)" in repr(returned)
