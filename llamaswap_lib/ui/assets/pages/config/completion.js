/** What may be written at a place of a YAML text: from its indentation and the keys that there are. Pure. */

import { KEYS } from "./keys.js";

/** @typedef {{ text: string, about: string, insert: string }} Choice */
/** @typedef {{ start: number, path: string[], isValue: boolean, typed: string }} Spot `start`: where what was typed begins */

const KEY = /^(\s*(?:- +)*)("[^"]*"|'[^']*'|[^\s#:'"][^:#]*?)\s*:(?:\s|$)/;

/** Where the caret is: the keys above it, and what was typed of this one. Null inside a comment.
 * @param {string} text @param {number} caret @returns {Spot | null} */
export function spotAt(text, caret) {
  const begin = text.lastIndexOf("\n", caret - 1) + 1;
  const line = text.slice(begin, caret);
  if (/(^|\s)#/.test(line)) return null;
  const found = KEY.exec(line);
  const indent = (/^\s*(?:- +)*/.exec(line) ?? [""])[0].length;
  const above = pathAbove(text.slice(0, begin), indent);
  if (found) {
    const typed = (/[^\s[,]*$/.exec(line.slice(found[0].trimEnd().length)) ?? [""])[0];
    return { start: caret - typed.length, path: [...above, bare(found[2] ?? "")], isValue: true, typed };
  }
  return { start: begin + indent, path: above, isValue: false, typed: line.slice(indent) };
}

/** The keys that a line with this indentation is below. @param {string} text @param {number} indent */
export function pathAbove(text, indent) {
  /** @type {string[]} */
  const path = [];
  let least = indent;
  const lines = text.split("\n");
  for (let number = lines.length - 1; number >= 0 && least > 0; number -= 1) {
    const line = lines[number] ?? "";
    const found = KEY.exec(line);
    if (!found || /^\s*#/.test(line)) continue;
    const here = (found[1] ?? "").length;
    if (here < least) {
      path.unshift(bare(found[2] ?? ""));
      least = (/^\s*/.exec(line) ?? [""])[0].length;
    }
  }
  return path;
}

/** @param {string} key */
const bare = (key) => key.replace(/^(["'])(.*)\1$/, "$2").trim();

/** What is known of the value at a path. @param {string[]} path */
function knownAt(path) {
  /** @type {import("./keys.js").Known | undefined} */
  let known = KEYS;
  for (const key of path) {
    known = known?.keys?.[key] ?? known?.any;
    if (!known) return undefined;
  }
  return known;
}

/** What may stand there, the best first. @param {Spot} spot @param {string[]} models names that a model may be called by @returns {Choice[]} */
export function choicesAt(spot, models = []) {
  const known = knownAt(spot.path);
  const low = spot.typed.toLowerCase();
  const all = spot.isValue ? valuesOf(known, spot, models) : keysOf(known);
  const fits = all.filter(({ text }) => text.toLowerCase().includes(low) && text !== spot.typed);
  return fits.sort(
    (one, other) => Number(!one.text.toLowerCase().startsWith(low)) - Number(!other.text.toLowerCase().startsWith(low)),
  );
}

/** @param {import("./keys.js").Known | undefined} known @param {Spot} spot @param {string[]} models @returns {Choice[]} */
function valuesOf(known, spot, models) {
  const names = /^(members|models|preload|targets)$/.test(spot.path.at(-1) ?? "") ? models : [];
  return [...(known?.values ?? []), ...names].map((value) => ({ text: value, about: "", insert: value }));
}

/** @param {import("./keys.js").Known | undefined} known @returns {Choice[]} */
function keysOf(known) {
  return Object.entries(known?.keys ?? {}).map(([key, each]) => ({
    text: key,
    about: each.about ?? "",
    insert: `${key}:${each.keys || each.any ? "" : " "}`,
  }));
}

/** What the key at the caret is for. @param {string} text @param {number} caret */
export function aboutAt(text, caret) {
  const end = text.indexOf("\n", caret);
  const spot = spotAt(text, end < 0 ? text.length : end);
  return spot?.isValue ? { key: spot.path.join("."), about: knownAt(spot.path)?.about ?? "" } : null;
}
