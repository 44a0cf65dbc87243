/** A search in the lines of one pane: which match, and where. The work is done by `search_worker.js`. */

import { plain } from "../../parts/ansi.js";
import { cleanup, signal } from "../../view.js";

const AT_ONCE = 4_000; // lines asked for in one message
const PATIENCE = 4_000; // milliseconds for one of them

/** Why an expression is none, or "". @param {string} source */
export function whatIsWrong(source) {
  try {
    new RegExp(source, "gi");
    return "";
  } catch (error) {
    return /** @type {Error} */ (error).message.replace(/^Invalid regular expression: /, "");
  }
}

/** It may be used within effects, and then makes none of them follow it: it reads its own signals by `now`. */
export class Search {
  /** @param {import("./lines.js").Lines} lines */
  constructor(lines) {
    this.lines = lines;
    this.source = "";
    /** Changes when something was found. */
    this.version = signal(0);
    this.trouble = signal("");
    /** @type {Map<import("./lines.js").Line, number[]>} marks of the lines that match */
    this.marks = new Map();
    /** @type {number[]} numbers of the lines that match, in their order */
    this.numbers = [];
    this.done = 0; // number of the last line that was looked at
    /** @type {Worker | null} */
    this.worker = null;
    this.id = 0;
    /** @type {number | undefined} */
    this.timer = undefined;
    this.isBusy = signal(false);
    cleanup(() => this.#end());
  }

  /** Look for another expression; "" for none. It has to be a right one. @param {string} source */
  start(source) {
    this.#end();
    this.source = source;
    this.trouble.value = "";
    this.marks = new Map();
    this.numbers = [];
    this.done = 0;
    this.version.value = this.version.now + 1;
    this.more();
  }

  /** Lines have come, or gone. */
  more() {
    const { list } = this.lines;
    const first = list[0]?.number ?? 0;
    if (this.numbers.length && (this.numbers[0] ?? 0) < first) {
      this.numbers = this.numbers.filter((number) => number >= first);
      for (const line of this.marks.keys()) if (line.number < first) this.marks.delete(line);
      this.version.value = this.version.now + 1;
    }
    if (!this.source || this.isBusy.now || this.trouble.now || !list.length) return;
    const from = Math.max(0, this.done + 1 - first);
    const closed = this.lines.isOpen ? list.length - 1 : list.length; // a line without an end is looked at when it has one
    const part = list.slice(from, Math.min(closed, from + AT_ONCE));
    if (part.length) this.#ask(part);
  }

  /** @param {import("./lines.js").Line[]} part */
  #ask(part) {
    this.isBusy.value = true;
    const id = (this.id += 1);
    this.worker ??= new Worker(new URL("./search_worker.js", import.meta.url), { type: "module" });
    this.worker.onmessage = ({ data }) => data.id === id && this.#take(part, data.found);
    this.worker.onerror = () => this.#giveUp("This browser could not search");
    this.timer = setTimeout(() => this.#giveUp("This expression takes too long: it was given up"), PATIENCE);
    this.worker.postMessage({ id, source: this.source, texts: part.map((line) => plain(line.text.slice(0, 100_000))) });
  }

  /** @param {import("./lines.js").Line[]} part @param {[number, number[]][]} found */
  #take(part, found) {
    clearTimeout(this.timer);
    this.isBusy.value = false;
    this.done = part.at(-1)?.number ?? this.done;
    for (const [index, marks] of found) {
      const line = part[index];
      if (!line || this.lines.indexOf(line.number) < 0) continue;
      this.marks.set(line, marks);
      this.numbers.push(line.number);
    }
    if (found.length) this.version.value = this.version.now + 1;
    this.more();
  }

  /** @param {string} why */
  #giveUp(why) {
    this.#end();
    this.trouble.value = why;
    this.version.value = this.version.now + 1;
  }

  #end() {
    clearTimeout(this.timer);
    this.worker?.terminate();
    this.worker = null;
    this.isBusy.value = false;
  }
}
