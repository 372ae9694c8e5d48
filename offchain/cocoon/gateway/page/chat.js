// The chat box. What is said stays on this page; its proof is one click away.

import { ApiFailure, chat } from "./api.js";
import { el, plain, svg } from "./dom.js";
import { count, seconds, ton } from "./format.js";
import { showProof } from "./proof.js";

const HINTS = ["What is a blockchain?", "Write a haiku about silk.", "Why is the sky blue?"];
const MOST_TURNS = 12; // a small model's context is short
const at = (id) => document.getElementById(id);
const turns = [];
let running = null;

const shield = () => svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d: "M8 1 14 3v4.500C14 11 11.500 13.800 8 15 4.500 13.800 2 11 2 7.500V3zM7 10.700 11.200 6.500 10.100 5.400 7 8.500 5.700 7.200 4.600 8.300z", fill: "currentColor", "fill-rule": "evenodd" }));

const bottom = (force) => {
  const talk = at("talk");
  if (force || talk.scrollHeight - talk.scrollTop - talk.clientHeight < 120) talk.scrollTop = talk.scrollHeight;
};

const busy = (on) => {
  at("send").classList.toggle("stop", on);
  at("send").setAttribute("aria-label", on ? "Stop" : "Send");
};

const facts = (element, end, began, first) => {
  const extension = end.cocoon;
  element.append(el(
    "div.facts", {},
    el("button.proof-button", { type: "button", click: () => showProof(extension.receipts[0]) }, shield(), "Proof"),
    el("span", {}, `${ton(extension.cost_nano, 6)} TON`),
    end.tokens ? el("span", {}, `${count(end.tokens)} tokens`) : null,
    el("span", {}, `first after ${seconds(first)}, all in ${seconds((performance.now() - began) / 1000)}`),
    extension.simulated_tee ? el("span.pill.warn", {}, "not confidential") : null,
  ));
};

const ask = async (text) => {
  at("talk-empty")?.remove();
  turns.push({ role: "user", content: text });
  const words = el("p");
  const element = el("div.turn.theirs.waiting", {}, el("div.words", {}, words));
  at("talk").append(el("div.turn.mine", {}, el("p", {}, text)), element);
  bottom(true);
  running = new AbortController();
  busy(true);
  const began = performance.now();
  let [first, end, answer] = [null, null, ""];
  try {
    const asked = { model: at("model").value, messages: turns.slice(-MOST_TURNS), temperature: 0.4, max_tokens: 256, stream_options: { include_usage: true } };
    await chat(asked, running.signal, (chunk) => {
      const piece = chunk.choices[0]?.delta?.content;
      if (piece) {
        first ??= (performance.now() - began) / 1000;
        element.className = "turn theirs streaming";
        answer += piece;
        words.textContent = answer;
        bottom(false);
      }
      if (chunk.cocoon) end = { ...end, cocoon: chunk.cocoon, tokens: chunk.usage?.completion_tokens ?? end?.tokens };
    });
    element.className = "turn theirs";
    turns.push({ role: "assistant", content: answer });
    if (end) facts(element, end, began, first);
  } catch (error) {
    element.className = answer ? "turn theirs" : "turn theirs failed";
    const stopped = error.name === "AbortError";
    const said = stopped ? "Stopped: what came was paid for, nothing more." : error instanceof ApiFailure ? plain(error.message, 600) : "The gateway can't be reached.";
    if (answer) {
      turns.push({ role: "assistant", content: answer });
      element.append(el("div.facts", {}, el("span", {}, said)));
    } else {
      turns.pop();
      words.textContent = said;
    }
  } finally {
    running = null;
    busy(false);
    bottom(false);
  }
};

const grow = () => {
  const box = at("prompt");
  box.style.height = "auto";
  box.style.height = `${Math.min(box.scrollHeight, 160)}px`;
};

export const startChat = () => {
  at("hints").append(...HINTS.map((hint) => el("button", { type: "button", click: () => ask(hint) }, hint)));
  at("say").addEventListener("submit", (event) => {
    event.preventDefault();
    if (running) { running.abort(); return; }
    const text = at("prompt").value.trim();
    if (!text) return;
    at("prompt").value = "";
    grow();
    ask(text);
  });
  at("prompt").addEventListener("input", grow);
  at("prompt").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); at("say").requestSubmit(); }
  });
};
