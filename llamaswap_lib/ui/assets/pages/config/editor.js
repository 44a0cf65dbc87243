/** A field for YAML: line numbers, marks of what is wrong, completion of keys and values. */

import { cleanup, computed, effect, h, keyed, signal } from "../../view.js";
import { aboutAt, choicesAt, spotAt } from "./completion.js";

/** @typedef {{ line: number | null, message: string }} Finding */

const LINE = 20; // pixels, as in the style
const MOST_CHOICES = 8;

/**
 * @param {{ text: import("../../view.js").Signal<string>, label: string, findings: () => Finding[],
 *   models: () => string[] }} options
 */
export function editor({ text, label, findings, models }) {
  const choices = signal(/** @type {import("./completion.js").Choice[]} */ ([]));
  const chosen = signal(0);
  const caret = signal(0);
  const wrong = computed(() => new Set(findings().map(({ line }) => line)));
  const lines = computed(() => text.value.split("\n").length);

  const area = /** @type {HTMLTextAreaElement} */ (
    h("textarea", {
      "aria-label": label,
      "aria-autocomplete": "list",
      "aria-controls": "completions",
      spellcheck: "false",
      autocapitalize: "off",
      autocomplete: "off",
      wrap: "off",
      oninput: () => {
        text.value = area.value;
        complete();
      },
      onkeydown,
      onscroll: () => place(),
      onblur: () => close(),
      onclick: () => close(),
      onkeyup: () => (caret.value = area.selectionStart),
    })
  );
  effect(() => {
    if (area.value !== text.value) area.value = text.value;
  });
  const onselect = () => document.activeElement === area && (caret.value = area.selectionStart);
  document.addEventListener("selectionchange", onselect);
  cleanup(() => document.removeEventListener("selectionchange", onselect));

  const gutter = h("div.editor-lines", { "aria-hidden": "true" });
  effect(() => {
    const marked = wrong.value;
    gutter.replaceChildren(
      ...Array.from({ length: Math.min(lines.value, 20_000) }, (_, index) =>
        h("span", { class: marked.has(index + 1) ? "wrong" : "" }, index + 1),
      ),
    );
    place();
  });
  const list = /** @type {HTMLElement} */ (
    keyed(
      h("ul.choices.completions", { id: "completions", role: "listbox", hidden: () => choices.value.length === 0 }),
      () => choices.value.slice(0, MOST_CHOICES).map((choice, index) => ({ choice, index })),
      ({ index }) => index,
      (row) =>
        h(
          "li",
          {
            role: "option",
            "aria-selected": () => String(chosen.value === row.value.index),
            onpointerdown: (/** @type {Event} */ event) => (event.preventDefault(), take(row.value.choice)),
          },
          h("span", null, () => row.value.choice.text),
          h("small", null, () => row.value.choice.about),
        ),
    )
  );

  function complete() {
    const spot = spotAt(area.value, area.selectionStart);
    const isAsked = spot !== null && (spot.typed !== "" || !spot.isValue) && area.selectionStart === area.selectionEnd;
    choices.value = isAsked && spot.typed !== "" ? choicesAt(spot, models()) : [];
    chosen.value = 0;
    place();
  }

  function close() {
    choices.value = [];
  }

  /** @param {import("./completion.js").Choice | undefined} choice */
  function take(choice) {
    const spot = spotAt(area.value, area.selectionStart);
    close();
    if (!choice || !spot) return;
    area.setSelectionRange(spot.start, area.selectionStart);
    insert(choice.insert);
  }

  /** As if it were typed, so that it can be undone. @param {string} words */
  function insert(words) {
    if (!document.execCommand("insertText", false, words))
      area.setRangeText(words, area.selectionStart, area.selectionEnd, "end");
    text.value = area.value;
  }

  /** @param {KeyboardEvent} event */
  function onkeydown(event) {
    const most = Math.min(choices.now.length, MOST_CHOICES);
    if (event.key === " " && event.ctrlKey) {
      const spot = spotAt(area.value, area.selectionStart);
      choices.value = spot ? choicesAt(spot, models()) : [];
      chosen.value = 0;
      place();
    } else if (most && event.key === "ArrowDown") chosen.value = (chosen.now + 1) % most;
    else if (most && event.key === "ArrowUp") chosen.value = (chosen.now + most - 1) % most;
    else if (most && (event.key === "Tab" || event.key === "Enter")) take(choices.now[chosen.now]);
    else if (most && event.key === "Escape") close();
    else if (event.key === "Enter" && !event.shiftKey) newLine();
    else return;
    event.preventDefault();
  }

  /** As far in as this line, and further below a key that has nothing behind it. */
  function newLine() {
    const begin = area.value.lastIndexOf("\n", area.selectionStart - 1) + 1;
    const line = area.value.slice(begin, area.selectionStart);
    const indent = (/^\s*/.exec(line) ?? [""])[0];
    insert(`\n${indent}${/:\s*$/.test(line) ? "  " : ""}`);
  }

  /** Put the numbers and the choices where they belong. */
  function place() {
    gutter.style.setProperty("transform", `translateY(${-area.scrollTop}px)`);
    if (!choices.now.length) return;
    const before = area.value.slice(0, area.selectionStart).split("\n");
    list.style.setProperty("top", `${Math.min(area.clientHeight - 40, before.length * LINE + 8 - area.scrollTop)}px`);
    list.style.setProperty("left", `calc(${(before.at(-1) ?? "").length}ch - ${area.scrollLeft}px + 56px)`);
  }

  const hint = computed(() => (text.value, aboutAt(text.now, caret.value)));
  return {
    node: h(
      "div.editor",
      null,
      h("div.editor-field", null, h("div.editor-gutter", null, gutter), area, list),
      h("p.editor-about", null, () =>
        hint.value?.about
          ? [h("code", null, hint.value.key), " ", hint.value.about]
          : "Ctrl+Space offers what may stand here.",
      ),
    ),
    /** Put the caret at a line. @param {number} line */
    show(line) {
      const offset =
        text.now
          .split("\n")
          .slice(0, line - 1)
          .join("\n").length + (line > 1 ? 1 : 0);
      area.focus();
      area.setSelectionRange(offset, offset);
      area.scrollTop = Math.max(0, (line - 4) * LINE);
    },
  };
}
