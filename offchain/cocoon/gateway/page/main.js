// The page's heartbeat: ask the gateway, show what it says, pause while nobody looks.

import { get, savedKey, saveKey } from "./api.js";
import { startChat } from "./chat.js";
import { channels } from "./channels.js";
import { el, plain, show } from "./dom.js";
import { count, seconds, ton } from "./format.js";
import { money } from "./money.js";
import { requests } from "./requests.js";
import { workers } from "./workers.js";

const at = (id) => document.getElementById(id);
const EVERY_MS = 2500;
let names = new Map();

const tile = (value, unit, label) => el("div.tile", {}, el("b", {}, value, unit ? el("small", {}, unit) : null), el("span", {}, label));

const tiles = (network, list, owned, flows) => {
  const usable = list.filter((worker) => worker.models.some((offer) => !offer.left_out)).length;
  const stake = list.reduce((sum, worker) => sum + BigInt(worker.stake_nano), 0n);
  const moved = flows.reduce((sum, flow) => sum + BigInt(flow.nano), 0n);
  const best = list.map((worker) => worker.ttft_sec).filter((value) => value !== null).sort((a, b) => a - b)[0];
  show(
    at("tiles"),
    owned ? tile(ton(owned.channels.wallet.nano, 3), "TON", "in this gateway's wallet") : tile(ton(moved, 3), "TON", "moved on the last blocks"),
    tile(`${usable}`, `of ${list.length}`, list.length === 1 ? "worker ready" : "workers ready"),
    tile(ton(stake, 1), "TON", "stake at risk"),
    owned ? tile(ton(owned.channels.locked_nano, 3), `of ${ton(owned.channels.most_locked_nano, 1)}`, "locked in channels") : tile(count(network.models.length), "", "models on offer"),
    tile(seconds(best ?? null), "", "fastest first token"),
  );
};

const modelPicker = (network) => {
  const select = at("model");
  const offered = network.models.filter((model) => model.id);
  const wanted = offered.map((model) => model.id).join("\n");
  if (select.dataset.offered === wanted) return;
  select.dataset.offered = wanted;
  const chosen = select.value;
  select.replaceChildren(...offered.map((model) => el("option", { value: model.id }, plain(model.id, 40))));
  if (offered.some((model) => model.id === chosen)) select.value = chosen;
};

const pulse = (state, text) => {
  at("pulse").className = `pulse ${state}`;
  at("pulse").lastElementChild.textContent = text;
};

const ownAffairs = async (network) => {
  const locked = !network.page_has_key && !savedKey();
  at("unlock").hidden = !locked;
  if (locked) return null;
  try {
    const [owned, asked] = await Promise.all([get("/api/channels"), get("/api/requests")]);
    return { channels: owned, requests: asked };
  } catch (error) {
    if (error.status !== 401) throw error;
    saveKey(null);
    return null;
  }
};

const look = async () => {
  const [network, found, moved] = await Promise.all([get("/api/network"), get("/api/workers"), get("/api/flows")]);
  names = new Map(network.models.map((model) => [model.cocoon.model_id, model.id]));
  const banner = at("banner");
  const warning = network.refused ? `Nothing is asked of this network: ${plain(network.refused, 300)}` : network.banner;
  banner.hidden = !warning;
  banner.textContent = warning ?? "";
  document.title = network.simulated_tee ? "Cocoon gateway (simulated TEE)" : "Cocoon gateway";
  const fresh = network.facts_age_sec !== null && network.facts_age_sec < 60;
  pulse(fresh ? "live" : "lost", fresh ? `block ${seconds(network.facts_age_sec)} ago` : "network unreachable");
  at("network-note").textContent = `Network ${network.global_id}, registry ${network.registry}`;
  modelPicker(network);
  workers(found.workers, network, names);
  money(moved.flows);
  const owned = await ownAffairs(network);
  channels(owned?.channels ?? null, names, network.time);
  requests(owned?.requests ?? null);
  tiles(network, found.workers, owned, moved.flows);
};

const beat = async () => {
  if (!document.hidden) {
    try { await look(); } catch (error) { pulse("lost", error.status ? `refused (${error.status})` : "gateway unreachable"); }
  }
  setTimeout(beat, EVERY_MS);
};

at("unlock-form").addEventListener("submit", (event) => {
  event.preventDefault();
  saveKey(at("unlock-key").value.trim());
  at("unlock-key").value = "";
  look().catch(() => pulse("lost", "gateway unreachable"));
});
at("base-url").textContent = `${location.origin}/v1`;
startChat();
beat();
