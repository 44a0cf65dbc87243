/** Asks for a key when the server wants one. */

import { keyIsMissing, request, setKey } from "../api.js";
import { h, signal } from "../view.js";
import { openDialog } from "./dialog.js";

let isOpen = false;

export function askForKey() {
  if (isOpen) return;
  isOpen = true;
  const trouble = signal("");
  const dialog = openDialog("This server asks for a key", (close) => {
    const field = /** @type {HTMLInputElement} */ (
      h("input", {
        type: "password",
        id: "key",
        autocomplete: "current-password",
        required: true,
        autofocus: true,
        "aria-describedby": "key-trouble",
      })
    );
    /** @param {Event} event */
    const submit = async (event) => {
      event.preventDefault();
      setKey(field.value.trim());
      try {
        await request("api/version");
        keyIsMissing.value = false;
        close();
      } catch (error) {
        setKey("");
        trouble.value = `That did not work: ${/** @type {Error} */ (error).message}`;
        field.select();
      }
    };
    return h(
      "form.stack",
      { onsubmit: submit },
      h(
        "p",
        null,
        "One of ",
        h("code", null, "apiKeys"),
        " of its configuration. It is kept until this tab is closed.",
      ),
      h("label", { for: "key" }, "Key"),
      field,
      h("p.fail", { id: "key-trouble", role: "alert" }, () => trouble.value),
      h("div.row", null, h("button.primary", { type: "submit" }, "Open")),
    );
  });
  dialog.addEventListener("close", () => {
    isOpen = false;
  });
}
