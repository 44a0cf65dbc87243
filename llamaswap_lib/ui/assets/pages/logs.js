/** Logs: of the server itself, of all models, and of each model, side by side. */

import { models, runs } from "../live.js";
import { empty } from "../parts/empty.js";
import { visible } from "../parts/odd_text.js";
import { shortcuts } from "../parts/shortcuts.js";
import { place, setQuery } from "../router.js";
import { cleanup, computed, effect, h, keyed, signal } from "../view.js";
import { Pane } from "./logs/pane.js";
import { whatIsWrong } from "./logs/search.js";

export const title = "Logs";

const USUAL = ["proxy", "upstream"];
const STORED = "llamaswap.logs";
const SMALLEST = 9; // pixels
const LARGEST = 24;
const TYPING = 250; // milliseconds of silence before the lines are searched
const MOST_PANES = 8;

const look = stored();
const wrap = signal(look.wrap);
const size = signal(look.size);

export function show() {
  const search = computed(() => {
    const text = place.value.query.get("q") ?? "";
    return whatIsWrong(text) ? "" : text;
  });
  const only = computed(() => place.value.query.get("only") === "1");
  const names = computed(() => shownNames().join("\n"));
  /** @type {Map<string, Pane>} */
  const panes = new Map();
  effect(() => store(wrap.value, size.value));
  /** The pane with the focus, or else the first in which something was found. @param {1 | -1} step */
  const step = (step) => {
    const all = [...panes.values()];
    const focused = all.find((pane) => pane.node.contains(document.activeElement));
    (focused ?? all.find((pane) => pane.search.numbers.length))?.step(step);
  };
  keys(panes, step);
  return h(
    "div.page.full.logs",
    null,
    h("header.page-head", null, h("h1", null, title), sources(), searchField(step), onlyButton(), lookButtons()),
    keyed(
      h("div.panes"),
      () => names.value.split("\n").filter(Boolean),
      (name) => name,
      (item) => {
        const name = item.value;
        const pane = new Pane(name, { wrap, size, search: () => search.value, only: () => only.value }, () =>
          toggle(name),
        );
        panes.set(name, pane);
        cleanup(() => panes.delete(name));
        return pane.node;
      },
    ),
    () => (names.value ? null : empty("No log is shown", "Choose one above.")),
  );
}

/** The logs that the address names. */
function shownNames() {
  const named = place.value.query.getAll("show");
  if (named.includes("none")) return [];
  return named.length ? [...new Set(named.filter(Boolean))].slice(0, MOST_PANES) : USUAL;
}

/** @param {string} name */
function toggle(name) {
  const shown = shownNames();
  const next = shown.includes(name) ? shown.filter((each) => each !== name) : [...shown, name];
  setQuery({ show: next.length ? next : "none" });
}

function sources() {
  const local = () => models.value.filter((model) => !model.peerID).map((model) => model.id);
  const chips = () => [...USUAL, ...shownNames().filter((name) => !USUAL.includes(name))];
  const others = () => local().filter((id) => !shownNames().includes(id));
  /** @param {Event} event */
  const add = (event) => {
    const select = /** @type {HTMLSelectElement} */ (event.target);
    if (select.value) toggle(select.value);
    select.value = "";
  };
  return h(
    "div.row",
    { role: "group", "aria-label": "Logs" },
    keyed(
      h("div.row"),
      chips,
      (name) => name,
      (item) =>
        h(
          "button",
          {
            type: "button",
            "aria-pressed": () => String(shownNames().includes(item.value)),
            onclick: () => toggle(item.value),
          },
          h("bdi", null, visible(item.value)),
        ),
    ),
    h(
      "select",
      { "aria-label": "Show the log of a model", onchange: add, hidden: () => others().length === 0 },
      h("option", { value: "" }, "A model…"),
      () => others().map((id) => h("option", { value: id }, runs.value.has(id) ? `${id} (runs)` : id)),
    ),
  );
}

/** @param {(step: 1 | -1) => void} step */
function searchField(step) {
  const trouble = signal("");
  /** @type {number | undefined} */
  let timer;
  cleanup(() => clearTimeout(timer));
  const field = /** @type {HTMLInputElement} */ (
    h("input", {
      type: "search",
      "aria-label": "Search by regular expression",
      "aria-describedby": "log-search-trouble",
      placeholder: "Regular expression",
      autocomplete: "off",
      spellcheck: "false",
      onkeydown: (/** @type {KeyboardEvent} */ event) => event.key === "Enter" && step(event.shiftKey ? -1 : 1),
      oninput: () => {
        clearTimeout(timer);
        trouble.value = whatIsWrong(field.value);
        timer = setTimeout(() => setQuery({ q: field.value }), TYPING);
      },
    })
  );
  effect(() => {
    const text = place.value.query.get("q") ?? "";
    if (document.activeElement !== field) field.value = text;
    trouble.value = whatIsWrong(text);
  });
  return h(
    "div.log-search",
    null,
    field,
    h("small.fail", { id: "log-search-trouble", role: "alert" }, () =>
      trouble.value ? `No regular expression: ${trouble.value}` : "",
    ),
  );
}

function onlyButton() {
  const isOn = () => place.value.query.get("only") === "1";
  return h(
    "button",
    {
      type: "button",
      "aria-pressed": () => String(isOn()),
      title: "Show only the lines that were found",
      onclick: () => setQuery({ only: isOn() ? "" : "1" }),
    },
    "Only found",
  );
}

/** @param {number} step */
const resize = (step) => (size.value = Math.min(LARGEST, Math.max(SMALLEST, size.value + step)));

function lookButtons() {
  return h(
    "div.row.look",
    null,
    h(
      "button",
      { type: "button", "aria-pressed": () => String(wrap.value), onclick: () => (wrap.value = !wrap.value) },
      "Wrap",
    ),
    h(
      "button",
      {
        type: "button",
        title: "Smaller text",
        disabled: () => size.value <= SMALLEST,
        onclick: () => resize(-1),
      },
      "A−",
      h("span.visually-hidden", null, ", smaller text"),
    ),
    h(
      "button",
      { type: "button", title: "Larger text", disabled: () => size.value >= LARGEST, onclick: () => resize(1) },
      "A+",
      h("span.visually-hidden", null, ", larger text"),
    ),
  );
}

/** @param {Map<string, Pane>} panes @param {(step: 1 | -1) => void} step */
function keys(panes, step) {
  const followAll = () => {
    const follows = [...panes.values()].every((pane) => pane.following.value);
    for (const pane of panes.values()) pane.setFollowing(!follows);
  };
  shortcuts(
    { keys: "f", what: "Follow all logs, or pause", run: followAll },
    { keys: "n", what: "The next line found", run: () => step(1) },
    { keys: "N", what: "The line found before", run: () => step(-1) },
    { keys: "w", what: "Wrap long lines", run: () => (wrap.value = !wrap.value) },
    { keys: "+", what: "Larger text", run: () => resize(1) },
    { keys: "-", what: "Smaller text", run: () => resize(-1) },
  );
}

/** What this browser keeps of how logs look. */
function stored() {
  try {
    const kept = JSON.parse(localStorage.getItem(STORED) ?? "{}");
    const size = Number(kept.size);
    return { wrap: kept.wrap !== false, size: size >= SMALLEST && size <= LARGEST ? size : 12 };
  } catch {
    return { wrap: true, size: 12 };
  }
}

/** @param {boolean} wrap @param {number} size */
function store(wrap, size) {
  try {
    localStorage.setItem(STORED, JSON.stringify({ wrap, size }));
  } catch {
    // it counts until the page is loaded again
  }
}
