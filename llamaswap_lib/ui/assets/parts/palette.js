/** The palette (Ctrl+K): everything that can be shown or done, found by typing a part of its name. */

import { activeProfile, models, profiles, runs } from "../live.js";
import { PAGES } from "../pages.js";
import { go, to } from "../router.js";
import { h, keyed, signal } from "../view.js";
import { loadModel, setProfile, unloadAll, unloadModel } from "./actions.js";
import { openDialog } from "./dialog.js";

/** @typedef {{ text: string, hint: string, run: () => unknown }} Action */

const MOST = 12;

/** @returns {Action[]} */
function actions() {
  const local = models.value.filter((model) => !model.peerID);
  return [
    ...models.value.map((model) => ({
      text: model.id,
      hint: [model.name, model.aliases?.join(", "), model.state].filter(Boolean).join(" · ") || "model",
      run: () => go(to("models", model.id)),
    })),
    ...local
      .filter((model) => model.state === "stopped")
      .map((model) => ({ text: `Load ${model.id}`, hint: "", run: () => loadModel(model.id) })),
    ...[...runs.value.keys()].map((id) => ({ text: `Unload ${id}`, hint: "", run: () => unloadModel(id) })),
    ...local.map((model) => ({
      text: `Logs of ${model.id}`,
      hint: "",
      run: () => go(to("logs", "", { show: model.id })),
    })),
    ...models.value.map((model) => ({
      text: `Chat with ${model.id}`,
      hint: "",
      run: () => go(to("playground", "chat", { model: model.id })),
    })),
    ...PAGES.map((page) => ({ text: page.title, hint: `page · g ${page.letter}`, run: () => go(to(page.name)) })),
    { text: "Unload all models", hint: "", run: unloadAll },
    ...profiles.value
      .filter((profile) => profile.id !== activeProfile.value)
      .map((profile) => ({
        text: `Use the profile ${profile.id}`,
        hint: profile.description ?? "",
        run: () => setProfile(profile.id),
      })),
    ...(activeProfile.value ? [{ text: "Use no profile", hint: "", run: () => setProfile(null) }] : []),
  ];
}

/** The best first: what begins with the words, then what has them, then what has their letters in this order.
 * @param {Action[]} all @param {string} typed */
function find(all, typed) {
  const wanted = typed.trim().toLowerCase();
  if (!wanted) return all.slice(0, MOST);
  const letters = [...wanted.replace(/\s/g, "")];
  /** @param {Action} action */
  const score = ({ text, hint }) => {
    const low = text.toLowerCase();
    if (low.startsWith(wanted)) return 0;
    if (low.includes(wanted)) return 1;
    if (wanted.split(/\s+/).every((word) => low.includes(word))) return 2;
    if (hint.toLowerCase().includes(wanted)) return 3;
    let from = 0;
    for (const letter of letters) {
      from = low.indexOf(letter, from) + 1;
      if (!from) return 9;
    }
    return 4;
  };
  const scored = all.map((action) => ({ action, rank: score(action) })).filter(({ rank }) => rank < 9);
  return scored
    .sort((one, other) => one.rank - other.rank)
    .slice(0, MOST)
    .map(({ action }) => action);
}

let isOpen = false;

export function openPalette() {
  if (isOpen) return;
  isOpen = true;
  const typed = signal("");
  const chosen = signal(0);
  const dialog = openDialog(
    "Search or run",
    (close) => {
      const found = () => find(actions(), typed.value);
      /** @param {Action | undefined} action */
      const run = (action) => (close(), void action?.run());
      /** @param {KeyboardEvent} event */
      const onkeydown = (event) => {
        const most = found().length;
        if (event.key === "ArrowDown") chosen.value = (chosen.value + 1) % Math.max(1, most);
        else if (event.key === "ArrowUp") chosen.value = (chosen.value + most - 1) % Math.max(1, most);
        else if (event.key === "Enter") run(found()[chosen.value]);
        else return;
        event.preventDefault();
      };
      /** @param {Event} event */
      const oninput = (event) => {
        typed.value = /** @type {HTMLInputElement} */ (event.target).value;
        chosen.value = 0;
      };
      const field = h("input", {
        type: "text",
        role: "combobox",
        placeholder: "A model, a page, an action",
        "aria-label": "Search",
        "aria-expanded": "true",
        "aria-controls": "palette-list",
        "aria-activedescendant": () => `palette-${chosen.value}`,
        autocomplete: "off",
        spellcheck: "false",
        autofocus: true,
        onkeydown,
        oninput,
      });
      const list = keyed(
        h("ul.choices", { id: "palette-list", role: "listbox", "aria-label": "Found" }),
        () => found().map((action, index) => ({ action, index })),
        ({ index }) => index,
        (row) =>
          h(
            "li",
            {
              id: `palette-${row.value.index}`,
              role: "option",
              "aria-selected": () => String(chosen.value === row.value.index),
              onclick: () => run(row.value.action),
            },
            h("span", null, () => row.value.action.text),
            h("small", null, () => row.value.action.hint),
          ),
      );
      return [field, list, h("p.soft", { hidden: () => found().length > 0 }, "Nothing has this name.")];
    },
    { kind: "palette" },
  );
  dialog.addEventListener("close", () => {
    isOpen = false;
  });
}
