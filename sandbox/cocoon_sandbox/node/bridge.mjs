// The sandbox's Node child: executes messages and get-methods with the official TVM executor and compiles Tolk.
//
// One JSON object per line each way, strictly request then reply. Requests:
//   {op:"config", hash, boc}                         remember a config cell under its hash
//   {op:"transaction", config, verbosity, account, message, libs, params}
//   {op:"getter", config, stack, params}
//   {op:"compile", entrypoint, sources}
//   {op:"version"}
// Replies: {result}, {refused: text} (bad request, the child is fine) or {trap: text} (the wasm is damaged: the child exits).
// Cells travel as base64 bags and are never parsed here.
import { createRequire } from 'node:module';
import { join } from 'node:path';

// Protocol lines are the only thing that may reach stdout.
for (const name of ['log', 'info', 'warn', 'debug']) console[name] = console.error;

const require = createRequire(join(process.argv[2], 'package.json'));
const { Executor } = require('@ton/sandbox/dist/executor/Executor.js');

const MAX_EMULATORS = 4;
const RECYCLE_BYTES = 1 << 30; // wasm memory only grows; past this a fresh child is cheaper than swapping
const RECYCLE_CHECK = 256; // requests between two looks at the memory

const executor = await Executor.create();
let served = 0;
const configs = new Map();
const emulators = new Map(); // "<config hash>/<verbosity>" -> pointer; insertion order = age

class Refused extends Error {}
class Trapped extends Error {}

function config(hash) {
    const boc = configs.get(hash);
    if (boc === undefined) throw new Refused(`config ${hash} was not uploaded`);
    return boc;
}

function emulator(hash, verbosity) {
    const key = `${hash}/${verbosity}`;
    let pointer = emulators.get(key);
    if (pointer === undefined) {
        pointer = executor.invoke('_create_emulator', [config(hash), verbosity]);
        if (pointer === 0) throw new Refused('the executor can not read this network config');
        emulators.set(key, pointer);
        if (emulators.size > MAX_EMULATORS) {
            const [oldest, old] = emulators.entries().next().value;
            emulators.delete(oldest);
            executor.invoke('_destroy_emulator', [old]);
        }
    }
    return pointer;
}

function call(method, args) {
    const reply = JSON.parse(executor.extractString(executor.invoke(method, args)));
    if (reply.fail) throw new Trapped(reply.message ?? 'unknown emulation error');
    return { ...reply.output, logs: reply.logs };
}

const operations = {
    config({ hash, boc }) {
        configs.set(hash, boc);
        return true;
    },
    transaction({ config: hash, verbosity, account, message, libs, params }) {
        return call('_emulate_with_emulator', [
            emulator(hash, verbosity), libs ?? 0, account, message, JSON.stringify(params),
        ]);
    },
    getter({ config: hash, stack, params }) {
        return call('_run_get_method', [JSON.stringify(params), stack, config(hash)]);
    },
    async compile({ entrypoint, sources }) {
        const { runTolkCompiler } = require('@ton/tolk-js'); // 10 MB of code that only builds need
        return await runTolkCompiler({
            entrypointFileName: entrypoint,
            fsReadCallback: (path) => {
                if (!Object.hasOwn(sources, path)) throw new Error(`no such file: ${path}`);
                return sources[path];
            },
            optimizationLevel: 2,
            withStackComments: false,
            withSrcLineComments: false,
        });
    },
    version() {
        return executor.getVersion();
    },
};

async function serve(line) {
    let request;
    try {
        request = JSON.parse(line);
        const operation = Object.hasOwn(operations, request.op) ? operations[request.op] : undefined;
        if (operation === undefined) throw new Refused(`unknown operation ${request.op}`);
        const reply = { result: await operation(request) };
        if (++served % RECYCLE_CHECK === 0 && process.memoryUsage.rss() > RECYCLE_BYTES) reply.recycle = true;
        return reply;
    } catch (error) {
        if (error instanceof Refused) return { refused: error.message };
        return { trap: `${error?.name ?? 'Error'}: ${error?.message ?? error}` };
    }
}

let parts = [];
for await (const chunk of process.stdin.setEncoding('utf8')) {
    let rest = chunk;
    for (let end = rest.indexOf('\n'); end >= 0; end = rest.indexOf('\n')) {
        parts.push(rest.slice(0, end));
        rest = rest.slice(end + 1);
        const line = parts.join('');
        parts = [];
        const reply = await serve(line);
        await new Promise((flushed) => process.stdout.write(JSON.stringify(reply) + '\n', flushed));
        if (reply.trap !== undefined) process.exit(3);
    }
    if (rest) parts.push(rest);
}
