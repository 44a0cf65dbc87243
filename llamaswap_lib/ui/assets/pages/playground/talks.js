/** The list of conversations that this browser keeps: open, rename, delete, export. */

import { confirm, openDialog } from "../../parts/dialog.js";
import { ago } from "../../parts/clock.js";
import { saveAs } from "../../parts/save.js";
import { setQuery } from "../../router.js";
import { h, keyed } from "../../view.js";
import { markdownOf } from "./export.js";
import { forget, heads, readBody, rename, trouble } from "./store.js";
import { begin, current, dropTalk, openTalk } from "./talk.js";

/** @typedef {import("./store.js").Head} Head */

/** Show an empty conversation. */
export function newTalk() {
  if (current.now.turns.now.length) current.value = begin(current.now);
  setQuery({ c: null });
  requestAnimationFrame(() =>
    /** @type {HTMLElement | null} */ (document.querySelector(".composer textarea"))?.focus(),
  );
}

export function talks() {
  return h(
    "details.talks",
    { open: matchMedia("(min-width: 1000px)").matches },
    h("summary", null, "Conversations"),
    h("button.small", { type: "button", onclick: newTalk }, "New conversation"),
    h("p.soft", { hidden: () => !trouble.value, role: "status" }, () => trouble.value),
    keyed(
      h("ul", { "aria-label": "Conversations" }),
      () => heads.value,
      ({ id }) => id,
      (head) =>
        h(
          "li",
          null,
          h(
            "button.quiet.title",
            {
              type: "button",
              "aria-current": () => (current.value.id === head.value.id ? "true" : null),
              onclick: () => void show(head.now.id),
            },
            h("bdi", null, () => head.value.title),
            h(
              "small",
              null,
              ago(() => head.value.updated),
            ),
          ),
          h(
            "button.quiet.more",
            { type: "button", "aria-label": () => `More for ${head.value.title}`, onclick: () => more(head.now) },
            "⋯",
          ),
        ),
    ),
    h("p.faint", { hidden: () => heads.value.length > 0 }, "What you say is kept here, in this browser only."),
  );
}

/** @param {string} id */
async function show(id) {
  if (await openTalk(id)) setQuery({ c: id, model: current.now.models[0]?.now, with: current.now.models[1]?.now });
}

/** @param {Head} head */
function more(head) {
  openDialog("Conversation", (close) => {
    const field = /** @type {HTMLInputElement} */ (
      h("input", { type: "text", id: "talk-title", value: head.title, autofocus: true, maxlength: "200" })
    );
    const remove = async () => {
      close();
      if (!(await confirm(`Delete “${head.title.slice(0, 60)}”?`, "Delete"))) return;
      dropTalk(head.id);
      await forget(head.id);
      if (current.now.id === head.id) {
        current.value = begin(current.now);
        setQuery({ c: null });
      }
    };
    return h(
      "form.stack",
      {
        onsubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          void rename(head.id, field.value.trim() || head.title);
          close();
        },
      },
      h("label", { for: "talk-title" }, "Name"),
      field,
      h(
        "div.row",
        null,
        h("button.primary", { type: "submit" }, "Rename"),
        h("button", { type: "button", onclick: () => void exportTalk(head, "md") }, "Save as Markdown"),
        h("button", { type: "button", onclick: () => void exportTalk(head, "json") }, "Save as JSON"),
        h("button.danger", { type: "button", onclick: () => void remove() }, "Delete"),
      ),
    );
  });
}

/** @param {Head} head @param {"md" | "json"} kind */
async function exportTalk(head, kind) {
  const body = await readBody(head.id);
  if (!body) return;
  const text = kind === "json" ? JSON.stringify({ ...head, ...body }, null, 2) : markdownOf(head.title, body);
  saveAs(
    new Blob([text], { type: kind === "json" ? "application/json" : "text/markdown" }),
    `conversation-${head.id}.${kind}`,
  );
}
