/** How to use a model: as a command, and as settings of the usual clients. docs/clients.md has more. */

import { key, root } from "../../api.js";

/** @typedef {{ name: string, hint: string, text: string }} Recipe */

/** In single quotes for a shell. @param {string} text */
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** For YAML and JSON, and a string of Python or JavaScript. @param {string} text */
const literal = (text) => JSON.stringify(text);

/** @param {string} model @param {any} can its capabilities @returns {Recipe} */
function curl(model, can) {
  const base = new URL("v1/", root).href;
  const auth = key() ? ` \\\n  -H "Authorization: Bearer $LLAMASWAP_KEY"` : "";
  /** @param {string} path @param {any} body */
  const json = (path, body) =>
    `curl ${quoted(base + path)}${auth} \\\n  -H 'Content-Type: application/json' \\\n  -d ${quoted(JSON.stringify({ model, ...body }))}`;
  const recipe = { name: "curl", hint: "A request." };
  if (can.reranker) return { ...recipe, text: json("rerank", { query: "fruit", documents: ["an apple", "a car"] }) };
  if (can.image_generation) return { ...recipe, text: json("images/generations", { prompt: "a small house" }) };
  if (can.audio_speech)
    return { ...recipe, text: `${json("audio/speech", { input: "hello there", voice: "default" })} -o speech.wav` };
  if (can.audio_transcriptions) {
    const form = `curl ${quoted(`${base}audio/transcriptions`)}${auth} \\\n  -F file=@speech.wav -F ${quoted(`model=${model}`)}`;
    return { ...recipe, text: form };
  }
  return { ...recipe, text: json("chat/completions", { messages: [{ role: "user", content: "hello there" }] }) };
}

/** @param {string} model @param {any} [can] @returns {Recipe[]} */
export function recipes(model, can = {}) {
  const base = new URL("v1", root).href;
  const token = key() ? "YOUR_KEY" : "none";
  return [
    curl(model, can),
    {
      name: "OpenAI SDK, Python",
      hint: "pip install openai",
      text: `from openai import OpenAI

client = OpenAI(base_url=${literal(base)}, api_key="${token}")
answer = client.chat.completions.create(
    model=${literal(model)},
    messages=[{"role": "user", "content": "hello there"}],
)
print(answer.choices[0].message.content)`,
    },
    {
      name: "OpenAI SDK, Node",
      hint: "npm install openai",
      text: `import OpenAI from "openai";

const client = new OpenAI({ baseURL: ${literal(base)}, apiKey: "${token}" });
const answer = await client.chat.completions.create({
  model: ${literal(model)},
  messages: [{ role: "user", content: "hello there" }],
});
console.log(answer.choices[0].message.content);`,
    },
    {
      name: "Open WebUI",
      hint: "Admin Settings, Connections, OpenAI API. From a container, localhost is host.docker.internal.",
      text: `URL  ${base}\nKey  ${token}`,
    },
    {
      name: "Continue",
      hint: "In its config.yaml.",
      text: `models:
  - name: ${literal(model)}
    provider: openai
    model: ${literal(model)}
    apiBase: ${literal(base)}
    apiKey: ${token}
    roles: [chat, edit, apply]`,
    },
    {
      name: "opencode",
      hint: "In opencode.json.",
      text: JSON.stringify(
        {
          $schema: "https://opencode.ai/config.json",
          provider: {
            llamaswap: {
              npm: "@ai-sdk/openai-compatible",
              name: "llamaswap",
              options: { baseURL: base, ...(key() ? { apiKey: token } : {}) },
              models: { [model]: {} },
            },
          },
        },
        null,
        2,
      ),
    },
    {
      name: "Cline",
      hint: "In its settings, API Provider: OpenAI Compatible.",
      text: `Base URL   ${base}\nAPI Key    ${token}\nModel ID   ${model}`,
    },
    {
      name: "aider",
      hint: "pip install aider-chat",
      text: `OPENAI_API_BASE=${quoted(base)} OPENAI_API_KEY=${token} aider --model ${quoted(`openai/${model}`)}`,
    },
  ];
}
