/** Saved views: filters and order under a name. They are kept in this browser; the address of one says all of it. */

import { copy } from "../../parts/actions.js";
import { notify } from "../../parts/notices.js";
import { place, to } from "../../router.js";
import { h, keyed, signal } from "../../view.js";
import { viewOf } from "./query.js";

/** @typedef {{ name: string, query: string }} View */

const STORED = "llamaswap.activity.views";
const MOST = 50;
const views = signal(read());

/** @returns {View[]} */
function read() {
  try {
    const stored = JSON.parse(localStorage.getItem(STORED) ?? "[]");
    return stored.filter(
      (/** @type {any} */ each) => typeof each?.name === "string" && typeof each?.query === "string",
    );
  } catch {
    return []; // nothing is kept, or it is not ours
  }
}

/** @param {View[]} next */
function keep(next) {
  views.value = next;
  try {
    localStorage.setItem(STORED, JSON.stringify(next));
  } catch {
    notify("This browser keeps nothing: the view is gone when the page is closed", "fail");
  }
}

/** The address of a view, relative to the base of the document. @param {View} view */
const addressOf = (view) => `${to("activity")}${view.query ? `?${view.query}` : ""}`;

/** What is in the menu of views. */
export function viewsMenu() {
  const list = keyed(
    h("ul.views", { "aria-label": "Saved views" }),
    () => views.value,
    (view) => `${view.name}\0${view.query}`,
    (item) => {
      const view = item.value;
      const full = () => new URL(addressOf(view), document.baseURI).href;
      return h(
        "li",
        null,
        h(
          "a",
          {
            href: addressOf(view),
            "aria-current": () => (viewOf(place.value.query) === view.query ? "true" : null),
          },
          h("bdi", null, view.name),
        ),
        h(
          "button.quiet.small",
          { type: "button", onclick: () => copy(full(), "The address of the view") },
          "Copy address",
        ),
        h(
          "button.quiet.small",
          {
            type: "button",
            "aria-label": `Forget the view ${view.name}`,
            onclick: () => keep(views.value.filter((each) => each !== view)),
          },
          "✕",
        ),
      );
    },
  );
  return [
    h(
      "p.soft",
      { hidden: () => views.value.length > 0 },
      "No view is saved. A view is what the filters and the order are now, under a name.",
    ),
    list,
    saveForm(),
  ];
}

function saveForm() {
  const name = /** @type {HTMLInputElement} */ (
    h("input", { type: "text", "aria-label": "Name of the view", placeholder: "Name", maxlength: "60", required: true })
  );
  /** @param {Event} event */
  const save = (event) => {
    event.preventDefault();
    const view = { name: name.value.trim(), query: viewOf(place.value.query) };
    if (!view.name) return;
    keep([...views.value.filter((each) => each.name !== view.name), view].slice(-MOST));
    notify(`The view ${view.name} is saved in this browser`);
    name.value = "";
  };
  return h("form.row", { onsubmit: save }, name, h("button", { type: "submit" }, "Save this view"));
}
