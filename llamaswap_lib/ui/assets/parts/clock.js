/** The present time, for what is written relative to it: one timer for the whole page. */

import { exact, relative } from "../format.js";
import { effect, h, signal } from "../view.js";

/** Milliseconds since 1970, anew every second while the page is seen. */
export const now = signal(Date.now());

setInterval(() => {
  if (document.visibilityState === "visible") now.value = Date.now();
}, 1000);

/** `4 s ago`, with the moment in full on hover. @param {() => string | number | Date} moment followed */
export function ago(moment) {
  const node = /** @type {HTMLTimeElement} */ (h("time"));
  effect(() => {
    const value = new Date(moment());
    node.textContent = relative(value, now.value);
    node.title = exact(value);
    node.dateTime = Number.isNaN(value.getTime()) ? "" : value.toISOString();
  });
  return node;
}
