/** JSON as a tree that is folded: what is inside an object or a list is built when it is opened. */

import { several } from "../format.js";
import { h, signal } from "../view.js";
import { children, valueOf } from "./json_model.js";
import { longText } from "./long_text.js";
import { visible } from "./odd_text.js";

/** @typedef {import("./json_model.js").Entry} Entry */

const MOST_AT_ONCE = 100; // entries of one object or list, then a button
const MOST_OPEN = 40; // lines that are open from the beginning
const MOST_STRING = 1_000; // characters
const MOST_INDENTS = 24; // levels beyond are not moved to the right any more

/**
 * @param {Entry} root
 * @param {(key: string | null, value: string) => import("../view.js").Child} [show] something better for a string, such as a picture
 */
export function jsonTree(root, show) {
  const tree = { left: MOST_OPEN, show };
  return h("div.json", { role: "tree", "aria-label": "JSON" }, node(root, tree, 0));
}

/** @typedef {{ left: number, show: ((key: string | null, value: string) => import("../view.js").Child) | undefined }} Tree */

/** @param {Entry} entry @param {Tree} tree @param {number} depth @returns {HTMLElement} */
function node(entry, tree, depth) {
  if ((entry.kind === "object" || entry.kind === "list") && entry.size) return branch(entry, tree, depth);
  return h("div.json-leaf", { role: "treeitem", "aria-selected": "false" }, name(entry), value(entry, tree));
}

/** @param {Entry} entry @param {Tree} tree @param {number} depth */
function branch(entry, tree, depth) {
  const startsOpen = depth < 3 && entry.size <= tree.left;
  if (startsOpen) tree.left -= entry.size;
  const open = signal(startsOpen);
  const inside = h("div.json-inside", {
    role: "group",
    class: depth >= MOST_INDENTS ? "flat" : "",
    hidden: () => !open.value,
  });
  const [left, right] = entry.kind === "object" ? ["{", "}"] : ["[", "]"];
  const fill = () => {
    if (!inside.hasChildNodes()) fillWith(inside, children(entry), tree, depth);
  };
  if (startsOpen) fill();
  const toggle = () => {
    fill();
    open.value = !open.value;
  };
  return h(
    "div.json-branch",
    { role: "treeitem", "aria-expanded": () => String(open.value), "aria-selected": "false" },
    h(
      "button.json-fold",
      { type: "button", onclick: toggle },
      h("span.json-mark", { "aria-hidden": "true" }, () => (open.value ? "▾" : "▸")),
      name(entry),
      h("span.soft", null, () => (open.value ? left : `${left} ${preview(entry)} ${right}`)),
      h(
        "span.json-size",
        null,
        several(entry.size, entry.kind === "object" ? "key" : "entry", entry.kind === "object" ? "keys" : "entries"),
      ),
    ),
    inside,
  );
}

/** The next entries, and a button for those behind. @param {HTMLElement} inside @param {Generator<Entry>} rest @param {Tree} tree @param {number} depth */
function fillWith(inside, rest, tree, depth) {
  for (let added = 0; added < MOST_AT_ONCE; added++) {
    const { value: entry, done } = rest.next();
    if (done) return;
    inside.append(node(entry, tree, depth + 1));
  }
  const more = h(
    "button.more",
    {
      type: "button",
      onclick: () => {
        more.remove();
        fillWith(inside, rest, tree, depth);
      },
    },
    `Show ${MOST_AT_ONCE} more`,
  );
  inside.append(more);
}

/** @param {Entry} entry */
function name(entry) {
  if (entry.key === null) return null;
  return h("span.json-key", null, visible(cut(entry.key, 200)), ": ");
}

/** @param {Entry} entry @param {Tree} tree */
function value(entry, tree) {
  if (entry.kind === "object") return h("span.soft", null, "{ }");
  if (entry.kind === "list") return h("span.soft", null, "[ ]");
  const written = entry.text.slice(entry.start, entry.end);
  if (entry.kind !== "string") return h("span.json-other", null, cut(written, 400));
  const text = /** @type {string} */ (valueOf(entry));
  return tree.show?.(entry.key, text) ?? h("span.json-string", null, "“", longText(text, { first: MOST_STRING }), "”");
}

/** The beginning of what is inside, in one line. @param {Entry} entry */
function preview(entry) {
  const text = entry.text.slice(entry.start + 1, Math.min(entry.end - 1, entry.start + 120));
  return visible(cut(text.replace(/\s+/g, " ").trim(), 60));
}

/** @param {string} text @param {number} most */
const cut = (text, most) => (text.length > most ? `${text.slice(0, most)}…` : text);
