// Lists the instructions of compiled contracts: compiles, disassembles, and says where in which cell each instruction is.
//
// Reads {contracts: {name: entrypoint}, sources: {path: text}} from standard input. Writes
// {name: {hash, fift, assembly, instructions: [[cell, offset, line of assembly]]}}; `fift` has the source lines in comments.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { readFileSync } from 'node:fs';

const require = createRequire(join(process.argv[2], 'package.json'));
const { runTolkCompiler } = require('@ton/tolk-js');
const { runtime, text, trace, Cell } = require('ton-assembly');

// A referenced cell that is pushed as data is disassembled as if it were code: the lines of such blocks.
function dataLines(assembly) {
    const lines = assembly.split('\n');
    const found = new Set();
    lines.forEach((line, start) => {
        const opening = /^( *)(PUSHREF|PUSHREFSLICE|STREFCONST|STREF2CONST) \{$/.exec(line);
        if (opening === null) return;
        for (let inside = start + 1; lines[inside] !== `${opening[1]}}`; inside += 1) found.add(inside);
    });
    return found;
}

function list(code) {
    const assembly = text.print(runtime.decompileCell(code));
    const parsed = text.parse('contract.tasm', assembly);
    if (parsed.$ === 'ParseFailure') throw new Error('the disassembly can not be read back');
    const [again, mapping] = runtime.compileCellWithMapping(parsed.instructions);
    if (!again.equals(code)) throw new Error('the disassembly is not that of the code');
    const { cells, dictionaryCells } = trace.createMappingInfo(mapping);
    // A method is a slice of a dictionary's leaf: the log names that leaf, and counts its label too.
    const leaves = new Map(dictionaryCells.map((leaf) => [leaf.dataCell, leaf]));
    const data = dataLines(assembly);
    const instructions = [];
    for (const [hash, { instructions: all }] of Object.entries(cells)) {
        const leaf = leaves.get(hash);
        for (const one of all) {
            // What the machine does at the end of a cell is listed too, at the offset of a real instruction.
            const implied = ['RET', 'JMPREF'].includes(one.name) && all.some((other) => other !== one && other.offset === one.offset);
            if (!implied && !data.has(one.loc.line)) instructions.push([(leaf?.cell ?? hash).toUpperCase(), one.offset + (leaf?.offset ?? 0), one.loc.line]);
        }
    }
    return { assembly, instructions };
}

const { contracts, sources } = JSON.parse(readFileSync(0, 'utf8'));
const listed = {};
for (const [name, entrypoint] of Object.entries(contracts)) {
    const compiled = await runTolkCompiler({
        entrypointFileName: entrypoint,
        fsReadCallback: (path) => sources[path],
        optimizationLevel: 2,
        withStackComments: false,
        withSrcLineComments: true,
    });
    if (compiled.status !== 'ok') throw new Error(`${name}: ${compiled.message}`);
    const code = Cell.fromBase64(compiled.codeBoc64);
    listed[name] = { hash: code.hash().toString('hex'), fift: compiled.fiftCode, ...list(code) };
}
process.stdout.write(JSON.stringify(listed));
