/**
 * JSON as a tree that is read where it is opened: pure. Numbers, repeated keys and the order stay as they were written, and
 * a text of 10 MB costs nothing until a part of it is looked at.
 */

/**
 * @typedef {{ text: string, start: number, end: number }} Span a value in the text, without the blanks around it
 * @typedef {Span & { key: string | null, kind: "object" | "list" | "string" | "other", size: number }} Entry
 *   `key` of an object, null in a list; `size`: of an object or list how many entries it has
 */

const SIGN = /["{}[\],]/g;
const BLANK = /[ \t\r\n]/;

/** The root of a text, or null where it is no JSON. @param {string} text @returns {Entry | null} */
export function readJson(text) {
  try {
    JSON.parse(text);
  } catch {
    return null;
  }
  return [...entries(text, 0, text.length, false)][0] ?? null;
}

/** What is in an object or a list, as it is asked for. @param {Entry} entry @returns {Generator<Entry>} */
export function children(entry) {
  return entries(entry.text, entry.start + 1, entry.end - 1, entry.kind === "object");
}

/** The value as JavaScript has it. @param {Span} span */
export const valueOf = (span) => JSON.parse(span.text.slice(span.start, span.end));

/**
 * The values of a text of valid JSON between two places, with commas between them.
 * @param {string} text @param {number} from @param {number} to @param {boolean} hasKeys @returns {Generator<Entry>}
 */
function* entries(text, from, to, hasKeys) {
  let at = skip(text, from, to);
  while (at < to) {
    let key = null;
    if (hasKeys) {
      const end = endOfString(text, at);
      key = JSON.parse(text.slice(at, end));
      at = skip(text, skip(text, end, to) + 1, to); // behind the colon
    }
    const { end, size } = endOfValue(text, at, to);
    const sign = text[at];
    const kind = sign === "{" ? "object" : sign === "[" ? "list" : sign === '"' ? "string" : "other";
    yield { text, start: at, end, key, kind, size };
    at = skip(text, skip(text, end, to) + 1, to); // behind the comma
  }
}

/** The first place that is no blank. @param {string} text @param {number} at @param {number} to */
function skip(text, at, to) {
  while (at < to && BLANK.test(text[at] ?? "")) at += 1;
  return at;
}

/** Behind the closing quotation mark. @param {string} text @param {number} at the opening one */
function endOfString(text, at) {
  for (let end = at + 1; ; end += 1) {
    end = text.indexOf('"', end);
    if (end < 0) return text.length;
    let back = end;
    while (text[back - 1] === "\\") back -= 1;
    if ((end - back) % 2 === 0) return end + 1;
  }
}

/** Where a value ends, and how many entries it has. @param {string} text @param {number} at @param {number} to */
function endOfValue(text, at, to) {
  if (text[at] === '"') return { end: endOfString(text, at), size: 0 };
  if (text[at] !== "{" && text[at] !== "[") {
    let end = at;
    while (end < to && !/[,\]} \t\r\n]/.test(text[end] ?? "")) end += 1;
    return { end, size: 0 };
  }
  let depth = 0;
  let commas = 0;
  SIGN.lastIndex = at;
  for (let match; (match = SIGN.exec(text));) {
    if (match[0] === '"') SIGN.lastIndex = endOfString(text, match.index);
    else if (match[0] === "{" || match[0] === "[") depth += 1;
    else if (match[0] !== ",") depth -= 1;
    else if (depth === 1) commas += 1;
    if (depth === 0) {
      const isEmpty = skip(text, at + 1, to) === match.index;
      return { end: match.index + 1, size: isEmpty ? 0 : commas + 1 };
    }
  }
  return { end: to, size: 0 };
}
