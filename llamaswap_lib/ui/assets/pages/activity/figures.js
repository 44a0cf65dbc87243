/** What the listed requests add up to: totals, how fast they were, and all of it over time. */

import { ask, clockIsTold, toLocal, toServer } from "../../api.js";
import { count, duration, shortCount, speed, UNKNOWN } from "../../format.js";
import { onRows } from "../../live.js";
import { plot } from "../../parts/plot.js";
import { visible } from "../../parts/odd_text.js";
import { place, setQuery } from "../../router.js";
import { cleanup, effect, h, signal } from "../../view.js";
import { filterOf, forServer } from "./query.js";

const PAUSE = 5_000; // milliseconds between two questions
const MANY = 10; // times as long as the last answer took

/** @typedef {Record<string, any> & { start: string }} Point of `/api/metrics/series` */
/** @typedef {{ bins: number[], min: number, max: number, binSize: number, p50: number, p95: number, p99: number }} Histogram */

/** The figures of the filters, read again when a request has ended. */
class Figures {
  constructor() {
    this.points = signal(/** @type {Point[] | null} */ (null));
    this.from = Date.now() - 1;
    this.to = Date.now();
    this.stats = signal(/** @type {any} */ (null));
    /** @type {number | undefined} */
    this.timer = undefined;
    this.edition = 0;
    this.took = 0;
    onRows(() => (this.timer ??= setTimeout(() => this.read(), Math.max(PAUSE, this.took * MANY))));
    cleanup(() => clearTimeout(this.timer));
    cleanup(() => (this.edition += 1));
  }

  async read() {
    clearTimeout(this.timer);
    this.timer = undefined;
    const edition = (this.edition += 1);
    await clockIsTold;
    const begun = Date.now();
    const filter = forServer(filterOf(place.value.query));
    try {
      const start = filter.start?.[0] ?? (await oldest(filter));
      const [stats, series] = await Promise.all([
        ask("api/metrics/stats", { query: { model: theModel(filter) } }),
        ask("api/metrics/series", { query: { ...filter, start } }),
      ]);
      if (edition !== this.edition) return;
      this.from = Math.min(toLocal(start), begun - 60_000);
      this.to = filter.end?.[0] ? toLocal(filter.end[0]) : Date.now();
      this.stats.value = stats;
      this.points.value = series.data;
    } catch {
      // what was there is shown; the table says what is wrong
    }
    this.took = Date.now() - begun;
  }
}

/** The model of the filters, where they name just one. @param {import("./query.js").Filter} filter */
const theModel = (filter) => (filter.model?.length === 1 ? filter.model[0] : "");

/** When the first of the rows was. @param {import("./query.js").Filter} filter */
async function oldest(filter) {
  const { data } = await ask("api/metrics/activity", { query: { ...filter, order: "asc", limit: 1 } });
  return toServer(data[0] ? toLocal(data[0].timestamp) - 1 : Date.now() - 60_000); // it was rounded
}

/** @param {import("./rows.js").Rows} rows */
export function figures(rows) {
  const found = new Figures();
  const filter = () => filterOf(place.value.query);
  let before = "";
  effect(() => {
    const now = JSON.stringify(filter());
    if (now !== before) void found.read();
    before = now;
  });
  const isOpen = () => place.value.query.get("figures") === "1";
  /** @param {string} name */
  const sum = (name) => found.points.value?.reduce((total, point) => total + point[name], 0) ?? null;
  const failed = () => sum("errors");
  return h(
    "section.request-figures",
    { "aria-label": "Totals" },
    h(
      "div.request-totals",
      null,
      h(
        "div",
        null,
        h(
          "dl.sums",
          null,
          total(
            "Requests",
            () => rows.total.value,
            () => (failed() ? `${count(failed())} failed` : ""),
          ),
          total(
            "Processed",
            () => sum("input_tokens"),
            () => "tokens",
          ),
          total(
            "Cached",
            () => sum("cache_tokens"),
            () => "tokens",
          ),
          total(
            "Generated",
            () => sum("output_tokens"),
            () => "tokens",
          ),
        ),
        h("p.soft.small", null, () => scopeOf(filter())),
      ),
      histogram("Prompt speed", () => found.stats.value?.prompt_histogram),
      histogram("Generation speed", () => found.stats.value?.gen_histogram),
      h(
        "button.small",
        {
          type: "button",
          "aria-expanded": () => String(isOpen()),
          onclick: () => setQuery({ figures: isOpen() ? "" : "1" }),
        },
        "Over time",
      ),
    ),
    () => (isOpen() ? overTime(found) : null),
  );
}

/** What the speeds are of, where that is not what the totals are of. @param {import("./query.js").Filter} filter */
function scopeOf(filter) {
  const model = theModel(filter);
  const others = Object.keys(filter).filter((name) => name !== "model" || !model);
  if (!others.length) return "";
  return model
    ? `The totals are of what is filtered, the speeds of all requests to ${visible(model)}.`
    : "The totals are of what is filtered, the speeds of all requests.";
}

/** @param {string} name @param {() => number | null} value @param {() => string} note */
const total = (name, value, note) =>
  h(
    "div",
    null,
    h("dt", null, name),
    h(
      "dd",
      null,
      h("span", { title: () => count(value()) }, () => shortCount(value())),
      h("small.soft", null, note),
    ),
  );

/** @param {string} title @param {() => Histogram | null | undefined} found */
function histogram(title, found) {
  return h(
    "figure.histogram",
    null,
    h("figcaption", null, h("span", null, title), h("small.soft", null, " tokens/s")),
    () => {
      const data = found();
      if (!data) return h("p.faint", null, UNKNOWN);
      const most = Math.max(...data.bins);
      /** @param {number} index */
      const range = (index) => {
        const low = data.min + index * data.binSize;
        return `${speed(low)} to ${speed(low + data.binSize)}: ${count(data.bins[index])}`;
      };
      const label = `${title}: half are above ${speed(data.p50)}, 5 % above ${speed(data.p95)} tokens a second`;
      return [
        h(
          "div.bars",
          { role: "img", "aria-label": label },
          data.bins.map((bin, index) =>
            h("i", { title: range(index), style: { height: `${bin ? Math.max(4, (100 * bin) / most) : 0}%` } }),
          ),
        ),
        h("p.soft.scale", null, h("span", null, speed(data.min)), h("span", null, speed(data.max))),
        h("p.soft.small", null, `median ${speed(data.p50)} · p95 ${speed(data.p95)} · p99 ${speed(data.p99)}`),
      ];
    },
  );
}

/** @param {Figures} found */
function overTime(found) {
  /** @param {string} name @param {string} key */
  const line = (name, key) => ({
    name,
    points: (found.points.value ?? []).map(
      (point) => /** @type {[number, number | null]} */ ([toLocal(point.start), point[key]]),
    ),
  });
  /** @param {string} label @param {[string, string][]} lines @param {(value: number) => string} format */
  const each = (label, lines, format) =>
    plot({
      label,
      series: () => lines.map(([name, key]) => line(name, key)),
      from: () => (found.points.value, found.from),
      to: () => (found.points.value, found.to),
      format,
    });
  return h(
    "div.over-time",
    null,
    each(
      "Requests",
      [
        ["all", "requests"],
        ["failed", "errors"],
      ],
      count,
    ),
    each(
      "Tokens",
      [
        ["processed", "input_tokens"],
        ["cached", "cache_tokens"],
        ["generated", "output_tokens"],
      ],
      short,
    ),
    each(
      "Speed, tokens a second",
      [
        ["prompt", "prompt_per_second"],
        ["generation", "tokens_per_second"],
      ],
      short,
    ),
    each(
      "Waits and durations, mean",
      [
        ["queue", "queue_ms"],
        ["load", "load_ms"],
        ["first token", "first_token_ms"],
        ["whole", "duration_ms"],
      ],
      duration,
    ),
  );
}

/** `12.3k` @param {number} value */
const short = (value) => compact.format(value);
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
