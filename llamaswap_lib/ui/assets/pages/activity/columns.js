/** The columns of the table: what each shows, which are shown, and in which order. That is kept in this browser. */

import { toLocal } from "../../api.js";
import { bytes, count, duration, exact, speed, UNKNOWN } from "../../format.js";
import { ago } from "../../parts/clock.js";
import { visible } from "../../parts/odd_text.js";
import { h, signal } from "../../view.js";

/**
 * @typedef {import("./rows.js").Row} Row
 * @typedef {object} Column
 * @property {string} name
 * @property {string} title
 * @property {string} [what] in full, for a tooltip
 * @property {string} [sort] as the server names it
 * @property {boolean} [number] aligned to the right
 * @property {boolean} [hidden] at first
 * @property {string} width of CSS's grid
 * @property {(row: Row) => string} text
 * @property {(row: Row) => import("../../view.js").Child} [cell] something better than the text
 */

/** A number of tokens, or null where the server did not say. @param {Row} row @param {string} name */
export function tokens(row, name) {
  const said = Object.values(row.tokens).some((value) => value !== 0);
  const value = row.tokens[name];
  return said && value >= 0 ? value : null;
}

/** How long a request waited for others and for a load, in milliseconds. @param {Row} row */
export function waited({ timing }) {
  const parts = [timing.queue_ms, timing.load_ms].filter((value) => value >= 0);
  return parts.length ? parts.reduce((sum, value) => sum + value, 0) : null;
}

/** `complete` is nothing to tell. @param {Row} row */
export const endedBadly = (row) => (row.ended && row.ended !== "complete" ? row.ended.replaceAll("_", " ") : "");

/** @param {Row} row */
function statusCell(row) {
  const ended = endedBadly(row);
  const isBad = row.resp_status_code >= 400 || ended === "upstream broke" || ended === "failed";
  return h(
    "span",
    { class: isBad ? "fail" : ended ? "wait" : "", title: row.error_msg || null },
    String(row.resp_status_code || UNKNOWN),
    ended && row.resp_status_code < 400 ? h("small", null, ` ${ended}`) : null,
  );
}

/** @type {Column[]} */
export const COLUMNS = [
  { name: "id", title: "ID", sort: "id", number: true, width: "48px", text: (row) => String(row.id) },
  {
    name: "time",
    title: "Time",
    sort: "time",
    width: "88px",
    text: (row) => exact(row.timestamp),
    cell: (row) => ago(() => toLocal(row.timestamp)),
  },
  {
    name: "model",
    title: "Model",
    sort: "model",
    width: "minmax(92px, 1.4fr)",
    text: (row) => visible(row.model || UNKNOWN),
    cell: (row) => h("bdi", { title: visible(row.model) }, visible(row.model || UNKNOWN)),
  },
  {
    name: "path",
    title: "Path",
    sort: "req_path",
    hidden: true,
    width: "minmax(150px, 2fr)",
    text: (row) => visible(row.req_path),
  },
  {
    name: "status",
    title: "Status",
    sort: "resp_status_code",
    width: "minmax(64px, 1fr)",
    text: (row) => [row.resp_status_code || UNKNOWN, endedBadly(row)].filter(Boolean).join(" "),
    cell: statusCell,
  },
  {
    name: "type",
    title: "Content-Type",
    sort: "resp_content_type",
    hidden: true,
    width: "minmax(120px, 1fr)",
    text: (row) => visible(row.resp_content_type || UNKNOWN),
  },
  amount("cached", "Cached", "cache_tokens", "Tokens of the prompt that the server still had"),
  amount("prompt", "Prompt", "input_tokens", "Tokens of the prompt"),
  amount("generated", "Generated", "output_tokens", "Tokens of the answer"),
  {
    ...amount(
      "drafted",
      "Drafted",
      "draft_tokens",
      "Tokens that a draft model guessed, and how many of them were right",
    ),
    hidden: true,
    width: "92px",
    text: (row) => {
      const all = tokens(row, "draft_tokens");
      const right = tokens(row, "draft_acc_tokens");
      return all === null ? UNKNOWN : right === null ? count(all) : `${count(right)} of ${count(all)}`;
    },
  },
  {
    name: "prefill",
    title: "Prefill",
    what: "Speed of reading the prompt, in tokens a second",
    sort: "prompt_speed",
    number: true,
    width: "58px",
    text: (row) => speed(row.tokens.prompt_per_second),
  },
  {
    name: "decode",
    title: "Decode",
    what: "Speed of generation, in tokens a second",
    sort: "gen_speed",
    number: true,
    width: "58px",
    text: (row) => speed(row.tokens.tokens_per_second > 0 ? row.tokens.tokens_per_second : row.seen_per_second),
  },
  {
    name: "duration",
    title: "Duration",
    sort: "duration",
    number: true,
    width: "72px",
    text: (row) => duration(row.duration_ms),
  },
  {
    name: "wait",
    title: "Wait",
    what: "In the queue and for the load of the model",
    number: true,
    width: "66px",
    text: (row) => duration(waited(row)),
    cell: (row) => {
      const time = waited(row);
      return h("span", { class: time === 0 ? "soft" : time !== null && time >= 1000 ? "wait" : "" }, duration(time));
    },
  },
  { name: "capture", title: "Capture", width: "56px", text: (row) => (row.has_capture ? "kept" : UNKNOWN) },
  {
    name: "session",
    title: "Session",
    hidden: true,
    width: "minmax(90px, 1fr)",
    text: (row) => visible(row.session || UNKNOWN),
  },
  {
    name: "key",
    title: "Key",
    what: "A tag from which the key cannot be told",
    hidden: true,
    width: "100px",
    text: (row) => row.key || UNKNOWN,
  },
  {
    name: "ended",
    title: "Ended",
    hidden: true,
    width: "110px",
    text: (row) => (row.ended || UNKNOWN).replaceAll("_", " "),
  },
  {
    name: "sent",
    title: "Sent",
    what: "Bytes of the answer",
    hidden: true,
    number: true,
    width: "82px",
    text: (row) => bytes(row.response_bytes),
  },
];

/** @param {string} name @param {string} title @param {string} key @param {string} what @returns {Column} */
function amount(name, title, key, what) {
  return {
    name,
    title,
    what,
    sort: name,
    number: true,
    width: name === "generated" ? "70px" : "58px",
    text: (row) => count(tokens(row, key)),
  };
}

const STORED = "llamaswap.activity.columns";
const USUAL = COLUMNS.map((column) => ({ name: column.name, isShown: !column.hidden }));

/** In their order; each with whether it is shown. */
export const chosen = signal(read());

/** Those that are shown. @returns {Column[]} */
export const shownColumns = () =>
  chosen.value.flatMap(({ name, isShown }) => COLUMNS.filter((column) => isShown && column.name === name));

/** @returns {{ name: string, isShown: boolean }[]} */
function read() {
  try {
    const stored = JSON.parse(localStorage.getItem(STORED) ?? "[]");
    const known = stored.filter((/** @type {any} */ each) => COLUMNS.some((column) => column.name === each?.name));
    const added = USUAL.filter(({ name }) => !known.some((/** @type {any} */ each) => each.name === name));
    return known.length
      ? [...known.map((/** @type {any} */ each) => ({ name: each.name, isShown: each.isShown === true })), ...added]
      : USUAL;
  } catch {
    return USUAL; // nothing is kept, or it is not ours
  }
}

/** Keep another choice; null is the usual one. @param {{ name: string, isShown: boolean }[] | null} next */
export function choose(next) {
  chosen.value = next ?? USUAL;
  try {
    if (next) localStorage.setItem(STORED, JSON.stringify(next));
    else localStorage.removeItem(STORED);
  } catch {
    // it counts until the page is loaded again
  }
}
