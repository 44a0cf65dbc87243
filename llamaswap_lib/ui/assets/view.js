/**
 * The view helper: values that are followed (signals), elements, and keyed lists.
 *
 * Text is only ever put into text nodes and attributes: nothing here, or anywhere in these files, takes markup as text.
 */

/** @typedef {Node | string | number | boolean | null | undefined | (() => Child) | Child[]} Child */
/** @typedef {Record<string, any>} Attributes */

/** @type {Effect | null} */
let running = null;
/** @type {Set<Effect>} */
const waiting = new Set();

/** A function that runs again when a signal that it has read changes; what it makes inside goes with it. */
class Effect {
  /** @param {() => void} run @param {boolean} follows whether a change of what it reads runs it again */
  constructor(run, follows) {
    this.run = run;
    this.follows = follows;
    this.ended = false;
    /** @type {Set<Set<Effect>>} */
    this.sources = new Set();
    /** @type {(() => void)[]} */
    this.cleanups = [];
  }

  start() {
    this.clear();
    const outer = running;
    running = this;
    try {
      this.run();
    } finally {
      running = outer;
    }
  }

  clear() {
    for (const readers of this.sources) readers.delete(this);
    this.sources.clear();
    for (const undo of this.cleanups.splice(0)) undo();
  }

  end() {
    this.ended = true;
    waiting.delete(this);
    this.clear();
  }
}

let isHeld = false;

/** While it `is` so, effects wait; those of all changes meanwhile run afterwards. @param {boolean} is */
export function hold(is) {
  isHeld = is;
  flush();
}

/** Effects run once for all changes of the same task. */
function flush() {
  if (isHeld) return;
  for (const effect of waiting) {
    waiting.delete(effect);
    if (!effect.ended) {
      try {
        effect.start();
      } catch (error) {
        reportError(error); // one broken part does not stop the others
      }
    }
  }
}

/**
 * A value that effects follow: they run again after it was set to another one.
 * @template T
 */
export class Signal {
  /** @param {T} value */
  constructor(value) {
    this.now = value;
    /** @type {Set<Effect>} */
    this.readers = new Set();
  }

  /** @returns {T} */
  get value() {
    if (running?.follows) {
      this.readers.add(running);
      running.sources.add(this.readers);
    }
    return this.now;
  }

  set value(next) {
    if (Object.is(next, this.now)) return;
    this.now = next;
    for (const effect of this.readers) {
      if (waiting.size === 0) queueMicrotask(flush);
      waiting.add(effect);
    }
  }
}

/** @template T @param {T} value @returns {Signal<T>} */
export const signal = (value) => new Signal(value);

/** Run `run` now, and again after what it reads has changed; the result ends that. @param {() => void} run */
export function effect(run) {
  return begin(new Effect(run, true), true);
}

/** Run `run` once; the result ends all effects that it has made. They belong to no outer one. @param {() => void} run */
export function scope(run) {
  return begin(new Effect(run, false), false);
}

/** @param {Effect} made @param {boolean} owned */
function begin(made, owned) {
  const end = () => made.end();
  if (owned) running?.cleanups.push(end);
  made.start();
  return end;
}

/** Call `undo` when the effect that runs now runs again or ends. @param {() => void} undo */
export function cleanup(undo) {
  running?.cleanups.push(undo);
}

/** A signal with what `make` returns, made again when what it reads changes. @template T @param {() => T} make */
export function computed(make) {
  /** @type {Signal<T>} */
  const made = signal(/** @type {any} */ (undefined));
  effect(() => {
    made.value = make();
  });
  return made;
}

/**
 * An HTML element: `h("div.card", { title: "x", onclick: go }, "text", node)`. Attributes: `on...` is a listener, `style`
 * an object of properties, `class` adds to those of the tag, true and false set and remove; names of DOM properties that
 * have no attribute (`value`, `checked`, `indeterminate`, `srcObject`) are set as such. A function as a value or as a
 * child is followed.
 * @param {string} tag @param {Attributes | null} [attributes] @param {...Child} children @returns {HTMLElement}
 */
export function h(tag, attributes, ...children) {
  const [name = "div", ...classes] = tag.split(".");
  return /** @type {HTMLElement} */ (fill(document.createElement(name), classes, attributes, children));
}

/**
 * The same for SVG. @param {string} tag @param {Attributes | null} [attributes] @param {...Child} children
 * @returns {SVGElement}
 */
export function svg(tag, attributes, ...children) {
  const [name = "g", ...classes] = tag.split(".");
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  return /** @type {SVGElement} */ (fill(node, classes, attributes, children));
}

/** @param {Element} node @param {string[]} classes @param {Attributes | null | undefined} attributes @param {Child[]} children */
function fill(node, classes, attributes, children) {
  if (classes.length) node.classList.add(...classes);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (typeof value === "function") effect(() => setAttribute(node, classes, name, value()));
    else setAttribute(node, classes, name, value);
  }
  append(node, children);
  return node;
}

const PROPERTIES = new Set(["value", "checked", "indeterminate", "srcObject"]);

/** @param {Element} node @param {string[]} classes @param {string} name @param {any} value */
function setAttribute(node, classes, name, value) {
  if (name === "class") node.setAttribute("class", [...classes, value || ""].join(" ").trim());
  else if (name === "style") {
    for (const [key, each] of Object.entries(value)) /** @type {HTMLElement} */ (node).style.setProperty(key, each);
  } else if (PROPERTIES.has(name)) /** @type {any} */ (node)[name] = value;
  else if (value === false || value === null || value === undefined) node.removeAttribute(name);
  else node.setAttribute(name, value === true ? "" : String(value));
}

/** Put children behind those that are there. @param {Node} parent @param {Child[]} children */
export function append(parent, children) {
  for (const child of children) {
    if (Array.isArray(child)) append(parent, child);
    else if (typeof child === "function") follow(parent, child);
    else if (child instanceof Node) parent.appendChild(child);
    else if (child !== null && child !== undefined && typeof child !== "boolean") {
      parent.appendChild(document.createTextNode(String(child)));
    }
  }
}

/** A child that is made again when what it reads changes, at the same place. @param {Node} parent @param {() => Child} make */
function follow(parent, make) {
  const end = parent.appendChild(document.createTextNode(""));
  /** @type {ChildNode | null} the first of those that are shown; the others stand between it and `end` */
  let first = null;
  effect(() => {
    const made = make();
    if ((typeof made === "string" || typeof made === "number") && first instanceof Text && first.nextSibling === end) {
      first.data = String(made); // the usual case keeps its node
      return;
    }
    const fragment = document.createDocumentFragment();
    if (typeof made === "function" || Array.isArray(made)) append(fragment, [""]); // what follows may come and go
    append(fragment, [made]);
    while (first && first !== end) {
      const next = first.nextSibling;
      first.remove();
      first = next;
    }
    first = fragment.firstChild;
    end.before(fragment);
  });
}

/**
 * Keep the children of `parent` as `items()` says: one for each key, in that order. `render` makes a child once, from a
 * signal that gets the newer item of the same key.
 * @template T
 * @param {Element} parent @param {() => Iterable<T>} items @param {(item: T) => unknown} key
 * @param {(item: Signal<T>) => Element} render
 */
export function keyed(parent, items, key, render) {
  /** @type {Map<unknown, { item: Signal<T>, node: Element, end: () => void }>} */
  const rows = new Map();
  effect(() => {
    const wanted = new Map([...items()].map((item) => [key(item), item]));
    for (const [name, row] of rows) {
      if (!wanted.has(name)) {
        row.end();
        row.node.remove();
        rows.delete(name);
      }
    }
    const focused = document.activeElement;
    let place = parent.firstElementChild;
    for (const [name, item] of wanted) {
      let row = rows.get(name);
      if (row) row.item.value = item;
      else rows.set(name, (row = rowOf(item, render)));
      if (row.node === place) place = place.nextElementSibling;
      else parent.insertBefore(row.node, place);
    }
    if (focused !== document.activeElement && parent.contains(focused))
      /** @type {HTMLElement} */ (focused).focus({ preventScroll: true }); // a browser takes it from what is moved
  });
  cleanup(() => rows.forEach((row) => row.end()));
  return parent;
}

/** @template T @param {T} value @param {(item: Signal<T>) => Element} render */
function rowOf(value, render) {
  const item = signal(value);
  /** @type {Element} */
  let node = document.createElement("i");
  const end = scope(() => {
    node = render(item);
  });
  return { item, node, end };
}
