// client: `@anthropic-ai/sdk` (JavaScript)
// npm: @anthropic-ai/sdk
import Anthropic from "@anthropic-ai/sdk";
import { hello, holds, large, small, tried, url, weather } from "./tried.mjs";

const client = new Anthropic({ baseURL: url, apiKey: "none" });

await tried("messages", async () => {
  const answer = await client.messages.create({ model: "small", max_tokens: 100, messages: hello });
  holds(answer.content[0].text, small);
});
await tried("stream with a swap", async () => {
  const stream = client.messages.stream({ model: "large", max_tokens: 100, messages: hello });
  holds(await stream.finalText(), large);
});
await tried("tools", async () => {
  const tools = [{ name: "weather", input_schema: weather }];
  const answer = await client.messages.create({ model: "tools", max_tokens: 9, messages: hello, tools });
  holds(JSON.stringify(answer.content), "Oslo");
});
await tried("count_tokens", async () => {
  holds((await client.messages.countTokens({ model: "small", messages: hello })).input_tokens > 0, true);
});
