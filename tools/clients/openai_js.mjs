// client: `openai` (JavaScript)
// npm: openai
import OpenAI, { toFile } from "openai";
import { hello, holds, large, openai, small, tried, weather } from "./tried.mjs";

const client = new OpenAI({ baseURL: openai, apiKey: "none" });

await tried("list", async () => {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  holds(names, "small");
});
await tried("chat", async () => {
  const answer = await client.chat.completions.create({ model: "small", messages: hello });
  holds(answer.choices[0].message.content, small);
});
await tried("stream with a swap", async () => {
  let text = "";
  const stream = await client.chat.completions.create({ model: "large", messages: hello, stream: true });
  for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
  holds(text, large);
});
await tried("tools", async () => {
  const tools = [{ type: "function", function: { name: "weather", parameters: weather } }];
  const answer = await client.chat.completions.create({ model: "tools", messages: hello, tools });
  holds(answer.choices[0].message.tool_calls[0].function.arguments, "Oslo");
});
await tried("responses", async () => {
  holds((await client.responses.create({ model: "small", input: "hello there" })).output_text, small);
});
await tried("embeddings", async () => {
  holds((await client.embeddings.create({ model: "embed", input: ["one", "two"] })).data.length, 2);
});
await tried("transcription", async () => {
  const file = await toFile(Buffer.from("RIFF"), "a.wav");
  holds((await client.audio.transcriptions.create({ model: "small", file })).text, "heard 4 bytes in a.wav");
});
