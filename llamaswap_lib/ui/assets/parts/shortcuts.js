/** Keys: one list of them, which `?` shows. A page adds its own for as long as it is shown. */

import { PAGES } from "../pages.js";
import { go, to } from "../router.js";
import { cleanup, h } from "../view.js";
import { openDialog } from "./dialog.js";
import { openPalette } from "./palette.js";

/** @typedef {{ keys: string, what: string, run: () => void }} Shortcut `keys`: "?", "g m" (one after the other), "Ctrl+K" */

/** @type {Set<Shortcut>} */
const own = new Set();
const PAUSE = 1200; // milliseconds between two keys of a pair

/** @type {Shortcut[]} */
const everywhere = [
  { keys: "Ctrl+K", what: "Search models, pages and actions", run: () => openPalette() },
  { keys: "/", what: "Search on this page", run: focusSearch },
  { keys: "?", what: "Show these keys", run: showKeys },
  ...PAGES.map((page) => ({ keys: `g ${page.letter}`, what: `Go to ${page.title}`, run: () => go(to(page.name)) })),
];

/** Add keys while the present page is shown. @param {...Shortcut} shortcuts */
export function shortcuts(...shortcuts) {
  for (const each of shortcuts) own.add(each);
  cleanup(() => shortcuts.forEach((each) => own.delete(each)));
}

function focusSearch() {
  /** @type {HTMLElement | null} */ (document.querySelector("main input[type=search]"))?.focus();
}

let first = "";
let at = 0;

export function listenForKeys() {
  addEventListener("keydown", (event) => {
    const withControl = event.ctrlKey || event.metaKey;
    if (event.altKey || event.isComposing || (!withControl && isTyping(event.target))) return;
    if (!withControl && document.querySelector("dialog[open]")) return;
    const isSpace = event.key === " ";
    if (isSpace && event.target instanceof Element && event.target.closest("a, button, summary")) return;
    const name = withControl ? `Ctrl+${event.key.toUpperCase()}` : isSpace ? "Space" : event.key;
    const pair = Date.now() - at < PAUSE ? `${first} ${name}` : "";
    const all = [...own, ...everywhere];
    const found = all.find(({ keys }) => keys === pair) ?? all.find(({ keys }) => keys === name);
    first = name;
    at = Date.now();
    if (!found) return;
    event.preventDefault();
    found.run();
  });
}

/** @param {EventTarget | null} target */
function isTyping(target) {
  return target instanceof HTMLElement && (target.isContentEditable || target.matches("input, textarea, select"));
}

function showKeys() {
  /** @param {Shortcut} shortcut */
  const row = ({ keys, what }) =>
    h(
      "tr",
      null,
      h(
        "td",
        null,
        keys.split(" ").map((key) => h("kbd", null, key)),
      ),
      h("td", null, what),
    );
  openDialog("Keys", () => [
    own.size ? h("table.keys", null, h("caption", null, "On this page"), h("tbody", null, [...own].map(row))) : null,
    h("table.keys", null, h("caption", null, "Everywhere"), h("tbody", null, everywhere.map(row))),
  ]);
}
