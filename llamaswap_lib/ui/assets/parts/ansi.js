/**
 * Lines of a terminal as text with styles: colours of SGR (16, 256, true colours), carriage returns and backspaces as a
 * terminal shows them; every other sequence (ECMA-48, xterm's) is dropped. Each line begins without a style.
 */

import { h } from "../view.js";

/**
 * @typedef {{ fg: string, bg: string, bold: boolean, dim: boolean, italic: boolean, underline: boolean, strike: boolean,
 *   inverse: boolean }} Style `fg` and `bg`: "", "0" to "15", or "r,g,b"
 * @typedef {{ text: string, style: Style | null }} Piece
 */

const MOST_PIECES = 500; // of one line: a flood of colours is shown without the rest of them
const MOST_COLUMNS = 100_000; // of a line that is written over, cell by cell

// CSI; OSC and other strings, up to their end or that of the line; escapes of two characters; single controls
const SEQUENCE =
  /(?:\x1b\[|\x9b)([0-?]*)[ -/]*([@-~])?|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?|\x1b[ -/]*[0-~]?|[\r\b]|[\0-\x07\x0b-\x1a\x1c-\x1f\x7f-\x9f]/g; // eslint-disable-line no-control-regex
const SPECIAL = /[\0-\x08\x0b-\x1f\x7f-\x9f]/; // eslint-disable-line no-control-regex

/** @type {Style} */
const PLAIN = {
  fg: "",
  bg: "",
  bold: false,
  dim: false,
  italic: false,
  underline: false,
  strike: false,
  inverse: false,
};

/** The pieces of a line, each of one style. @param {string} line @returns {Piece[]} */
export function ansi(line) {
  if (!SPECIAL.test(line)) return line ? [{ text: line, style: null }] : [];
  const end = line.endsWith("\r") ? line.length - 1 : line.length; // the end of a line that ends with CR LF
  const screen = /[\r\b]/.test(line.slice(0, end)) ? new Cells() : new Run();
  /** @type {Style | null} */
  let style = null;
  let at = 0;
  SEQUENCE.lastIndex = 0;
  for (let match; (match = SEQUENCE.exec(line)) && match.index < end;) {
    screen.write(line.slice(at, match.index), style);
    at = match.index + match[0].length;
    if (match[2] === "m") style = styleAfter(style, match[1] ?? "");
    else if (match[2] === "K") screen.erase(match[1] ?? "");
    else if (match[0] === "\r") screen.moveTo(0);
    else if (match[0] === "\b") screen.moveTo(-1);
  }
  screen.write(line.slice(at, end), style);
  return screen.pieces();
}

/** The text alone, as it is seen. @param {string} line */
export function plain(line) {
  if (!SPECIAL.test(line)) return line;
  return ansi(line)
    .map((piece) => piece.text)
    .join("");
}

/** What is written once, from left to right. */
class Run {
  constructor() {
    /** @type {Piece[]} */
    this.list = [];
  }

  /** @param {string} text @param {Style | null} style */
  write(text, style) {
    if (!text) return;
    const last = this.list.at(-1);
    if (last && (last.style === style || this.list.length >= MOST_PIECES)) last.text += text;
    else this.list.push({ text, style });
  }

  erase() {}

  moveTo() {}

  pieces() {
    return this.list;
  }
}

/** What is written over: a line of cells. */
class Cells {
  constructor() {
    /** @type {string[]} */
    this.text = [];
    /** @type {(Style | null)[]} */
    this.styles = [];
    this.column = 0;
  }

  /** @param {string} text @param {Style | null} style */
  write(text, style) {
    for (const character of text) {
      if (this.column >= MOST_COLUMNS) return;
      this.text[this.column] = character;
      this.styles[this.column] = style;
      this.column += 1;
    }
  }

  /** @param {string} what "" to the end of the line, "1" up to here, "2" all of it */
  erase(what) {
    if (what === "1" || what === "2") {
      const end = what === "2" ? this.text.length : this.column;
      for (let column = 0; column < end; column++) [this.text[column], this.styles[column]] = [" ", null];
    }
    if (what !== "1") this.text.length = Math.min(this.text.length, this.column);
  }

  /** @param {number} column -1 is one to the left */
  moveTo(column) {
    this.column = column < 0 ? Math.max(0, this.column - 1) : column;
  }

  pieces() {
    const run = new Run();
    for (let column = 0; column < this.text.length; column++) {
      run.write(this.text[column] ?? " ", this.styles[column] ?? null);
    }
    return run.pieces();
  }
}

/** The style after an SGR sequence. @param {Style | null} before @param {string} parameters @returns {Style | null} */
function styleAfter(before, parameters) {
  const style = { ...(before ?? PLAIN) };
  const groups = parameters.slice(0, 200).split(";");
  for (let index = 0; index < groups.length; index++) {
    const [code = 0, ...sub] = (groups[index] ?? "").split(":").map(Number);
    if (code === 38 || code === 48) {
      const rest = sub.length ? sub : groups.slice(index + 1, index + 5).map(Number);
      const { colour, used } = extended(rest, sub.length > 4);
      if (colour) style[code === 38 ? "fg" : "bg"] = colour;
      if (!sub.length) index += used;
    } else set(style, code);
  }
  return Object.entries(PLAIN).every(([name, value]) => style[/** @type {keyof Style} */ (name)] === value)
    ? null
    : style;
}

/** @param {Style} style @param {number} code */
function set(style, code) {
  if (code === 0) Object.assign(style, PLAIN);
  else if (code === 1) style.bold = true;
  else if (code === 2) style.dim = true;
  else if (code === 3) style.italic = true;
  else if (code === 4 || code === 21) style.underline = true;
  else if (code === 7) style.inverse = true;
  else if (code === 9) style.strike = true;
  else if (code === 22) style.bold = style.dim = false;
  else if (code === 23) style.italic = false;
  else if (code === 24) style.underline = false;
  else if (code === 27) style.inverse = false;
  else if (code === 29) style.strike = false;
  else if (code === 39) style.fg = "";
  else if (code === 49) style.bg = "";
  else if (code >= 30 && code <= 37) style.fg = String(code - 30);
  else if (code >= 40 && code <= 47) style.bg = String(code - 40);
  else if (code >= 90 && code <= 97) style.fg = String(code - 82);
  else if (code >= 100 && code <= 107) style.bg = String(code - 92);
}

/** What follows 38 or 48: `5;n` or `2;r;g;b`. @param {number[]} rest @param {boolean} hasSpace `2:space:r:g:b` */
function extended(rest, hasSpace) {
  const inRange = (/** @type {number | undefined} */ value) => value !== undefined && value >= 0 && value <= 255;
  if (rest[0] === 5) return { colour: inRange(rest[1]) ? indexed(Math.floor(rest[1] ?? 0)) : "", used: 2 };
  if (rest[0] !== 2) return { colour: "", used: 1 };
  const rgb = hasSpace ? rest.slice(2, 5) : rest.slice(1, 4);
  return { colour: rgb.length === 3 && rgb.every(inRange) ? rgb.join(",") : "", used: 4 };
}

/** A colour of xterm's 256. @param {number} index */
function indexed(index) {
  if (index < 16) return String(index);
  if (index > 231)
    return Array(3)
      .fill(8 + (index - 232) * 10)
      .join(",");
  const level = (/** @type {number} */ part) => (part ? 55 + part * 40 : 0);
  const cube = index - 16;
  return [Math.floor(cube / 36), Math.floor(cube / 6) % 6, cube % 6].map(level).join(",");
}

/** Relative luminance (WCAG 2). @param {number[]} rgb 0 to 255 */
function luminance(rgb) {
  const [red = 0, green = 0, blue = 0] = rgb.map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

const DARKEST = 0.24; // on the dark ground: at least 4.5 to 1
const LIGHTEST = 0.155; // on the light one

/** A colour in two shades, one that can be read on light ground and one on dark. @param {string} colour "r,g,b" */
export function readable(colour) {
  const rgb = colour.split(",").map(Number);
  const towards = (/** @type {number} */ end, /** @type {(light: number) => boolean} */ reads) => {
    for (let share = 0; share < 1; share += 0.05) {
      const mixed = rgb.map((value) => Math.round(value + (end - value) * share));
      if (reads(luminance(mixed))) return `rgb(${mixed.join(" ")})`;
    }
    return `rgb(${end} ${end} ${end})`;
  };
  const onLight = towards(0, (light) => light <= LIGHTEST);
  const onDark = towards(255, (light) => light >= DARKEST);
  return `light-dark(${onLight}, ${onDark})`;
}

/** @param {string} colour @returns {string} of CSS */
const css = (colour) => (colour.includes(",") ? readable(colour) : `var(--ansi-${colour})`);

/** An element with a style. @param {Style} style @param {...import("../view.js").Child} children */
export function styled(style, ...children) {
  const names = ["bold", "dim", "italic", "underline", "strike", "inverse"].filter(
    (name) => style[/** @type {keyof Style} */ (name)],
  );
  /** @type {Record<string, string>} */
  const properties = {};
  const [fg, bg] = style.inverse ? [style.bg, style.fg] : [style.fg, style.bg];
  if (fg) properties.color = css(fg);
  if (bg) properties["background-color"] = `color-mix(in srgb, ${css(bg)} 22%, transparent)`;
  return h("span", { class: names.map((name) => `ansi-${name}`).join(" ") || null, style: properties }, ...children);
}
