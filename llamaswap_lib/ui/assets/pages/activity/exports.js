/** What leaves the page: all rows of the filters as CSV or JSON lines, the shown ones as Markdown. */

import { address, key, request } from "../../api.js";
import { copy } from "../../parts/actions.js";
import { attempt } from "../../parts/notices.js";
import { saveAs } from "../../parts/save.js";
import { place } from "../../router.js";
import { h } from "../../view.js";
import { shownColumns } from "./columns.js";
import { filterOf, forServer } from "./query.js";

const MOST_ROWS = 1_000; // of Markdown

/** @param {string} format */
const question = (format) => ({ ...forServer(filterOf(place.value.query)), format });

/** What is in the menu of exports. @param {import("./rows.js").Rows} rows */
export function exportMenu(rows) {
  return [
    fileLink("csv", "CSV"),
    fileLink("jsonl", "JSON lines"),
    h(
      "button.item",
      { type: "button", onclick: () => copy(markdown(rows), "A table in Markdown") },
      "Copy as Markdown",
      h("small.soft", null, "the rows that were read, in the shown columns"),
    ),
  ];
}

/** A plain link where the browser may ask by itself; where a key was typed, which is only ever sent in a header, a button.
 * @param {string} format @param {string} title */
function fileLink(format, title) {
  const what = h("small.soft", null, "all that the filters mean");
  const name = `activity.${format}`;
  if (!key())
    return h("a.item", { href: () => address("api/metrics/activity", question(format)), download: name }, title, what);
  const save = () =>
    attempt(async () => {
      const response = await request("api/metrics/activity", { query: question(format) });
      saveAs(await response.blob(), name);
    }, `The export as ${title}`);
  return h("button.item", { type: "button", onclick: save }, title, what);
}

/** @param {string} text */
const cell = (text) =>
  text.replaceAll("\\", "\\\\").replaceAll("|", "\\|").replaceAll("<", "&lt;").replace(/\s+/g, " ");

/** The rows that are here as a table. @param {import("./rows.js").Rows} rows */
export function markdown(rows) {
  const columns = shownColumns();
  const lines = [columns.map((column) => column.title), columns.map((column) => (column.number ? "---:" : "---"))];
  for (let index = 0; index < Math.min(rows.total.value ?? 0, MOST_ROWS); index++) {
    const row = rows.at(index);
    if (!row) break;
    lines.push(columns.map((column) => cell(column.text(row))));
  }
  return lines.map((cells) => `| ${cells.join(" | ")} |\n`).join("");
}
