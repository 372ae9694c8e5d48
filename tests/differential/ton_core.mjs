// Cells by a TL-B schema on nothing but @ton/core's Builder, Slice and Dictionary: the other side of test_ton_core.py.
//
// First line of standard input: the schema, {types: {name: [{name, tag, fields: [[name, type]], plain}]}}, a type being {ref: type} or
// {name, arguments}. Every further line: {op: "encode", type, value} -> {boc, hash} or {op: "decode", type, boc} -> {value, hash};
// a refusal -> {refused}. Values as JSON: integers and enumerations as decimal strings, bytes as hex, addresses as raw strings,
// cells as base64 bags, dictionaries as [key, value] pairs in order of their keys, records as {constructor, fields}.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const { Address, Cell, Dictionary, beginCell } = createRequire(join(process.argv[2], 'package.json'))('@ton/core');

let types;
const sized = (name) => /^(uint|int|bits)(\d+)$/.exec(name);
const isEnumeration = (name) => types[name].every((made) => made.tag !== '' && made.fields.length === 0);

function write(builder, type, value) {
    if (type.ref) return void builder.storeRef(build(type.ref, value));
    const [, form, width] = sized(type.name) ?? [];
    if (form === 'uint') return void builder.storeUint(BigInt(value), +width);
    if (form === 'int') return void builder.storeInt(BigInt(value), +width);
    if (form === 'bits') return void builder.storeBuffer(Buffer.from(value, 'hex'), width / 8);
    switch (type.name) {
        case '##': return void builder.storeUint(BigInt(value), type.arguments[0]);
        case 'Cell': return void builder.storeSlice(Cell.fromBase64(value).beginParse());
        case 'Bool': return void builder.storeBit(value);
        case 'MsgAddress':
        case 'MsgAddressInt': return void builder.storeAddress(value === null ? null : Address.parse(value));
        case 'Maybe': {
            builder.storeBit(value !== null);
            return value === null ? undefined : write(builder, type.arguments[0], value);
        }
        case 'HashmapE': {
            const found = Dictionary.empty(Dictionary.Keys.BigUint(type.arguments[0]), leaf(type.arguments[1]));
            for (const [key, item] of value) found.set(BigInt(key), item);
            return void builder.storeDict(found);
        }
        case 'VarUInteger': return void builder.storeVarUint(BigInt(value), Math.ceil(Math.log2(type.arguments[0])));
    }
    const made = isEnumeration(type.name)
        ? types[type.name].find(({ tag }) => BigInt(`0b${tag}`) === BigInt(value))
        : types[type.name].find(({ name }) => name === value.constructor);
    for (const bit of made.tag) builder.storeBit(bit === '1');
    for (const [name, inner] of made.fields) write(builder, inner, value.fields[name]);
}

function read(slice, type) {
    if (type.ref) return parse(type.ref, slice.loadRef());
    const [, form, width] = sized(type.name) ?? [];
    if (form === 'uint') return slice.loadUintBig(+width).toString();
    if (form === 'int') return slice.loadIntBig(+width).toString();
    if (form === 'bits') return slice.loadBuffer(width / 8).toString('hex');
    switch (type.name) {
        case '##': return slice.loadUintBig(type.arguments[0]).toString();
        case 'Cell': {
            const rest = slice.asCell().toBoc().toString('base64');
            slice.skip(slice.remainingBits);
            while (slice.remainingRefs > 0) slice.loadRef();
            return rest;
        }
        case 'Bool': return slice.loadBit();
        case 'MsgAddress': return slice.loadMaybeAddress()?.toRawString() ?? null;
        case 'MsgAddressInt': return slice.loadAddress().toRawString();
        case 'Maybe': return slice.loadBit() ? read(slice, type.arguments[0]) : null;
        case 'HashmapE': {
            const found = slice.loadDict(Dictionary.Keys.BigUint(type.arguments[0]), leaf(type.arguments[1]));
            const pairs = [...found].sort(([a], [b]) => (a < b ? -1 : 1));
            return pairs.map(([key, item]) => [key.toString(), item]);
        }
        case 'VarUInteger': return slice.loadVarUintBig(Math.ceil(Math.log2(type.arguments[0]))).toString();
    }
    const made = types[type.name].find(({ tag, plain }) => {
        if (!plain || slice.remainingBits < tag.length) return false;
        return tag === '' || slice.preloadUintBig(tag.length) === BigInt(`0b${tag}`);
    });
    if (made === undefined) throw new Error(`nothing begins a ${type.name}`);
    slice.skip(made.tag.length);
    if (isEnumeration(type.name)) return BigInt(`0b${made.tag}`).toString();
    return { constructor: made.name, fields: Object.fromEntries(made.fields.map(([name, inner]) => [name, read(slice, inner)])) };
}

function build(type, value) {
    const builder = beginCell();
    write(builder, type, value);
    return builder.endCell();
}

function parse(type, cell) {
    const slice = cell.beginParse();
    const value = read(slice, type);
    slice.endParse();
    return value;
}

const leaf = (type) => ({
    serialize: (value, builder) => write(builder, type, value),
    parse: (slice) => {
        const value = read(slice, type);
        slice.endParse();
        return value;
    },
});

const operations = {
    encode({ type, value }) {
        const cell = build(type, value);
        return { boc: cell.toBoc().toString('base64'), hash: cell.hash().toString('hex') };
    },
    decode({ type, boc }) {
        const cell = Cell.fromBase64(boc);
        return { value: parse(type, cell), hash: cell.hash().toString('hex') };
    },
};

for await (const line of createInterface({ input: process.stdin })) {
    const given = JSON.parse(line);
    let reply = { ready: true };
    if (types === undefined) types = given.types;
    else {
        try {
            reply = operations[given.op](given);
        } catch (error) {
            reply = { refused: String(error.message) };
        }
    }
    process.stdout.write(JSON.stringify(reply) + '\n');
}
