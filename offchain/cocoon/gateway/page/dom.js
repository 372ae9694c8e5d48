// Elements out of data. Text is only ever set as text: what a worker calls itself is never markup.

const SVG = "http://www.w3.org/2000/svg";
// Control characters, and those that turn the direction of text around, can make a line say what it does not.
// eslint-disable-next-line no-control-regex
const TRICKS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

/** Foreign text, made harmless to look at; `most` characters of it. */
export const plain = (text, most = 160) => {
  const clean = String(text ?? "").replace(TRICKS, "\ufffd");
  return clean.length > most ? `${clean.slice(0, most)}…` : clean;
};

/** el("p.note", {title: "…"}, child, "text", …); null children are left out. */
export const el = (name, attributes, ...children) => fill(document.createElement(name.split(".")[0]), name, attributes, children);
export const svg = (name, attributes, ...children) => fill(document.createElementNS(SVG, name.split(".")[0]), name, attributes, children);

const fill = (element, name, attributes, children) => {
  const classes = name.split(".").slice(1).filter(Boolean);
  if (classes.length) element.classList.add(...classes);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (key === "click") element.addEventListener("click", value);
    else if (value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
};

/** Replace what is inside `element`, but only if it would look different: no flicker, no lost selection. */
export const show = (element, ...children) => {
  const made = document.createElement("div");
  made.append(...children.flat().filter(Boolean));
  if (element.dataset.shown === made.innerHTML) return;
  element.dataset.shown = made.innerHTML;
  element.replaceChildren(...made.childNodes);
};

/** A long hash or address, shortened; a click copies the whole. */
export const hash = (text, label = "Copy") => {
  const whole = plain(text, 400);
  const body = whole.replace(/^0:/, "");
  const short = body.length > 16 ? `${body.slice(0, 6)}…${body.slice(-6)}` : body;
  return el("button.hash", { type: "button", title: `${label}: ${whole}`, "data-copy": whole }, short);
};

document.addEventListener("click", async (event) => {
  const button = event.target.closest?.("[data-copy]");
  if (!button) return;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.classList.add("copied");
    setTimeout(() => button.classList.remove("copied"), 900);
  } catch {
    window.prompt("Copy", button.dataset.copy);
  }
});

export const width = (element, share) => {
  element.style.width = `${Math.max(0, Math.min(1, share)) * 100}%`;
  return element;
};
