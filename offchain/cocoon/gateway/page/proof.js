// What stands behind an answer: checks, receipt, measurement, transactions.

import { ApiFailure, get } from "./api.js";
import { el, hash, plain } from "./dom.js";
import { clock, count, ton } from "./format.js";

const dialog = () => document.getElementById("proof");
const SIGNS = new Map([[true, ["yes", "✓"]], [false, ["no", "✕"]], [null, ["open", "?"]]]);

const check = (entry) => {
  const [kind, sign] = SIGNS.get(entry.holds) ?? SIGNS.get(null);
  return el(`li.${kind}`, {}, el("span.sign", { "aria-hidden": "true" }, sign), el("b", {}, plain(entry.title, 60)), el("span", {}, plain(entry.detail, 240)));
};

const step = (transaction) => el(
  transaction.ok ? "li" : "li.failed", {},
  el("b", {}, plain(transaction.what || "message", 40)), ` ${clock(transaction.time)} `, hash(transaction.hash, "Copy the transaction"),
);

const field = (label, ...value) => [el("dt", {}, label), el("dd", {}, ...value)];

const head = (kind, sign, title, note) => el(
  "div.proof-head", {},
  el(`div.seal.${kind}`, { "aria-hidden": "true" }, sign),
  el("div", {}, el("h3", { id: "proof-title" }, title), el("p", {}, note)),
  el("button", { type: "button", "aria-label": "Close", click: () => dialog().close() }, "✕"),
);

const download = (receipt) => {
  const file = new Blob([JSON.stringify(receipt, null, 2)], { type: "application/json" });
  const url = URL.createObjectURL(file);
  const link = el("a", { href: url, download: `${receipt.id}.json` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
};

// holds is null while the chain does not show whose key signed: anybody could have
export const verdict = ({ receipt, checks, holds, missing }) => {
  if (holds === null) return ["warn", "?", "Not established", missing ?? "The chain does not show whose key signed this."];
  if (holds !== true) return ["bad", "✕", "This proof does not hold", "One of the checks below failed: do not rely on this receipt."];
  if (receipt.simulated_tee) return ["warn", "✓", "Signed and paid, but not confidential",
    "The receipt is real. No hardware vouches for the worker on this network, so its owner could read everything."];
  const kind = checks.some((entry) => entry.holds === null) ? "warn" : "good";
  return [kind, "✓", "Proven", "Checked by the gateway just now; check it yourself with the file below."];
};

const body = ({ receipt, checks, holds, missing, transactions }) => {
  const [kind, sign, title, note] = verdict({ receipt, checks, holds, missing });
  const last = transactions.slice(-8);
  return el(
    "div.proof-body", {},
    head(kind, sign, title, plain(note, 400)),
    el("ul.checks", {}, checks.map(check)),
    el("div", {}, el("h4", {}, "Receipt"), el(
      "dl.fields", {},
      field("Worker", `${receipt.worker.index} `, hash(receipt.worker.address, "Copy the worker's address")),
      field("Fee", `${ton(receipt.fee_nano, 9)} TON`),
      field("Tokens", `${count(receipt.usage.prompt + receipt.usage.cached)} prompt (${count(receipt.usage.cached)} cached), ${count(receipt.usage.completion)} answer`),
      field("Measurement", hash(receipt.measurement, "Copy the measurement")),
      field("Model", hash(receipt.model_id, "Copy the model's id")),
      field("Session key", hash(receipt.session_key, "Copy the key")),
      field("Channel", hash(receipt.channel.escrow, "Copy the channel's address"), ` receipt ${count(receipt.seq)}`),
      field("Signed", clock(receipt.issued_at)),
    )),
    el("div", {}, el("h4", {}, `Transactions of the channel${transactions.length > last.length ? `, the last ${last.length}` : ""}`), el("ol.steps", {}, last.map(step))),
    el("div.actions", {},
      el("button.main", { type: "button", click: () => download(receipt) }, "Download the receipt"),
      el("button", { type: "button", "data-copy": `cocoon receipt verify ${receipt.id}.json` }, "Copy the command that checks it")),
  );
};

export const showProof = async (id) => {
  dialog().replaceChildren(el("div.proof-body", {}, head("", "…", "Looking at the chain", plain(id, 60))));
  dialog().showModal();
  try {
    dialog().replaceChildren(body(await get(`/api/proof/${encodeURIComponent(id)}`)));
  } catch (error) {
    const said = error instanceof ApiFailure ? error.message : "The gateway can't be reached.";
    dialog().replaceChildren(el("div.proof-body", {}, head("bad", "✕", "No proof to show", plain(said, 300))));
  }
};

document.getElementById("proof").addEventListener("click", (event) => {
  if (event.target === event.currentTarget) event.currentTarget.close(); // the backdrop
});
