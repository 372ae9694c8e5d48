// Numbers for people. Amounts come as text of digits (nanoTON): they are larger than a Number holds exactly.

const NANO = 10n ** 9n;

export const nano = (text) => { try { return BigInt(text ?? 0); } catch { return 0n; } };

/** "1.25", at most `digits` decimals, more for amounts that would otherwise be 0. */
export const ton = (text, digits = 4) => {
  const amount = nano(text);
  const sign = amount < 0n ? "−" : "";
  const size = amount < 0n ? -amount : amount;
  const whole = (size / NANO).toString().replace(/\B(?=(\d{3})+$)/g, "\u202f");
  let rest = (size % NANO).toString().padStart(9, "0");
  const first = rest.search(/[1-9]/);
  rest = rest.slice(0, size < NANO && first >= 0 ? Math.max(digits, Math.min(9, first + 2)) : digits).replace(/0+$/, "");
  return sign + whole + (rest ? `.${rest}` : "");
};

export const share = (part, whole) => (nano(whole) === 0n ? 0 : Number((nano(part) * 10000n) / nano(whole)) / 10000);

export const seconds = (value) =>
  value === null || value === undefined ? "–" : value < 1 ? `${Math.round(value * 1000)} ms` : `${value.toFixed(value < 10 ? 1 : 0)} s`;

export const span = (value) => {
  if (value <= 0) return "over";
  for (const [size, name] of [[86400, "d"], [3600, "h"], [60, "min"]]) if (value >= size) return `${Math.floor(value / size)} ${name}`;
  return `${Math.floor(value)} s`;
};

export const clock = (unix) => new Date(unix * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
/** "2026-03-14", the same everywhere. */
export const day = (unix) => new Date(unix * 1000).toISOString().slice(0, 10);
export const count = (value) => Number(value ?? 0).toLocaleString("en").replace(/,/g, "\u202f");
