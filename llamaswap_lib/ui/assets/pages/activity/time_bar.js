/** Where the time of a request went: a bar, and its parts in numbers. */

import { duration, several } from "../../format.js";
import { visible } from "../../parts/odd_text.js";
import { h } from "../../view.js";

/** @typedef {import("./rows.js").Row} Row */

/** @type {[string, string, (row: Row) => string][]} */
const PARTS = [
  ["queue", "In the queue", ({ timing }) => (timing.behind ? `behind ${visible(timing.behind)}` : "")],
  ["load", "Loading the model", () => ""],
  [
    "prompt",
    "Reading the prompt",
    ({ tokens }) => (tokens.input_tokens > 0 ? several(tokens.input_tokens, "token") : ""),
  ],
  [
    "generation",
    "Generating",
    ({ tokens }) => (tokens.output_tokens > 0 ? several(tokens.output_tokens, "token") : ""),
  ],
  ["upstream", "The model's server besides", () => "such as a queue of its own"],
  ["ours", "llamaswap itself", () => ""],
];

/** @param {Row} row */
export function timeBar(row) {
  const parts = PARTS.map(([name, title, note]) => ({ name, title, note: note(row), ms: row.timing[`${name}_ms`] }));
  const whole = Math.max(1, row.duration_ms);
  const words = parts.filter(({ ms }) => ms > 0).map(({ title, ms }) => `${title} ${duration(ms)}`);
  return h(
    "section.where",
    { "aria-label": "Where the time went" },
    h("h2", null, "Where the time went", h("small", null, duration(row.duration_ms))),
    h(
      "div.time-bar",
      { role: "img", "aria-label": words.join(", ") || "not known" },
      parts
        .filter(({ ms }) => ms > 0)
        .map(({ name, title, ms }) =>
          h("i", {
            class: `part-${name}`,
            title: `${title}: ${duration(ms)}`,
            style: { "flex-grow": String(ms / whole) },
          }),
        ),
    ),
    h(
      "ul.time-parts",
      null,
      parts
        .filter(({ name, ms }) => ms > 0 || name === "prompt" || name === "generation")
        .map(({ name, title, note, ms }) =>
          h(
            "li",
            null,
            h("i", { class: `part-${name}` }),
            h("span", null, title, note ? h("small.soft", null, ` ${note}`) : null),
            h("span.n", null, ms < 0 ? duration(null) : duration(ms)),
            h("span.n.soft", null, ms >= 0 ? `${Math.round((100 * ms) / whole)} %` : ""),
          ),
        ),
    ),
  );
}
