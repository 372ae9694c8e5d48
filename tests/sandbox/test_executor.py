"""The executor: transactions, get-methods and the compiler through one Node child that may die at any moment."""

from __future__ import annotations

import math
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from pytoniq_core import Address, Builder, Cell, Slice

from cocoon_sandbox.account import empty_account
from cocoon_sandbox.config import network_config
from cocoon_sandbox.errors import BadCell, CompileError, ExecutorError, ExecutorTrapped, MessageRejected
from cocoon_sandbox.executor import Executor, GetterResult
from cocoon_sandbox.message import build_external, build_internal
from cocoon_sandbox.stack import decode_stack, encode_stack
from cocoon_sandbox.transaction import Transaction

ALICE = Address((0, b"\x0a" * 32))
BOB = Address((0, b"\x0b" * 32))
NOW = 1_700_000_000

GETTERS = """
fun globalIdAsm(): int asm "GLOBALID"
fun prevBlocksAsm(): tuple asm "PREVBLOCKSINFOTUPLE"
fun onInternalMessage(in: InMessage) {}
get fun add(a: int, b: int): int { return a + b }
get fun echo(a: int, b: cell, c: slice, d: int?, e: [int, [int, cell]]): (int, cell, slice, int?, [int, [int, cell]]) {
    return (a, b, c, d, e)
}
get fun fail(): int { throw 77 }
get fun globalId(): int { return globalIdAsm() }
get fun prevBlocks(): tuple { return prevBlocksAsm() }
get fun forever(): int { var i = 0; while (true) { i += 1 } return i }
"""


def nested(depth: int) -> Cell:
    cell = Builder().end_cell()
    for _ in range(depth):
        cell = Builder().store_ref(cell).end_cell()
    return cell


def transfer(executor: Executor, body: Cell | None = None) -> Transaction:
    message = build_internal(src=ALICE, dst=BOB, value=10**9, body=body, bounce=False)
    done = executor.run_transaction(
        config=network_config(), shard_account=empty_account(BOB).boc, message=message, now=NOW, lt=1_000_001
    )
    return Transaction(done.transaction)


@pytest.fixture(scope="module")
def code(executor: Executor) -> Cell:
    return executor.compile_tolk("getters.tolk", {"getters.tolk": GETTERS}).code


def getter(executor: Executor, code: Cell, method: str | int, *stack: object, **options: object) -> GetterResult:
    return executor.run_getter(
        config=network_config(),
        code=code,
        data=Cell.empty(),
        address=ALICE,
        balance=10**9,
        now=NOW,
        method=method,
        stack=stack,
        **options,  # type: ignore[arg-type]
    )


def test_run_transaction_of_a_plain_transfer_credits_the_account(executor: Executor) -> None:
    transaction = transfer(executor)
    assert transaction.account == BOB
    assert (transaction.status_before, transaction.status_after) == ("nonexist", "uninit")
    assert (transaction.lt, transaction.now) == (1_000_001, NOW)
    assert transaction.compute_skipped == "no state"
    assert transaction.phases.credit == 10**9


def test_run_transaction_repeated_gives_the_same_transaction(executor: Executor) -> None:
    assert transfer(executor).hash == transfer(executor).hash


def test_run_transaction_of_a_body_nested_1000_deep_traps_and_the_next_works(executor: Executor) -> None:
    transfer(executor)
    before = executor.child_pid
    with pytest.raises(ExecutorTrapped, match="restarted"):
        transfer(executor, nested(1000))
    assert transfer(executor).account == BOB
    assert executor.child_pid != before


def test_run_transaction_after_the_child_was_killed_works(executor: Executor) -> None:
    transfer(executor)
    pid = executor.child_pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert transfer(executor).account == BOB
    assert executor.child_pid != pid


def test_run_transaction_while_the_child_is_killed_is_repeated_on_a_new_one(code: Cell) -> None:
    with Executor() as executor:
        assert getter(executor, code, "add", 1, 2).stack == [3]
        pid = executor.child_pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)  # so that the request is in flight when the child dies
        killer = threading.Timer(0.2, os.kill, (pid, signal.SIGKILL))
        killer.start()
        assert getter(executor, code, "add", 2, 3).stack == [5]
        killer.join()


def test_run_getter_that_hangs_is_cut_off_and_the_next_works(code: Cell) -> None:
    with Executor(timeout=3) as executor:
        with pytest.raises(ExecutorTrapped, match="did not answer"):
            getter(executor, code, "forever", gas_limit=1 << 50)
        assert getter(executor, code, "add", 1, 2).stack == [3]


def test_run_transaction_external_to_an_account_without_code_is_rejected(executor: Executor) -> None:
    with pytest.raises(MessageRejected) as caught:
        executor.run_transaction(
            config=network_config(),
            shard_account=empty_account(BOB).boc,
            message=build_external(dst=BOB),
            now=NOW,
            lt=1_000_001,
        )
    assert caught.value.exit_code is None


def test_run_transaction_with_a_garbage_account_is_an_executor_error(executor: Executor) -> None:
    with pytest.raises(ExecutorError):
        executor.run_transaction(
            config=network_config(), shard_account=b"garbage", message=build_external(dst=BOB), now=NOW, lt=1
        )
    assert transfer(executor).account == BOB


def test_run_getter_returns_every_kind_of_value_unchanged(executor: Executor, code: Cell) -> None:
    cell = Builder().store_uint(7, 9).end_cell()
    slice_ = Builder().store_uint(5, 17).store_ref(cell).to_slice()
    for number in (0, -1, 1 << 62, -(1 << 255), (1 << 256) - 1, -(1 << 256)):
        result = getter(executor, code, "echo", number, cell, slice_, None, (1, (2, cell)))
        assert result.exit_code == 0
        a, b, c, d, e = result.stack
        assert (a, b, d, e) == (number, cell, None, (1, (2, cell)))
        assert isinstance(c, Slice)
        assert c.to_cell() == slice_.to_cell()


def test_run_getter_takes_an_address_as_a_slice(executor: Executor, code: Cell) -> None:
    result = getter(executor, code, "echo", 1, Cell.empty(), ALICE, 5, (1, (2, Cell.empty())))
    assert result.stack[2].load_address() == ALICE


def test_run_getter_that_throws_reports_the_exit_code(executor: Executor, code: Cell) -> None:
    assert getter(executor, code, "fail").exit_code == 77
    assert getter(executor, code, "no_such_method").exit_code == 11


def test_run_getter_sees_the_configured_global_id(executor: Executor, code: Cell) -> None:
    result = getter(executor, code, "globalId")
    assert (result.exit_code, result.stack) == (0, [-217])


def test_run_getter_with_full_verbosity_traces(executor: Executor, code: Cell) -> None:
    assert "execute ADD" in getter(executor, code, "add", 1, 2, verbosity="full_location_stack").vm_log


def test_compile_tolk_with_an_error_names_file_and_line(executor: Executor) -> None:
    with pytest.raises(CompileError, match=r"lib/two\.tolk:2:"):
        executor.compile_tolk(
            "one.tolk",
            {
                "one.tolk": 'import "lib/two"\nfun onInternalMessage(in: InMessage) {}',
                "lib/two.tolk": "\nfun f(): int { return x }",
            },
        )


def test_compile_tolk_with_a_missing_import_says_which(executor: Executor) -> None:
    with pytest.raises(CompileError, match=r"no such file: gone\.tolk"):
        executor.compile_tolk("one.tolk", {"one.tolk": 'import "gone"\nfun onInternalMessage(in: InMessage) {}'})


def test_requests_from_several_threads_do_not_mix(executor: Executor, code: Cell) -> None:
    with ThreadPoolExecutor(8) as pool:
        results = pool.map(lambda n: getter(executor, code, "add", n, n).stack, range(100))
    assert list(results) == [[2 * n] for n in range(100)]


def test_request_after_close_is_refused() -> None:
    executor = Executor()
    executor.close()
    with pytest.raises(ExecutorError, match="closed"):
        transfer(executor)


def test_stack_round_trip_of_tuples_of_every_length() -> None:
    for length in (0, 1, 2, 3, 4, 255):
        assert decode_stack(encode_stack([5, tuple(range(length)), None])) == [5, tuple(range(length)), None]


def test_decode_stack_of_garbage_is_a_bad_cell() -> None:
    with pytest.raises(BadCell):
        decode_stack(nested(3))
    with pytest.raises(BadCell):
        encode_stack([1 << 256])


def test_decode_stack_of_nan_is_a_float() -> None:
    cell = Builder().store_uint(1, 24).store_ref(Cell.empty()).store_uint(0x02FF, 16).end_cell()
    assert math.isnan(decode_stack(cell)[0])
