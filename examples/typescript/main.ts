// A client of Cocoon in TypeScript: opens a channel, has a job done through the chain alone, pays by voucher, closes.
//
//   TONCENTER=http://127.0.0.1:8081/api/v2/jsonRPC GLOBAL_ID=-217 REGISTRY=... WORKER=0 MODEL=... MNEMONIC="24 words"
//   node main.ts ask "Why is the sky blue?"       node main.ts finish        (a day later: the dispute window)
import { createHash } from 'node:crypto';
import { Address, Cell, Dictionary, SendMode, contractAddress, internal, toNano, type TupleReader } from '@ton/core';
import { keyPairFromSeed, mnemonicToPrivateKey } from '@ton/crypto';
import { TonClient, WalletContractV4 } from '@ton/ton';
import {
    KIND, OP, beginClose, claimVoucher, domain, escrowInit, finishClose, hashOf, modelTerms, openEscrow, postJob, readDelivery, workerAddress,
} from './protocol.ts';
import { fromBlob, openResponse, sealRequest } from './seal.ts';

const fail = (why: string): never => {
    throw new Error(why);
};
const setting = (name: string) => process.env[name] ?? fail(`set ${name} in the environment`);

const client = new TonClient({ endpoint: setting('TONCENTER') });
const registry = Address.parse(setting('REGISTRY'));
const modelId = BigInt(setting('MODEL'));
const globalId = Number(setting('GLOBAL_ID'));
const keys = await mnemonicToPrivateKey(setting('MNEMONIC').split(' '));
const wallet = client.open(WalletContractV4.create({ workchain: 0, publicKey: keys.publicKey }));
const voucherKeys = keyPairFromSeed(createHash('sha256').update('cocoon vouchers').update(keys.secretKey).digest());
const worker = workerAddress(registry, BigInt(setting('WORKER')));
const init = escrowInit(registry, wallet.address, worker, 0n);
const escrow = contractAddress(0, init);

async function until<T>(what: string, look: () => Promise<T | false>): Promise<T> {
    for (const end = Date.now() + 120_000; Date.now() < end; await new Promise((done) => setTimeout(done, 300))) {
        const found = await look();
        if (found) return found;
    }
    return fail(`${what} did not happen in time`);
}

/** A message to the escrow, with its code until it is deployed. `notBefore`: a time the chain's clock has certainly reached. */
async function send(value: bigint, body?: Cell, notBefore = 0n) {
    const deployed = await client.isContractDeployed(escrow);
    const seqno = await wallet.getSeqno();
    const messages = [internal({ to: escrow, value, body, init: deployed ? null : init, bounce: deployed })];
    const timeout = Math.max(Math.floor(Date.now() / 1000), Number(notBefore)) + 120;
    await wallet.sendTransfer({ seqno, secretKey: keys.secretKey, messages, timeout, sendMode: SendMode.PAY_GAS_SEPARATELY });
    await until('the wallet’s transaction', async () => (await wallet.getSeqno()) > seqno);
}

const numbers = (stack: TupleReader, count: number) => Array.from({ length: count }, () => stack.readBigNumber());
const get = async (of: Address, method: string, ...given: bigint[]) =>
    (await client.runMethod(of, method, given.map((value) => ({ type: 'int', value })))).stack;

/** What to attach, nanoTON; the positions are those of `get_fees` in scheme.tlb. */
async function fees(termSec = 0) {
    const [open, , post, , claim, beginClose, close] = numbers(await get(escrow, 'get_fees', BigInt(termSec)), 7);
    return { open, post, claim, beginClose, close };
}

async function state() {
    const stack = await get(escrow, 'get_escrow_data');
    const [status, epoch, , , claimed, , deadline] = numbers(stack, 7);
    return { status, epoch, claimed, deadline, binding: stack.readCellOpt() };
}

async function job() {
    const [status, seq] = numbers(await get(escrow, 'get_job'), 2);
    return { status, seq };
}

/** Bodies of the latest messages with this opcode that the contract took, newest first. */
const received = async (of: Address, op: number) =>
    (await client.getTransactions(of, { limit: 50 }))
        .filter((done) => done.description.type === 'generic' && !done.description.aborted)
        .map((done) => done.inMessage!.body)
        .filter((body) => body.bits.length >= 32 && body.beginParse().loadUint(32) === op);

async function open(deposit: bigint, termSec: number) {
    const worksWith = await get(worker, 'get_worker_data');
    numbers(worksWith, 13);
    const models = worksWith.readCellOpt();
    const accepted = models && Dictionary.loadDirect(Dictionary.Keys.BigUint(256), modelTerms, models).get(modelId);
    if (!accepted) return fail('this worker does not offer this model');
    await send(toNano('0.01')); // deployed, the escrow can be asked for its fees; this comes back when it is closed
    await until('the deployment', () => client.isContractDeployed(escrow));
    const clientKey = BigInt(`0x${voucherKeys.publicKey.toString('hex')}`);
    await send(deposit + (await fees(termSec)).open, openEscrow(clientKey, deposit, modelId, termSec, accepted));
    return until('the opening', async () => {
        if (!(await client.isContractDeployed(escrow))) fail('the worker refused, the deposit came back: see BindRefused');
        const found = await state();
        return found.status === 2n && found; // Active
    });
}

async function ask(prompt: string) {
    const { epoch, binding } = await open(toNano('0.2'), 86400);
    const channel = { globalId, escrow, epoch, keyEpoch: binding!.beginParse().loadUintBig(32) };
    const attested = binding!.refs[0].beginParse();
    const [sessionKey, hpkeKeyHash] = [attested.loadUintBig(256), attested.loadUintBig(256)];

    const published = (await received(worker, OP.attest)).map((body) => body.refs[0]);
    const hpkeKey = published.find((key) => hashOf(key) === hpkeKeyHash) ?? fail('read more of the worker’s transactions for its key');
    const requestBinding = domain(KIND.forcedReceipt, channel).storeAddress(worker).storeUint(modelId, 256).endCell();
    const { request, secret } = sealRequest({ prompt, max_tokens: 64 }, fromBlob(hpkeKey), requestBinding);
    const [maxFee, before] = [toNano('0.05'), (await job()).seq];
    await send(maxFee + (await fees()).post, postJob(maxFee, 600, request));
    const { seq } = await until('the end of the job', async () => {
        const found = await job();
        return found.seq > before && found.status !== 1n && found; // no longer Open
    });
    const [delivery] = await received(escrow, OP.deliverJob);
    if (!delivery) fail('the job was refused, rejected or missed, its money came back: see the escrow’s transactions');
    const { fee, response } = readDelivery(delivery.beginParse(), channel, sessionKey, seq, request);
    const answer = openResponse(response, secret, request, KIND.forcedReceipt, seq);

    const paid = toNano('0.01'); // what a client signs for answers off the chain; the worker would send this voucher itself
    await send((await fees()).claim, claimVoucher(channel, paid, 0n, voucherKeys.secretKey));
    await until('the claim', async () => (await state()).claimed === paid);
    await send((await fees()).beginClose, beginClose());
    const { deadline } = await until('the closing', async () => (await state()).status === 3n && state());
    return { escrow: escrow.toRawString(), answer, fee: fee.toString(), claimed: paid.toString(), finishAt: Number(deadline) };
}

async function finish() {
    const before = await client.getBalance(wallet.address);
    await send((await fees()).close, finishClose(), (await state()).deadline);
    await until('the refund', async () => !(await client.isContractDeployed(escrow)));
    return { returned: ((await client.getBalance(wallet.address)) - before).toString() };
}

const [command, prompt = ''] = process.argv.slice(2);
console.log(JSON.stringify(command === 'ask' ? await ask(prompt) : command === 'finish' ? await finish() : fail('say ask or finish')));
