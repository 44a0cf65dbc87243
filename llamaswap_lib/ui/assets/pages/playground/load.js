/** Load test: how a server fares under many requests, as a time line and as figures. */

import { count, duration, several, speed, UNKNOWN } from "../../format.js";
import { models } from "../../live.js";
import { notify } from "../../parts/notices.js";
import { cleanup, effect, h, signal } from "../../view.js";
import { usual } from "../../parts/fitting.js";
import { area, choice, line, numberOf } from "./fields.js";
import { timeLine } from "./load_lines.js";
import { LoadRun, percentile, totals } from "./load_run.js";
import { picker } from "./picker.js";

const MOST_REQUESTS = 1000;
/** A browser opens six connections to a server by HTTP/1.1, and one is that of the events; by HTTP/2 there are many. */
const MOST_AT_ONCE = /h[23]/.test(protocol()) ? 64 : 5;
const REDRAW = 250; // milliseconds

const mix = signal(/** @type {{ key: number, name: import("../../view.js").Signal<string> }[]} */ ([]));
const prompt = signal("Write a short poem about waiting.");
const requests = signal("20");
const parallel = signal("4");
const most = signal("64");
const order = signal("turns");
const current = signal(/** @type {LoadRun | null} */ (null));
let lastKey = 0;

export const isBusy = () => Boolean(current.value?.isRunning.value);

function protocol() {
  const entry = /** @type {PerformanceNavigationTiming | undefined} */ (performance.getEntriesByType("navigation")[0]);
  return entry?.nextHopProtocol ?? "";
}

/** @param {string} name */
const add = (name) => (mix.value = [...mix.now, { key: (lastKey += 1), name: signal(name) }]);

/** @param {number} at @param {number} to */
function move(at, to) {
  const next = [...mix.now];
  next.splice(to, 0, ...next.splice(at, 1));
  mix.value = next;
}

function run() {
  if (isBusy()) return;
  const names = mix.now.map(({ name }) => name.now).filter(Boolean);
  const wanted = Math.min(MOST_REQUESTS, Math.max(1, Math.round(numberOf(requests.now) ?? 1)));
  const atOnce = Math.min(MOST_AT_ONCE, Math.max(1, Math.round(numberOf(parallel.now) ?? 1)));
  if (!names.length) return void notify("Choose a model first", "fail");
  const options = { max_tokens: numberOf(most.now) };
  const made = new LoadRun({
    models: names,
    order: order.now,
    prompt: prompt.now,
    requests: wanted,
    parallel: atOnce,
    options,
  });
  current.value = made;
  void made.run();
}

/** @param {import("../../view.js").Signal<import("../../router.js").Place>} place */
export function show(place) {
  effect(() => {
    if (!mix.now.length && models.value.length) add(place.now.query.get("model") ?? usual("chat"));
  });
  return h(
    "div.form-and-outcome",
    null,
    h(
      "form.form",
      {
        onsubmit: (/** @type {Event} */ event) => (event.preventDefault(), run()),
        onkeydown: (/** @type {KeyboardEvent} */ event) => event.key === "Escape" && current.now?.stop(),
      },
      h("h2", { id: "mix" }, "Models"),
      h("ol.mix", { "aria-labelledby": "mix" }, () => mix.value.map(({ name, key }, index) => entry(name, key, index))),
      h("div.row", null, h("button.small", { type: "button", onclick: () => add(usual("chat")) }, "Add a model")),
      area("Prompt", prompt, { rows: 2, required: true }),
      h(
        "div.fields",
        null,
        line("Requests", requests, { type: "number", min: "1", max: String(MOST_REQUESTS), required: true }),
        line("At once", parallel, { type: "number", min: "1", max: String(MOST_AT_ONCE), required: true }),
        line("Max tokens", most, { type: "number", min: "1" }),
        choice("Order", order, ["turns", "blocks"], (name) =>
          name === "turns" ? "models in turn" : "one model after the other",
        ),
      ),
      MOST_AT_ONCE < 10
        ? h(
            "p.faint",
            null,
            `At most ${MOST_AT_ONCE} at once: a browser opens no more connections to one server without HTTP/2.`,
          )
        : null,
      h(
        "div.row",
        null,
        h("button.primary", { type: "submit", hidden: isBusy }, "Start"),
        h("button", { type: "button", hidden: () => !isBusy(), onclick: () => current.now?.stop() }, "Stop"),
      ),
    ),
    () => (current.value ? outcome(current.value) : null),
  );
}

/** @param {import("../../view.js").Signal<string>} name @param {number} key @param {number} index */
function entry(name, key, index) {
  const last = mix.now.length - 1;
  return h(
    "li",
    null,
    picker(name, "chat", { label: `Model ${index + 1}` }),
    h(
      "button.quiet",
      {
        type: "button",
        "aria-label": `Model ${index + 1} earlier`,
        disabled: index === 0,
        onclick: () => move(index, index - 1),
      },
      "↑",
    ),
    h(
      "button.quiet",
      {
        type: "button",
        "aria-label": `Model ${index + 1} later`,
        disabled: index === last,
        onclick: () => move(index, index + 1),
      },
      "↓",
    ),
    h(
      "button.quiet",
      {
        type: "button",
        "aria-label": `Leave model ${index + 1} out`,
        disabled: last === 0,
        onclick: () => (mix.value = mix.now.filter((each) => each.key !== key)),
      },
      "✕",
    ),
  );
}

/** @param {LoadRun} made */
function outcome(made) {
  const tick = signal(0);
  const timer = setInterval(() => made.isRunning.now && (tick.value += 1), REDRAW);
  cleanup(() => clearInterval(timer));
  /** @param {() => import("../../view.js").Child} make drawn anew some times a second while it runs */
  const live = (make) => () => {
    tick.value;
    made.isRunning.value;
    return make();
  };
  return h(
    "div.stack.load-outcome",
    null,
    live(() => figures(made)),
    timeLine(made, tick),
    live(() => byModel(made)),
    live(() => errors(made)),
  );
}

/** @param {LoadRun} made */
function figures(made) {
  const all = totals(made.rows.now, made.elapsed());
  /** @param {string} name @param {string} value */
  const fact = (name, value) => h("div", null, h("dt", null, name), h("dd", null, value));
  return h(
    "dl.load-totals",
    { "aria-label": "Totals" },
    fact("Done", `${count(all.ended)} of ${count(made.names.length)}`),
    fact("Time", duration(made.elapsed())),
    fact("Requests/s", all.good ? speed(all.perSecond) : UNKNOWN),
    fact("Tokens/s", all.good ? speed(all.tokensPerSecond) : UNKNOWN),
    fact("First token p50", duration(percentile(all.firsts, 0.5))),
    fact("First token p95", duration(percentile(all.firsts, 0.95))),
    all.failed ? fact("Failed", count(all.failed)) : null,
  );
}

/** @param {LoadRun} made */
function byModel(made) {
  const names = [...new Set(made.names)];
  /** @param {number[]} values @param {(value: unknown) => string} format */
  const pair = (values, format) =>
    h("td.n", null, `${format(percentile(values, 0.5))} · ${format(percentile(values, 0.95))}`);
  return h(
    "div.scroll-x",
    { tabindex: "0", role: "region", "aria-label": "Figures by model" },
    h(
      "table",
      null,
      h("caption", null, "By model; of two figures the first is the median, the second the 95th percentile"),
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          h("th", { scope: "col" }, "Model"),
          ["Requests", "Failed", "Waits and loads", "First token", "Whole", "Tokens/s of one"].map((name) =>
            h("th.n", { scope: "col" }, name),
          ),
        ),
      ),
      h(
        "tbody",
        null,
        names.map((name) => {
          const all = totals(
            made.rows.now.filter(({ model }) => model === name),
            made.elapsed(),
          );
          return h(
            "tr",
            null,
            h("td", null, h("bdi", null, name)),
            h("td.n", null, count(all.ended)),
            h("td.n", null, all.failed ? h("span.fail", null, count(all.failed)) : "0"),
            pair(all.waits, duration),
            pair(all.firsts, duration),
            pair(all.whole, duration),
            pair(all.speeds, speed),
          );
        }),
      ),
    ),
  );
}

/** What went wrong, each once. @param {LoadRun} made */
function errors(made) {
  /** @type {Map<string, number>} */
  const seen = new Map();
  for (const { answer } of made.rows.now) {
    if (answer.state.now !== "failed") continue;
    const message = `${answer.status > 200 ? `${answer.status} ` : ""}${answer.error.now.slice(0, 300)}`;
    seen.set(message, (seen.get(message) ?? 0) + 1);
  }
  if (!seen.size) return null;
  return h(
    "div.problem",
    { role: "alert" },
    [...seen]
      .slice(0, 5)
      .map(([message, times]) => h("p", null, `${several(times, "request")}: `, h("bdi", null, message))),
  );
}
