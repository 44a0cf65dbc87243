/** What is shown where there is nothing: why, and what to do. */

import { to } from "../router.js";
import { h } from "../view.js";

/** @param {string} title @param {...import("../view.js").Child} words */
export const empty = (title, ...words) => h("div.empty", null, h("h2", null, title), h("p", null, ...words));

/** @param {string} name */
export const notFound = (name) =>
  empty("There is no such page", `Nothing is at “${name}”. `, h("a", { href: to("models") }, "To the models"));

/** @param {string} title */
export const failed = (title) =>
  empty(
    `${title} could not be loaded`,
    "The server may be gone, or a newer version of it runs. ",
    h("a", { href: location.href, target: "_self" }, "Load the page anew"),
  );
