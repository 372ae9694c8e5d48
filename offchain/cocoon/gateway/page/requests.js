// Requests under way, then the last ones that ended.

import { el, plain, show } from "./dom.js";
import { clock, count, seconds, ton } from "./format.js";
import { showProof } from "./proof.js";

const KINDS = { waiting: "", streaming: "good", done: "good", failed: "bad" };

const row = (entry, now) => el(
  "tr", {},
  el("td", {}, clock(entry.started)),
  el("td", {}, el(`span.pill.${KINDS[entry.state] ?? ""}`, {}, plain(entry.state, 12))),
  el("td", {}, plain(entry.model, 40)),
  el("td", {}, plain(entry.key, 24)),
  el("td", {}, entry.worker === null ? "–" : `worker ${entry.worker}`),
  el("td.number", {}, count(entry.tokens)),
  el("td.number", {}, seconds(entry.first_token_sec)),
  el("td.number", {}, seconds(entry.seconds ?? now - entry.started)),
  el("td.number", {}, entry.fee_nano === "0" ? "–" : `${ton(entry.fee_nano, 6)} TON`),
  el("td", {}, entry.state === "done" && entry.receipts.length ? el("button.hash", { type: "button", "data-proof": entry.receipts[0] }, "proof") : ""),
);

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-proof]");
  if (button) showProof(button.dataset.proof);
});

export const requests = (asked) => {
  const list = document.getElementById("request-list");
  if (asked === null) {
    show(list, el("p.nothing", {}, "Give an API key above to see requests."));
    return;
  }
  const now = Math.round(Date.now() / 1000);
  const rows = [...asked.live, ...asked.ended].slice(0, 20).map((entry) => row(entry, now));
  const heads = ["Began", "State", "Model", "Key", "Worker", "Tokens", "First token", "Time", "Cost", ""];
  show(
    list,
    rows.length ? el("table", {}, el("thead", {}, el("tr", {}, heads.map((head, index) => el(index > 4 && index < 9 ? "th.number" : "th", {}, head)))), el("tbody", {}, rows))
      : el("p.nothing", {}, "Nothing has been asked yet."),
  );
};
