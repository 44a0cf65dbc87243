/** What can be said of a block of Markdown only when all of it is there: its text, what labels it defines, tight or loose. */

import { normalLabel, unescaped } from "./text.js";

/** @typedef {import("./blocks.js").Block} Block */
/** @typedef {import("./blocks.js").Definitions} Definitions */

/**
 * Make leaves and lists of a block complete: texts, tight or loose, tasks. What labels it defines goes into `definitions`.
 * @param {Block} block @param {Definitions} definitions
 */
export function complete(block, definitions) {
  for (const child of block.children) complete(child, definitions);
  if (block.kind === "list") block.tight = !isLoose(block);
  if (block.kind === "paragraph" || block.kind === "heading") {
    if (block.lines.length) block.text = block.lines.join("\n").trimEnd();
    if (block.kind === "paragraph" || block.marker) block.text = takeDefinitions(block.text, definitions);
    if (!block.text && block.kind === "paragraph") block.kind = "nothing";
  } else if (block.kind === "code") {
    if (!block.marker) while (block.lines.length && !block.lines[block.lines.length - 1]?.trim()) block.lines.pop();
    block.text = block.lines.join("\n");
  } else if (block.kind === "math") block.text = block.lines.join("\n");
  block.lines = [];
  if (block.kind === "item") markTask(block);
}

/** @param {Block} list */
function isLoose(list) {
  /** @param {Block[]} blocks */
  const hasGap = (blocks) =>
    blocks.some((block, index) => index > 0 && block.first > (blocks[index - 1]?.last ?? 0) + 1);
  return hasGap(list.children) || list.children.some((item) => hasGap(item.children));
}

/** @param {Block} item */
function markTask(item) {
  const paragraph = item.children[0];
  const found = paragraph?.kind === "paragraph" && /^\[([ xX])\]\s+(?=\S)/.exec(paragraph.text.slice(0, 100));
  if (!paragraph || !found) return;
  item.task = found[1] !== " ";
  paragraph.text = paragraph.text.slice(found[0].length);
}

const LABEL = /\[((?:[^[\]\\]|\\[^]){1,999})\]:[ \t]*\n?[ \t]*/y;
const DESTINATION = /<((?:[^<>\n\\]|\\.)*)>|([^\s<]\S*)/y;
const TITLE = /[ \t]*(?:\n[ \t]*|[ \t])("(?:[^"\\]|\\[^])*"|'(?:[^'\\]|\\[^])*'|\((?:[^()\\]|\\[^])*\))[ \t]*(?=\n|$)/y;
const END = /[ \t]*(?:\n|$)/y;

/** @param {RegExp} pattern sticky @param {string} text @param {number} at */
function match(pattern, text, at) {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

/** Take definitions of labels off the beginning of a paragraph. @param {string} text @param {Definitions} definitions */
export function takeDefinitions(text, definitions) {
  let at = 0;
  while (text[at] === "[") {
    const label = match(LABEL, text, at);
    const destination = label && match(DESTINATION, text, at + label[0].length);
    if (!label || !destination) break;
    let end = at + label[0].length + destination[0].length;
    const title = match(TITLE, text, end);
    const after = match(END, text, title ? end + title[0].length : end) ?? match(END, text, end);
    if (!after || !normalLabel(label[1] ?? "")) break;
    end = after.index + after[0].length;
    const name = normalLabel(label[1] ?? "");
    const words = title ? unescaped(title[1]?.slice(1, -1) ?? "") : "";
    if (!definitions.has(name)) {
      definitions.set(name, { href: unescaped(destination[1] ?? destination[2] ?? ""), title: words });
    }
    at = end;
  }
  return text.slice(at);
}
