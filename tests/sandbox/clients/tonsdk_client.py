"""tonsdk's own client of the toncenter API, with wallets that tonsdk signs."""

import asyncio
from typing import Any

import aiohttp
from harness import FRIEND, NANO, PLACE, faucet, report, until
from tonsdk.contract.wallet import Wallets, WalletVersionEnum
from tonsdk.provider import ToncenterClient
from tonsdk.utils import bytes_to_b64str, to_nano


async def main() -> None:
    client = ToncenterClient(base_url=PLACE["toncenter"] + "/", api_key=None)
    async with aiohttp.ClientSession() as session:

        async def ask(call: dict[str, Any]) -> Any:
            return await call["func"](session, *call["args"], **call["kwargs"])

        _, _, _, wallet = Wallets.create(WalletVersionEnum.v4r2, workchain=0)
        address = wallet.address.to_string(True, True, True)
        before = await ask(client.raw_get_account_state(address))
        faucet(wallet.address.to_string(False), 10)
        await ask(client.raw_send_message(wallet.create_init_external_message()["message"].to_boc(False)))

        async def seqno() -> int:
            answer = await ask(client.raw_run_method(address, "seqno", []))
            return int(answer["stack"][0][1], 16) if answer["exit_code"] == 0 else 0

        async def reached(wanted: int) -> bool:
            return await seqno() == wanted

        await until(lambda: reached(1))
        order = wallet.create_transfer_message(FRIEND, to_nano(1, "ton"), seqno=1, payload="hello")
        await ask(client.raw_send_message(order["message"].to_boc(False)))
        await until(lambda: reached(2))
        state = await ask(client.raw_get_account_state(address))
        found = await ask({**client.raw_get_account_state(FRIEND)})
        report(
            before=before["state"],
            state=state["state"],
            balance=int(state["balance"]),
            friend=int(found["balance"]) >= NANO,
            seqno=await seqno(),
            signed=len(bytes_to_b64str(order["message"].to_boc(False))) > 100,
        )


asyncio.run(main())
