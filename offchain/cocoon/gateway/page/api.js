// The gateway's JSON. A key given by hand is kept in this tab only.

const KEY = "cocoon-key";

export const savedKey = () => sessionStorage.getItem(KEY);
export const saveKey = (key) => (key ? sessionStorage.setItem(KEY, key) : sessionStorage.removeItem(KEY));

const headers = () => (savedKey() ? { Authorization: `Bearer ${savedKey()}` } : {});

export class ApiFailure extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

const failure = async (response) => {
  let said = response.statusText;
  try { said = (await response.json()).error.message; } catch { /* not one of the gateway's own answers */ }
  return new ApiFailure(response.status, said);
};

export const get = async (path) => {
  const response = await fetch(path, { headers: headers(), credentials: "same-origin", cache: "no-store" });
  if (!response.ok) throw await failure(response);
  return response.json();
};

/** Stream an answer: `on` gets each chunk as OpenAI sends it. Resolves to the receipts' names. */
export const chat = async (body, signal, on) => {
  const response = await fetch("/api/chat", {
    method: "POST", signal, credentials: "same-origin",
    headers: { "Content-Type": "application/json", ...headers() }, body: JSON.stringify({ ...body, stream: true }),
  });
  if (!response.ok) throw await failure(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const data = event.replace(/^data: /, "");
      if (data === "[DONE]") continue;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new ApiFailure(502, chunk.error.message);
      on(chunk);
    }
  }
};
