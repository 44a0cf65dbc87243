// client: AI SDK (`ai`, `@ai-sdk/openai-compatible`)
// npm: ai @ai-sdk/openai-compatible zod
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { holds, large, openai, small, tried } from "./tried.mjs";

const provider = createOpenAICompatible({ name: "llamaswap", baseURL: openai });

await tried("chat", async () => {
  holds((await generateText({ model: provider("small"), prompt: "hello there" })).text, small);
});
await tried("stream with a swap", async () => {
  let text = "";
  for await (const part of streamText({ model: provider("large"), prompt: "hello there" }).textStream) text += part;
  holds(text, large);
});
await tried("tools", async () => {
  const asked = [];
  const weather = tool({
    description: "The weather in a city",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => { asked.push(city); return `rain in ${city}`; },
  });
  const answer = await generateText({
    model: provider("tools"), prompt: "hello there", tools: { weather }, stopWhen: stepCountIs(3),
  });
  holds(asked, "Oslo");
  holds(answer.text, "this is tools");
});
await tried("embeddings", async () => {
  const { embeddings } = await embedMany({ model: provider.textEmbeddingModel("embed"), values: ["one", "two"] });
  holds(embeddings.length, 2);
});
