"""tonutils, over ADNL to the lite server or over HTTP to toncenter: the same program, another client."""

import asyncio
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

from harness import FRIEND, NANO, PLACE, faucet, report, until
from ton_core import NetworkGlobalID
from tonutils.clients import LiteClient, ToncenterClient
from tonutils.contracts import WalletV4R2, WalletV5R1

SHARD = -(1 << 63)


def make() -> Any:
    if sys.argv[2] == "http":
        return ToncenterClient(NetworkGlobalID.TESTNET, base_url=PLACE["toncenter"], rps_limit=100)
    server = json.loads(Path(PLACE["global_config"]).read_text())["liteservers"][0]
    return LiteClient(
        NetworkGlobalID.TESTNET, ip=server["ip"], port=server["port"], public_key=server["id"]["key"], rps_limit=1000
    )


async def scan(client: Any) -> tuple[int, int]:
    """Transactions in all blocks so far, by the lite client's own methods, and how many blocks these are."""
    last = (await client.get_masterchain_info()).last.seqno
    found = 0
    for number in range(2, last + 1):
        block, _ = await client.lookup_block(workchain=0, shard=SHARD, seqno=number)
        found += len(await client.get_block_transactions(block))
    return found, last


async def funded(wallet: Any) -> bool:
    await wallet.refresh()
    return bool(wallet.balance == 10 * NANO)


async def sent(client: Any, wallet: Any, wanted: int) -> bool:
    await wallet.refresh()
    return bool(wallet.is_active and (await client.run_get_method(wallet.address, "seqno"))[0] == wanted)


async def main() -> None:
    client = make()
    await client.connect()
    seqnos = []
    for kind in (WalletV4R2, WalletV5R1):
        wallet, _, _, _ = kind.create(client)
        raw = wallet.address.to_str(is_user_friendly=False)
        faucet(raw, 10)
        await until(partial(funded, wallet))
        for wanted in (1, 2):
            await wallet.transfer(destination=FRIEND, amount=NANO // 2, body="hello")

            await until(partial(sent, client, wallet, wanted))
        seqnos.append((await client.run_get_method(wallet.address, "seqno"))[0])

    async def received() -> Any:
        found = await client.get_transactions(FRIEND, limit=20)
        return [t for t in found if t.in_msg.info.src == wallet.address]

    transactions = await until(received)
    config = await client.get_config()
    blocks = await scan(client) if sys.argv[2] == "lite" else None
    report(
        seqnos=seqnos,
        received=[t.in_msg.info.value_coins for t in transactions],
        config=34 in config,
        scanned=None if blocks is None else blocks[0],
        blocks=None if blocks is None else blocks[1],
    )
    await client.close()


asyncio.run(main())
