/**
 * A long list of which only the rows that are seen are built, so that 100,000 of them scroll as smoothly as ten.
 *
 * It scrolls in `scroller` (the one that CSS gives a height) or, where that has none, with the page.
 */

import { cleanup, h, scope } from "../view.js";
import { EvenHeights, MeasuredHeights } from "./heights.js";

/**
 * @typedef {object} Options
 * @property {HTMLElement} scroller holds the list, and what stands above it
 * @property {(index: number) => unknown} key what the row shows: a row is built anew when it is another one
 * @property {(index: number) => HTMLElement} render builds a row, in a scope that ends when it is no more seen
 * @property {(index: number) => number} height of a row in pixels; a guess where `measured`
 * @property {boolean} [measured] rows differ in height: each is measured when it is seen
 * @property {(node: HTMLElement, index: number) => void} [place] told where a row stands, each time that is another place
 * @property {(from: number, to: number) => void} [seen] told which rows are shown
 * @property {string} [role]
 */
/** @typedef {{ node: HTMLElement, index: number, end: () => void }} Row */

const BEYOND = 300; // pixels built above and below what is seen

export class VirtualList {
  /** @param {Options} options */
  constructor(options) {
    this.options = options;
    const { scroller, height, measured } = options;
    this.heights = measured ? new MeasuredHeights(height) : new EvenHeights(() => height(0));
    this.inner = h("div.virtual-rows", { role: options.role ?? "presentation" });
    this.element = h("div.virtual", { role: "presentation" }, this.inner);
    /** @type {Map<unknown, Row>} */
    this.rows = new Map();
    this.count = 0;
    /** Whether the end is kept in view when rows are added. */
    this.follows = false;
    /** What stays where it is while heights change: a row, and how far above the edge of the view it begins. */
    this.anchor = { index: 0, above: 0 };
    this.frame = 0;
    const moved = (/** @type {Event} */ event) => {
      if (event.target instanceof Node && event.target.contains(this.element)) this.#scrolled();
    };
    addEventListener("scroll", moved, { capture: true, passive: true });
    const observer = new ResizeObserver(() => this.changed());
    observer.observe(scroller);
    cleanup(() => {
      removeEventListener("scroll", moved, { capture: true });
      observer.disconnect();
      cancelAnimationFrame(this.frame);
      for (const row of this.rows.values()) row.end();
    });
  }

  /** How many rows there are. New ones are at the end, unless `key` says otherwise. @param {number} count */
  setCount(count) {
    this.count = count;
    this.heights.resize(count);
    this.changed();
  }

  /** The first rows are gone; what is seen stays where it is. @param {number} count */
  drop(count) {
    this.heights.drop(count);
    this.count = Math.max(0, this.count - count);
    this.anchor.index -= count;
    if (this.anchor.index < 0) this.anchor = { index: 0, above: 0 };
    this.changed();
  }

  /** All heights are others now, as after a change of the width. */
  resetHeights() {
    this.heights.reset();
    this.changed();
  }

  /** Something is to be drawn anew, with the next frame. */
  changed() {
    if (!this.frame) this.frame = requestAnimationFrame(() => this.#paint());
  }

  /** Whether the end is in view. */
  atEnd() {
    const { scroller } = this.options;
    return scroller.scrollTop + scroller.clientHeight >= scroller.scrollHeight - 4;
  }

  /** Keep the end in view from now on. */
  follow() {
    this.follows = true;
    this.changed();
  }

  /** Bring a row into view, in the middle where it is not seen yet. @param {number} index */
  show(index) {
    this.follows = false;
    const view = this.#view();
    const top = this.heights.offset(index);
    const height = this.heights.offset(index + 1) - top;
    if (top >= view.top && top + height <= view.bottom) return;
    this.#scrollBy(top - (view.top + view.bottom - height) / 2);
    this.#anchorAt(this.#view().top);
    this.changed();
  }

  /** What is seen of the list, in its own pixels. */
  #view() {
    const box = this.element.getBoundingClientRect();
    const outer = this.options.scroller.getBoundingClientRect();
    const top = Math.max(outer.top, 0) - box.top;
    const bottom = Math.min(outer.bottom, innerHeight) - box.top;
    return { top: Math.max(0, top), bottom: Math.max(0, bottom) };
  }

  /** @param {number} pixels */
  #scrollBy(pixels) {
    const { scroller } = this.options;
    const own = scroller.scrollHeight > scroller.clientHeight + 1 && getComputedStyle(scroller).overflowY !== "visible";
    (own ? scroller : document.documentElement).scrollBy({ top: pixels, behavior: "instant" });
  }

  #scrolled() {
    this.#anchorAt(this.#view().top);
    this.changed();
  }

  /** @param {number} top */
  #anchorAt(top) {
    const index = this.heights.find(top);
    this.anchor = { index, above: top - this.heights.offset(index) };
  }

  #paint() {
    this.frame = 0;
    if (!this.element.isConnected) return;
    const { measured, scroller } = this.options;
    this.#setHeight();
    if (this.follows) scroller.scrollTop = scroller.scrollHeight;
    else if (measured) this.#keepAnchor();
    this.#build();
    if (measured && this.#measure()) {
      this.#setHeight();
      if (this.follows) scroller.scrollTop = scroller.scrollHeight;
      else this.#keepAnchor();
      this.#build();
      if (this.#measure()) this.changed(); // rows that came into view by that
    }
    if (this.follows) this.#anchorAt(this.#view().top);
  }

  #setHeight() {
    this.element.style.height = `${this.heights.offset(this.count)}px`;
  }

  #keepAnchor() {
    const { index, above } = this.anchor;
    const view = this.#view();
    const wanted =
      this.heights.offset(index) + Math.min(above, this.heights.offset(index + 1) - this.heights.offset(index));
    if (Math.abs(wanted - view.top) > 0.5) this.#scrollBy(wanted - view.top);
  }

  #build() {
    const { key, render, place, seen } = this.options;
    const view = this.#view();
    const from = this.count ? this.heights.find(view.top - BEYOND) : 0;
    const to = this.count ? Math.min(this.count, this.heights.find(view.bottom + BEYOND) + 1) : 0;
    const wanted = new Map();
    for (let index = from; index < to; index++) wanted.set(key(index), index);
    for (const [name, row] of this.rows) {
      if (wanted.has(name)) continue;
      row.end();
      row.node.remove();
      this.rows.delete(name);
    }
    let next = this.inner.firstElementChild;
    for (const [name, index] of wanted) {
      let row = this.rows.get(name);
      if (!row) {
        row = this.#row(index, render);
        this.rows.set(name, row);
        place?.(row.node, index);
      } else if (row.index !== index) {
        row.index = index;
        place?.(row.node, index);
      }
      if (row.node === next) next = next.nextElementSibling;
      else this.inner.insertBefore(row.node, next);
    }
    this.inner.style.transform = `translateY(${this.heights.offset(from)}px)`;
    seen?.(from, to);
  }

  /** @param {number} index @param {(index: number) => HTMLElement} render @returns {Row} */
  #row(index, render) {
    /** @type {HTMLElement | null} */
    let node = null;
    const end = scope(() => {
      node = render(index);
    });
    return { node: node ?? h("div"), index, end };
  }

  /** Whether a height is another one than was thought. */
  #measure() {
    let changed = false;
    for (const { node, index } of this.rows.values()) {
      if (this.heights.set(index, node.getBoundingClientRect().height)) changed = true;
    }
    return changed;
  }
}
