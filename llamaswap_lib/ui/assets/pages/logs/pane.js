/** One log: its lines, followed or paused, and what can be done with it. */

import { count, several } from "../../format.js";
import { copy } from "../../parts/actions.js";
import { plain } from "../../parts/ansi.js";
import { now } from "../../parts/clock.js";
import { menu } from "../../parts/menu.js";
import { saveAs } from "../../parts/save.js";
import { VirtualList } from "../../parts/virtual_list.js";
import { cleanup, effect, h, signal } from "../../view.js";
import { FIRST_SHOWN, lineNode } from "./line.js";
import { Lines } from "./lines.js";
import { newPart } from "./merge.js";
import { Search } from "./search.js";
import { follow, logPath } from "./source.js";

/**
 * @typedef {import("./lines.js").Line} Line
 * @typedef {{ wrap: import("../../view.js").Signal<boolean>, size: import("../../view.js").Signal<number>,
 *   search: () => string, only: () => boolean }} Look what holds for all logs
 */

const GATHER = 400; // milliseconds in which the history of a stream that was opened again has come
const MOST_COPIED = 20_000_000; // characters
const ROOM = 24; // pixels beside the lines

export class Pane {
  /** @param {string} name @param {Look} look @param {() => void} close */
  constructor(name, look, close) {
    this.name = name;
    this.look = look;
    this.lines = new Lines();
    this.search = new Search(this.lines);
    this.following = signal(true);
    this.amount = signal(0);
    this.unseen = signal(0);
    this.current = signal(0); // number of the line that was found last
    /** @type {Map<number, number>} characters shown of long lines, by number */
    this.opened = new Map();
    this.epoch = 0;
    this.scroller = h("div.log", { tabindex: "0", role: "log", "aria-live": "off", "aria-label": `Log of ${name}` });
    this.list = new VirtualList({
      scroller: this.scroller,
      measured: true,
      height: (index) => this.#guess(index),
      key: (index) => this.#key(index),
      render: (index) => this.#render(index),
    });
    this.list.follows = true;
    this.scroller.append(this.list.element);
    const moved = () => this.#moved();
    this.scroller.addEventListener("scroll", moved, { passive: true });
    this.source = follow(logPath(name), (text, isAgain) => this.#take(text, isAgain));
    this.node = h("section.pane", { "aria-label": `Log of ${name}` }, this.#head(close), this.#body());
    this.#watch();
  }

  /** Follow, or stay where it is. @param {boolean} follows */
  setFollowing(follows) {
    this.following.value = follows;
    this.list.follows = follows;
    if (!follows) return;
    this.unseen.value = 0;
    this.list.follow();
  }

  /** Show the next line that was found, or the one before. @param {1 | -1} step */
  step(step) {
    const { numbers } = this.search;
    if (!numbers.length) return;
    const at = numbers.indexOf(this.current.value);
    const next = at < 0 ? (step > 0 ? 0 : numbers.length - 1) : (at + step + numbers.length) % numbers.length;
    this.current.value = numbers[next] ?? 0;
    this.setFollowing(false);
    this.list.show(this.#isFiltered() ? next : this.lines.indexOf(this.current.value));
    this.list.changed();
  }

  #isFiltered() {
    return this.look.only() && this.search.source !== "" && !this.search.trouble.value;
  }

  /** @param {number} index @returns {Line | undefined} */
  #at(index) {
    const { list } = this.lines;
    return this.#isFiltered() ? list[this.lines.indexOf(this.search.numbers[index] ?? 0)] : list[index];
  }

  #count() {
    return this.#isFiltered() ? this.search.numbers.length : this.lines.list.length;
  }

  /** @param {number} index */
  #guess(index) {
    const line = Math.round(this.look.size.value * 1.5);
    if (!this.look.wrap.value) return line;
    const length = Math.min(this.#at(index)?.text.length ?? 0, FIRST_SHOWN);
    return line * Math.max(1, Math.ceil((length * this.look.size.value * 0.602) / this.width));
  }

  /** @param {number} index */
  #key(index) {
    const line = this.#at(index);
    if (!line) return `? ${index}`;
    const isMarked = this.search.marks.has(line) ? this.epoch : 0;
    return `${line.number} ${line.edition} ${this.opened.get(line.number) ?? 0} ${isMarked} ${line.number === this.current.value}`;
  }

  /** @param {number} index */
  #render(index) {
    const line = this.#at(index);
    if (!line) return h("div.log-line");
    return lineNode(line, {
      most: this.opened.get(line.number) ?? FIRST_SHOWN,
      marks: this.search.marks.get(line) ?? [],
      isCurrent: line.number === this.current.value,
      more: (most) => {
        this.setFollowing(false);
        this.opened.set(line.number, most);
        this.list.changed();
      },
    });
  }

  get width() {
    return Math.max(120, this.scroller.clientWidth - ROOM);
  }

  /** What changes how all lines look. */
  #watch() {
    let width = 0;
    const observer = new ResizeObserver(() => {
      if (this.scroller.clientWidth === width) return;
      width = this.scroller.clientWidth;
      this.list.resetHeights();
    });
    observer.observe(this.scroller);
    cleanup(() => observer.disconnect());
    effect(() => {
      this.scroller.style.setProperty("--size", `${this.look.size.value}px`);
      this.scroller.classList.toggle("wrap", this.look.wrap.value);
      this.list.resetHeights();
    });
    effect(() => {
      this.epoch += 1;
      this.current.value = 0;
      this.search.start(this.look.search());
    });
    let wasFiltered = false;
    effect(() => {
      this.search.version.value;
      const isFiltered = this.#isFiltered();
      this.list.setCount(this.#count());
      if (isFiltered !== wasFiltered) this.list.resetHeights();
      wasFiltered = isFiltered;
    });
  }

  /** @param {string} text @param {boolean} isAgain */
  #take(text, isAgain) {
    if (isAgain) {
      this.gathered = "";
      setTimeout(() => {
        const known = this.lines.list.slice(-50).map((line) => line.text);
        const history = this.gathered ?? "";
        this.gathered = undefined;
        this.lines.isOpen = false;
        this.#push(newPart(known, history));
      }, GATHER);
    }
    if (this.gathered !== undefined) this.gathered += text;
    else this.#push(text);
  }

  /** @param {string} text */
  #push(text) {
    const { last } = this.lines;
    const before = this.search.numbers.length;
    const dropped = this.lines.push(text);
    this.search.more();
    if (dropped && !this.#isFiltered()) this.list.drop(dropped);
    else if (dropped) this.list.drop(Math.max(0, before - this.search.numbers.length));
    this.list.setCount(this.#count());
    this.amount.value = this.lines.list.length;
    if (!this.following.value) this.unseen.value += this.lines.last - last;
  }

  #moved() {
    const isAtEnd = this.list.atEnd();
    if (isAtEnd === this.following.value) return;
    if (isAtEnd) this.setFollowing(true);
    else {
      this.following.value = false;
      this.list.follows = false;
    }
  }

  #clear() {
    this.lines.clear();
    this.opened.clear();
    this.search.start(this.search.source);
    this.list.setCount(0);
    this.amount.value = 0;
    this.setFollowing(true);
  }

  #text() {
    const all = [];
    let length = 0;
    for (let index = this.#count() - 1; index >= 0 && length < MOST_COPIED; index--) {
      const text = plain(this.#at(index)?.text ?? "");
      length += text.length;
      all.push(text);
    }
    return `${all.reverse().join("\n")}\n`;
  }

  /** @param {() => void} close */
  #head(close) {
    const file = `${this.name.replace(/[^\w.-]+/g, "-")}.log`;
    return h(
      "header.pane-head",
      null,
      h("h2", null, h("bdi", null, this.name)),
      h("small.soft", null, () => this.#state()),
      h("span.found", { hidden: () => !this.look.search() }, () => this.#found()),
      h(
        "button.small",
        {
          type: "button",
          "aria-pressed": () => String(this.following.value),
          onclick: () => this.setFollowing(!this.following.value),
        },
        "Follow",
      ),
      menu("More", () => [
        h(
          "button.item",
          { type: "button", onclick: () => copy(this.#text(), `The log of ${this.name}`) },
          "Copy",
          h("small.soft", null, "the lines that are listed"),
        ),
        h("button.item", { type: "button", onclick: () => saveAs(this.#text(), file) }, "Save as a file"),
        h(
          "button.item",
          { type: "button", onclick: () => this.#clear() },
          "Clear",
          h("small.soft", null, "here only, not on the server"),
        ),
      ]),
      h("button.small.quiet", { type: "button", "aria-label": `Close the log of ${this.name}`, onclick: close }, "✕"),
    );
  }

  #state() {
    const state = this.source.state.value;
    if (state === "open") return several(this.amount.value, "line");
    if (state === "connecting") return "connecting…";
    if (state !== "lost") return "";
    const wait = Math.max(0, Math.ceil((this.source.retryAt.value - now.value) / 1000));
    return wait ? `not connected, next try in ${wait} s` : "connecting…";
  }

  #found() {
    this.search.version.value;
    const { numbers } = this.search;
    if (this.search.trouble.value) return h("small.fail", { role: "alert" }, this.search.trouble.value);
    const at = numbers.indexOf(this.current.value);
    return [
      h(
        "small.soft",
        { role: "status" },
        numbers.length
          ? `${at < 0 ? "" : `${count(at + 1)} of `}${several(numbers.length, "line")} found`
          : this.search.isBusy.value
            ? "searching…"
            : "nothing found",
      ),
      h(
        "button.small.quiet",
        {
          type: "button",
          "aria-label": "The line found before",
          disabled: !numbers.length,
          onclick: () => this.step(-1),
        },
        "↑",
      ),
      h(
        "button.small.quiet",
        { type: "button", "aria-label": "The next line found", disabled: !numbers.length, onclick: () => this.step(1) },
        "↓",
      ),
    ];
  }

  #body() {
    const isRefused = () => !["open", "connecting", "lost"].includes(this.source.state.value);
    return h(
      "div.pane-body",
      null,
      this.scroller,
      h("p.soft.pane-empty", { hidden: () => this.amount.value > 0 || this.source.state.value === "connecting" }, () =>
        isRefused()
          ? h("span.fail", null, `There is no such log: ${this.source.state.value}`)
          : "Nothing is in this log yet. What comes is shown at once.",
      ),
      h(
        "button.pane-news",
        {
          type: "button",
          hidden: () => this.following.value || !this.unseen.value,
          onclick: () => this.setFollowing(true),
        },
        () => `${several(this.unseen.value, "new line")} ↓`,
      ),
    );
  }
}
