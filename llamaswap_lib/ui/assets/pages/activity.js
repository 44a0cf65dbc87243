/** The requests that were made: a live table, its filters, what they add up to, and each with all that is kept of it. */

import { request } from "../api.js";
import { uiConfig } from "../live.js";
import { confirm } from "../parts/dialog.js";
import { menu } from "../parts/menu.js";
import { attempt, notify } from "../parts/notices.js";
import { shortcuts } from "../parts/shortcuts.js";
import { place, setQuery } from "../router.js";
import { cleanup, effect, h, signal } from "../view.js";
import { exportMenu } from "./activity/exports.js";
import { figures } from "./activity/figures.js";
import { activeFilters, facets, filterPanel, openFilters } from "./activity/filters.js";
import { inFlightTable } from "./activity/in_flight.js";
import { openPicker } from "./activity/picker.js";
import { filterOf, orderOf } from "./activity/query.js";
import { openedRow, stepRow } from "./activity/row.js";
import { Rows } from "./activity/rows.js";
import { table } from "./activity/table.js";
import { viewsMenu } from "./activity/views.js";

export const title = "Activity";

const STORED = "llamaswap.activity.filters";
const WIDE = 1440; // pixels: the usual columns and the filters have room beside each other
const TYPING = 250; // milliseconds of silence before a text is searched for

export function show() {
  const rows = new Rows();
  const { found, read } = facets();
  const { node, list } = table(rows);
  let before = "";
  effect(() => {
    const { query } = place.value;
    const now = JSON.stringify([filterOf(query), orderOf(query)]);
    if (now === before) return; // something else of the address
    before = now;
    void rows.load(filterOf(query), orderOf(query));
  });
  shortcuts(
    { keys: "j", what: "The next request", run: () => void stepRow(rows, list, 1) },
    { keys: "k", what: "The request before", run: () => void stepRow(rows, list, -1) },
    { keys: "Escape", what: "Close the request", run: () => setQuery({ row: "", tab: "", raw: "" }) },
  );
  const panelIsOpen = signal(stored());
  effect(() => store(panelIsOpen.value));
  return h(
    "div.page.full.activity",
    null,
    h(
      "header.page-head",
      null,
      h("h1", null, title),
      search(),
      h("button.narrow-only", { type: "button", onclick: () => openFilters(found) }, "Filters"),
      h(
        "button.hide-narrow",
        {
          type: "button",
          "aria-pressed": () => String(panelIsOpen.value),
          onclick: () => (panelIsOpen.value = !panelIsOpen.value),
        },
        "Filters",
      ),
      menu("Views", viewsMenu, { closes: false }),
      h("button.hide-narrow", { type: "button", onclick: openPicker }, "Columns"),
      menu("Export", () => exportMenu(rows)),
      h("button", { type: "button", onclick: () => void forgetAll(rows, read) }, "Delete all"),
    ),
    activeFilters(),
    figures(rows),
    inFlightTable(() => uiConfig.value?.activity?.session_id ?? []),
    h(
      "div.activity-body",
      { class: () => (panelIsOpen.value ? "with-filters" : "") },
      h("aside.hide-narrow", { "aria-label": "Filters", hidden: () => !panelIsOpen.value }, filterPanel(found)),
      node,
    ),
    openedRow(rows),
  );
}

function search() {
  /** @type {number | undefined} */
  let timer;
  cleanup(() => clearTimeout(timer));
  const field = /** @type {HTMLInputElement} */ (
    h("input", {
      type: "search",
      "aria-label": "Text in the model, the path or the error",
      placeholder: "Model, path or error",
      autocomplete: "off",
      spellcheck: "false",
      oninput: () => {
        clearTimeout(timer);
        timer = setTimeout(() => setQuery({ q: field.value.trim() }), TYPING);
      },
    })
  );
  effect(() => {
    const text = place.value.query.get("q") ?? "";
    if (text !== field.value.trim()) field.value = text;
  });
  return field;
}

/** @param {Rows} rows @param {() => unknown} readFacets */
async function forgetAll(rows, readFacets) {
  if (!(await confirm("Delete all requests and captures? Filters do not count.", "Delete all"))) return;
  await attempt(async () => {
    const response = await request("api/metrics/activity", { method: "DELETE" });
    const { deleted } = await response.json();
    notify(`${deleted} requests are deleted`);
  }, "Deleting");
  setQuery({ row: "" });
  await rows.reload();
  readFacets();
}

/** Whether the filters stand beside the table on a desk. */
function stored() {
  try {
    return localStorage.getItem(STORED) !== "closed" && innerWidth >= WIDE;
  } catch {
    return innerWidth >= WIDE;
  }
}

/** @param {boolean} isOpen */
function store(isOpen) {
  try {
    if (innerWidth >= WIDE) localStorage.setItem(STORED, isOpen ? "open" : "closed");
  } catch {
    // it counts until the page is loaded again
  }
}
