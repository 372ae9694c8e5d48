// The owner's channels: what was deposited, paid out, promised, and is free.

import { el, hash, plain, show, width } from "./dom.js";
import { share, span, ton } from "./format.js";

const part = (kind, label, amount) => el("span", {}, el(`i.${kind}`), `${label} ${ton(amount)} TON`);

const card = (channel, names, now) => {
  const [deposit, claimed, free] = [channel.deposit_nano, channel.claimed_nano, channel.available_nano].map(BigInt);
  const rest = deposit - claimed - free;
  const promised = rest > 0n ? rest : 0n;
  const open = channel.state === "open";
  return el(
    "article.channel", {},
    el("header", {}, el("b", {}, `To worker ${channel.worker}`), el(`span.pill.${open ? "good" : "warn"}`, {}, plain(channel.state, 12)),
      channel.connected ? el("span.pill", {}, channel.streams ? `${channel.streams} streaming` : "connected") : null,
      hash(channel.escrow, "Copy the channel's address")),
    el("div.stack", {}, width(el("i.claimed"), share(claimed, deposit)), width(el("i.promised"), share(promised, deposit)), width(el("i.free"), share(free, deposit))),
    el("div.legend", {}, part("claimed", "claimed", claimed), part("promised", "promised", promised), part("free", "free", free)),
    el("div.legend", {}, plain(names.get(channel.model_id) ?? channel.model_id.slice(0, 12), 40),
      now && channel.ends ? el("span", {}, `${open ? "ends in" : "money back in"} ${span(channel.ends - now)}`) : null),
  );
};

export const channels = (owned, names, now) => {
  const list = document.getElementById("channel-list");
  const note = document.getElementById("channels-note");
  if (owned === null) {
    note.textContent = "";
    show(list, el("p.nothing", {}, "Give an API key above to see the channels."));
    return;
  }
  note.textContent = `${owned.channels.length} of at most ${owned.most_channels}`;
  show(
    list,
    owned.channels.length ? owned.channels.map((channel) => card(channel, names, now))
      : el("p.nothing", {}, "None is open. The first request opens one, with a deposit that comes back."),
  );
};
