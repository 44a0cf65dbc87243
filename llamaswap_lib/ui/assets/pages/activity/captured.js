/** A capture as it is looked at: bodies decoded, and what kind of thing each is. Pure. */

import { readJson } from "../../parts/json_model.js";
import { messagesOfAnswer, messagesOfRequest } from "./messages.js";
import { assemble, isStream } from "./stream.js";

/**
 * @typedef {object} Body
 * @property {"none" | "json" | "stream" | "image" | "audio" | "text" | "bytes"} kind
 * @property {Uint8Array} bytes
 * @property {string} type of the content, without parameters
 * @property {string} text "" where it is none
 * @property {import("../../parts/json_model.js").Entry | null} root of JSON
 * @property {import("./stream.js").Assembled | null} assembled of a stream
 */

/** @param {string | null | undefined} encoded base64 */
export function decode(encoded) {
  const raw = atob(encoded ?? "");
  const bytes = new Uint8Array(raw.length);
  for (let index = 0; index < raw.length; index++) bytes[index] = raw.charCodeAt(index);
  return bytes;
}

/** @param {string | null | undefined} encoded @param {Record<string, string> | null} headers @returns {Body} */
export function bodyOf(encoded, headers) {
  const bytes = decode(encoded);
  const type = (header(headers, "content-type").split(";")[0] ?? "").trim().toLowerCase();
  /** @type {Body} */
  const body = { kind: "none", bytes, type, text: "", root: null, assembled: null };
  if (!bytes.length) return body;
  if (/^image\/(?:png|jpeg|gif|webp|avif|svg\+xml)$/.test(type)) return { ...body, kind: "image" };
  if (type.startsWith("audio/")) return { ...body, kind: "audio" };
  const text = textOf(bytes);
  if (text === null) return { ...body, kind: "bytes" };
  if (type === "text/event-stream" || isStream(text))
    return { ...body, kind: "stream", text, assembled: assemble(text) };
  const root = /json/.test(type) || /^\s*[{[]/.test(text.slice(0, 100)) ? readJson(text) : null;
  return { ...body, kind: root ? "json" : "text", text, root };
}

/** @param {Uint8Array} bytes */
function textOf(bytes) {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return text.includes("\0") ? null : text;
  } catch {
    return null;
  }
}

/** @param {Record<string, string> | null | undefined} headers @param {string} name in lower case */
export function header(headers, name) {
  return Object.entries(headers ?? {}).find(([key]) => key.toLowerCase() === name)?.[1] ?? "";
}

/** What was said, in order; none where it was no chat. @param {Body} request @param {Body} answer */
export function conversationOf(request, answer) {
  const asked = request.root ? messagesOfRequest(JSON.parse(request.text)) : [];
  const told = answer.assembled?.messages ?? (answer.root ? messagesOfAnswer(JSON.parse(answer.text)) : []);
  return [
    ...asked,
    ...told.filter(({ content, reasoning, tool_calls }) => content.length || reasoning || tool_calls?.length),
  ];
}
