/** The filters: values with how many rows have each, text, durations, ids and times. All of them stand in the address. */

import { ask, clockIsTold } from "../../api.js";
import { count } from "../../format.js";
import { onRows } from "../../live.js";
import { openDialog } from "../../parts/dialog.js";
import { visible } from "../../parts/odd_text.js";
import { place, setQuery } from "../../router.js";
import { cleanup, computed, effect, h, keyed, signal } from "../../view.js";
import { clearFilters, filterOf, forServer, inWords, LISTS, SPANS, toggle } from "./query.js";

/** @typedef {{ value: string, count: number }} Value */

const FEW = 7; // values shown of each, at first
const PAUSE = 5_000; // milliseconds between two questions for the counts

const TITLES = { model: "Model", status: "Status", ended: "Ended", path: "Path", session: "Session", key: "Key" };
const SPAN_WORDS = {
  "15m": "15 minutes",
  "1h": "hour",
  "6h": "6 hours",
  "24h": "24 hours",
  "7d": "7 days",
  "30d": "30 days",
};

/** The values by parameter, each counted under the other filters: kept up to date while the page is shown. */
export function facets() {
  const found = signal(/** @type {Record<string, Value[]>} */ ({}));
  /** @type {number | undefined} */
  let timer;
  let asked = 0;
  const read = async () => {
    clearTimeout(timer);
    timer = undefined;
    const own = (asked += 1);
    await clockIsTold;
    try {
      const answer = await ask("api/metrics/facets", { query: forServer(filter()) });
      if (own !== asked) return; // other filters are there meanwhile
      found.value = Object.fromEntries(
        LISTS.map((name) => [
          name,
          answer[name].map((/** @type {any} */ each) => ({ value: String(each.value), count: each.count })),
        ]),
      );
    } catch {
      // what was there is shown
    }
  };
  onRows(() => (timer ??= setTimeout(read, PAUSE)));
  cleanup(() => clearTimeout(timer));
  const filters = computed(() => JSON.stringify(filter()));
  effect(() => {
    void filters.value;
    void read();
  });
  return { found, read };
}

const filter = () => filterOf(place.value.query);

/** The panel. @param {import("../../view.js").Signal<Record<string, Value[]>>} found */
export function filterPanel(found) {
  return h(
    "div.filters",
    null,
    times(),
    Object.entries(TITLES).map(([name, title]) => group(name, title, () => found.value[name] ?? [])),
    h(
      "fieldset",
      null,
      h("legend", null, "At least"),
      field("min_duration", "Duration", {
        placeholder: "500ms, 2s, 1m30s",
        pattern: "([0-9]+(\\.[0-9]+)?(ms|s|m|h|d))+",
      }),
    ),
    h(
      "fieldset",
      null,
      h("legend", null, "IDs"),
      h(
        "div.pair",
        null,
        field("min_id", "From", { inputmode: "numeric", pattern: "[1-9][0-9]*" }),
        field("max_id", "To", { inputmode: "numeric", pattern: "[1-9][0-9]*" }),
      ),
    ),
    h(
      "button.small",
      { type: "button", hidden: () => !Object.keys(filter()).length, onclick: clearFilters },
      "Show all requests",
    ),
  );
}

/** @param {import("../../view.js").Signal<Record<string, Value[]>>} found */
export const openFilters = (found) => openDialog("Filters", () => filterPanel(found), { kind: "sheet" });

/** One filter of several values. @param {string} name @param {string} title @param {() => Value[]} values */
function group(name, title, values) {
  const all = signal(false);
  const picked = () => filter()[name] ?? [];
  const listed = () => {
    const known = values().filter(({ value }) => value !== "");
    const missing = picked().filter((value) => !known.some((each) => each.value === value));
    const whole = [...missing.map((value) => ({ value, count: -1 })), ...known];
    return all.value ? whole : whole.filter(({ value }, index) => index < FEW || picked().includes(value));
  };
  const more = () => values().length - FEW;
  return h(
    "fieldset",
    { hidden: () => listed().length === 0 },
    h("legend", null, title),
    keyed(
      h("div.values", null),
      listed,
      ({ value }) => value,
      (item) => {
        const { value } = item.value;
        return h(
          "label",
          { title: visible(value) },
          h("input", {
            type: "checkbox",
            checked: () => picked().includes(value),
            onchange: () => toggle(filter(), name, value),
          }),
          h("bdi", null, visible(name === "ended" ? value.replaceAll("_", " ") : value)),
          h("span.soft.n", null, () => count(item.value.count)),
        );
      },
    ),
    h(
      "button.quiet.small",
      { type: "button", hidden: () => more() <= 0, onclick: () => (all.value = !all.value) },
      () => (all.value ? "Fewer" : `${more()} more`),
    ),
  );
}

/** A field that writes into the address when it was left, or after Enter. @param {string} name @param {string} title @param {Record<string, any>} more */
function field(name, title, more) {
  const trouble = signal("");
  /** @param {Event} event */
  const onchange = (event) => {
    const input = /** @type {HTMLInputElement} */ (event.target);
    trouble.value = input.validity.valid ? "" : `as ${more.placeholder ?? "a whole number"}`;
    if (input.validity.valid) setQuery({ [name]: input.value.trim() });
  };
  const id = `filter-${name}-${(fields += 1)}`;
  return h(
    "div.field",
    null,
    h("label", { for: id }, title),
    h("input", { type: "text", id, autocomplete: "off", value: () => filter()[name]?.[0] ?? "", onchange, ...more }),
    h("small.fail", { role: "alert" }, () => trouble.value),
  );
}

let fields = 0;

function times() {
  const id = `since-${(fields += 1)}`;
  /** @param {"start" | "end"} name @param {string} title */
  const moment = (name, title) => {
    const own = `${id}-${name}`;
    return h(
      "div.field",
      null,
      h("label", { for: own }, title),
      h("input", {
        type: "datetime-local",
        id: own,
        value: () => local(filter()[name]?.[0]),
        /** @param {Event} event */
        onchange: (event) => {
          const { value } = /** @type {HTMLInputElement} */ (event.target);
          setQuery({ [name]: value ? new Date(value).toISOString() : "", since: "" });
        },
      }),
    );
  };
  return h(
    "fieldset",
    null,
    h("legend", null, "Time"),
    h(
      "select",
      {
        "aria-label": "Time",
        value: () => (filter().start || filter().end ? "own" : (filter().since?.[0] ?? "")),
        /** @param {Event} event */
        onchange: (event) => {
          const { value } = /** @type {HTMLSelectElement} */ (event.target);
          if (value === "own") setQuery({ since: "", start: new Date(Date.now() - 3_600_000).toISOString() });
          else setQuery({ since: value, start: "", end: "" });
        },
      },
      h("option", { value: "" }, "All times"),
      Object.keys(SPANS).map((span) =>
        h(
          "option",
          { value: span, selected: filter().since?.[0] === span },
          `The last ${/** @type {Record<string, string>} */ (SPAN_WORDS)[span]}`,
        ),
      ),
      h("option", { value: "own", selected: Boolean(filter().start || filter().end) }, "From … until …"),
    ),
    h("div.stack", { hidden: () => !filter().start && !filter().end }, moment("start", "From"), moment("end", "Until")),
  );
}

/** A moment as a field for times has it. @param {string | undefined} moment */
function local(moment) {
  const date = new Date(moment ?? "");
  if (Number.isNaN(date.getTime())) return "";
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

/** What is filtered by, each with a button that ends it. */
export function activeFilters() {
  const each = () => Object.entries(filter()).flatMap(([name, values]) => values.map((value) => ({ name, value })));
  /** @param {string} name @param {string} value */
  const end = (name, value) => {
    if (LISTS.some((list) => list === name)) toggle(filter(), name, value);
    else setQuery({ [name]: "" });
  };
  return keyed(
    h("div.active-filters", { hidden: () => each().length === 0 }),
    each,
    ({ name, value }) => `${name}=${value}`,
    (item) => {
      const { name, value } = item.value;
      const words = visible(
        inWords(name, name === "start" || name === "end" ? new Date(value).toLocaleString("en-GB") : value),
      );
      return h(
        "button.small.chip",
        { type: "button", "aria-label": `No more ${words}`, onclick: () => end(name, value) },
        h("bdi", null, words.length > 60 ? `${words.slice(0, 60)}…` : words),
        h("span", { "aria-hidden": "true" }, " ✕"),
      );
    },
  );
}
