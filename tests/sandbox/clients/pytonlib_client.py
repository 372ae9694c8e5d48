"""The C++ tonlib, through pytonlib: it checks every proof the lite server sends."""

import asyncio
import base64
import json
import tempfile
from pathlib import Path
from typing import Any

from harness import FRIEND, PLACE, faucet, report, until
from pytonlib import TonlibClient

CONFIG = json.loads(Path(PLACE["global_config"]).read_text())
SHARD = -(1 << 63)


async def main() -> None:
    with tempfile.TemporaryDirectory() as keystore:
        loop = asyncio.get_running_loop()
        client = TonlibClient(0, CONFIG, keystore, loop=loop, tonlib_timeout=20, verbosity_level=0)
        await client.init()
        await client.sync_tonlib()
        try:
            await use(client)
        finally:
            await client.close()


async def use(client: Any) -> None:
    first = (await client.get_masterchain_info())["last"]["seqno"]
    absent = await client.raw_get_account_state("0:" + "44" * 32)
    wallet = PLACE["wallet"]
    faucet(wallet["address"], 10)
    await client.raw_send_message(base64.b64decode(wallet["deploy"]))

    async def seqno() -> int:
        answer = await client.raw_run_method(wallet["address"], "seqno", [])
        return int(answer["stack"][0][1], 16) if answer["exit_code"] == 0 else 0

    await until(lambda: reached(seqno, 1))
    await client.raw_send_message(base64.b64decode(wallet["transfer"]))
    await until(lambda: reached(seqno, 2))

    async def received() -> list[Any]:
        return [t for t in await client.get_transactions(FRIEND, limit=5) if t["in_msg"]["source"]]

    found = [t for t in await until(received) if same(t["in_msg"]["source"], wallet["friendly"])]
    transaction = found[0]
    state = await client.raw_get_account_state(wallet["address"])
    last = (await client.get_masterchain_info())["last"]["seqno"]
    scanned = set()
    for number in range(first + 1, last + 1):
        for shard in (await client.get_shards(number))["shards"]:
            listed = await client.get_block_transactions(0, SHARD, shard["seqno"], count=100)
            scanned |= {t["hash"] for t in listed["transactions"]}
    header = await client.get_block_header(-1, SHARD, last)
    config = await client.get_config_param(34, last)
    report(
        absent=absent["balance"],
        seqno=await seqno(),
        received=[int(t["in_msg"]["value"]) for t in found],
        balance=int(state["balance"]),
        scanned=transaction["transaction_id"]["hash"] in scanned,
        blocks=last - first,
        header=header["id"]["seqno"] == last,
        config=bool(config["config"]["bytes"]),
    )


async def reached(seqno: Any, wanted: int) -> bool:
    return bool(await seqno() >= wanted)


def same(address: str, friendly: str) -> bool:
    return base64.urlsafe_b64decode(address)[2:34] == base64.urlsafe_b64decode(friendly)[2:34]


asyncio.run(main())
