/** One line of a log: its colours, what was found in it, and a button for more where it is long. */

import { ansi, styled } from "../../parts/ansi.js";
import { visible } from "../../parts/odd_text.js";
import { count } from "../../format.js";
import { h } from "../../view.js";
import { LOST } from "./merge.js";

/** @typedef {import("./lines.js").Line} Line */

export const FIRST_SHOWN = 2_000; // characters of a line
const FACTOR = 10; // with each press of the button
const DROPPED = /^— \d+ bytes dropped(?:: .*)? —$/;

/**
 * @param {Line} line @param {{ most: number, marks: number[], isCurrent: boolean, more: (most: number) => void }} look `most`
 *   characters are shown; `marks`: starts and ends in the text as it is seen
 */
export function lineNode(line, { most, marks, isCurrent, more }) {
  const { text } = line;
  if (DROPPED.test(text) || text === LOST) return h("div.log-line.dropped", { role: "separator" }, text);
  const pieces = ansi(text.length > most * 20 ? text.slice(0, most * 20) : text);
  const node = h("div.log-line", { class: isCurrent ? "current" : "" });
  let at = 0;
  for (const piece of pieces) {
    const shown = piece.text.slice(0, most - at);
    if (!shown) break;
    const children = marked(shown, at, marks);
    node.append(...(piece.style ? [styled(piece.style, ...children)] : children));
    at += shown.length;
  }
  const left = Math.max(0, text.length - at);
  if (at >= most && left > 0) {
    const next = Math.min(most * FACTOR, text.length);
    node.append(
      h(
        "button.more",
        { type: "button", onclick: () => more(most * FACTOR) },
        next < text.length
          ? `Show ${count(next)} of ${count(text.length)} characters`
          : `Show all ${count(text.length)} characters`,
      ),
    );
  }
  if (!at) node.append("\u200b"); // a line without text is as high as any
  return node;
}

/** A text with what was found in it. @param {string} text @param {number} from its place in the line @param {number[]} marks */
function marked(text, from, marks) {
  /** @type {(string | Node)[]} */
  const made = [];
  let at = 0;
  for (let index = 0; index < marks.length; index += 2) {
    const start = Math.max(0, (marks[index] ?? 0) - from);
    const end = Math.min(text.length, (marks[index + 1] ?? 0) - from);
    if (end <= at || start >= text.length) continue;
    if (start > at) made.push(visible(text.slice(at, start)));
    made.push(h("mark", null, visible(text.slice(start, end))));
    at = end;
  }
  if (at < text.length) made.push(visible(text.slice(at)));
  return made;
}
