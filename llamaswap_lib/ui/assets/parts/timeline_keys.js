/** Blocks of a time line by the keyboard: up and down choose a lane, left and right go along it, Enter opens. */

import { h, signal, svg } from "../view.js";

/**
 * @typedef {import("./lanes.js").Hit} Hit
 * @typedef {{ model: string, thing: import("./history.js").Task | import("./history.js").Phase }} Chosen
 */

const STEP = 0.5; // of the width, where a lane has no more blocks

export class BlockKeys {
  /** @param {HTMLElement} chart @param {{ open: (hit: Hit) => void, pan: (share: number) => void, words: (hit: Hit) => string[] }} does */
  constructor(chart, does) {
    this.chart = chart;
    this.does = does;
    this.chosen = signal(/** @type {Chosen | null} */ (null));
    /** @type {Hit[]} what was drawn last */
    this.hits = [];
    /** What is chosen, for those who cannot see it. */
    this.told = h("span.visually-hidden", { "aria-live": "polite" }, () => {
      const hit = this.chosen.value && this.found();
      return hit ? this.does.words(hit).join(", ") : "";
    });
    chart.addEventListener("keydown", (event) => this.#press(event));
    chart.addEventListener("blur", () => (this.chosen.value = null));
  }

  /** The block that is chosen, if it is seen now. */
  found() {
    const chosen = this.chosen.now;
    return chosen && (this.#blocks(chosen.model).find((hit) => holds(hit, chosen.thing)) ?? null);
  }

  /** What shows which block is chosen. */
  mark() {
    const hit = this.found();
    if (!hit) return null;
    const [x, y] = [hit.x0 - 2, hit.y0 - 2];
    return svg("rect.chosen", { x, y, width: hit.x1 - hit.x0 + 4, height: hit.y1 - hit.y0 + 4, rx: 4 });
  }

  /** Choose the latest block of all. */
  begin() {
    this.chart.focus();
    const latest = [...this.hits].sort((one, other) => other.x1 - one.x1 || other.x0 - one.x0)[0];
    if (latest) this.#choose(this.#blocks(latest.model).at(-1));
  }

  /** Those of a lane from left to right; a wait is one where nothing else stands for its request. @param {string} model */
  #blocks(model) {
    const own = this.hits.filter((hit) => hit.model === model);
    const main = own.filter((hit) => !hit.isWait);
    const waits = own.filter((hit) => hit.isWait && !main.some(({ tasks }) => tasks.some((task) => holds(hit, task))));
    return [...main, ...waits].sort((one, other) => one.x0 - other.x0 || one.y0 - other.y0);
  }

  /** @param {Hit | null | undefined} hit */
  #choose(hit) {
    const thing = hit?.tasks.at(-1) ?? hit?.phase;
    this.chosen.value = hit && thing ? { model: hit.model, thing } : null;
  }

  /** @param {number} way -1 or 1 */
  #along(way) {
    const blocks = this.#blocks(this.chosen.now?.model ?? "");
    const here = this.found();
    const next = here ? blocks[blocks.indexOf(here) + way] : blocks.at(way > 0 ? 0 : -1);
    if (next) this.#choose(next);
    else this.does.pan(way * STEP);
  }

  /** To the block of the next lane that is nearest. @param {number} way */
  #across(way) {
    const lanes = [
      ...new Map([...this.hits].sort((one, other) => one.y0 - other.y0).map((hit) => [hit.model, 0])).keys(),
    ];
    const here = this.found();
    const next = lanes[lanes.indexOf(this.chosen.now?.model ?? "") + way];
    if (!next) return;
    const middle = here ? (here.x0 + here.x1) / 2 : Infinity;
    const away = (/** @type {Hit} */ hit) => Math.max(hit.x0 - middle, middle - hit.x1, 0);
    this.#choose(this.#blocks(next).sort((one, other) => away(one) - away(other))[0]);
  }

  /** @param {KeyboardEvent} event */
  #press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const hit = this.found();
    const isOn = this.chosen.now !== null;
    const run = {
      ArrowUp: () => (isOn ? this.#across(-1) : this.begin()),
      ArrowDown: () => (isOn ? this.#across(1) : this.begin()),
      ArrowLeft: isOn ? () => this.#along(-1) : null,
      ArrowRight: isOn ? () => this.#along(1) : null,
      Enter: () => (hit ? this.does.open(hit) : this.begin()),
      Escape: isOn ? () => (this.chosen.value = null) : null,
    }[event.key];
    if (!run) return;
    event.preventDefault();
    event.stopImmediatePropagation(); // left and right move the whole picture where nothing is chosen
    run();
  }
}

/** @param {Hit} hit @param {Chosen["thing"]} thing */
const holds = (hit, thing) => hit.phase === thing || hit.tasks.some((task) => task === thing);
