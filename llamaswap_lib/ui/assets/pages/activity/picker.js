/** The choice of columns, and of their order: by dragging, or with the buttons. */

import { openDialog } from "../../parts/dialog.js";
import { h, keyed, signal } from "../../view.js";
import { choose, chosen, COLUMNS } from "./columns.js";

export function openPicker() {
  const dragged = signal("");
  return openDialog("Columns", () => [
    h("p.soft", null, "Drag a row, or use the buttons, to change the order. The choice is kept in this browser."),
    keyed(
      h("ul.column-picker"),
      () => chosen.value.map((each, index) => ({ ...each, index })),
      ({ name }) => name,
      (item) => row(item, dragged),
    ),
    h("div.row", null, h("button", { type: "button", onclick: () => choose(null) }, "The usual columns")),
  ]);
}

/** @param {import("../../view.js").Signal<{ name: string, isShown: boolean, index: number }>} item @param {import("../../view.js").Signal<string>} dragged */
function row(item, dragged) {
  const { name } = item.value;
  const column = COLUMNS.find((each) => each.name === name);
  const title = column?.title ?? name;
  /** @param {Event} event */
  const show = (event) => {
    const isShown = /** @type {HTMLInputElement} */ (event.target).checked;
    choose(chosen.value.map((each) => (each.name === name ? { ...each, isShown } : each)));
  };
  return h(
    "li",
    {
      draggable: "true",
      class: () => (dragged.value === name ? "dragged" : ""),
      ondragstart: () => (dragged.value = name),
      ondragend: () => (dragged.value = ""),
      /** @param {DragEvent} event */
      ondragover: (event) => {
        event.preventDefault();
        if (dragged.value && dragged.value !== name) move(dragged.value, item.value.index);
      },
    },
    h("label", null, h("input", { type: "checkbox", checked: () => item.value.isShown, onchange: show }), title),
    h("small.soft", null, column?.what ?? ""),
    h(
      "button.quiet.small",
      {
        type: "button",
        "aria-label": `${title} up`,
        disabled: () => item.value.index === 0,
        onclick: () => move(name, item.value.index - 1),
      },
      "↑",
    ),
    h(
      "button.quiet.small",
      {
        type: "button",
        "aria-label": `${title} down`,
        disabled: () => item.value.index === chosen.value.length - 1,
        onclick: () => move(name, item.value.index + 1),
      },
      "↓",
    ),
  );
}

/** @param {string} name @param {number} index where it is to stand */
function move(name, index) {
  const moved = chosen.value.find((each) => each.name === name);
  if (!moved) return;
  const others = chosen.value.filter((each) => each !== moved);
  choose([...others.slice(0, index), moved, ...others.slice(index)]);
}
