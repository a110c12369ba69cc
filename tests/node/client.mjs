// Asks a server, by the official client for JavaScript, for one thing of each kind, and prints what came as one JSON object.
// Usage: node client.mjs http://127.0.0.1:8080/v1
// The model's name tells the scripted backend what to answer.

import OpenAI, { APIError, APIUserAbortError } from "openai";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "any", maxRetries: 0, timeout: 20_000 });
const messages = [{ role: "user", content: "Hello there." }];
const tools = [
  { type: "function", function: { name: "look", parameters: { type: "object", properties: { city: {} } } } },
];
const schema = {
  type: "json_schema",
  json_schema: { name: "gift", strict: true, schema: { type: "object", properties: { name: { type: "string" } } } },
};
const picture = [
  { type: "text", text: "What is this?" },
  { type: "image_url", image_url: { url: "data:image/gif;base64,R0lGODlhAQABAAAAADs=", detail: "low" } },
];

const ask = (model, more = {}) => client.chat.completions.create({ model, messages, ...more });

async function all(stream) {
  const found = [];
  for await (const piece of stream) found.push(piece);
  return found;
}

async function failure(asking) {
  try {
    await asking;
  } catch (error) {
    if (!(error instanceof APIError)) throw error;
    const { status, code, type, param, message } = error;
    return { name: error.constructor.name, status, code, type, param, message };
  }
  return { name: "none" };
}

// A client that gives up in mid-stream; the signal is the caller's own.
async function abort() {
  const leaving = new AbortController();
  setTimeout(() => leaving.abort(), 700);
  const found = [];
  try {
    const stream = await client.chat.completions.create(
      { model: "slow", messages, stream: true },
      { signal: leaving.signal },
    );
    for await (const piece of stream) found.push(piece.choices[0]?.finish_reason);
  } catch (error) {
    if (!(error instanceof APIUserAbortError)) throw error;
  }
  return { aborted: leaving.signal.aborted, finished: found.includes("stop") };
}

// The stream helper, which puts the pieces of a stream together.
async function helper(model, more = {}) {
  const runner = client.chat.completions.stream({ model, messages, ...more });
  return await runner.finalChatCompletion();
}

const { data, response, request_id } = await ask("whole").withResponse();
const seen = {
  whole: data,
  hasRequestId: Boolean(request_id),
  type: response.headers.get("content-type"),
  comity: [...response.headers.keys()].filter((name) => name.startsWith("x-comity-")).length,
  stream: await all(await ask("stream", { stream: true, stream_options: { include_usage: true } })),
  tools: await ask("tools", { tools }),
  toolsStream: await all(await ask("tools", { tools, stream: true })),
  toolsHelper: await helper("tools", { tools }),
  choices: await ask("choices", { n: 2 }),
  logprobs: await ask("logprobs", { logprobs: true, top_logprobs: 2 }),
  structured: (await client.chat.completions.parse({ model: "json", messages, response_format: schema })).choices[0],
  structuredHelper: (await helper("json", { response_format: schema })).choices[0].message,
  vision: await ask("vision", { messages: [{ role: "user", content: picture }] }),
  completion: await client.completions.create({ model: "text", prompt: "Hello there." }),
  models: (await client.models.list()).data,
  error: await failure(ask("error")),
  errorStream: await failure(ask("error", { stream: true })),
  limited: await failure(ask("limited")),
  abort: await abort(),
};
console.log(JSON.stringify(seen));
