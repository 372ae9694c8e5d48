"""`cocoon.AsyncClient`, `cocoon.Client` and `cocoon batch` over a real network, a worker's agent and real channels."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from click.testing import CliRunner

import cocoon
from cocoon.cli import main
from cocoon.demo.stage import Stage
from cocoon.gateway.backend import Delta, Finished
from cocoon.gateway.sandbox import staged_worker
from cocoon.gateway.verify import check_on_chain
from cocoon_sandbox.executor import Executor

KERNEL = "cocoon.bench.null_kernel:NullKernel"
MODEL = f"{0xABCDEF:064x}"


async def test_python_programs_buy_answers_without_a_gateway(executor: Executor, tmp_path: Path) -> None:
    async with Stage.build(tmp_path) as stage, staged_worker(stage, kernel=KERNEL, model_id=MODEL) as market:
        wallet = await stage.wallet(20)
        (tmp_path / "wallet.key").write_text(wallet.key.private_bytes_raw().hex())
        settings = tmp_path / "gateway.toml"
        settings.write_text(
            f'network = "{stage.config_file}"\nregistry = "{market.deployment.registry.to_str(False)}"\n'
            f'data_dir = "buyer"\nwallet_key = "wallet.key"\nprivate_endpoints = true\npoll_sec = 1\n'
            f'[models]\nwords = "{MODEL}"\n'
        )
        async with cocoon.AsyncClient.open(settings, allow_simulated_tee=True) as client:
            answers = await asyncio.gather(*(client.ask(f"{n} word", model="words", max_tokens=2) for n in range(6)))
            assert [answer.text for answer in answers] == [f"word {n}" for n in range(6)]
            asked = {"prompt": "c b a", "max_tokens": 3}
            *_, last, end = [event async for event in client.backend.run(client.backend.quote(asked, MODEL))]
            assert isinstance(last, Delta)
            assert isinstance(end, Finished)
            assert last.spent_nano == end.fee_nano  # who leaves here pays what the receipt would say
            checks = await check_on_chain(answers[0].proof, stage.chain)
            assert all(check.holds is not False for check in checks)

        def blocking() -> str:
            with cocoon.Client(settings, allow_simulated_tee=True) as client:
                return "".join(client.stream("c b a", model="words", max_tokens=3))

        assert await asyncio.to_thread(blocking) == "a b c"

        asked = {"method": "POST", "url": "/v1/completions"}
        bodies = [{"model": "words", "prompt": f"{n} x"} for n in range(12)]
        lines = [{"custom_id": str(n), **asked, "body": body} for n, body in enumerate(bodies)]
        (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        command = [
            "batch", str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl"), "--config", str(settings), "--json",
            "--allow-simulated-tee", "--budget", "1",
        ]  # fmt: skip
        for before, answered in ((0, 12), (12, 0)):
            told = await asyncio.to_thread(CliRunner().invoke, main, command)
            assert told.exit_code == 0, told.output
            done = json.loads(told.stdout)
            assert (done["before"], done["answered"], done["failed"]) == (before, answered, 0)
        found = [json.loads(line)["response"]["body"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
        assert {body["choices"][0]["text"] for body in found} == {f"x {n}" for n in range(12)}
        assert {body["cocoon"]["proofs"][0]["channel"]["escrow"] for body in found} == {
            answers[0].proof.channel.escrow.to_str(is_user_friendly=False)
        }  # one channel served everything
