/**
 * Markdown to DOM nodes: CommonMark and GitHub's tables, task lists, struck text and bare addresses.
 *
 * No text ever becomes markup: nodes are made one by one, and HTML in the text is shown as text. Links lead to http, https
 * and mailto only, in a tab of their own; pictures of other hosts are links, and only those that come with the text
 * (data:) are shown, so nothing is loaded from elsewhere. Time is linear, and what is too deep, too long or too much is
 * shown as plain text.
 *
 * Of CommonMark's own examples, tests/ui/test_markdown.py says how many agree. The others want what is left out on
 * purpose: HTML as HTML, relative links, pictures of other hosts, names of entities that nobody writes.
 */

import { h } from "../view.js";
import { CodeBlock } from "./code.js";
import { costOf, parseBlocks } from "./markdown/blocks.js";
import { complete } from "./markdown/complete.js";
import { inline } from "./markdown/inline.js";

/** @typedef {import("./markdown/blocks.js").Definitions} Definitions */
/** @typedef {import("./markdown/blocks.js").Block} Block */
/** @typedef {{ definitions: Definitions, left: number, open: Set<Shown> }} Surroundings `open`: what has labels without links */
/** @typedef {{ block: Block, node: Element, host: Element, children: Shown[], code: CodeBlock | null, made: number }} Shown
 *   `host` is what has the children or the text, `made` how many elements are in that text */

const MOST_BLOCKS = 8000;
const MOST_ELEMENTS = 20_000;
const LONGEST_LEAF = 50_000; // characters; longer ones are shown as plain text
const PIECE = 10_000; // characters of plain text that are laid out together

/** A text that may grow. What has not changed keeps its nodes, so that nothing jumps and a selection stays. */
export class Markdown {
  constructor() {
    this.node = h("div.markdown");
    this.text = "";
    this.settled = 0; // where the last block begins that may still change
    this.blocksSettled = 0;
    this.count = 0; // of the blocks that have settled, those within them included
    this.shown = /** @type {Shown[]} */ ([]);
    this.definitions = /** @type {Definitions} */ (new Map());
    this.around = surroundings();
  }

  /** Begin anew, with another text. */
  reset() {
    this.settled = this.blocksSettled = this.count = 0;
    this.shown = [];
    this.definitions = new Map();
    this.around = surroundings();
    this.node.replaceChildren();
  }

  /** Show this text; `isWhole` says that nothing will follow. @param {string} given @param {boolean} [isWhole] */
  set(given, isWhole = true) {
    const text = /[\r\0]/.test(given) ? given.replace(/\r\n?/g, "\n").replaceAll("\0", "\ufffd") : given;
    if (!text.startsWith(this.text)) this.reset();
    if (text !== this.text || !this.shown.length) this.grow(text);
    if (isWhole) this.link();
  }

  /** @param {string} text */
  grow(text) {
    this.text = text;
    const { blocks, count } = parseBlocks(text.slice(this.settled), MOST_BLOCKS - this.count);
    const before = this.shown.splice(this.blocksSettled);
    const defined = blocks.map((block) => {
      /** @type {Definitions} */
      const own = new Map();
      complete(block, own);
      return own;
    });
    const all = new Map(this.definitions);
    for (const own of defined) for (const [label, target] of own) if (!all.has(label)) all.set(label, target);
    this.around.definitions = all;
    patch(this.node, before, blocks, this.around);
    this.shown.push(...before);
    this.settle(blocks, defined, count);
  }

  /** All blocks but the last of those that a complete line has told of are as they will stay.
   * @param {Block[]} blocks @param {Definitions[]} defined @param {number} count */
  settle(blocks, defined, count) {
    const complete = this.text.lastIndexOf("\n") + 1 - this.settled;
    let last = blocks.length - 1;
    /** @param {Block} block */
    const needsEarlier = (block) => block.seen >= complete || block.follows;
    while (last > 0 && needsEarlier(/** @type {Block} */ (blocks[last]))) last -= 1;
    if (last < 1) return;
    for (const own of defined.slice(0, last)) {
      for (const [label, target] of own) if (!this.definitions.has(label)) this.definitions.set(label, target);
    }
    const rest = blocks.slice(last).reduce((sum, block) => sum + sizeOf(block), 0);
    this.count += count - rest;
    this.blocksSettled += last;
    this.settled += /** @type {Block} */ (blocks[last]).offset;
  }

  /** Labels that were defined after they were used become links. */
  link() {
    if (!this.around.definitions.size) return;
    const open = [...this.around.open];
    this.around.open.clear();
    for (const shown of open) {
      if (shown.block.kind === "row") fillRow(shown, this.around);
      else fill(shown, this.around);
    }
  }
}

/** @returns {Surroundings} */
const surroundings = () => ({ definitions: new Map(), left: MOST_ELEMENTS, open: new Set() });

/** All of a text at once. @param {string} text */
export function markdown(text) {
  const made = new Markdown();
  made.set(text);
  return made.node;
}

/** @param {Block} block @returns {number} */
const sizeOf = (block) => block.children.reduce((sum, child) => sum + sizeOf(child), costOf(block));

/**
 * Make the children of `host` as the blocks say; those that are the same stay.
 * @param {Element} host @param {Shown[]} shown @param {Block[]} blocks @param {Surroundings} around
 */
function patch(host, shown, blocks, around) {
  blocks.forEach((block, index) => {
    const old = shown[index];
    if (old && update(old, block, around)) return;
    const made = make(block, around);
    if (old) {
      old.node.replaceWith(made.node);
      release(old, around);
    } else host.append(made.node);
    shown[index] = made;
  });
  for (const gone of shown.splice(blocks.length)) {
    gone.node.remove();
    release(gone, around);
  }
}

/** What is no longer shown counts no longer. @param {Shown} shown @param {Surroundings} around */
function release(shown, around) {
  around.left += shown.made;
  around.open.delete(shown);
  for (const child of shown.children) release(child, around);
}

/** Change what is shown to this block; false where it has to be made anew. @param {Shown} shown @param {Block} block
 * @param {Surroundings} around */
function update(shown, block, around) {
  const old = shown.block;
  if (look(old) !== look(block)) return false;
  shown.block = block;
  if (shown.code) shown.code.set(block.text);
  else if (isLong(block)) pieces(shown.host, block.text);
  else if (old.text !== block.text) fill(shown, around);
  if (block.kind === "list") shown.host.classList.toggle("tight", block.tight);
  patch(shown.host, shown.children, block.kind === "table" ? block.children.slice(1) : block.children, around);
  return true;
}

/** What a block has to be made anew for. @param {Block} block */
function look(block) {
  const { kind, level, info, task, start, columns, cells } = block;
  const header = kind === "table" ? block.children[0]?.cells : null;
  return JSON.stringify([kind, level, info, task, start, columns, cells, header, isLong(block), isOrdered(block)]);
}

/** @param {Block} list */
const isOrdered = (list) => list.kind === "list" && (list.marker === "." || list.marker === ")");

/** @param {Block} block */
const isLong = (block) => block.kind === "plain" || (block.kind !== "code" && block.text.length > LONGEST_LEAF);

/** @param {Block} block @param {Surroundings} around @returns {Shown} */
function make(block, around) {
  if (block.kind === "code") {
    const code = new CodeBlock(block.text, block.info);
    return { block, node: code.node, host: code.node, children: [], code, made: 0 };
  }
  if (block.kind === "table") return table(block, around);
  const node = isLong(block) ? h("div.plain") : elementOf(block);
  /** @type {Shown} */
  const shown = { block, node, host: node, children: [], code: null, made: 0 };
  if (isLong(block)) pieces(node, block.text);
  else if (block.kind === "row") fillRow(shown, around);
  else if (block.text || block.kind === "math") fill(shown, around);
  patch(node, shown.children, block.children, around);
  return shown;
}

/** @param {Block} block */
function elementOf(block) {
  if (block.kind === "quote") return h("blockquote");
  if (block.kind === "row") return h("tr");
  if (block.kind === "list") {
    const start = isOrdered(block) && block.start !== 1 ? block.start : null;
    return h(isOrdered(block) ? "ol" : "ul", { start, class: block.tight ? "tight" : "" });
  }
  if (block.kind === "item") {
    if (block.task === null) return h("li");
    const words = block.task ? "done" : "to do";
    return h(
      "li.task",
      null,
      h("input", { type: "checkbox", disabled: true, checked: block.task, "aria-label": words }),
    );
  }
  if (block.kind === "heading") return h(`h${block.level}`);
  if (block.kind === "rule") return h("hr");
  if (block.kind === "math") return h("div.math");
  return h("p", { hidden: block.kind === "nothing" });
}

/** Put the text of a block into its element. @param {Shown} shown @param {Surroundings} around */
function fill(shown, around) {
  const { block, host } = shown;
  const made = document.createElement("p");
  if (block.kind === "math") made.append([block.info, block.text, block.marker].join("\n"));
  else count(shown, around, () => inline(made, block.text, around));
  become(host, made);
}

/** Give `host` the children of `made`, but for those at the beginning that are the same, or a text that only grows.
 * @param {Element} host @param {Element} made */
function become(host, made) {
  let [old, next] = [host.firstChild, made.firstChild];
  while (old && next && old.isEqualNode(next)) [old, next] = [old.nextSibling, next.nextSibling];
  if (old instanceof Text && next instanceof Text && next.data.startsWith(old.data)) {
    old.appendData(next.data.slice(old.length));
    [old, next] = [old.nextSibling, next.nextSibling];
  }
  while (old) {
    const gone = old;
    old = old.nextSibling;
    gone.remove();
  }
  while (next) {
    const more = next;
    next = next.nextSibling;
    host.append(more);
  }
}

/** @param {Shown} shown @param {Surroundings} around @param {() => boolean} make tells whether labels are open */
function count(shown, around, make) {
  around.left += shown.made;
  const before = around.left;
  if (make()) around.open.add(shown);
  else around.open.delete(shown);
  shown.made = before - around.left;
}

/** @param {Shown} shown @param {Surroundings} around @param {string} [tag] */
function fillRow(shown, around, tag = "td") {
  const { block, host } = shown;
  host.replaceChildren();
  count(shown, around, () => {
    let isOpen = false;
    block.cells.forEach((cell, index) => {
      const align = block.columns[index];
      const node = h(tag, { scope: tag === "th" ? "col" : null, class: align ? `at-${align}` : "" });
      host.append(node);
      if (cell.length > LONGEST_LEAF) pieces(node, cell);
      else isOpen = inline(node, cell, around) || isOpen;
    });
    return isOpen;
  });
}

/** @param {Block} block @param {Surroundings} around @returns {Shown} */
function table(block, around) {
  const [header, ...rows] = block.children;
  const body = h("tbody");
  const head = h("tr");
  const node = h("div.table", { tabindex: "0" }, h("table", null, h("thead", null, head), body));
  /** @type {Shown} */
  const shown = { block, node, host: body, children: [], code: null, made: 0 };
  if (header) fillRow({ ...shown, block: header, host: head }, around, "th");
  patch(body, shown.children, rows, around);
  return shown;
}

/** Plain text, in parts that are laid out one by one. @param {Element} host @param {string} text */
function pieces(host, text) {
  const wanted = Math.ceil(text.length / PIECE);
  for (let index = 0; index < wanted; index += 1) {
    const piece = text.slice(index * PIECE, (index + 1) * PIECE);
    const old = host.children[index];
    if (!old) host.append(h("div.piece", null, piece));
    else if (old.textContent !== piece) old.textContent = piece;
  }
  while (host.children.length > wanted) host.lastElementChild?.remove();
}
