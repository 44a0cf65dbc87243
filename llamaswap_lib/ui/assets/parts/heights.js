/** Where the rows of a long list lie: pure, in pixels, for `virtual_list`. */

/** Rows that are all equally high. */
export class EvenHeights {
  /** @param {() => number} height of one row, in pixels */
  constructor(height) {
    this.height = height;
    this.length = 0;
  }

  /** @param {number} length */
  resize(length) {
    this.length = length;
  }

  reset() {}

  drop() {}

  set() {
    return false;
  }

  /** Where a row begins. @param {number} index */
  offset(index) {
    return index * this.height();
  }

  /** The row at a height. @param {number} pixels */
  find(pixels) {
    return Math.min(Math.max(0, Math.floor(pixels / this.height())), Math.max(0, this.length - 1));
  }
}

/**
 * Rows of differing heights: guessed until they are measured. A Fenwick tree holds the sums, so that a height is set, a place
 * found and a row appended in steps of the logarithm of their number.
 */
export class MeasuredHeights {
  /** @param {(index: number) => number} estimate of a row that was not measured yet */
  constructor(estimate) {
    this.estimate = estimate;
    this.length = 0;
    this.heights = new Float64Array(1024);
    this.tree = new Float64Array(1025);
  }

  /** How many rows there are now; new ones are at the end. @param {number} length */
  resize(length) {
    if (length < this.length) {
      this.length = length; // the tree of a beginning is the beginning of the tree
      return;
    }
    this.#reserve(length);
    for (let index = this.length; index < length; index++) {
      this.heights[index] = this.estimate(index);
      this.#sum(index + 1);
    }
    this.length = length;
  }

  /** Guess all heights anew. */
  reset() {
    const { length } = this;
    this.length = 0;
    this.resize(length);
  }

  /** The first rows are gone. @param {number} count */
  drop(count) {
    const gone = Math.min(count, this.length);
    this.heights.copyWithin(0, gone, this.length);
    this.length -= gone;
    for (let index = 0; index < this.length; index++) this.#sum(index + 1);
  }

  /** The height that was measured; says whether it is another one. @param {number} index @param {number} height */
  set(index, height) {
    const change = height - (this.heights[index] ?? 0);
    if (index >= this.length || Math.abs(change) < 0.5) return false;
    this.heights[index] = height;
    for (let node = index + 1; node <= this.length; node += node & -node) this.tree[node] = this.#at(node) + change;
    return true;
  }

  /** Where a row begins. @param {number} index */
  offset(index) {
    let sum = 0;
    for (let node = Math.min(index, this.length); node > 0; node -= node & -node) sum += this.#at(node);
    return sum;
  }

  /** The row at a height. @param {number} pixels */
  find(pixels) {
    let place = 0;
    let left = pixels;
    for (let step = 2 ** Math.floor(Math.log2(Math.max(1, this.length))); step >= 1; step /= 2) {
      if (place + step <= this.length && this.#at(place + step) <= left) {
        place += step;
        left -= this.#at(place);
      }
    }
    return Math.min(place, Math.max(0, this.length - 1));
  }

  /** @param {number} node */
  #at(node) {
    return this.tree[node] ?? 0;
  }

  /** Make one node of the tree, of the heights and the nodes in front of it. @param {number} node counts from 1 */
  #sum(node) {
    let sum = this.heights[node - 1] ?? 0;
    for (let part = node - 1; part > node - (node & -node); part -= part & -part) sum += this.#at(part);
    this.tree[node] = sum;
  }

  /** @param {number} length */
  #reserve(length) {
    if (length <= this.heights.length) return;
    const heights = new Float64Array(length * 2);
    heights.set(this.heights);
    const tree = new Float64Array(length * 2 + 1);
    tree.set(this.tree);
    [this.heights, this.tree] = [heights, tree];
  }
}
