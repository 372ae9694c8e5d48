// Requests only the worker's enclave can read, and its answers: HPKE (RFC 9180) with the hybrid KEM MLKEM768X25519, on nothing
// but Node's own crypto. Layouts: "bytes in cells" in contracts/scheme.tlb.
import {
    createCipheriv, createDecipheriv, createHash, createHmac, createPublicKey, diffieHellman, encapsulate, generateKeyPairSync,
    hkdfSync, randomBytes,
} from 'node:crypto';
import { Cell, beginCell } from '@ton/core';

const PIECE = 127;
const number = (value: number | bigint, bytes: number) => Buffer.from(value.toString(16).padStart(2 * bytes, '0'), 'hex');

/** Bytes as the tree of cells that the scheme calls Blob. */
export function toBlob(data: Buffer): Cell {
    const stream = Buffer.concat([number(data.length, 4), data]);
    const node = (index: number): Cell => {
        const builder = beginCell().storeBuffer(stream.subarray(index * PIECE, (index + 1) * PIECE));
        for (let child = 4 * index + 1; child <= 4 * index + 4 && child * PIECE < stream.length; child++) builder.storeRef(node(child));
        return builder.endCell();
    };
    return node(0);
}

/** The bytes in a Blob; an Error if it is not exactly the tree that holds them. */
export function fromBlob(root: Cell): Buffer {
    const nodes = [root];
    for (let at = 0; at < nodes.length && at < 2048; at++) nodes.push(...nodes[at].refs);
    const stream = Buffer.concat(nodes.map((node) => node.beginParse().loadBuffer(Math.floor(node.bits.length / 8))));
    const data = stream.subarray(4);
    if (stream.length < 4 || stream.readUInt32BE() !== data.length || !toBlob(data).equals(root)) throw new Error('not a blob');
    return data;
}

// ---- HPKE, base mode: KEM 0x647a, KDF HKDF-SHA256, AEAD ChaCha20-Poly1305 ----

const SUITE = Buffer.concat([Buffer.from('HPKE'), number(0x647a, 2), number(1, 2), number(3, 2)]);
const hmac = (key: Buffer, data: Buffer) => createHmac('sha256', key).update(data).digest();
const labeled = (label: string, data: Buffer) => Buffer.concat([Buffer.from('HPKE-v1'), SUITE, Buffer.from(label), data]);
const extract = (salt: Buffer, label: string, input: Buffer) => hmac(salt, labeled(label, input));
const expand = (secret: Buffer, label: string, info: Buffer, length: number) =>
    hmac(secret, Buffer.concat([number(length, 2), labeled(label, info), number(1, 1)])).subarray(0, length);
const aead = { authTagLength: 16 } as const;

function seal(publicKey: Buffer, info: Buffer, plaintext: Buffer): Buffer {
    const raw = (key: Buffer, type: string) => createPublicKey({ key, format: 'raw-public', asymmetricKeyType: type } as never);
    const lattice = encapsulate(raw(publicKey.subarray(0, 1184), 'ml-kem-768'));
    const own = generateKeyPairSync('x25519');
    const curve = diffieHellman({ privateKey: own.privateKey, publicKey: raw(publicKey.subarray(1184), 'x25519') });
    const ephemeral = own.publicKey.export({ format: 'der', type: 'spki' }).subarray(-32);
    const combined = [lattice.sharedKey, curve, ephemeral, publicKey.subarray(1184), Buffer.from('\\.//^\\')]; // X-Wing's combiner
    const shared = createHash('sha3-256').update(Buffer.concat(combined)).digest();
    const none = Buffer.alloc(0);
    const context = Buffer.concat([number(0, 1), extract(none, 'psk_id_hash', none), extract(none, 'info_hash', info)]);
    const secret = extract(shared, 'secret', none);
    const cipher = createCipheriv('chacha20-poly1305', expand(secret, 'key', context, 32), expand(secret, 'base_nonce', context, 12), aead);
    return Buffer.concat([lattice.ciphertext, ephemeral, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
}

/** The request's cell, and the secret that opens every answer to it. `binding`: the RequestBinding's cell. */
export function sealRequest(body: object, publicKey: Buffer, binding: Cell): { request: Cell; secret: Buffer } {
    const secret = randomBytes(32);
    const json = Buffer.from(JSON.stringify(body));
    const plaintext = Buffer.concat([secret, number(json.length, 4), json]);
    const size = 512 * 2 ** Math.max(0, Math.ceil(Math.log2(plaintext.length / 512)));
    const info = Buffer.concat([Buffer.from('cocoon request 1 '), binding.hash()]);
    return { request: toBlob(seal(publicKey, info, Buffer.concat([plaintext], size))), secret };
}

/** The JSON in a response's cell. */
export function openResponse(response: Cell, secret: Buffer, request: Cell, kind: number, seq: bigint): object {
    const data = fromBlob(response);
    const info = Buffer.concat([Buffer.from('cocoon response 1 '), request.hash(), number(kind, 1), number(seq, 4)]);
    const key = Buffer.from(hkdfSync('sha256', secret, data.subarray(0, 32), info, 32));
    const opened: Buffer[] = [];
    for (let at = 32; at < data.length; at += 1040) {
        const piece = data.subarray(at, at + 1040);
        const last = at + 1040 >= data.length ? 1 : 0;
        const nonce = Buffer.concat([number(opened.length, 11), number(last, 1)]);
        const decipher = createDecipheriv('chacha20-poly1305', key, nonce, aead).setAuthTag(piece.subarray(-16));
        opened.push(Buffer.concat([decipher.update(piece.subarray(0, -16)), decipher.final()]));
    }
    const plaintext = Buffer.concat(opened); // usage salt (32), token counts (12), length of the JSON (4), the JSON, zeros
    return JSON.parse(plaintext.subarray(48, 48 + plaintext.readUInt32BE(44)).toString());
}
