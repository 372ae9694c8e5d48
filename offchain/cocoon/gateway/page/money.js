// Money on the last blocks: who paid whom, as a picture and as a list.

import { el, hash, plain, show, svg } from "./dom.js";
import { clock, ton } from "./format.js";

let [wide, leftEdge, rightEdge] = [720, 190, 530]; // as wide as there is room: letters keep their size
const MOST_PAIRS = 8;
const MOST_SHOWN = 40;

const name = (end) => plain(end.name ?? (end.address ? `${end.address.replace(/^0:/, "").slice(0, 8)}…` : "outside"), 26);

const pairs = (flows) => {
  const found = new Map();
  for (const flow of flows) {
    if (flow.failed) continue;
    const key = `${name(flow.from)}\n${name(flow.to)}`;
    const entry = found.get(key) ?? { from: name(flow.from), to: name(flow.to), sum: 0n };
    entry.sum += BigInt(flow.nano);
    found.set(key, entry);
  }
  return [...found.values()].sort((a, b) => (b.sum > a.sum ? 1 : -1)).slice(0, MOST_PAIRS);
};

// Square roots: a stake is a thousand times a fee, and both should be seen.
const thick = (sum) => Math.max(2, Math.sqrt(Number(sum) / 1e9) * 7);

const column = (list, side, x, anchor) => {
  const ends = new Map();
  for (const entry of list) {
    const end = ends.get(entry[side]) ?? { name: entry[side], sum: 0n, size: 0 };
    end.sum += entry.sum;
    end.size += thick(entry.sum);
    ends.set(entry[side], end);
  }
  let y = 10;
  for (const end of ends.values()) {
    const room = Math.max(end.size, 30);
    Object.assign(end, { top: y + (room - end.size) / 2, used: 0 });
    const middle = y + room / 2;
    const text = anchor === "end" ? x - 12 : x + 16;
    end.parts = [
      svg("rect", { x, y: end.top, width: 4, height: end.size, rx: 2 }),
      svg("text", { x: text, y: middle - 1, "text-anchor": anchor }, end.name),
      svg("text.sum", { x: text, y: middle + 13, "text-anchor": anchor }, `${ton(end.sum, 3)} TON`),
    ];
    y += room + 12;
  }
  return { ends, height: y };
};

const river = (flows) => {
  wide = Math.max(300, document.getElementById("river").clientWidth);
  leftEdge = Math.min(190, wide * 0.38);
  rightEdge = wide - leftEdge;
  const list = pairs(flows);
  if (!list.length) return null;
  const left = column(list, "from", leftEdge, "end");
  const right = column(list, "to", rightEdge - 4, "start");
  const bands = list.map((entry) => {
    const [a, b, size] = [left.ends.get(entry.from), right.ends.get(entry.to), thick(entry.sum)];
    const [from, to] = [a.top + a.used + size / 2, b.top + b.used + size / 2];
    a.used += size;
    b.used += size;
    const [x, z, bend] = [leftEdge + 4, rightEdge - 4, (rightEdge - leftEdge) / 2];
    const kind = entry.to.startsWith("channel") || entry.to.startsWith("worker") ? "in" : "out";
    const path = `M${x} ${from}C${x + bend} ${from} ${z - bend} ${to} ${z} ${to}`;
    return svg(`path.band.${kind}`, { d: path, "stroke-width": size }, svg("title", {}, `${entry.from} to ${entry.to}: ${ton(entry.sum, 6)} TON`));
  });
  const parts = [...left.ends.values(), ...right.ends.values()].flatMap((end) => end.parts);
  const height = Math.max(left.height, right.height);
  return svg("svg", { viewBox: `0 0 ${wide} ${height}`, role: "img", "aria-label": "Who paid whom" }, ...bands, ...parts);
};

const row = (flow) => el(
  `div.flow${flow.failed ? ".failed" : ""}`, {},
  el("time", {}, clock(flow.time)),
  el("span", {}, name(flow.from), el("span.arrow", {}, "→"), name(flow.to)),
  el("span.sum", {}, `${ton(flow.nano)} TON`),
  el("span.what", {}, plain(flow.what, 60), hash(flow.transaction, "Copy the transaction")),
);

export const money = (flows) => {
  show(document.getElementById("river"), river(flows));
  show(
    document.getElementById("flow-list"),
    flows.length ? flows.slice(0, MOST_SHOWN).map(row) : el("p.nothing", {}, "No money has moved on the last blocks."),
  );
};
