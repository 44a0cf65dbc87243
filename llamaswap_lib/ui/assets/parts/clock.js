/** The present time, for what is written relative to it: one timer for the whole page. */

import { exact, relative } from "../format.js";
import { queueSeen } from "../live.js";
import { effect, h, signal } from "../view.js";

/** Milliseconds since 1970, anew every second while the page is seen. */
export const now = signal(Date.now());

setInterval(() => {
  if (document.visibilityState === "visible") now.value = Date.now();
}, 1000);

/** What is left of the load that a request waits for, in seconds; null where no load before it tells. @param {import("../live.js").Waiting} row */
export function leftOf({ estimate_seconds: estimate, reason }) {
  if (estimate === null || reason !== "loading") return estimate;
  return Math.max(0, estimate - Math.max(0, now.value - queueSeen.value) / 1000);
}

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
