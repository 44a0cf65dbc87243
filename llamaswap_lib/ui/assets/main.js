/** Builds the page: the frame around all pages, and the page that the address names. */

import { keyIsMissing } from "./api.js";
import * as live from "./live.js";
import { PAGES } from "./pages.js";
import { notFound, failed } from "./parts/empty.js";
import { holdWhatIsPressed } from "./parts/press.js";
import { place } from "./router.js";
import { askForKey, frame } from "./shell.js";
import { effect, scope, signal } from "./view.js";

const shown = signal(/** @type {Element | null} */ (null));
let end = () => {};
let opened = "";

/** @param {string} name */
async function open(name) {
  const entry = PAGES.find((page) => page.name === name);
  /** @type {import("./pages.js").Page | null} */
  let page = null;
  /** @type {Element} */
  let built = notFound(name);
  try {
    page = entry ? await entry.load() : null;
  } catch (error) {
    reportError(error);
    built = failed(entry?.title ?? name);
  }
  if (place.value.page !== name) return; // another one has been asked for meanwhile
  end();
  end = scope(() => {
    if (page) built = page.show(place);
  });
  shown.value = built;
}

document.body.append(frame(shown));
effect(() => {
  const name = place.value.page;
  if (name !== opened) {
    opened = name;
    queueMicrotask(() => void open(name));
  }
});
holdWhatIsPressed();
effect(() => {
  if (keyIsMissing.value) askForKey();
});
void live.start();
