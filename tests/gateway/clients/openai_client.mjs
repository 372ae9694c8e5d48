// The official JavaScript SDK, unmodified: node openai_client.mjs BASE_URL KEY PACKAGES
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [baseURL, apiKey, packages] = process.argv.slice(2);
const require = createRequire(pathToFileURL(`${packages}/package.json`));
const OpenAI = require("openai").default;
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });

const messages = [{ role: "user", content: "one two three" }];
const whole = await client.chat.completions.create({ model: "test-model", messages });
let streamed = "";
let usage = null;
for await (const chunk of await client.chat.completions.create({
  model: "test-model", messages, stream: true, stream_options: { include_usage: true },
})) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
}
const embedded = await client.embeddings.create({ model: "cd".repeat(32), input: "abc" });
const models = [];
for await (const model of client.models.list()) models.push(model.id);
let refused = null;
try {
  await client.chat.completions.create({ model: "nothing", messages });
} catch (error) {
  refused = [error.constructor.name, error.status, error.code];
}
console.log(JSON.stringify({
  whole: whole.choices[0].message.content, streamed, tokens: usage.total_tokens,
  embedding: embedded.data[0].embedding, models, refused,
}));
