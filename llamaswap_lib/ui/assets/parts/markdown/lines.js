/** Lines of Markdown: reading one from the left, and what it says of the blocks that it may belong to. */

/** @typedef {import("./blocks.js").Block} Block */

/** One line, read from the left; tabs go to columns of four. */
export class Line {
  /** @param {string} text */
  constructor(text) {
    this.text = text;
    this.at = 0;
    this.column = 0;
    this.isInTab = false;
    this.start = 0; // of what is not blank
    this.indent = 0; // columns until there
    this.isBlank = false;
    this.look();
  }

  look() {
    let [at, column] = [this.at, this.column];
    for (; ; at += 1) {
      const code = this.text.charCodeAt(at);
      if (code === 32) column += 1;
      else if (code === 9) column += 4 - (column % 4);
      else break;
    }
    this.start = at;
    this.indent = column - this.column;
    this.isBlank = at >= this.text.length;
  }

  /** @param {number} columns */
  skip(columns) {
    this.isInTab = false;
    while (columns > 0 && this.at < this.text.length) {
      const width = this.text.charCodeAt(this.at) === 9 ? 4 - (this.column % 4) : 1;
      const taken = Math.min(width, columns);
      this.column += taken;
      columns -= taken;
      if (taken === width) this.at += 1;
      else this.isInTab = true;
    }
    this.look();
  }

  /** What is left of it, blanks included. */
  rest() {
    return this.isInTab ? " ".repeat(4 - (this.column % 4)) + this.text.slice(this.at + 1) : this.text.slice(this.at);
  }

  /** What is left of it, from what is not blank on. */
  content() {
    return this.text.slice(this.start);
  }
}

/** Whether a block goes on in this line; "ends": with it. @param {Block} block @param {Line} line */
export function goesOn(block, line) {
  if (block.kind === "quote") return line.indent < 4 && line.text[line.start] === ">" && takeMark(line);
  if (block.kind === "item") {
    if (line.isBlank) return block.children.length > 0;
    if (line.indent < block.indent) return false;
    line.skip(block.indent);
    return true;
  }
  if (block.kind === "code") return block.marker ? fenceGoesOn(block, line) : indentedGoesOn(line);
  if (block.kind === "math") return line.content().trimEnd() === block.marker ? "ends" : true;
  if (block.kind === "paragraph" || block.kind === "table") return !line.isBlank;
  return block.kind === "list";
}

/** Past the mark of a quote, and the blank behind it. @param {Line} line */
export function takeMark(line) {
  line.skip(line.indent + 1);
  if (line.indent > 0) line.skip(1);
  return true;
}

/** @param {Block} block @param {Line} line */
function fenceGoesOn(block, line) {
  if (line.indent < 4 && line.text[line.start] === block.marker[0]) {
    const text = line.content().trimEnd();
    if (text.length >= block.marker.length && text === (block.marker[0] ?? "").repeat(text.length)) return "ends";
  }
  line.skip(Math.min(block.indent, line.indent));
  return true;
}

/** @param {Line} line */
function indentedGoesOn(line) {
  if (line.indent < 4 && !line.isBlank) return false;
  line.skip(4);
  return true;
}

/** Three or more of `*`, `-` or `_`, and blanks. @param {string} text */
export function isRule(text) {
  const mark = text[0];
  if (mark !== "*" && mark !== "-" && mark !== "_") return false;
  let marks = 0;
  for (const each of text) {
    if (each === mark) marks += 1;
    else if (each !== " " && each !== "\t") return false;
  }
  return marks > 2;
}

/** @param {string} cell of the second line of a table @returns {any} */
export function alignment(cell) {
  if (!/^:?-+:?$/.test(cell)) return null;
  if (cell.endsWith(":")) return cell.startsWith(":") ? "center" : "right";
  return cell.startsWith(":") ? "left" : "";
}

/** The cells of a row: what stands between pipes that are not escaped, at most `limit`. @param {string} line @param {number} limit */
export function splitRow(line, limit) {
  const text = line.trim();
  const cells = [];
  let cell = "";
  let from = text.startsWith("|") ? 1 : 0;
  for (let at = from; at < text.length; at += 1) {
    if (text[at] === "\\" && text[at + 1] === "|") {
      cell += text.slice(from, at);
      from = at += 1;
    } else if (text[at] === "|") {
      cells.push((cell + text.slice(from, at)).trim());
      [cell, from] = ["", at + 1];
    }
  }
  if (from < text.length || cell) cells.push((cell + text.slice(from)).trim());
  return cells.slice(0, limit);
}
