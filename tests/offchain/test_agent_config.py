"""Configuration and kernels: what is wrong is said in one line, with what to do."""

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pytoniq_core import Address

from cocoon.agent import settings
from cocoon.agent.compute import Limits, affordable_tokens
from cocoon.agent.config import AgentConfig
from cocoon.agent.engine_kernel import EngineKernel
from cocoon.agent.errors import SetupError
from cocoon.agent.kernel import Result
from cocoon.agent.main import load_kernel, main
from cocoon.agent.platform import AttestationSettings
from cocoon.chain.wallet import Wallet
from cocoon.contracts_build import contracts_dir
from cocoon.errors import WalletError
from cocoon.kernels.engine.chat import Message
from cocoon.kernels.errors import InvalidRequest
from cocoon.wire.common import ModelTerms

REGISTRY = "0:" + "11" * 32
GOOD = f'network = "net.json"\nregistry = "{REGISTRY}"\nworker_index = 3\ndata_dir = "data"\n'


def _config(directory: Path, text: str) -> AgentConfig:
    (directory / "agent.toml").write_text(text)
    return AgentConfig.from_file(directory / "agent.toml")


def test_config_from_a_file_is_read_relative_to_it(tmp_path: Path) -> None:
    config = _config(tmp_path, GOOD + 'kernel = "a:b"\n[limits]\nmax_tokens = 5\n')
    assert (config.network, config.data_dir) == (tmp_path / "net.json", tmp_path / "data")
    assert (config.registry, config.worker_index) == (Address(REGISTRY), 3)
    assert config.limits == Limits(max_tokens=5)
    assert config.socket == tmp_path / "data" / "signer" / "signer.sock"


def test_config_attests_by_hardware_unless_told_otherwise(tmp_path: Path) -> None:
    config = _config(tmp_path, GOOD)
    assert (config.attestation, config.endpoint) == (AttestationSettings(), "")
    assert config.attestation.source == "configfs"
    table = '[attestation]\nsource = "simulated"\nseed = "x"\nallow_simulated_tee = true\n'
    config = _config(tmp_path, GOOD + 'endpoint = "wss://worker.example"\n' + table)
    assert config.attestation == AttestationSettings(source="simulated", seed="x", allow_simulated_tee=True)
    assert config.endpoint == "wss://worker.example"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x = ",
        GOOD + "colour = 1",
        GOOD.replace("0:11", "zz"),
        GOOD + "[limits]\nx = 1",
        GOOD.replace("worker_index = 3", ""),
    ],
)
def test_config_that_is_wrong_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SetupError) as caught:
        _config(tmp_path, text)
    assert "\n" not in str(caught.value)
    with pytest.raises(SetupError):
        AgentConfig.from_file(tmp_path / "absent.toml")


_TERMS = "\n[terms]\nprompt_nano = 1\ncached_nano = 1\ncompletion_nano = 1\nfloor_fee_nano = 1\nmin_duration_sec = 1\n"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('worker_index = "0"', "worker_index must be a whole number from 0"),
        ("worker_index = -1", "worker_index must be a whole number from 0"),
        ('registry = "0:00"', "registry '0:00' is no TON address"),
        ("registry = 5", "registry must be a text in quotes"),
        ("data_dir = 7", "data_dir must be a text in quotes"),
        ('data_dir = ""', "data_dir must be a text in quotes"),
        ("kernel = 5", "kernel must be a text in quotes"),
        ("forced_slots = 9", "from 0 to 8"),
        ('stale_after_sec = "x"', "number of seconds above 0"),
        ("pace = 5", r"pace must be a table: write \[pace\]"),
        ("pace.concurrency = 0", "pace.concurrency must be a whole number from 1"),
        ("pace.first_pause = -1", "pace.first_pause must be a number of seconds above 0"),
        ("pace.longest_pause = nan", "pace.longest_pause must be a number of seconds above 0"),
        ("limits.max_tokens = true", "limits.max_tokens must be a whole number from 1"),
        ("limits.x = 1", "unknown settings limits.x; known are max_tokens"),
        ('attestation.source = "sgx"', "attestation.source must be one of configfs, simulated"),
        ('attestation.source = "simulated"', "attestation.seed belongs to"),
        ('attestation.seed = "x"', "attestation.seed belongs to"),
        ('attestation.allow_simulated_tee = "yes"', "attestation.allow_simulated_tee must be true or false"),
        ("attestation.collateral_refresh_sec = 0", "collateral_refresh_sec must be a number of seconds above 0"),
        ("attestation.collateral_service = 5", "collateral_service must be a text in quotes"),
        ("endpoint = 5", "endpoint must be a text of at most 500 bytes"),
        (f'endpoint = "{"x" * 501}"', "endpoint must be a text of at most 500 bytes"),
        ('endpoint = "a\\nb"', "endpoint must be a text of at most 500 bytes"),
        ("terms.prompt_nano = 1", "terms.cached_nano, terms.completion_nano"),
        (_TERMS.replace("prompt_nano = 1", "prompt_nano = 1.5"), "terms.prompt_nano must be a whole number"),
        (_TERMS.replace("min_duration_sec = 1", "min_duration_sec = 0"), "terms.min_duration_sec .* from 1"),
    ],
)
def test_config_with_a_setting_of_the_wrong_kind_names_it(tmp_path: Path, line: str, complaint: str) -> None:
    name = line.split(" ")[0].split(".")[0]
    kept = "".join(given + "\n" for given in GOOD.splitlines() if not given.startswith(name))
    with pytest.raises(SetupError, match=complaint):
        _config(tmp_path, kept + line)


def test_config_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_bytes(b"\x85")
    with pytest.raises(SetupError, match="can't read"):
        AgentConfig.from_file(tmp_path / "agent.toml")


def test_config_takes_as_many_slots_as_the_contract() -> None:
    source = (contracts_dir() / "worker" / "storage.tolk").read_text()
    assert f"const MAX_FORCED_SLOTS = {settings._MAX_FORCED_SLOTS}\n" in source


def test_config_wallet_comes_from_words_or_a_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = _config(tmp_path, GOOD)
    monkeypatch.delenv("COCOON_OPERATOR_MNEMONIC", raising=False)
    with pytest.raises(WalletError, match="COCOON_OPERATOR_MNEMONIC"):
        config.wallet()
    words = Wallet.new_mnemonic()
    monkeypatch.setenv("COCOON_OPERATOR_MNEMONIC", words)
    assert config.wallet().address == Wallet.from_mnemonic(words).address
    config = _config(tmp_path, GOOD + 'wallet_key = "key"\n')
    with pytest.raises(WalletError, match="can't read"):
        config.wallet()
    (tmp_path / "key").write_text("05" * 32 + "\n")
    assert config.wallet().key.private_bytes_raw() == b"\5" * 32
    (tmp_path / "key").write_text("zz" * 32)
    with pytest.raises(WalletError, match="neither"):
        config.wallet()
    (tmp_path / "key").write_text("just some words")
    with pytest.raises(WalletError):
        config.wallet()


def test_kernel_by_name_is_loaded_or_refused() -> None:
    assert load_kernel("agent_kernel:slow").count_tokens({"prompt": "a b"}) == 2
    for spec in ("gpt", ":make", "nowhere:make", "agent_kernel:nothing", "builtins:dict", "os:chdir"):
        with pytest.raises(SetupError):
            load_kernel(spec)


def test_main_without_a_network_file_ends_with_a_message(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Not even a signer is started for it."""
    (tmp_path / "key").write_text("05" * 32)
    assert main(_config(tmp_path, GOOD + 'wallet_key = "key"\nkernel = "agent_kernel:slow"\n')) == 1
    assert "the global configuration" in caplog.text
    assert "can't be read" in caplog.text
    assert not (tmp_path / "data" / "signer").exists()


def test_main_without_a_usable_data_directory_ends_with_a_message(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "key").write_text("05" * 32)
    (tmp_path / "net.json").write_text("{}")
    (tmp_path / "data").write_text("a file")
    assert main(_config(tmp_path, GOOD + 'wallet_key = "key"\nkernel = "agent_kernel:slow"\n')) == 1
    assert "can't be made" in caplog.text


class _Engine:
    """What `EngineKernel` needs of an engine, recording what it is asked."""

    model_id = bytes(32)
    build_id = "b" * 64

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    def count_tokens(self, prompt: Any) -> int:
        self.asked["prompt"] = prompt
        return 4

    def complete(self, prompt: Any, **options: Any) -> Any:
        self.asked = {"prompt": prompt, **options}
        reason = "cancelled" if options["cancel"].is_set() else "stop"
        return SimpleNamespace(text="hi", prompt_tokens=4, cached_tokens=2, completion_tokens=1, finish_reason=reason)


def test_engine_kernel_translates_requests() -> None:
    engine = _Engine()
    kernel = EngineKernel(engine)  # type: ignore[arg-type]
    request = {"messages": [{"role": "user", "content": "hello"}], "temperature": 1, "stop": "x", "max_tokens": 9}
    assert kernel.count_tokens(request) == 4
    assert kernel.asked_tokens(request) == 9
    cancel = threading.Event()
    result = kernel.complete(request, max_tokens=7, cancel=cancel, owner="escrow")
    assert result == Result({"text": "hi", "finish_reason": "stop", "build": "b" * 64}, 4, 1, 2)
    assert engine.asked["owner"] == "escrow"
    assert engine.asked["prompt"] == [Message("user", "hello")]
    assert (engine.asked["max_tokens"], engine.asked["stop"], engine.asked["sampling"].temperature) == (7, ["x"], 1.0)
    cancel.set()
    assert kernel.complete({"prompt": "a"}, max_tokens=7, cancel=cancel).body["finish_reason"] == "deadline"
    assert kernel.asked_tokens({"prompt": "a"}) is None


@pytest.mark.parametrize("request_", [
    {}, {"prompt": 1}, {"messages": []}, {"messages": "x"}, {"messages": [1]}, {"messages": [{"role": "user"}]},
    {"messages": [{"role": "user", "content": ["x"]}]}, {"messages": [{"role": "king", "content": "x"}]},
    {"messages": [{"role": "user", "content": "x", "name": "y"}]}, {"prompt": "x", "messages": []},
    {"prompt": "x", "n": 2},
    {"prompt": "x", "max_tokens": 0}, {"prompt": "x", "max_tokens": True}, {"prompt": "x", "max_tokens": "9"},
    {"prompt": "x", "temperature": "hot"}, {"prompt": "x", "temperature": -1}, {"prompt": "x", "temperature": 1e999},
    {"prompt": "x", "temperature": 10**400}, {"prompt": "x", "top_p": 10**400},
    {"prompt": "x", "top_p": 0}, {"prompt": "x", "seed": 1.5}, {"prompt": "x", "seed": -1},
    {"prompt": "x", "stop": [1]}, {"prompt": "x", "top_k": -1}, {"prompt": "x", "top_k": 1.0},
])  # fmt: skip
def test_engine_kernel_refuses_what_is_no_request(request_: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        EngineKernel(_Engine()).count_tokens(request_)  # type: ignore[arg-type]


def test_tokens_a_fee_pays_for_are_rounded_down() -> None:
    terms = ModelTerms(10**6, 0, 2 * 10**6, 1, 1)
    assert [affordable_tokens(terms, 10, fee) for fee in (9, 10, 11, 12, 13, 14)] == [0, 0, 0, 1, 1, 2]
    free = ModelTerms(10**6, 0, 0, 1, 1)
    assert [affordable_tokens(free, 10, fee) for fee in (9, 10)] == [0, None]
