/** A conversation as one reads it: messages with their roles, reasoning folded, tool calls, pictures. */

import { Markdown } from "./markdown.js";
import { CodeBlock, visible } from "./code.js";
import { cleanup, effect, h, keyed } from "../view.js";
import { count } from "../format.js";

/**
 * @typedef {{ type: string, text?: string, image_url?: any, [key: string]: any }} Part
 * @typedef {{ role: string, content: string | Part[] | null, reasoning?: string, tool_calls?: any[], streaming?: boolean }} Message
 */

const MOST = 500; // messages
const LONGEST = 1_000_000; // characters of one text
const PICTURE = /^(?:data:image\/(?:png|jpe?g|gif|webp|avif|bmp);base64,|blob:)/i;
const ROLES = new Map(
  Object.entries({ user: "You", assistant: "Model", system: "System", developer: "System", tool: "Tool" }),
);

/** The messages, the first at the top. @param {() => Message[]} messages followed */
export function conversation(messages) {
  const list = keyed(
    h("ol.conversation"),
    () =>
      messages()
        .slice(-MOST)
        .map((message, index) => ({ message, index })),
    ({ index }) => index,
    (row) =>
      h(
        "li.message",
        { class: () => row.value.message.role },
        h("h3", null, () => roleOf(row.value.message.role)),
        messageBody(() => row.value.message),
      ),
  );
  return h(
    "div",
    null,
    h(
      "p.soft",
      { hidden: () => messages().length <= MOST },
      () => `Only the last ${MOST} of ${count(messages().length)}.`,
    ),
    list,
  );
}

/** @param {string} role */
export const roleOf = (role) => ROLES.get(role) ?? h("bdi", null, role);

/** What a message says: reasoning, text, pictures, tool calls. @param {() => Message} message followed */
export function messageBody(message) {
  return h(
    "div.message-body",
    null,
    reasoning(message),
    h("div.message-text", null, text(message)),
    h("div.pictures", { hidden: () => picturesOf(message()).length === 0 }, () => picturesOf(message()).map(picture)),
    () => othersOf(message()).map((part) => json(String(part.type ?? "part"), part)),
    () => (message().tool_calls ?? []).map(toolCall),
  );
}

/** @param {() => Message} message */
function reasoning(message) {
  const thought = () => message().reasoning ?? "";
  const body = growing(thought, () => !message().streaming);
  const isThinking = () => Boolean(message().streaming && thought() && !textOf(message()));
  return h(
    "details.reasoning",
    { hidden: () => !thought() },
    h(
      "summary",
      null,
      () => (isThinking() ? "Reasoning…" : "Reasoning"),
      h("span.faint", null, () => ` ${count(thought().length)} characters`),
    ),
    body,
  );
}

/** What a model says is Markdown, what others say is as they typed it. @param {() => Message} message */
function text(message) {
  if (message().role === "assistant")
    return growing(
      () => textOf(message()),
      () => !message().streaming,
    );
  return h("div.typed", { dir: "auto" }, () => visible(cut(textOf(message()))));
}

/** Markdown that grows, drawn at most once a frame, and less often where drawing takes long.
 * @param {() => string} given followed @param {() => boolean} isWhole followed */
export function growing(given, isWhole) {
  const made = new Markdown();
  let due = 0;
  let rest = 0; // until when nothing is drawn
  const draw = () => {
    due = 0;
    const began = performance.now();
    if (began < rest) return void (due = requestAnimationFrame(draw));
    made.set(shown, whole);
    rest = performance.now() + 3 * (performance.now() - began);
  };
  let shown = "";
  let whole = false;
  let isFirst = true;
  effect(() => {
    [shown, whole] = [cut(given()), isWhole()];
    if (isFirst || whole) {
      cancelAnimationFrame(due);
      [due, rest] = [0, 0];
      draw();
    } else due ||= requestAnimationFrame(draw);
    isFirst = false;
  });
  cleanup(() => cancelAnimationFrame(due));
  return made.node;
}

/** @param {string} text */
function cut(text) {
  if (text.length <= LONGEST) return text;
  return `${text.slice(0, LONGEST)}\n\n… ${count(text.length - LONGEST)} more characters are not shown`;
}

/** @param {Message} message @returns {Part[]} */
const partsOf = ({ content }) =>
  Array.isArray(content) ? content.filter((part) => part && typeof part === "object") : [];

/** The text of a message, whatever its form. @param {Message} message */
export function textOf(message) {
  if (typeof message.content === "string") return message.content;
  return partsOf(message)
    .filter(({ text }) => typeof text === "string")
    .map(({ text }) => text)
    .join("\n\n");
}

/** @param {Part} part the shapes of chat completions, of responses and of messages */
function addressOf(part) {
  if (part.type === "image_url") return String(part.image_url?.url ?? part.image_url ?? "");
  if (part.type === "input_image") return String(part.image_url ?? "");
  if (part.type === "image" && part.source?.type === "base64")
    return `data:${part.source.media_type};base64,${part.source.data}`;
  return "";
}

/** @param {Message} message */
const picturesOf = (message) => partsOf(message).map(addressOf).filter(Boolean);

/** @param {Message} message */
const othersOf = (message) => partsOf(message).filter((part) => typeof part.text !== "string" && !addressOf(part));

/** Pictures that came with the message are shown, those of other hosts only named. @param {string} address */
function picture(address) {
  if (!PICTURE.test(address)) return h("p.soft", null, "A picture at ", h("code", null, address.slice(0, 500)));
  return h("img", { src: address, alt: "A picture of this message", loading: "lazy" });
}

/** @param {any} call */
function toolCall(call) {
  const made = call?.function ?? call ?? {};
  const given = made.arguments ?? made.input ?? made;
  return json(
    `calls ${String(made.name ?? "a tool").slice(0, 200)}`,
    typeof given === "string" ? parsed(given) : given,
  );
}

/** @param {string} text @returns {unknown} */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text; // it still streams, or is no JSON
  }
}

/** @param {string} title @param {unknown} value */
function json(title, value) {
  const text = typeof value === "string" ? value : (JSON.stringify(value, null, 2) ?? "");
  return h("details.call", null, h("summary", null, h("bdi", null, title)), new CodeBlock(cut(text), "json").node);
}
