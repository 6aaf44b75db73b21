// The life of a message batch, as the anthropic SDK for Node tells it: `anthropic_story.mjs URL`.
import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic({ baseURL: process.argv[2], apiKey: "any", maxRetries: 0 });
const request = (name, text) => ({
  custom_id: name,
  params: { model: "m-1", max_tokens: 20, messages: [{ role: "user", content: text }] },
});

const untilOver = async (id) => {
  for (let look = 0; look < 600; look++) {
    const batch = await client.messages.batches.retrieve(id);
    if (batch.processing_status === "ended") return batch;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("not over");
};

const batch = await client.messages.batches.create({ requests: [request("a", "one"), request("b", "two")] });
const done = await untilOver(batch.id);
assert.equal(done.request_counts.succeeded, 2);
const answers = {};
for await (const each of await client.messages.batches.results(batch.id)) {
  assert.equal(each.result.type, "succeeded");
  answers[each.custom_id] = each.result.message.content[0].text;
}
assert.deepEqual(answers, { a: "one", b: "two" });
const listed = [];
for await (const each of client.messages.batches.list({ limit: 1 })) listed.push(each.id);
assert.ok(listed.includes(batch.id));
await assert.rejects(client.messages.batches.retrieve("msgbatch_none"), (error) => error.status === 404);
await assert.rejects(client.messages.batches.create({ requests: [] }), (error) => error.status === 400);
const said = await client.messages.create({
  model: "m-1",
  max_tokens: 20,
  messages: [{ role: "user", content: "now" }],
});
assert.equal(said.content[0].text, "now");
const stream = client.messages.stream({
  model: "m-1",
  max_tokens: 20,
  messages: [{ role: "user", content: "in pieces" }],
});
assert.equal(await stream.finalText(), "in pieces");
await client.messages.batches.delete(batch.id);
console.log("anthropic for Node");
