/** Dialogs: the browser's own, which keep the focus inside, close with Escape and give the focus back. */

import { h, scope } from "../view.js";

/**
 * Open a dialog. `build` makes what is in it, in a scope that ends with it; it gets a function that closes it.
 * @param {string} title @param {(close: () => void) => import("../view.js").Child} build @param {{ kind?: string }} [options]
 */
export function openDialog(title, build, { kind = "" } = {}) {
  const dialog = /** @type {HTMLDialogElement} */ (h("dialog", { class: kind, "aria-label": title }));
  const end = scope(() => {
    const close = () => dialog.close();
    dialog.append(
      h(
        "header.dialog-head",
        null,
        h("h2", null, title),
        h("button.quiet", { type: "button", "aria-label": "Close", onclick: close }, "✕"),
      ),
      h("div.dialog-body", null, build(close)),
    );
  });
  dialog.addEventListener("close", () => (end(), dialog.remove()));
  let isBeside = false; // a press that began in it, as of who selects a text, is none beside it
  dialog.addEventListener("pointerdown", (event) => (isBeside = event.target === dialog));
  dialog.addEventListener("click", (event) => isBeside && event.target === dialog && dialog.close());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/**
 * Ask before something that cannot be taken back. @param {string} question @param {string} yes what the button says
 * @returns {Promise<boolean>}
 */
export function confirm(question, yes) {
  return new Promise((resolve) => {
    let answer = false;
    const dialog = openDialog(question, (close) =>
      h(
        "div.row",
        null,
        h("button.danger", { type: "button", onclick: () => ((answer = true), close()) }, yes),
        h("button", { type: "button", autofocus: true, onclick: close }, "Cancel"),
      ),
    );
    dialog.addEventListener("close", () => resolve(answer));
  });
}
