/** How fast a model was over time, and how long its requests took and waited. */

import { ask, clockIsTold, toLocal, toServer } from "../../api.js";
import { count, duration, speed } from "../../format.js";
import { onRows } from "../../live.js";
import { plot } from "../../parts/plot.js";
import { place, to } from "../../router.js";
import { cleanup, effect, h, signal } from "../../view.js";

const SPANS = {
  hour: { words: "An hour", ms: 3_600_000, bucket: "1m" },
  day: { words: "A day", ms: 86_400_000, bucket: "15m" },
  week: { words: "A week", ms: 604_800_000, bucket: "2h" },
};
const PAUSE = 3000; // milliseconds from a new row to the next question

/** @typedef {{ points: any[], from: number, to: number, stats: any, trouble: string }} Told */

/** @param {import("../../view.js").Signal<import("./catalog.js").Entry>} entry */
export function speedTab(entry) {
  const { id } = entry.value;
  const told = signal(/** @type {Told} */ ({ points: [], from: 0, to: 0, stats: null, trouble: "" }));
  const chosen = () => {
    const name = place.value.query.get("span") ?? "hour";
    return name in SPANS ? /** @type {keyof typeof SPANS} */ (name) : "hour";
  };
  keepUp(id, chosen, told);
  const some = () => told.value.points.some((point) => point.requests > 0);
  /** @param {string} label @param {(value: number) => string} format @param {Record<string, (point: any) => number | null>} lines @param {boolean} [bars] */
  const figures = (label, format, lines, bars = false) =>
    plot({
      label,
      bars,
      format,
      from: () => told.value.from,
      to: () => told.value.to,
      series: () =>
        Object.entries(lines).map(([name, value]) => ({
          name,
          points: told.value.points.map((point) => [toLocal(point.start), value(point)]),
        })),
    });
  const choices = Object.entries(SPANS).map(([name, { words }]) =>
    h(
      "a",
      {
        href: to("models", id, { tab: "speed", span: name === "hour" ? null : name }),
        "aria-current": () => (chosen() === name ? "true" : null),
      },
      words,
    ),
  );
  return h(
    "section",
    null,
    h("h2", null, "Speed over time", h("span.row", null, choices)),
    h("p.fail", { role: "alert" }, () => told.value.trouble),
    summary(told),
    h(
      "div.model-plots",
      { hidden: () => !some() },
      figures("Tokens a second", rate, { answer: (point) => point.tokens_per_second }),
      figures("Prompt, tokens a second", rate, { prompt: (point) => point.prompt_per_second }),
      figures("Time", duration, {
        "to the first token": (point) => point.first_token_ms,
        "in the queue": (point) => point.queue_ms,
        loading: (point) => point.load_ms,
      }),
      figures("Requests", count, { requests: (point) => point.requests }, true),
    ),
    h("p.soft", { hidden: some }, "It served no request in this time."),
  );
}

/** Tokens a second, short enough for an axis. @param {number} value */
const rate = (value) => (value >= 10_000 ? `${count(value / 1000)} k` : value > 0 ? speed(value) : "0");

/** Of all its requests that are kept. @param {import("../../view.js").Signal<Told>} told */
function summary(told) {
  const stats = () => told.value.stats;
  /** @param {string} name @param {() => import("../../view.js").Child} value */
  const figure = (name, value) => h("div", null, h("dt", null, name), h("dd", null, value));
  /** @param {unknown} value */
  const perSecond = (value) => [speed(value), h("small", null, "tok/s")];
  return h(
    "dl.model-figures",
    { hidden: () => !stats()?.total_requests },
    figure("Requests", () => count(stats()?.total_requests)),
    figure("Tokens answered", () => count(stats()?.total_output_tokens)),
    figure("Median", () => perSecond(stats()?.gen_histogram?.p50)),
    figure("Slowest", () => perSecond(stats()?.gen_histogram?.min)),
    figure("Fastest", () => perSecond(stats()?.gen_histogram?.max)),
  );
}

/** Ask at once, and again when there are new rows. @param {string} id @param {() => keyof typeof SPANS} chosen @param {import("../../view.js").Signal<Told>} told */
function keepUp(id, chosen, told) {
  let ended = false;
  /** @type {number | undefined} */
  let timer;
  const read = async () => {
    timer = undefined;
    await clockIsTold;
    const span = SPANS[chosen()];
    const now = Date.now();
    const query = { model: id, bucket: span.bucket, start: toServer(now - span.ms) };
    try {
      const [series, stats] = await Promise.all([
        ask("api/metrics/series", { query }),
        ask("api/metrics/stats", { query: { model: id } }),
      ]);
      if (!ended) told.value = { points: series.data, from: now - span.ms, to: now, stats, trouble: "" };
    } catch (error) {
      if (!ended) told.value = { ...told.now, trouble: /** @type {Error} */ (error).message };
    }
  };
  effect(() => {
    chosen();
    queueMicrotask(read);
  });
  onRows(() => (timer ??= setTimeout(read, PAUSE)));
  cleanup(() => {
    ended = true;
    clearTimeout(timer);
  });
}
