/** Short messages at the edge of the page: what was done, or why it could not be. Read out by screen readers. */

import { h, keyed, signal } from "../view.js";

/** @typedef {{ id: number, text: string, kind: "" | "fail" }} Notice */

const list = signal(/** @type {Notice[]} */ ([]));
const MOST = 4;
let last = 0;

/** Show a message for some seconds; one of kind "fail" until it is closed. @param {string} text @param {"" | "fail"} [kind] */
export function notify(text, kind = "") {
  const id = (last += 1);
  list.value = [...list.value.filter((notice) => notice.text !== text), { id, text, kind }].slice(-MOST);
  if (!kind) setTimeout(() => close(id), 5000);
}

/** @param {number} id */
function close(id) {
  list.value = list.value.filter((notice) => notice.id !== id);
}

/** Do something, and say so where it fails. @param {() => Promise<unknown>} work @param {string} what as `Unloading m` */
export async function attempt(work, what) {
  try {
    await work();
    return true;
  } catch (error) {
    notify(`${what} failed: ${error instanceof Error ? error.message : String(error)}`, "fail");
    return false;
  }
}

/** Where they are shown. */
export function notices() {
  return keyed(
    h("div.notices", { role: "log", "aria-live": "polite", "aria-label": "Messages" }),
    () => list.value,
    (notice) => notice.id,
    (notice) =>
      h(
        "div.notice",
        { class: notice.value.kind },
        h("span", null, notice.value.text),
        h("button.quiet", { type: "button", "aria-label": "Close", onclick: () => close(notice.value.id) }, "✕"),
      ),
  );
}
