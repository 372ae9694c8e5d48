"""The whole way: the documented command as a process, a real network, contracts, a worker; HTTP on Telegram's side."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import sys
from pathlib import Path

import pytest
from bot_api import TOKEN, bot_api
from bots import ALICE, NOTHING

from cocoon.demo.stage import Stage
from cocoon.gateway.receipts import Proof
from cocoon.gateway.sandbox import staged_worker
from cocoon.gateway.verify import check_offline, check_on_chain
from cocoon.wire.escrow import EscrowStorage
from cocoon_sandbox.executor import Executor

KERNEL = "chat_words:ChatWords"
MODEL = f"{0xABCDEF:064x}"


async def test_bot_over_a_real_network_answers_pays_and_proves(
    executor: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # where the worker finds its kernel
    async with (
        bot_api() as api,
        Stage.build(tmp_path) as stage,
        staged_worker(stage, kernel=KERNEL, model_id=MODEL) as market,
    ):
        wallet = await stage.wallet(5)
        (tmp_path / "bot.key").write_text(wallet.key.private_bytes_raw().hex())
        (tmp_path / "market.toml").write_text(
            f'network = "{stage.config_file}"\ndata_dir = "bot"\nwallet_key = "bot.key"\npoll_sec = 1.0\n'
            f'registry = "{market.deployment.registry.to_str(is_user_friendly=False)}"\n'
            f'private_endpoints = true\n[models]\nwords = "{MODEL}"\n'
        )
        (tmp_path / "telegram.toml").write_text(
            f'market = "market.toml"\nbot_api = "{api.base_url}"\nmax_tokens = 8\nuser_day_nano = 1_000_000_000\n'
        )
        bot = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "cocoon", "telegram-bot", "--config", str(tmp_path / "telegram.toml"),
            "--allow-simulated-tee", "--json",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "COCOON_TELEGRAM_TOKEN": TOKEN},
        )  # fmt: skip
        try:
            api.write(ALICE, "/start")
            await api.until(lambda: bool(api.shown(ALICE)), 60)
            assert api.shown(ALICE)[0].startswith("SIMULATED TEE: NOTHING IS CONFIDENTIAL")
            api.write(ALICE, "one two three")
            await api.until(lambda: len(api.shown(ALICE)) > 1 and "—\n" in api.shown(ALICE)[1], 60)
            text = api.shown(ALICE)[1]
            assert text.startswith("three two one\n\n—\n"), text
            assert NOTHING in text
            receipt = next(word for word in text.split() if word.startswith("rcpt_"))
            api.write(ALICE, f"/receipt {receipt}")
            await api.until(lambda: bool(api.named("sendDocument")), 30)
            proof = Proof.from_text(api.named("sendDocument")[0].files[f"{receipt}.json"])
            checks = [*check_offline(proof), *await check_on_chain(proof, stage.chain)]
            assert all(check.holds is not False for check in checks), checks

            state = EscrowStorage.from_cell((await stage.chain.account(proof.channel.escrow)).data)
            assert state.identity.client == wallet.address  # its own channel, from its own wallet
        finally:
            bot.send_signal(signal.SIGTERM)
            out, err = await asyncio.wait_for(bot.communicate(), 60)
        assert bot.returncode == 0, err.decode()
        assert json.loads(out) == {"username": "cocoon_bot", "simulated_tee": True}
        assert err.decode().rstrip().endswith("stopped")
        assert TOKEN not in err.decode()
        assert "three two one" not in err.decode()
        with sqlite3.connect(tmp_path / "bot" / "telegram.sqlite") as db:
            assert db.execute("SELECT user_id, spent_nano, reserved_nano FROM days").fetchall() == [
                (ALICE, proof.fee_nano, 0)
            ]
