/**
 * The blocks of Markdown: paragraphs, headings, lists, quotes, code, tables. Pure: text in, a tree out.
 *
 * It goes by the algorithm of CommonMark's appendix, line by line, and by GitHub's for tables and task lists. Time is
 * linear: what is nested deeper than DEEPEST is text, and after `limit` blocks the rest is one block of plain text. HTML
 * has no blocks here, it is text like any other.
 */

import { takeDefinitions } from "./complete.js";
import { alignment, goesOn, isRule, Line, splitRow, takeMark } from "./lines.js";
import { unescaped } from "./text.js";

/**
 * @typedef {{ href: string, title: string }} Target
 * @typedef {Map<string, Target>} Definitions by label, as `normalLabel` has it
 * @typedef {"document" | "quote" | "list" | "item" | "paragraph" | "heading" | "code" | "math" | "rule" | "table" | "row" |
 *   "plain" | "nothing"} Kind
 */

/** Containers within each other, the document included. A list and its item are two. */
export const DEEPEST = 50;
const MOST_COLUMNS = 100;

/** A node of the tree. `first` and `last` are numbers of lines, `offset` is where it begins in the text. */
export class Block {
  /** @param {Kind} kind @param {number} offset @param {number} line */
  constructor(kind, offset, line) {
    this.kind = kind;
    this.offset = offset;
    this.seen = offset; // of the line that told of it: for a table the second one
    this.follows = false; // a table whose first line was the end of the paragraph before it
    this.first = line;
    this.last = line;
    /** @type {Block[]} */
    this.children = [];
    this.text = ""; // of a leaf, when it is complete
    /** @type {string[]} */
    this.lines = [];
    this.level = 0; // of a heading
    this.info = ""; // the language of code
    this.marker = ""; // of a list: "-", "+", "*", "." or ")"; of code: its fence; of math: its end; of a heading: underlined
    this.indent = 0; // of an item: where its content begins; of code: how far its fence is indented
    this.start = 0; // the first number of a list
    this.tight = true; // a list without blank lines between its items
    /** @type {boolean | null} */
    this.task = null; // of an item: whether it is done, null for one that is no task
    /** @type {string[]} */
    this.cells = []; // of a row
    /** @type {string[]} */
    this.columns = []; // of a table and its rows: how each is aligned, or ""
  }
}

/**
 * The blocks at the top, and what labels they define. `limit` is how many blocks there may be.
 * @param {string} text with "\n" as the end of lines @param {number} limit @returns {{ blocks: Block[], count: number }}
 */
export function parseBlocks(text, limit) {
  const parser = new Parser(limit);
  let at = 0;
  for (let number = 1; at < text.length; number += 1) {
    const next = text.indexOf("\n", at);
    const end = next < 0 ? text.length : next;
    if (parser.count >= limit) {
      const rest = parser.top.children;
      rest.push(Object.assign(new Block("plain", at, number), { text: text.slice(at) }));
      break;
    }
    parser.add(text.slice(at, end), at, number);
    at = end + 1;
  }
  return { blocks: parser.top.children, count: parser.count };
}

const HEADING = /^(#{1,6})(?=[ \t]|$)/;
const FENCE = /^(`{3,})([^`]*)$|^(~{3,})(.*)$/;
const ITEM = /^(?:([-+*])|(\d{1,9})([.)]))(?=[ \t]|$)/;
const UNDERLINE = /^(?:=+|-+)[ \t]*$/;

class Parser {
  /** @param {number} limit */
  constructor(limit) {
    this.limit = limit;
    this.count = 0;
    this.top = new Block("document", 0, 0);
    /** @type {Block[]} */
    this.stack = [this.top];
    this.depth = 1; // how many of them go on in this line
    this.number = 0;
    this.offset = 0;
  }

  tip() {
    return /** @type {Block} */ (this.stack[this.stack.length - 1]);
  }

  container() {
    return /** @type {Block} */ (this.stack[this.depth - 1]);
  }

  /** @param {string} text @param {number} offset @param {number} number */
  add(text, offset, number) {
    const line = new Line(text);
    [this.offset, this.number] = [offset, number];
    this.depth = 1;
    while (this.depth < this.stack.length) {
      const block = /** @type {Block} */ (this.stack[this.depth]);
      const goes = goesOn(block, line);
      if (goes === "ends") return this.end(block);
      if (!goes) break;
      this.depth += 1;
    }
    const before = this.tip();
    if (this.container().kind !== "code" && this.container().kind !== "math" && this.open(line)) return undefined;
    if (!line.isBlank && before.kind === "paragraph" && this.tip() === before) this.depth = this.stack.length; // lazy
    this.stack.length = this.depth;
    return this.addText(line);
  }

  /** The fence that ends a block. @param {Block} block */
  end(block) {
    this.touch();
    this.stack.length = this.stack.indexOf(block);
  }

  /** Its containers reach to this line. */
  touch() {
    for (const block of this.stack) block.last = this.number;
  }

  /** A mark of a quote with nothing behind it is a line of the quote. */
  touchQuotes() {
    const quote = this.stack.findLastIndex((block) => block.kind === "quote");
    for (const block of this.stack.slice(0, quote + 1)) block.last = this.number;
  }

  /** @param {Line} line */
  addText(line) {
    const block = this.container();
    if (block.kind === "code" || block.kind === "math") {
      block.lines.push(line.rest());
      if (block.marker || !line.isBlank) this.touch();
    } else if (line.isBlank) this.touchQuotes();
    else if (block.kind === "table") {
      this.push(this.row(splitRow(line.content(), MOST_COLUMNS), block.columns));
      this.depth -= 1;
      this.stack.length = this.depth;
      this.touch();
    } else {
      const paragraph = block.kind === "paragraph" ? block : this.push(this.make("paragraph"));
      paragraph.lines.push(line.content());
      this.touch();
    }
  }

  /** @param {Kind} kind */
  make(kind) {
    return new Block(kind, this.offset, this.number);
  }

  /** A block within those that go on; what did not go on is closed. @param {Block} block */
  push(block) {
    while (isLeaf(this.container().kind, block.kind)) this.depth -= 1;
    this.stack.length = this.depth;
    this.container().children.push(block);
    this.stack.push(block);
    this.depth += 1;
    this.count += costOf(block);
    return block;
  }

  /** A block of this line only. @param {Block} block */
  pushWhole(block) {
    this.push(block);
    this.touch();
    this.depth -= 1;
    this.stack.length = this.depth;
    return true;
  }

  /** Open what begins in this line; true where that has taken all of it. @param {Line} line @returns {boolean} */
  open(line) {
    while (!line.isBlank) {
      if (line.indent >= 4) return this.openIndented(line);
      const text = line.content();
      const first = text.charAt(0);
      const hasRoom = this.depth < DEEPEST;
      if (first === ">" && hasRoom) {
        this.push(this.make("quote"));
        takeMark(line);
      } else if (first === "#" && HEADING.test(text)) return this.heading(text);
      else if ((first === "`" || first === "~") && FENCE.test(text)) return this.fence(text, line.indent);
      else if (this.container().kind === "paragraph" && this.underline(text)) return true;
      else if (isRule(text)) return this.pushWhole(this.make("rule"));
      else if (hasRoom && this.item(text, line)) continue;
      else if (this.container().kind === "paragraph" && this.table(text)) return true;
      else if ((text === "$$" || text === "\\[") && this.container().kind !== "paragraph") return this.math(text);
      else return false;
    }
    return false;
  }

  /** @param {Line} line */
  openIndented(line) {
    if (this.tip().kind === "paragraph" || this.container().kind === "table") return false;
    const code = this.push(this.make("code"));
    line.skip(4);
    code.lines.push(line.rest());
    this.touch();
    return true;
  }

  /** @param {string} text */
  heading(text) {
    const level = HEADING.exec(text)?.[1]?.length ?? 1;
    let words = text.slice(level).trim();
    let end = words.length;
    while (end > 0 && words[end - 1] === "#") end -= 1;
    if (end === 0) words = "";
    else if (words[end - 1] === " " || words[end - 1] === "\t") words = words.slice(0, end).trimEnd();
    return this.pushWhole(Object.assign(this.make("heading"), { level, text: words }));
  }

  /** @param {string} text @param {number} indent */
  fence(text, indent) {
    const found = FENCE.exec(text) ?? [];
    const info = unescaped((found[2] ?? found[4] ?? "").trim());
    this.push(Object.assign(this.make("code"), { marker: found[1] ?? found[3] ?? "", indent, info }));
    this.touch();
    return true;
  }

  /** @param {string} opening */
  math(opening) {
    const marker = opening === "$$" ? "$$" : "\\]";
    this.push(Object.assign(this.make("math"), { marker, info: opening }));
    this.touch();
    return true;
  }

  /** What makes a heading of the paragraph above it. @param {string} text */
  underline(text) {
    if (!UNDERLINE.test(text)) return false;
    const block = this.container();
    if (!takeDefinitions(block.lines.join("\n").trimEnd(), new Map())) return false;
    Object.assign(block, { kind: "heading", level: text.startsWith("=") ? 1 : 2, marker: "underlined" });
    this.stack.length = this.depth;
    this.touch();
    this.stack.pop();
    return true;
  }

  /** @param {string} text @param {Line} line */
  item(text, line) {
    const found = ITEM.exec(text.slice(0, 12));
    if (!found) return false;
    const [marked, bullet, number, end] = found;
    const isInParagraph = this.container().kind === "paragraph";
    if (isInParagraph && (!text.slice(marked.length).trim() || (number && Number(number) !== 1))) return false;
    const outer = line.indent;
    line.skip(outer + marked.length);
    const blanks = line.isBlank || line.indent > 4 ? 1 : line.indent;
    if (!line.isBlank) line.skip(blanks);
    const marker = bullet ?? end ?? "";
    if (isInParagraph) this.depth -= 1;
    if (this.container().kind !== "list" || this.container().marker !== marker) {
      this.push(Object.assign(this.make("list"), { marker, start: Number(number ?? 0) }));
    }
    this.push(Object.assign(this.make("item"), { indent: outer + marked.length + blanks }));
    this.touch();
    return true;
  }

  /** A table begins when its second line comes: the first one is the end of a paragraph. @param {string} text */
  table(text) {
    const paragraph = this.container();
    const header = paragraph.lines[paragraph.lines.length - 1] ?? "";
    if (!text.includes("-") || !(header.includes("|") || text.includes("|"))) return false;
    const columns = splitRow(text, MOST_COLUMNS + 1).map(alignment);
    const cells = splitRow(header, MOST_COLUMNS + 1);
    if (columns.includes(null) || columns.length !== cells.length || columns.length > MOST_COLUMNS) return false;
    paragraph.lines.pop();
    const table = Object.assign(this.make("table"), { columns, offset: paragraph.offset, first: this.number - 1 });
    table.follows = paragraph.lines.length > 0;
    if (!table.follows) this.stack[this.depth - 2]?.children.pop();
    this.stack.length = this.depth -= 1;
    this.push(table);
    this.push(this.row(cells, columns));
    this.touch();
    this.stack.length = this.depth -= 1;
    return true;
  }

  /** @param {string[]} cells @param {string[]} columns */
  row(cells, columns) {
    return Object.assign(this.make("row"), { columns, cells: columns.map((_, index) => cells[index] ?? "") });
  }
}

/** How much a block counts for: about as many elements are made of it. @param {Block} block */
export const costOf = (block) => (block.kind === "code" ? 6 : 1 + block.cells.length);

/** Whether `inner` cannot stand in `outer`. @param {Kind} outer @param {Kind} inner */
function isLeaf(outer, inner) {
  if (outer === "list") return inner !== "item";
  if (outer === "table") return inner !== "row";
  return outer !== "document" && outer !== "quote" && outer !== "item";
}
