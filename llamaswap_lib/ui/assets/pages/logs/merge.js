/** What a stream that was opened again begins with is the history: pure, which part of it is new. */

import { plain } from "../../parts/ansi.js";

const COMPARED = 5; // lines

export const LOST = "— the connection was lost: lines may be missing here —";

/**
 * The part of a history that is not known yet, or all of it behind a mark where that cannot be told.
 * @param {string[]} known the newest lines that are here @param {string} history
 */
export function newPart(known, history) {
  const end = known.slice(-COMPARED);
  if (!end.length) return history;
  const wanted = `${end.join("\n")}\n`;
  const at = history.lastIndexOf(wanted);
  if (at >= 0 && end.some((line) => plain(line).trim())) return history.slice(at + wanted.length);
  return `${LOST}\n${history}`;
}
