"""The client over a real network: blocks, lite server, proofs. The worker's agent is played by the test."""

from __future__ import annotations

from protocol_world import MODEL, TERMS, TON, make_world, named_key

from cocoon.chain import LiteChain, Wallet
from cocoon.client import Answer, Client, Expired
from cocoon.crypto.ed25519 import sign
from cocoon.crypto.statements import close
from cocoon_sandbox.executor import Executor
from cocoon_sandbox.network import Network


async def test_channel_from_opening_to_close_over_the_lite_server(executor: Executor) -> None:
    wallets = [Wallet(named_key(name)) for name in ("owner", "operator", "client")]
    async with Network(executor=executor, block_interval=0.2) as network:
        for wallet in wallets:
            await network.credit(wallet.address, 100 * TON)
        async with await LiteChain.open(network.global_config()) as chain:
            world = await make_world(chain, *wallets)
            client = Client(chain, world.client, world.deployment, allow_simulated_tee=True)
            channel = await client.open(0, deposit=TON, model_id=MODEL, term=86400, max_prices=TERMS)
            job = await channel.post_job({"prompt": "hello"}, max_fee=TON // 5, duration=60)
            await world.agent.deliver(channel.address, "hello yourself")
            answer = await job.result()
            assert isinstance(answer, Answer)
            assert answer.text == "hello yourself"
            assert (await chain.account(world.agent.payout)).balance == answer.fee_nano

            silent = await channel.post_job({"prompt": "anybody?"}, max_fee=TON // 5, duration=60)
            await network.advance(200)
            expired = await silent.result()
            assert isinstance(expired, Expired)
            assert (expired.penalty_nano, expired.compensation_nano) == (TON, TON // 5)

            agreed = sign(world.agent.session, close(await channel.signed(), cumulative_nano=TON // 4))
            done = await channel.close_cooperative(TON // 4, agreed)
            assert done.received_nano > TON - TON // 4
            assert (await chain.account(channel.address)).status == "nonexist"
            assert [item.exit_code for item in done.transactions if item.account == channel.address] == [0]
            network.ledger.check_conservation()
