// Workers as the chain proves them, and as this gateway has met them.

import { el, hash, plain, show, width } from "./dom.js";
import { count, day, seconds, share, span, ton } from "./format.js";

const STATES = { active: "good", jailed: "bad", closed: "bad", unbonding: "warn", paused: "warn", pending: "warn" };
const MEASURED = { listed: ["good", "listed"], unlisted: ["warn", "not listed"], denied: ["bad", "denied"], none: ["bad", "not attested"] };

const pair = (label, ...value) => el("div", {}, el("dt", {}, label), el("dd", {}, ...value));
const meter = (part, kind) => el(`div.meter.${kind ?? ""}`, {}, width(el("i"), part));

const attestation = (worker, network) => {
  const [kind, word] = MEASURED[worker.measurement_state] ?? ["warn", worker.measurement_state];
  if (network.simulated_tee && worker.measurement) return el("span.pill.bad", {}, "simulated");
  return el(`span.pill.${kind}`, {}, plain(word, 20));
};

const offer = (entry, names) => el(
  "div.offer", {},
  el("b", {}, plain(entry.name ?? names.get(entry.model_id) ?? `${entry.model_id.slice(0, 12)}…`, 48)),
  el("span.price", {}, `${ton(entry.terms.prompt_nano)} in · ${ton(entry.terms.completion_nano)} out · ${ton(entry.terms.cached_nano)} cached`),
  el("span.price", {}, "TON per million tokens"),
  entry.left_out ? el("span.why", {}, `Not asked: ${plain(entry.left_out, 120)}`) : null,
);

const card = (worker, network, names, mostStake) => {
  const left = network.time === null ? 0 : worker.lease_end - network.time;
  const sharp = worker.reputation >= 0.95 ? "" : "warn";
  return el(
    "article.worker", {},
    el("header", {}, el("b", {}, `Worker ${worker.index}`), el(`span.pill.${STATES[worker.status] ?? "warn"}`, {}, plain(worker.status, 20)),
      worker.load ? el("span.pill", {}, `${worker.load} running`) : null,
      worker.reported ? el("span.pill.bad", {}, "reported for lying") : null, hash(worker.address, "Copy the worker's address")),
    el(
      "dl.pairs", {},
      pair("Stake", `${ton(worker.stake_nano, 2)} `, el("small", {}, "TON"), meter(share(worker.stake_nano, mostStake))),
      pair("Reputation", `${(worker.reputation * 100).toFixed(1)} % `, meter(worker.reputation, sharp)),
      pair("First token", seconds(worker.ttft_sec), " ", el("small", {}, worker.answers ? `${count(worker.answers)} answers` : "not tried yet")),
      pair("Attestation", attestation(worker, network), el("small", {}, left > 0 ? `\u00a0lease\u00a0${span(left).replace(" ", "\u00a0")}` : " lease over")),
      pair("TCB date", worker.tcb_date ? day(worker.tcb_date) : "none", " ", el("small", {}, network.simulated_tee ? "simulated" : "")),
      pair("Measurement", worker.measurement ? hash(worker.measurement, "Copy the measurement") : "none"),
      pair("Jobs on chain", `${count(worker.jobs)} `, el("small", {}, `${count(worker.misses)} missed`)),
      pair("Miss bond", `${ton(worker.bond_nano, 2)} `, el("small", {}, "TON")),
      pair("Volume", `${ton(worker.volume_nano, 2)} `, el("small", {}, "TON")),
      pair("Endpoint", el("small.mono", {}, worker.endpoint ? plain(worker.endpoint, 60) : "none")),
    ),
    worker.models.map((entry) => offer(entry, names)),
  );
};

export const workers = (list, network, names) => {
  const most = list.reduce((found, worker) => (BigInt(worker.stake_nano) > BigInt(found) ? worker.stake_nano : found), "0");
  document.getElementById("workers-note").textContent = list.length ? "proven by the chain" : "";
  show(
    document.getElementById("worker-list"),
    list.length ? list.map((worker) => card(worker, network, names, most)) : el("p.nothing", {}, network.refused ? plain(network.refused, 300) : "No worker has registered on this network yet."),
  );
};
