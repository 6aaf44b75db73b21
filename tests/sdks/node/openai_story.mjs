// The life of a batch, as the openai SDK for Node tells it: `openai_story.mjs URL`.
import assert from "node:assert/strict";
import OpenAI, { toFile } from "openai";

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: "any", maxRetries: 0 });
const line = (name, text) =>
  JSON.stringify({
    custom_id: name,
    method: "POST",
    url: "/v1/chat/completions",
    body: { model: "m-1", messages: [{ role: "user", content: text }], max_tokens: 20 },
  });

const untilOver = async (id) => {
  for (let look = 0; look < 600; look++) {
    const batch = await client.batches.retrieve(id);
    if (["completed", "failed", "expired", "cancelled"].includes(batch.status)) return batch;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("not over");
};

const file = await client.files.create({
  file: await toFile(Buffer.from(`${line("a", "one")}\n${line("b", "two")}`), "in.jsonl"),
  purpose: "batch",
});
const batch = await client.batches.create({
  input_file_id: file.id,
  endpoint: "/v1/chat/completions",
  completion_window: "24h",
  metadata: { k: "v" },
});
const done = await untilOver(batch.id);
assert.equal(done.status, "completed");
const text = await (await client.files.content(done.output_file_id)).text();
const answers = Object.fromEntries(
  text
    .trim()
    .split("\n")
    .map((row) => JSON.parse(row))
    .map((row) => [row.custom_id, row.response.body.choices[0].message.content]),
);
assert.deepEqual(answers, { a: "one", b: "two" });
await assert.rejects(client.batches.cancel(batch.id), (error) => error.status === 409);
await assert.rejects(client.batches.retrieve("batch_none"), (error) => error.status === 404);
const listed = [];
for await (const each of client.batches.list({ limit: 1 })) listed.push(each.id);
assert.ok(listed.includes(batch.id));
const said = await client.chat.completions.create({
  model: "m-1",
  messages: [{ role: "user", content: "now" }],
  max_tokens: 9,
});
assert.equal(said.choices[0].message.content, "now");
await client.files.delete(file.id);
console.log("openai for Node");
