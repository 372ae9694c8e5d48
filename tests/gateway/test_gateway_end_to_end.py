"""The whole way, over real parts: network, contracts, a worker's agent process, channel, gateway, the official SDK."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest
from click.testing import CliRunner
from openai import AsyncOpenAI
from scripted import TON, until

from cocoon.cli import main
from cocoon.demo.stage import Stage
from cocoon.gateway.errors import GatewayError
from cocoon.gateway.receipts import Proof
from cocoon.gateway.sandbox import staged_gateway, staged_worker
from cocoon.gateway.verify import check_offline, check_on_chain
from cocoon_sandbox.executor import Executor

KERNEL = "cocoon.bench.null_kernel:NullKernel"
MODEL = f"{0xABCDEF:064x}"


async def test_gateway_over_a_real_network_answers_pays_and_proves(executor: Executor, tmp_path: Path) -> None:
    async with (
        Stage.build(tmp_path) as stage,
        staged_worker(stage, kernel=KERNEL, model_id=MODEL) as market,
        staged_gateway(market, {"words": MODEL}) as (gateway, key),
        AsyncOpenAI(base_url=gateway.base_url, api_key=key, max_retries=0) as client,
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session,
    ):
        raw = await client.completions.with_raw_response.create(model="words", prompt="one two three", max_tokens=3)
        answer = raw.parse()
        assert answer.choices[0].text == "three two one"
        assert answer.usage is not None
        assert answer.usage.total_tokens == 6

        with pytest.raises(GatewayError, match="in use"):  # two would promise one deposit twice
            async with staged_gateway(market, {"words": MODEL}):
                pass

        stream = await client.completions.create(model="words", prompt="c b a", max_tokens=3, stream=True)
        assert "".join([chunk.choices[0].text async for chunk in stream]) == "a b c"
        more = [client.completions.create(model="words", prompt=f"{n} word", max_tokens=2) for n in range(12)]
        assert [done.choices[0].text for done in await asyncio.gather(*more)] == [f"word {n}" for n in range(12)]
        assert len(gateway.pool.channels) == 1  # reused for all

        url = f"{gateway.base_url}/receipts/{raw.headers['X-Cocoon-Receipt']}"
        async with session.get(url) as response:
            document = await response.json()
        proof = Proof.from_json(document)
        checks = [*check_offline(proof), *await check_on_chain(proof, stage.chain)]
        assert {check.name: check.holds for check in checks} == {
            "signature": True, "domain": True, "usage": True, "fee": True, "worker": True, "channel": True,
            "session key": True, "measurement": None,
        }  # fmt: skip
        (tmp_path / "receipt.json").write_text(json.dumps(document))
        command = ["receipt", "verify", str(tmp_path / "receipt.json"), "--global-config", str(stage.config_file)]
        told = await asyncio.to_thread(CliRunner().invoke, main, command)
        assert told.exit_code == 0, told.output
        assert "nothing is confidential" in told.output

        root = gateway.base_url.removesuffix("/v1")
        async with aiohttp.ClientSession() as page:
            async with page.get(f"{root}/api/channels") as response:  # the page's own key
                shown = await response.json()
            async with asyncio.timeout(30):  # the flows are read a block or two later
                named: set[str] = set()
                while "OpenEscrow" not in named:
                    await stage.chain.next_block()
                    async with page.get(f"{root}/api/flows") as response:
                        named = {flow["what"] for flow in (await response.json())["flows"]}
            async with page.get(f"{root}/health") as response:
                assert (await response.json())["status"] == "ok"
        assert [entry["deposit_nano"] for entry in shown["channels"]] == [str(TON // 2)]

        entry = gateway.keys.named("you")
        assert entry is not None
        assert entry.reserved_nano == 0
        fees = entry.spent_nano
        (held,) = gateway.pool.channels
        gateway.pool.retire(market.index)  # the worker agrees to end the channel, and has been paid to the nano
        keeping = asyncio.create_task(gateway.pool.maintain())
        await until(lambda: not gateway.pool.channels, seconds=60)
        keeping.cancel()
        assert not await held.channel.is_open()
        assert await stage.balance(held.binding.payout) == fees
