// client: Node's `fetch`, and `undici`
// npm: undici
import { Agent, request } from "undici";
import { hello, holds, large, openai, small, tried, url } from "./tried.mjs";

const headers = { "Content-Type": "application/json" };
const body = (model, more = {}) => JSON.stringify({ model, messages: hello, ...more });

await tried("list", async () => holds(await (await fetch(`${openai}/models`)).text(), "small"));
await tried("chat", async () => {
  const answer = await fetch(`${openai}/chat/completions`, { method: "POST", headers, body: body("small") });
  holds((await answer.json()).choices[0].message.content, small);
});
await tried("stream with a swap", async () => {
  const answer = await fetch(`${openai}/chat/completions`, {
    method: "POST", headers, body: body("large", { stream: true }),
  });
  let text = "";
  for await (const part of answer.body.pipeThrough(new TextDecoderStream())) text += part;
  holds(text, "data: [DONE]");
});
await tried("a body in chunks", async () => {
  const sent = new Blob([body("small")]).stream();
  const answer = await fetch(`${openai}/chat/completions`, { method: "POST", headers, body: sent, duplex: "half" });
  holds(await answer.text(), small);
});
await tried("a form", async () => {
  const form = new FormData();
  form.set("model", "small");
  form.set("file", new Blob(["RIFF"]), "a.wav");
  holds(await (await fetch(`${openai}/audio/transcriptions`, { method: "POST", body: form })).text(), "4 bytes in a.wav");
});
await tried("pipelined (undici)", async () => {
  const dispatcher = new Agent({ connections: 1, pipelining: 10 });
  const ask = async () => {
    const answer = await request(`${openai}/chat/completions`, { method: "POST", headers, body: body("small"), dispatcher });
    holds(await answer.body.text(), small);
  };
  await Promise.all(Array.from({ length: 20 }, ask));
  await dispatcher.close();
});
await tried("a request given up", async () => {
  const stop = new AbortController();
  const answer = await fetch(`${openai}/chat/completions`, {
    method: "POST", headers, body: body("large", { stream: true }), signal: stop.signal,
  });
  await answer.body.getReader().read();
  stop.abort();
  holds(await (await fetch(`${url}/running`)).text(), "large");
});
