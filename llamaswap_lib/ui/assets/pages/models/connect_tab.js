/** How to use a model: a request, the OpenAI SDKs, and the clients that the server knows settings for. */

import { ask, key, pathOf, root } from "../../api.js";
import { copy } from "../../parts/actions.js";
import { h, signal } from "../../view.js";
import { byId } from "./now.js";

/**
 * @typedef {{ name: string, hint: string, texts: { hint: string, text: string }[] }} Recipe
 * @typedef {{ name: string, install: string, files: { path: string, text: string }[], start: string[], line: string | null,
 *   note: string | null }} Client as /api/models/ID/clients has it
 */

/** In single quotes for a shell. @param {string} text */
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** For a string of Python or JavaScript. @param {string} text */
const literal = (text) => JSON.stringify(text);

/** @param {string} model @param {any} can its capabilities */
function curl(model, can) {
  const base = new URL("v1/", root).href;
  const auth = key() ? ` \\\n  -H "Authorization: Bearer $LLAMASWAP_API_KEY"` : "";
  /** @param {string} path @param {any} body */
  const json = (path, body) =>
    `curl ${quoted(base + path)}${auth} \\\n  -H 'Content-Type: application/json' \\\n  -d ${quoted(JSON.stringify({ model, ...body }))}`;
  if (can.reranker) return json("rerank", { query: "fruit", documents: ["an apple", "a car"] });
  if (can.image_generation) return json("images/generations", { prompt: "a small house" });
  if (can.audio_speech) return `${json("audio/speech", { input: "hello there", voice: "default" })} -o speech.wav`;
  if (can.audio_transcriptions)
    return `curl ${quoted(`${base}audio/transcriptions`)}${auth} \\\n  -F file=@speech.wav -F ${quoted(`model=${model}`)}`;
  return json("chat/completions", { messages: [{ role: "user", content: "hello there" }] });
}

/** What needs no client of its own. @param {string} model @param {any} can @returns {Recipe[]} */
function plainRecipes(model, can) {
  const base = new URL("v1", root).href;
  const token = key() ? "YOUR_KEY" : "none";
  const python = `from openai import OpenAI

client = OpenAI(base_url=${literal(base)}, api_key="${token}")
answer = client.chat.completions.create(
    model=${literal(model)},
    messages=[{"role": "user", "content": "hello there"}],
)
print(answer.choices[0].message.content)`;
  const node = `import OpenAI from "openai";

const client = new OpenAI({ baseURL: ${literal(base)}, apiKey: "${token}" });
const answer = await client.chat.completions.create({
  model: ${literal(model)},
  messages: [{ role: "user", content: "hello there" }],
});
console.log(answer.choices[0].message.content);`;
  return [
    { name: "curl", hint: "", texts: [{ hint: "A request.", text: curl(model, can) }] },
    { name: "OpenAI SDK, Python", hint: "", texts: [{ hint: "pip install openai", text: python }] },
    { name: "OpenAI SDK, Node", hint: "", texts: [{ hint: "npm install openai", text: node }] },
  ];
}

/** @param {Client} client @returns {Recipe} */
function recipeOf({ name, install, files, line, note }) {
  const texts = files.map(({ path, text }) => ({ hint: `In ${path}:`, text }));
  if (line) texts.push({ hint: texts.length ? "Or without a file:" : "", text: line });
  return {
    name,
    hint: [install, note ? `${note[0]?.toUpperCase()}${note.slice(1)}.` : ""].filter(Boolean).join(". "),
    texts,
  };
}

/** @param {import("../../view.js").Signal<import("./catalog.js").Entry>} entry */
export function connectTab(entry) {
  const { id } = entry.value;
  const clients = signal(/** @type {Recipe[]} */ ([]));
  const query = { url: new URL(".", root).href };
  ask(`api/models/${pathOf(id)}/clients`, { query }).then(
    (told) => (clients.value = told.clients.map(recipeOf)),
    () => {},
  );
  const plain = plainRecipes(id, byId.value.get(id)?.capabilities ?? {});
  return h("div.page", null, plain.map(recipe), () => clients.value.map(recipe));
}

/** @param {Recipe} recipe */
function recipe({ name, hint, texts }) {
  return h(
    "section",
    null,
    h("h2", null, name),
    hint ? h("p.soft", null, hint) : null,
    texts.map(({ hint: about, text }, index) => [
      h(
        "p.soft.recipe-head",
        null,
        h("bdi", null, about),
        h(
          "button.small",
          {
            type: "button",
            "aria-label": `Copy: ${name}${index ? `, ${index + 1}` : ""}`,
            onclick: () => copy(text, name),
          },
          "Copy",
        ),
      ),
      h("pre.recipe", { tabindex: "0", "aria-label": `${name}: ${about || "settings"}` }, h("bdi", null, text)),
    ]),
  );
}
