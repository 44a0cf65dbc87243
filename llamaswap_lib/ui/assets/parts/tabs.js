/** The head of a page of several parts, each with an address of its own: `config`, `config/edit`. */

import { place, to } from "../router.js";
import { h } from "../view.js";

/** Bring the tab that is shown into view, where there are more than fit. @param {Element} nav */
export const showCurrent = (nav) =>
  void requestAnimationFrame(() =>
    nav.querySelector("[aria-current]")?.scrollIntoView({ inline: "nearest", block: "nearest" }),
  );

/**
 * @param {string} title @param {string} page its first segment
 * @param {[string, import("../view.js").Child][]} parts the second segment, "" for none, and the words of the link
 */
export const headWithTabs = (title, page, parts) =>
  h(
    "header.page-head",
    null,
    h("h1", null, title),
    h(
      "nav.tabs",
      { "aria-label": title },
      parts.map(([name, words]) =>
        h("a", { href: to(page, name), "aria-current": () => (place.value.rest === name ? "page" : null) }, words),
      ),
    ),
  );
