/** The table of requests: only the rows that are seen are built. On a phone a row takes two lines. */

import { address, key } from "../../api.js";
import { count, UNKNOWN } from "../../format.js";
import { copy } from "../../parts/actions.js";
import { empty } from "../../parts/empty.js";
import { usual } from "../../parts/fitting.js";
import { visible } from "../../parts/odd_text.js";
import { VirtualList } from "../../parts/virtual_list.js";
import { place, to } from "../../router.js";
import { computed, effect, h, signal } from "../../view.js";
import { shownColumns } from "./columns.js";
import { curl } from "./curl.js";
import { clearFilters, filterOf, isNewestFirst, orderOf, sortBy } from "./query.js";

/** @typedef {import("./rows.js").Row} Row */

const HEIGHT = 36;
const HEIGHT_NARROW = 60;
export const MOST_LISTED = 300_000; // rows; browsers have no room for an element that is much higher

const narrow = matchMedia("(max-width: 760px)");
const isNarrow = signal(narrow.matches);
narrow.addEventListener("change", () => (isNarrow.value = narrow.matches));

/** The parts of a row on a phone: the name of the column, in the order of the grid of `.narrow`. */
const NARROW = ["model", "time", "status", "generated", "decode", "duration"];

/** @type {Record<string, string>} */
const UNITS = { generated: " tok", decode: " tok/s" };

/** The address of this page with a row opened. @param {number} id */
export const rowAddress = (id) => {
  const query = Object.fromEntries([...place.value.query.keys()].map((name) => [name, place.value.query.getAll(name)]));
  return to("activity", "", { ...query, row: id });
};

/** @param {import("./rows.js").Rows} rows */
export function table(rows) {
  const scroller = h("div.activity-scroll", { tabindex: "-1" });
  const columns = computed(() => (isNarrow.value ? null : shownColumns()));
  const look = computed(() => columns.value?.map((column) => column.name).join() ?? "narrow");
  const list = new VirtualList({
    scroller,
    role: "rowgroup",
    height: () => (isNarrow.value ? HEIGHT_NARROW : HEIGHT),
    key: (index) => {
      const row = rows.at(index);
      return row ? `${row.id} ${row.timestamp} ${look.value}` : `? ${index} ${look.value}`;
    },
    render: (index) => (isNarrow.value ? narrowRow(rows.at(index)) : wideRow(rows.at(index), columns.value ?? [])),
    place: (node, index) => node.setAttribute("aria-rowindex", String(index + 2)),
    seen: (from, end) => rows.want(from, end),
  });
  rows.isLive = () => scroller.getBoundingClientRect().top > -80 && scroller.scrollTop < 8;
  effect(() => {
    rows.version.value;
    look.value;
    list.setCount(Math.min(rows.total.value ?? 0, MOST_LISTED));
  });
  const template = () => columns.value?.map((column) => column.width).join(" ") ?? "1fr";
  const least = () =>
    `${(columns.value ?? []).reduce((sum, { width }) => sum + Number(/\d+/.exec(width)?.[0] ?? 0) + 10, 18)}px`;
  const box = h(
    "div.activity-table",
    {
      role: "table",
      "aria-label": "Requests",
      "aria-rowcount": () => String((rows.total.value ?? 0) + 1),
      style: {},
      hidden: () => rows.total.value === 0,
    },
    () => (columns.value ? head(columns.value) : null),
    list.element,
  );
  effect(() => {
    box.style.setProperty("--columns", template());
    box.style.setProperty("--least", isNarrow.value ? "0px" : least());
  });
  scroller.append(
    box,
    h("div", null, () => (rows.total.value === 0 ? nothing(rows) : null)),
  );
  return { scroller, list, node: h("div.activity-list", null, newsButton(rows, scroller), scroller, footer(rows)) };
}

/** @param {import("./columns.js").Column[]} columns */
function head(columns) {
  const order = () => orderOf(place.value.query);
  return h(
    "div.activity-head",
    { role: "rowgroup" },
    h(
      "div.activity-row",
      { role: "row", "aria-rowindex": "1" },
      columns.map((column) =>
        h(
          "div",
          {
            role: "columnheader",
            class: column.number ? "n" : "",
            title: column.what ?? null,
            "aria-sort": () =>
              column.sort !== order().sort ? null : order().order === "asc" ? "ascending" : "descending",
          },
          column.sort
            ? h("button.sort", { type: "button", onclick: () => sortBy(column.sort ?? "id", order()) }, column.title)
            : column.title,
        ),
      ),
    ),
  );
}

/** @param {Row | null} row */
const opened = (row) => () => (row && place.value.query.get("row") === String(row.id) ? "true" : null);

/** @param {Row | null} row @param {import("./columns.js").Column[]} columns */
function wideRow(row, columns) {
  if (!row) return h("div.activity-row", { role: "row" }, h("div.faint", { role: "cell" }, "…"));
  return h(
    "div.activity-row",
    { role: "row", "aria-current": opened(row) },
    columns.map((column, index) => {
      const content = column.cell?.(row) ?? column.text(row);
      return h("div", { role: "cell", class: column.number ? "n" : "" }, index === 0 ? link(row, content) : content);
    }),
  );
}

/** @param {Row | null} row */
function narrowRow(row) {
  const columns = shownColumns();
  return h(
    "div.activity-row.narrow",
    { role: "row", "aria-current": opened(row) },
    NARROW.map((name) => {
      const column = columns.find((each) => each.name === name) ?? null;
      const content = !row || !column ? null : (column.cell?.(row) ?? column.text(row));
      const unit = content && content !== UNKNOWN ? (UNITS[name] ?? "") : "";
      return h(
        "div",
        { role: "cell", class: `at-${name}` },
        name === "model" && row ? link(row, content) : [content, unit],
      );
    }),
  );
}

/** The link that all of a row is. @param {Row} row @param {import("../../view.js").Child} content */
function link(row, content) {
  const label = `Request ${row.id}, ${row.model}`;
  return h("a.row-link", { href: () => rowAddress(row.id), "aria-label": label, "data-row": row.id }, content);
}

/** @param {import("./rows.js").Rows} rows @param {HTMLElement} scroller */
function newsButton(rows, scroller) {
  const show = async () => {
    await rows.reload();
    scroller.scrollTo({ top: 0, behavior: "instant" });
    if (scroller.getBoundingClientRect().top < 0) scroller.scrollIntoView({ block: "start" });
  };
  const text = () => {
    const isSorted = !isNewestFirst(orderOf(place.value.query));
    return `${count(rows.news.value)} new${isSorted ? ", sort again" : ""}`;
  };
  return h("button.activity-news", { type: "button", hidden: () => rows.news.value === 0, onclick: show }, text);
}

/** @param {import("./rows.js").Rows} rows */
function footer(rows) {
  return h("p.soft.activity-foot", { role: "status" }, () => {
    if (rows.trouble.value) return h("span.fail", null, `The requests cannot be read: ${rows.trouble.value}`);
    const total = rows.total.value ?? 0;
    if (total <= MOST_LISTED) return null;
    return `These are the first ${count(MOST_LISTED)} of ${count(total)}. Filter by time or id to see the others, or export all.`;
  });
}

/** @param {import("./rows.js").Rows} rows */
function nothing(rows) {
  if (rows.trouble.value) return null;
  if (Object.keys(filterOf(place.value.query)).length) {
    return empty(
      "No request is like that",
      "The filters leave none. ",
      h("button", { type: "button", onclick: clearFilters }, "Show all requests"),
    );
  }
  return h(
    "div.stack.first",
    null,
    h("h2", null, "No request yet"),
    h("p", null, "Each request to a model gets a row here, as soon as it has ended. Try one:"),
    () => example(usual("chat")),
  );
}

/** A command that makes a row, for one model. @param {string | undefined} model */
function example(model) {
  if (!model)
    return h("p", null, "The configuration has no model yet: ", h("a", { href: to("config") }, "add one"), ".");
  const body = JSON.stringify({ model, messages: [{ role: "user", content: "Hello" }] });
  const headers = { "Content-Type": "application/json", ...(key() ? { Authorization: "[REDACTED]" } : {}) };
  const command = curl(address("v1/chat/completions"), "POST", headers, body);
  return [
    h("pre.raw", null, visible(command)),
    h("div.row", null, h("button.small", { type: "button", onclick: () => copy(command, "The command") }, "Copy")),
  ];
}
