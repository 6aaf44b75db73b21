// The life of a batch, as the Google Gen AI SDK for Node tells it: `google_story.mjs URL`.
import assert from "node:assert/strict";
import { GoogleGenAI } from "@google/genai";

const client = new GoogleGenAI({ apiKey: "any", httpOptions: { baseUrl: process.argv[2] } });
const row = (name, text) =>
  JSON.stringify({ key: name, request: { contents: [{ role: "user", parts: [{ text }] }] } });

const untilOver = async (name) => {
  for (let look = 0; look < 600; look++) {
    const job = await client.batches.get({ name });
    if (/SUCCEEDED|FAILED|CANCELLED/.test(job.state)) return job;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("not over");
};

const file = await client.files.upload({
  file: new Blob([`${row("a", "one")}\n${row("b", "two")}\n`]),
  config: { displayName: "in", mimeType: "application/jsonl" },
});
const job = await client.batches.create({ model: "m-1", src: file.name, config: { displayName: "d" } });
const done = await untilOver(job.name);
assert.match(done.state, /SUCCEEDED/);
const answered = await fetch(`${process.argv[2]}/v1beta/${done.dest.fileName}:download?alt=media`, {
  headers: { "x-goog-api-key": "any" },
});
const answers = Object.fromEntries(
  (await answered.text())
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line))
    .map((line) => [line.key, line.response.candidates[0].content.parts[0].text]),
);
assert.deepEqual(answers, { a: "one", b: "two" });
const inline = await client.batches.create({
  model: "m-1",
  src: [{ contents: [{ role: "user", parts: [{ text: "three" }] }], metadata: { key: "c" } }],
});
const over = await untilOver(inline.name);
assert.equal(over.dest.inlinedResponses[0].response.candidates[0].content.parts[0].text, "three");
await assert.rejects(client.batches.get({ name: "batches/none" }), (error) => error.status === 404);
await client.batches.delete({ name: inline.name });
const said = await client.models.generateContent({ model: "m-1", contents: "now" });
assert.equal(said.text, "now");
let streamed = "";
for await (const piece of await client.models.generateContentStream({ model: "m-1", contents: "in pieces" }))
  streamed += piece.text ?? "";
assert.equal(streamed, "in pieces");
console.log("google for Node");
