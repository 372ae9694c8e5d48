"""`cocoon sandbox`: one process serves, others command it; mistakes are one clear line."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pytoniq import LiteClient
from pytoniq.liteclient.client import LiteServerError
from pytoniq_core import Address, Builder, Cell

from cocoon.bench.transfers import FUNDS_NANO, VALUE_NANO, make_transfers
from cocoon.chain.lite import LiteChain
from cocoon.chain.networks import NetworkName, load_global_config
from cocoon.chain.wallet import Wallet
from cocoon.cli import main
from cocoon.contracts_build import load
from cocoon.decoding import decode_body, decode_data
from cocoon.errors import ChainError, LyingServer
from cocoon.wire.common import Excesses
from cocoon_sandbox.boc import to_boc
from cocoon_sandbox.control import request
from cocoon_sandbox.message import build_external
from cocoon_sandbox.treasury import Treasury

TON = 10**9
FRIEND = "0:" + "22" * 32
OTHER = "0:" + "33" * 32
DEPLOY = Path(__file__).parents[2] / "deploy.py"

type Run = Callable[..., dict[str, Any]]


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["sandbox", *arguments])


def start(directory: Path, *options: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    command = [sys.executable, "-m", "cocoon", "sandbox", "up", "--json", "--dir", str(directory), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise AssertionError(process.communicate()[1])
    return process, json.loads(line)


def end(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> tuple[int, str]:
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    return process.returncode, said


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """One sandbox for all tests of this module; `run` undoes what a test did."""
    process, found = start(tmp_path_factory.mktemp("sandbox"), "--ephemeral", "--block-interval", "0.5")
    yield found
    code, said = end(process)
    assert code == 0, said
    assert "Traceback" not in said  # there may be a line about what was installed first


@pytest.fixture
def run(up: dict[str, Any]) -> Iterator[Run]:
    def command(*arguments: str) -> dict[str, Any]:
        result = invoke(*arguments, "--dir", up["directory"], "--json")
        assert result.exit_code == 0, result.output
        document: dict[str, Any] = json.loads(result.stdout)
        return document

    command("snapshot", "before-test")
    yield command
    command("fault", "clear")
    command("rollback", "before-test")


def refused(up: dict[str, Any], *arguments: str) -> str:
    """Run a command that must fail, and return its one line."""
    result = invoke(*arguments, "--dir", up["directory"], "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"] in result.stderr
    return result.stderr


def config(up: dict[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(Path(up["global_config"]).read_text())
    return document


# ---- the process ----


async def test_up_writes_a_config_that_clients_take(up: dict[str, Any]) -> None:
    async with LiteClient.from_config(config(up), trust_level=1) as client:
        assert client.last_mc_block.seqno >= 2
    assert config(up)["liteservers"][0]["port"] == up["port"]


def test_control_socket_is_open_to_its_owner_only(up: dict[str, Any]) -> None:
    assert Path(up["control"]).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_is_ended_by_a_signal_and_leaves_a_chain_that_goes_on(tmp_path: Path, number: int) -> None:
    directory = tmp_path / ("deep" * 30)  # longer than a unix socket's address may be
    process, first = start(directory)
    given = json.loads(invoke("faucet", FRIEND, "2.5", "--dir", str(directory), "--json").stdout)
    assert end(process, number)[0] == 0
    assert not Path(first["control"]).exists()
    process, again = start(directory)
    assert (again["port"], again["public_key"]) == (first["port"], first["public_key"])
    assert again["block"] >= 3
    kept = json.loads(invoke("account", FRIEND, "--dir", str(directory), "--json").stdout)
    assert kept["balance_nano"] == 5 * TON // 2
    # the state before that transaction is in no memory any more, so the account's history is run again
    assert invoke("tx", given["transaction"], "--log", "--dir", str(directory)).exit_code == 0
    assert invoke("stop", "--dir", str(directory)).exit_code == 0
    once_more, _ = start(directory, "--ephemeral")  # the directory is free as soon as `stop` returns
    assert process.wait(20) == 0
    end(once_more)


def test_up_after_a_kill_goes_on_with_every_balance(tmp_path: Path) -> None:
    process, _ = start(tmp_path)
    invoke("faucet", FRIEND, "1", "--dir", str(tmp_path))
    process.kill()
    process.communicate()
    process, _ = start(tmp_path)
    kept = json.loads(invoke("account", FRIEND, "--dir", str(tmp_path), "--json").stdout)
    assert kept["balance_nano"] == TON
    end(process)


async def test_up_killed_after_many_transactions_has_the_same_blocks_and_balances(tmp_path: Path) -> None:
    """A client reconnects and finds the last block it knew; COCOON_MANY sets the number of transactions."""
    many = make_transfers(int(os.environ.get("COCOON_MANY", "200")), int(time.time()), wallets=10)
    process, found = start(tmp_path)
    for wallet in many.wallets:
        request(tmp_path, "faucet", address=wallet.to_str(), nano=FUNDS_NANO)
    client = LiteClient.from_config(config(found), trust_level=1)
    await client.connect()
    await many.submit(client.raw_send_message)
    before = {wallet: request(tmp_path, "account", address=wallet.to_str())["balance_nano"] for wallet in many.wallets}
    last = (await client.get_masterchain_info())["last"]
    process.kill()
    process.communicate()
    process, _ = start(tmp_path)
    await client.reconnect(retry_delay=0)
    known, _ = await client.lookup_block(-1, last["shard"], last["seqno"])
    assert known.root_hash.hex() == last["root_hash"]
    assert {wallet: (await client.get_account_state(wallet)).balance for wallet in many.wallets} == before
    received = [(await client.get_account_state(receiver)).balance for receiver in many.receivers]
    assert sum(received) > 0.99 * VALUE_NANO * many.transactions / 2  # less rent
    await client.close()
    end(process)


def test_up_ephemeral_leaves_nothing_that_leads_to_it(tmp_path: Path) -> None:
    process, found = start(tmp_path, "--ephemeral")
    assert end(process)[0] == 0
    assert not Path(found["global_config"]).exists()
    assert not list(tmp_path.glob("*.sqlite"))


def test_up_for_people_says_where_it_is_and_how_to_stop_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cocoon", "sandbox", "up", "--ephemeral", "--dir", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(4)]
    process.terminate()
    process.communicate(timeout=20)
    assert "lite server    127.0.0.1:" in said[1]
    assert str(tmp_path / "global.config.json") in said[2]
    assert f"cocoon sandbox stop --dir {tmp_path}" in said[3]


def test_up_told_to_stop_before_it_has_started_ends_without_a_traceback(tmp_path: Path) -> None:
    hook = tmp_path / "sitecustomize.py"  # the start takes as long as the test needs it to
    hook.write_text(
        "import asyncio, sys\n"
        "from cocoon_sandbox.network import Network\n"
        "async def start(self):\n"
        "    print('starting', flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "Network.start = start\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "cocoon", "sandbox", "up", "--dir", str(tmp_path / "d")],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "starting\n"
    assert end(process) == (1, "error: stopped before it had started\n")


@pytest.mark.parametrize("extra", [[], ["--ephemeral"]])
def test_up_in_a_directory_in_use_is_refused(tmp_path: Path, extra: list[str]) -> None:
    process, _ = start(tmp_path)
    result = subprocess.run(
        [sys.executable, "-m", "cocoon", "sandbox", "up", "--dir", str(tmp_path), *extra],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    end(process)
    assert result.returncode == 1
    assert result.stderr.startswith("error: another network runs in")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--block-interval", "0"], "above 0"),
        (["--port", "1"], "choose another port"),
        (["--host", "localhost"], "no IPv4 address"),
    ],
)
def test_up_with_what_can_not_be_is_one_clear_line(tmp_path: Path, options: list[str], said: str) -> None:
    if options == ["--port", "1"] and os.geteuid() == 0:
        options = ["--host", "203.0.113.1"]  # root may bind any port, but no address that is not there
    result = subprocess.run(
        [sys.executable, "-m", "cocoon", "sandbox", "up", "--ephemeral", "--dir", str(tmp_path), *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_command_without_a_sandbox_says_how_to_start_one(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "missing", tmp_path / ("x" * 120)):
        result = invoke("status", "--dir", str(directory))
        assert result.exit_code == 1
        assert f"no sandbox runs in {directory}: start it with `cocoon sandbox up --dir {directory}`" in result.stderr


# ---- money, time, snapshots ----


def test_faucet_gives_ton_and_names_the_transaction(run: Run) -> None:
    given = run("faucet", FRIEND, "10")
    assert given["balance_nano"] == 10 * TON
    transaction = run("tx", given["transaction"])
    assert transaction["account"] == FRIEND
    assert transaction["in_message"]["value_nano"] == 10 * TON
    assert run("tx", transaction["in_message"]["hash"])["hash"] == given["transaction"]
    assert run("tx", base64.urlsafe_b64encode(bytes.fromhex(given["transaction"])).decode()) == transaction


@pytest.mark.parametrize("form", ["friendly", "raw"])
def test_faucet_takes_any_form_of_an_address(run: Run, form: str) -> None:
    address = Address(FRIEND)
    text = address.to_str() if form == "friendly" else FRIEND
    assert run("faucet", text, "0.000000001")["balance_nano"] == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("faucet", "nonsense", "1"), "is no address"),
        (("faucet", "0:00", "1"), "is no address"),
        (("faucet", "5:" + "22" * 32, "1"), "workchain 5 does not exist"),
        (("faucet", FRIEND, "0"), "above 0"),
        (("faucet", FRIEND, "6000000000"), "ask for less"),
        (("rollback", "nowhere"), "there is no snapshot nowhere"),
        (("tx", "77" * 32), "neither a transaction nor a message"),
        (("tx", "hello"), "is no hash"),
        (("time", "+5000000000"), "ends in 2106"),
        (("fault", "lie", "hide"), "name the account"),
        (("fault", "lie", "balance", FRIEND), "with what it needs"),
    ],
)
def test_command_that_can_not_be_done_says_why(
    up: dict[str, Any], run: Run, arguments: tuple[str, ...], said: str
) -> None:
    assert said in refused(up, *arguments)


@pytest.mark.parametrize(
    "arguments", [("faucet", FRIEND, "much"), ("faucet", FRIEND, "0.0000000001"), ("time", "86400"), ("time", "+x")]
)
def test_malformed_argument_is_a_usage_error(up: dict[str, Any], arguments: tuple[str, ...]) -> None:
    result = invoke(*arguments, "--dir", up["directory"])
    assert result.exit_code == 2


def test_time_moves_forward_and_storage_fees_follow(run: Run) -> None:
    run("faucet", FRIEND, "1")
    before = run("time")
    after = run("time", "+365d")
    assert after["time"] >= before["time"] + 365 * 86_400
    assert after["ahead_s"] == before["ahead_s"] + 365 * 86_400
    given = run("faucet", FRIEND, "1")
    assert run("tx", given["transaction"])["storage_fees_nano"] > 0
    assert given["balance_nano"] < 2 * TON


def test_rollback_undoes_and_voids_later_snapshots(run: Run) -> None:
    run("faucet", FRIEND, "1")
    run("snapshot", "one")
    run("faucet", FRIEND, "1")
    run("block")
    run("snapshot", "two")
    assert run("rollback", "one")["void"] == ["two"]
    assert run("account", FRIEND)["balance_nano"] == TON
    assert set(run("status")["snapshots"]) == {"before-test", "one"}


# ---- looking inside ----


def test_account_that_does_not_exist_is_shown_as_such(run: Run) -> None:
    shown = run("account", OTHER)
    assert (shown["status"], shown["balance_nano"], shown["last_transaction"]) == ("nonexist", 0, None)


def test_account_of_a_known_wallet_is_named(run: Run) -> None:
    run("faucet", FRIEND, "1")
    shown = run("account", Treasury("faucet").address.to_str())
    assert shown["status"] == "active"
    assert shown["decoded"] == {"contract": "wallet v4r2"}


def test_tx_log_is_the_executors_trace(run: Run, up: dict[str, Any]) -> None:
    given = run("faucet", FRIEND, "1")
    run("faucet", OTHER, "1")
    source = run("account", run("tx", given["transaction"])["in_message"]["source"])
    shown = run("tx", source["last_transaction"], "--log")
    assert shown["success"]
    assert "execute ACCEPT" in shown["vm_log"]
    result = invoke("tx", source["last_transaction"], "--log", "--dir", up["directory"])
    assert "execute ACCEPT" in result.output
    assert "fees" in result.output


async def test_tx_log_of_a_message_that_was_not_accepted_tells_why(run: Run, up: dict[str, Any]) -> None:
    run("faucet", FRIEND, "1")
    message = build_external(dst=Treasury("faucet").address, body=Builder().store_uint(7, 32).end_cell())
    async with LiteClient.from_config(config(up)) as client:
        with pytest.raises(LiteServerError, match="exitcode=9"):
            await client.raw_send_message(to_boc(message))
    shown = run("tx", message.hash.hex(), "--log")
    assert (shown["accepted"], shown["exit_code"]) == (False, 9)
    assert "cell underflow" in shown["vm_log"]


def test_decode_body_names_messages_comments_and_bounces() -> None:
    assert decode_body(Excesses(5).to_cell()) == {"Excesses": {"query_id": 5}}
    assert decode_body(Builder().store_uint(0, 32).store_snake_string("hi").end_cell()) == {"comment": "hi"}
    bounced = Builder().store_uint(0xFFFFFFFF, 32).store_cell(Excesses(5).to_cell()).end_cell()
    assert decode_body(bounced) == {"bounced": "Excesses"}
    torn = Builder().store_uint(Excesses.PREFIX[0], 32).end_cell()
    assert decode_body(torn) == {"Excesses": {"malformed": "the cell ends 64 bits early"}}
    assert decode_body(Cell.empty()) is None
    assert decode_body(Builder().store_uint(0x12345678, 32).end_cell()) is None


def test_decode_data_of_an_unknown_contract_is_none() -> None:
    assert decode_data(bytes(32), Cell.empty()) is None


# ---- faults ----


def test_fault_drop_loses_only_what_matches(run: Run, up: dict[str, Any]) -> None:
    assert run("fault", "drop", "--to", FRIEND, "--count", "1")["messages"][0]["left"] == 1
    assert "a fault is in force" in refused(up, "faucet", FRIEND, "1")
    assert run("faucet", OTHER, "1")["balance_nano"] == TON
    assert run("faucet", FRIEND, "1")["balance_nano"] == TON  # the rule was for one message
    assert run("fault", "list")["messages"][0]["left"] == 0


def test_fault_delay_delivers_blocks_later(run: Run) -> None:
    run("fault", "delay", "3", "--to", FRIEND)
    before = run("status")["block"]
    given = run("faucet", FRIEND, "1.5")
    assert run("tx", given["transaction"])["block"] >= before + 3


def test_fault_reorder_and_repeat_are_listed_until_cleared(run: Run) -> None:
    run("fault", "reorder", "random", "--seed", "3")
    listed = run("fault", "repeat", "2", "--op", "0x10")
    assert (listed["order"], listed["messages"]) == (
        "random",
        [{"rule": "repeat 2 external op 0x00000010", "left": None}],
    )
    cleared = run("fault", "clear")
    assert (cleared["order"], cleared["messages"]) == (None, [])


async def test_fault_liteserver_off_refuses_clients_until_on(run: Run, up: dict[str, Any]) -> None:
    run("fault", "liteserver", "off")
    with pytest.raises(OSError, match=r"[Cc]onnect"):
        await LiteClient.from_config(config(up), timeout=1).connect()
    assert run("fault", "liteserver", "on")["serving"]
    async with LiteClient.from_config(config(up)) as client:
        assert client.last_mc_block.seqno >= 2


async def test_fault_slow_and_stale_are_seen_by_clients(run: Run, up: dict[str, Any]) -> None:
    run("fault", "slow", "0.2")
    run("fault", "stale", "1")
    async with LiteClient.from_config(config(up)) as client:
        begun = time.monotonic()
        last = (await client.get_masterchain_info())["last"]["seqno"]
        assert time.monotonic() - begun >= 0.2
        assert last < run("status")["block"]


@pytest.mark.parametrize("lie", [("hide", FRIEND), ("balance", FRIEND, "--value", "7"), ("signatures",)])
async def test_fault_lie_is_noticed_by_our_own_client(run: Run, up: dict[str, Any], lie: tuple[str, ...]) -> None:
    run("faucet", FRIEND, "1")
    run("fault", "lie", *lie)
    with pytest.raises(LyingServer):
        async with await LiteChain.open(config(up)) as chain:
            await chain.account(Address(FRIEND))


async def test_fault_lie_about_a_getter_is_told_to_clients(run: Run, up: dict[str, Any]) -> None:
    run("faucet", FRIEND, "1")
    wallet = Treasury("faucet").address
    run("fault", "lie", "getter", wallet.to_str(), "--method", "seqno", "--value", "4711")
    async with LiteClient.from_config(config(up)) as client:
        assert await client.run_get_method(wallet, "seqno", []) == [4711]


# ---- the default configuration of `--network sandbox` ----


def test_deploy_to_network_sandbox_finds_the_sandbox_of_this_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ChainError, match="cocoon sandbox up"):
        load_global_config(NetworkName.SANDBOX)
    process, found = start(Path(".sandbox"), "--ephemeral")
    assert load_global_config(NetworkName.SANDBOX)["liteservers"][0]["port"] == found["port"]
    registry = deploy(Wallet.new_mnemonic())
    shown = json.loads(invoke("account", registry, "--json").stdout)
    assert shown["decoded"]["Registry"]["policy"]["version"] == 1
    assert shown["decoded"]["Registry"]["worker_code_hash"] == f"0x{load('Worker').hash.hex()}"
    assert "policy version" in invoke("account", registry).stdout
    end(process)


def deploy(words: str) -> str:
    """Have deploy.py deploy the contracts, as in another terminal; returns the Registry's address."""
    assert invoke("faucet", Wallet.from_mnemonic(words).address.to_str(), "10").exit_code == 0
    done = subprocess.run(
        [sys.executable, str(DEPLOY), "--network", "sandbox", "--yes", "--json", "--trust-build"],
        env={**os.environ, "COCOON_MNEMONIC": words},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    registry: str = json.loads(done.stdout)["registry"]
    return registry


@pytest.mark.parametrize("amount", ["inf", "nan", "ten", "0.0000000001"])
def test_faucet_amount_that_is_none_is_refused_before_anything_is_asked(amount: str) -> None:
    result = CliRunner().invoke(main, ["sandbox", "faucet", FRIEND, amount])
    assert result.exit_code == 2
    assert "Invalid value for 'AMOUNT'" in result.output
