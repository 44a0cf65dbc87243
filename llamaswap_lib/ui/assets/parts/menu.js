/** A button that opens a small panel below it: of links, buttons or a form. Closes with Escape, or by a click elsewhere. */

import { cleanup, h, scope } from "../view.js";

/**
 * @param {string} title @param {() => import("../view.js").Child} build makes what is in it, each time that it opens
 * @param {{ closes?: boolean }} [options] whether a choice closes it
 */
export function menu(title, build, { closes = true } = {}) {
  const panel = h("div.menu-panel");
  const node = /** @type {HTMLDetailsElement} */ (h("details.menu", null, h("summary", null, title), panel));
  let end = () => {};
  node.addEventListener("toggle", () => {
    end();
    panel.replaceChildren();
    if (node.open) end = scope(() => panel.append(h("div.menu-items", null, build())));
  });
  const close = () => (node.open = false);
  panel.addEventListener("click", (event) => {
    if (closes && event.target instanceof Element && event.target.closest("a, button")) close();
  });
  node.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !node.open) return;
    event.stopPropagation();
    close();
    node.querySelector("summary")?.focus();
  });
  const elsewhere = (/** @type {Event} */ event) => {
    if (event.target instanceof Node && !node.contains(event.target)) close();
  };
  addEventListener("pointerdown", elsewhere);
  cleanup(() => {
    removeEventListener("pointerdown", elsewhere);
    end();
  });
  return node;
}
