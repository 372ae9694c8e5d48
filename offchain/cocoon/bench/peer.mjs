// The peer of `cocoon bench sandbox`: plain @ton/sandbox in Node runs the transfers that it is given.
// First line of standard input: {config, now, funds, wallets}. Every further line: {messages}, answered with
// {transactions, seconds}. Preparing accounts and parsing messages is not timed.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const require = createRequire(join(process.argv[2], 'package.json'));
const { Blockchain, createEmptyShardAccount } = require('@ton/sandbox');
const { Address, Cell } = require('@ton/core');

async function prepare({ config, now, funds, wallets }) {
    const chain = await Blockchain.create({ config: Cell.fromBase64(config) });
    chain.now = now;
    for (const text of wallets) {
        const account = createEmptyShardAccount(Address.parse(text));
        account.account = {
            addr: Address.parse(text),
            storageStats: { used: { cells: 1n, bits: 103n }, storageExtra: null, lastPaid: now, duePayment: null },
            storage: { lastTransLt: 0n, balance: { coins: BigInt(funds) }, state: { type: 'uninit' } },
        };
        await chain.setShardAccount(Address.parse(text), account);
    }
    return chain;
}

async function timed(chain, { messages }) {
    const cells = messages.map((text) => Cell.fromBase64(text));
    const begun = process.hrtime.bigint();
    let transactions = 0;
    for (const cell of cells) transactions += (await chain.sendMessage(cell)).transactions.length;
    return { transactions, seconds: Number(process.hrtime.bigint() - begun) / 1e9 };
}

let chain;
for await (const line of createInterface({ input: process.stdin })) {
    const given = JSON.parse(line);
    if (chain === undefined) chain = await prepare(given);
    else process.stdout.write(JSON.stringify(await timed(chain, given)) + '\n');
}
