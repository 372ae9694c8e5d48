"""Settings, token, logs, and the guide: what it shows is read, and its commands exist."""

from __future__ import annotations

import logging
import re
import shlex
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiogram.exceptions import ClientDecodeError
from bot_api import TOKEN
from click.testing import CliRunner

from cocoon.chain.wallet import Wallet
from cocoon.cli import main
from cocoon.gateway.settings import GatewaySettings
from cocoon.telegram.errors import BotError
from cocoon.telegram.handlers import MENU
from cocoon.telegram.logs import Discreet, set_up_logs
from cocoon.telegram.settings import BotSettings
from cocoon.telegram.texts import HELP
from cocoon.telegram.token import read_token

PAGE = (Path(__file__).parents[2] / "docs" / "telegram.md").read_text()


def blocks(language: str) -> list[str]:
    return [textwrap.dedent(found) for found in re.findall(rf" *```{language}\n(.*?)```", PAGE, re.DOTALL)]


@pytest.fixture
def own_logs() -> Iterator[None]:
    """Logging of the process is as it was afterwards."""
    root, aiogram = logging.getLogger(), logging.getLogger("aiogram.dispatcher")
    before, level, filters = root.handlers[:], root.level, aiogram.filters[:]
    root.handlers = []  # so that nobody closes them
    yield
    root.handlers, root.level, aiogram.filters = before, level, filters


@pytest.mark.usefixtures("own_logs")
def test_page_followed_literally_passes_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    market, bot = blocks("toml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COCOON_TELEGRAM_TOKEN", raising=False)
    (tmp_path / "market.toml").write_text(market)
    (tmp_path / "telegram.toml").write_text(bot)
    words = Wallet.new_mnemonic()
    (tmp_path / "telegram.words").write_text(words if isinstance(words, str) else " ".join(words))
    (tmp_path / "telegram.token").touch(mode=0o600)
    (tmp_path / "telegram.token").write_text(TOKEN + "\n")
    lines = [shlex.split(line) for block in blocks("sh") for line in block.splitlines()]
    commands = [line[1:] for line in lines if line[0] == "cocoon"]
    assert commands == [
        ["telegram-bot", "--config", "telegram.toml", "--check"], ["telegram-bot", "--config", "telegram.toml"],
    ]  # fmt: skip
    told = CliRunner().invoke(main, commands[0])
    assert told.exit_code == 0, told.output
    assert (
        Wallet.from_mnemonic((tmp_path / "telegram.words").read_text()).address.to_str(is_user_friendly=False)
        in told.output
    )
    assert TOKEN not in told.output
    (tmp_path / "global.config.json").write_text("[]")
    told = CliRunner().invoke(main, commands[1])  # as far as a network that is none
    assert (told.exit_code, "not a JSON object" in told.output) == (1, True)
    assert BotSettings.from_file(tmp_path / "telegram.toml").budgets == {123456789: 500_000_000}
    assert GatewaySettings.from_file(tmp_path / "market.toml").data_dir == tmp_path / "telegram"


def test_page_and_help_name_every_command() -> None:
    for command in [entry.command for entry in MENU] + ["receipt"]:
        assert f"`/{command}" in PAGE
        assert f"/{command}" in HELP or command == "help"


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("tokn = 1", "tokn"), ("users = 1", "users"), ('users = ["a"]', "users"), ("edit_sec = 0.5", "edit_sec"),
        ("user_day_nano = -1", "user_day_nano"), ("max_tokens = true", "max_tokens"),
        ('bot_api = "ftp://x"', "bot_api"),
        ("[budgets]\nalice = 5", "budgets"), ("[budgets]\n1 = 0.5", "budgets.1"), ("a = = b", "can't read"),
        ("answer_sec = nan", "answer_sec"), ('model = ""', "model"),
    ],
)  # fmt: skip
def test_settings_with_a_mistake_are_refused_by_name(line: str, named: str, tmp_path: Path) -> None:
    path = tmp_path / "telegram.toml"
    path.write_text(f'market = "m.toml"\n{line}')
    with pytest.raises(BotError, match=re.escape(named)):
        BotSettings.from_file(path)


def test_settings_without_a_market_are_refused(tmp_path: Path) -> None:
    (tmp_path / "telegram.toml").write_text("")
    with pytest.raises(BotError, match="market must be set"):
        BotSettings.from_file(tmp_path / "telegram.toml")


def test_token_in_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    assert read_token(tmp_path / "absent", {"COCOON_TELEGRAM_TOKEN": f" {TOKEN}\n"}) == TOKEN


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_token_file_that_others_can_use_is_refused(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(mode)
    with pytest.raises(BotError, match="chmod 600") as refused:
        read_token(path, {})
    assert TOKEN not in str(refused.value)
    path.chmod(0o600)
    assert read_token(path, {}) == TOKEN


def test_token_that_is_missing_or_malformed_is_refused_without_showing_it(tmp_path: Path) -> None:
    with pytest.raises(BotError, match="COCOON_TELEGRAM_TOKEN"):
        read_token(None, {})
    with pytest.raises(BotError, match="no bot token") as refused:
        read_token(None, {"COCOON_TELEGRAM_TOKEN": "12345:hidden"})
    assert "hidden" not in str(refused.value)
    with pytest.raises(BotError, match="can't read"):
        read_token(tmp_path / "absent", {})


@pytest.mark.usefixtures("own_logs")
def test_logs_hold_neither_the_token_nor_updates() -> None:
    """Not in tracebacks either."""
    try:
        raise OSError(f"https://api.telegram.org/bot{TOKEN}/getMe")
    except OSError:
        record = logging.LogRecord("x", logging.ERROR, "", 1, "at %s", (f"/bot{TOKEN}/",), sys.exc_info())
    said = Discreet(TOKEN).format(record)
    assert "OSError" in said
    assert TOKEN not in said

    set_up_logs(TOKEN)
    assert [type(handler.formatter) for handler in logging.getLogger().handlers] == [Discreet]
    decoding = ClientDecodeError("Failed", ValueError(), {"text": "a question of mine"})
    record = logging.LogRecord("aiogram.dispatcher", logging.ERROR, "", 1, "%s: %s", ("X", decoding), None)
    assert logging.getLogger("aiogram.dispatcher").filter(record)
    assert record.getMessage() == "X: unreadable"
