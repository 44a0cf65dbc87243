/** Where one types what is said: Enter sends, Shift+Enter makes a line, Escape stops; pictures are picked, pasted or dropped. */

import { effect, h } from "../../view.js";
import { picturesIn, readPictures } from "./pictures.js";

/**
 * @param {import("./talk.js").Talk} talk @param {() => void} send
 */
export function composer(talk, send) {
  const isRunning = () => talk.running().length > 0;
  const box = /** @type {HTMLTextAreaElement} */ (
    h("textarea", {
      rows: 1,
      dir: "auto",
      "aria-label": "Message",
      placeholder: "Say something",
      oninput: () => (talk.draft.value = box.value),
      onkeydown,
      onpaste: (/** @type {ClipboardEvent} */ event) => void take(event, event.clipboardData),
    })
  );
  /** @param {KeyboardEvent} event */
  function onkeydown(event) {
    if (event.key === "Escape") talk.stop();
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    if (!isRunning()) send();
  }
  effect(() => {
    if (box.value !== talk.draft.value) box.value = talk.draft.value;
    requestAnimationFrame(() => {
      box.style.height = "auto";
      box.style.height = `${Math.min(box.scrollHeight + 2, 260)}px`;
    });
  });
  /** @param {Event} event @param {DataTransfer | null} given */
  async function take(event, given) {
    const files = picturesIn(given);
    if (!files.length) return;
    event.preventDefault();
    await add(files);
  }
  /** @param {Iterable<File>} files */
  async function add(files) {
    const read = await readPictures(files, talk.pictures.now.length);
    talk.pictures.value = [...talk.pictures.now, ...read];
  }
  const file = /** @type {HTMLInputElement} */ (
    h("input", {
      type: "file",
      accept: "image/*",
      multiple: true,
      hidden: true,
      "aria-label": "Pictures",
      onchange: async () => {
        await add([...(file.files ?? [])]);
        file.value = "";
      },
    })
  );
  return h(
    "form.composer",
    {
      "aria-label": "What you say",
      onsubmit: (/** @type {Event} */ event) => (event.preventDefault(), send()),
      ondragover: (/** @type {Event} */ event) => event.preventDefault(),
      ondrop: (/** @type {DragEvent} */ event) => (event.preventDefault(), void take(event, event.dataTransfer)),
    },
    h("div.pictures", { hidden: () => talk.pictures.value.length === 0 }, () =>
      talk.pictures.value.map((address, index) =>
        h(
          "span.picked",
          null,
          h("img", { src: address, alt: `Picture ${index + 1}` }),
          h(
            "button.quiet",
            {
              type: "button",
              "aria-label": `Leave picture ${index + 1} out`,
              onclick: () => (talk.pictures.value = talk.pictures.now.filter((_, each) => each !== index)),
            },
            "✕",
          ),
        ),
      ),
    ),
    box,
    h(
      "div.row",
      null,
      h("button.small", { type: "button", onclick: () => file.click() }, "Add a picture"),
      file,
      h("small.faint.hide-narrow", null, "Enter sends, Shift+Enter makes a new line, Esc stops"),
      h("span.spring"),
      h("button.small", { type: "button", hidden: () => !isRunning(), onclick: () => talk.stop() }, "Stop"),
      h(
        "button.primary.small",
        { type: "submit", hidden: isRunning, disabled: () => !talk.draft.value.trim() && !talk.pictures.value.length },
        "Send",
      ),
    ),
  );
}
