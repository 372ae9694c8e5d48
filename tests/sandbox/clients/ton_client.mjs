// @ton/ton's TonClient over toncenter: connect, read, deploy a wallet, send, see the transaction, call a getter, scan.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const place = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const require = createRequire(join(process.argv[3], 'package.json'));
const { TonClient, WalletContractV4 } = require('@ton/ton');
const { Address, SendMode, internal, toNano } = require('@ton/core');
const { keyPairFromSeed } = require('@ton/crypto');

const faucet = (address, ton) => execFileSync(place.cocoon[0], [...place.cocoon.slice(1), 'faucet', address, ton]);

async function until(condition) {
    for (const end = Date.now() + 15000; Date.now() < end; ) {
        const found = await condition();
        if (found) return found;
        await new Promise((done) => setTimeout(done, 100));
    }
    throw new Error('it did not happen in time');
}

const client = new TonClient({ endpoint: `${place.toncenter}/jsonRPC` });
const first = (await client.getMasterchainInfo()).latestSeqno;
const friend = Address.parse(place.friend);
const key = keyPairFromSeed(Buffer.alloc(32, 9));
const wallet = client.open(WalletContractV4.create({ workchain: 0, publicKey: key.publicKey }));
const deployedBefore = await client.isContractDeployed(wallet.address);
faucet(wallet.address.toRawString(), '10');
const balance = await client.getBalance(wallet.address);
const sendMode = SendMode.PAY_GAS_SEPARATELY;
const messages = [internal({ to: friend, value: toNano('1'), bounce: false, body: 'hello' })];
const order = wallet.createTransfer({ seqno: 0, secretKey: key.secretKey, messages, sendMode });
const fees = await client.estimateExternalMessageFee(wallet.address, {
    body: order, initCode: wallet.init.code, initData: wallet.init.data, ignoreSignature: true,
});
await wallet.send(order);
await until(async () => (await client.isContractDeployed(wallet.address)) && (await wallet.getSeqno()) === 1);
await wallet.sendTransfer({ seqno: 1, secretKey: key.secretKey, messages, sendMode });
await until(async () => (await wallet.getSeqno()) === 2);
const arrived = await until(async () => {
    const found = await client.getTransactions(friend, { limit: 10 });
    const ours = found.filter((t) => t.inMessage?.info.src?.equals?.(wallet.address));
    return ours.length === 2 && ours;
});
const last = (await client.getMasterchainInfo()).latestSeqno;
const scanned = new Set();
for (let seqno = first + 1; seqno <= last; seqno++) {
    for (const shard of await client.getWorkchainShards(seqno)) {
        for (const found of await client.getShardTransactions(shard.workchain, shard.seqno, shard.shard)) {
            scanned.add(`${found.account.toRawString()}/${found.lt}`);
        }
    }
}
const newest = (await client.getTransactions(wallet.address, { limit: 1 }))[0];
console.log(JSON.stringify({
    deployedBefore,
    balance: balance.toString(),
    gasFee: fees.source_fees.gas_fee,
    seqno: await wallet.getSeqno(),
    received: arrived.map((t) => t.inMessage.info.value.coins.toString()),
    exitCode: newest.description.computePhase.exitCode,
    scanned: arrived.every((t) => scanned.has(`${friend.toRawString()}/${t.lt}`)),
}));
