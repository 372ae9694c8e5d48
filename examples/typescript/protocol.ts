// Addresses, messages and signed statements of Cocoon's contracts, written down from contracts/scheme.tlb.
import { readFileSync } from 'node:fs';
import { Address, Cell, beginCell, contractAddress, type DictionaryValue, type Slice, type StateInit } from '@ton/core';
import { sign, signVerify } from '@ton/crypto';

const compiled = (name: string) =>
    Cell.fromBase64(JSON.parse(readFileSync(new URL(`../../contracts/build/${name}.json`, import.meta.url), 'utf8')).code);
const uints = (...fields: [value: bigint | number, bits: number][]) =>
    fields.reduce((builder, [value, bits]) => builder.storeUint(value, bits), beginCell());
export const hashOf = (cell: Cell) => BigInt(`0x${cell.hash().toString('hex')}`);

// ---- addresses: the hash of code and first data ----

export const workerAddress = (registry: Address, index: bigint) =>
    contractAddress(0, { code: compiled('Worker'), data: beginCell().storeAddress(registry).storeUint(index, 64).endCell() });

export const escrowInit = (registry: Address, client: Address, worker: Address, salt: bigint): StateInit => {
    const data = beginCell().storeAddress(registry).storeAddress(client).storeAddress(worker).storeUint(salt, 64).endCell();
    return { code: compiled('Escrow'), data };
};

// ---- messages; every one has an opcode and a query id ----

export const OP = { attest: 0xc0c00203, deliverJob: 0xc0c00305 };

/** `most`: ModelTerms, the highest prices per million tokens, floor fee and shortest duration the client accepts. */
export const openEscrow = (clientKey: bigint, deposit: bigint, modelId: bigint, termSec: number, most: bigint[]) =>
    uints([0xc0c00301, 32], [1, 64], [clientKey, 256], [deposit, 64], [modelId, 256], [termSec, 32], [0, 1])
        .storeRef(uints([most[0], 64], [most[1], 64], [most[2], 64], [most[3], 64], [most[4], 32])).endCell();
/** One model of a worker's offer: prices per million tokens (prompt, cached, completion), least fee, least duration of a forced job. */
export const modelTerms: DictionaryValue<bigint[]> = {
    serialize: (terms, to) => {
        terms.forEach((value, place) => to.storeUint(value, place < 4 ? 64 : 32));
    },
    parse: (from) => [64, 64, 64, 64, 32].map((bits) => from.loadUintBig(bits)),
};
export const postJob = (maxFee: bigint, durationSec: number, request: Cell) =>
    uints([0xc0c00303, 32], [2, 64], [maxFee, 64], [durationSec, 32]).storeRef(request).endCell();
export const beginClose = () => uints([0xc0c00308, 32], [3, 64]).endCell();
export const finishClose = () => uints([0xc0c00309, 32], [4, 64]).endCell();

// ---- signed statements: Ed25519 over the hash of the statement's cell ----

export const KIND = { voucher: 1, forcedReceipt: 3 };
export type Channel = { globalId: number; escrow: Address; epoch: bigint; keyEpoch: bigint };

export const domain = (kind: number, { globalId, escrow, epoch, keyEpoch }: Channel) =>
    uints([0x43434e31, 32], [kind, 8]).storeInt(globalId, 32).storeAddress(escrow).storeUint(epoch, 64).storeUint(keyEpoch, 32);

/** ClaimVoucher: whoever sends it, the worker is paid up to `cumulative` over the channel's whole life. */
export const claimVoucher = (channel: Channel, cumulative: bigint, receiptChain: bigint, secretKey: Buffer) => {
    const statement = domain(KIND.voucher, channel).storeUint(cumulative, 64).storeUint(receiptChain, 256).endCell();
    return uints([0xc0c00304, 32], [5, 64], [channel.keyEpoch, 32], [cumulative, 64], [receiptChain, 256], [0, 1])
        .storeBuffer(sign(statement.hash(), secretKey)).endCell();
};

/** Fee and response of a DeliverJob; an Error unless its receipt is the session key's word for this very job. */
export const readDelivery = (body: Slice, channel: Channel, sessionKey: bigint, seq: bigint, request: Cell) => {
    body.skip(32 + 64 + 1);
    const [receipt, response] = [body.loadRef(), body.loadRef()];
    const key = Buffer.from(sessionKey.toString(16).padStart(64, '0'), 'hex');
    if (!signVerify(receipt.hash(), body.loadBuffer(64), key)) throw new Error('the worker did not sign this receipt');
    const said = receipt.beginParse();
    const job = domain(KIND.forcedReceipt, channel).storeUint(seq, 32).endCell();
    const named = beginCell().storeBits(said.loadBits(job.bits.length)).endCell().equals(job);
    const fee = said.loadUintBig(64);
    const answers = said.skip(32).loadUintBig(256) === hashOf(request); // after issued_at
    if (!named || !answers || said.loadRef().beginParse().loadUintBig(256) !== hashOf(response))
        throw new Error('the receipt is for another job');
    return { fee, response };
};
