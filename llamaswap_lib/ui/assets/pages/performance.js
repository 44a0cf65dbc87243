/** Performance: processor, memory, network and GPUs of the last hour; and the hardware. */

import { ask, askByClock, ApiError, clockIsTold, toLocal, toServer } from "../api.js";
import { bytes, count, percent } from "../format.js";
import { models as known, on, runs } from "../live.js";
import { now } from "../parts/clock.js";
import { empty } from "../parts/empty.js";
import { plot } from "../parts/plot.js";
import { shortcuts } from "../parts/shortcuts.js";
import { headWithTabs } from "../parts/tabs.js";
import { place, setQuery } from "../router.js";
import { cleanup, computed, effect, h, signal } from "../view.js";
import { hardware } from "./performance/hardware.js";

export const title = "Performance";

const SPANS = { "5m": "5 minutes", "15m": "15 minutes", "1h": "1 hour" };
const LENGTH = /** @type {Record<string, number>} */ ({ "5m": 300_000, "15m": 900_000, "1h": 3_600_000 });
const EVERY = 5000; // milliseconds between two questions
const SOON = 1500;
const KEPT = 3_700_000; // milliseconds of samples that are kept
const MB = 1e6;

/** @typedef {Record<string, any> & { at: number }} Sample */
/** @typedef {import("../parts/plot.js").Mark} Mark */

export function show() {
  return h(
    "div.page",
    null,
    headWithTabs(title, "performance", [
      ["", "Now"],
      ["hardware", "Hardware"],
    ]),
    () => (place.value.rest === "hardware" ? hardware() : figures()),
  );
}

function figures() {
  const system = signal(/** @type {Sample[]} */ ([]));
  const gpus = signal(/** @type {Sample[]} */ ([]));
  const models = signal(/** @type {{ at: number, taken: Map<string, number> }[]} */ ([]));
  const loads = signal(/** @type {Mark[]} */ ([]));
  const trouble = signal(/** @type {import("../view.js").Child} */ (null));
  const paused = signal(false);
  const edge = signal(Date.now());
  const span = () => place.value.query.get("span") ?? "15m";
  const from = () => edge.value - (LENGTH[span()] ?? 900_000);
  const to = () => edge.value;

  let after = "";
  const read = async () => {
    if (document.visibilityState !== "visible" || paused.now) return;
    try {
      const told = await askByClock("api/performance", { query: { after } });
      after = told.sys_stats.at(-1)?.timestamp ?? after;
      system.value = joined(system.now, told.sys_stats);
      gpus.value = joined(gpus.now, told.gpu_stats);
      trouble.value = null;
    } catch (error) {
      trouble.value = reason(error);
    }
  };
  const readLoads = async () => {
    await clockIsTold;
    const start = toServer(Date.now() - 3_600_000);
    const told = await ask("api/metrics/series", { query: { bucket: "10s", start } }).catch(() => ({ data: [] }));
    const before = told.data
      .filter((/** @type {any} */ bucket) => bucket.loads)
      .map((/** @type {any} */ bucket) => ({
        at: toLocal(bucket.start),
        text: `a model was loaded (${count(bucket.loads)} waited)`,
      }));
    loads.value = [...before, ...loads.now];
  };
  void read();
  void readLoads();
  const timer = setInterval(read, EVERY);
  const soon = setTimeout(() => system.now.length || read(), SOON); // a server that has just started has none yet
  cleanup(() => (clearInterval(timer), clearTimeout(soon)));
  noteLoads(loads);
  effect(() => {
    if (!paused.value) edge.value = now.value;
  });
  effect(() => {
    const taken = new Map([...runs.value].map(([name, run]) => [name, sum(run.memory ?? [], "bytes")]));
    models.value = [...models.now.filter(({ at }) => at > Date.now() - KEPT), { at: Date.now(), taken }];
  });
  shortcuts({ keys: "Space", what: "Pause, go on", run: () => (paused.value = !paused.now) });

  /** @param {string} label @param {() => import("../parts/plot.js").Series[]} series @param {Partial<import("../parts/plot.js").Options>} [more] */
  const figure = (label, series, more) => plot({ label, series, from, to, marks: () => loads.value, ...more });
  const cards = computed(() => [...new Map(gpus.value.map((row) => [row.id, row.name])).entries()]);
  return h(
    "div.page",
    null,
    h(
      "div.row",
      null,
      h(
        "div.row",
        { role: "group", "aria-label": "Time shown" },
        Object.entries(SPANS).map(([name, words]) =>
          h(
            "button.small",
            { type: "button", "aria-pressed": () => String(span() === name), onclick: () => setQuery({ span: name }) },
            words,
          ),
        ),
      ),
      h(
        "button.small",
        { type: "button", "aria-pressed": () => String(paused.value), onclick: () => (paused.value = !paused.now) },
        () => (paused.value ? "Go on" : "Pause"),
      ),
      h("span.soft", null, "A dashed line is the load of a model."),
    ),
    () => trouble.value,
    h(
      "div.plots",
      { hidden: () => trouble.value !== null },
      h(
        "section",
        null,
        figure("Processor", () => processor(system.value), { format: percent, most: () => 100 }),
      ),
      h(
        "section",
        null,
        figure("Memory", () => memory(system.value), {
          format: bytes,
          most: () => (system.value.at(-1)?.mem_total_mb ?? 0) * MB,
        }),
      ),
      h(
        "section",
        null,
        figure(
          "Load",
          () => [
            line("1 min", system.value, (row) => row.load_avg_1),
            line("15 min", system.value, (row) => row.load_avg_15),
          ],
          { format: tenths },
        ),
      ),
      h(
        "section",
        null,
        figure("Network", () => network(system.value), { format: (value) => `${bytes(value)}/s` }),
      ),
      () => cards.value.map(([id, name]) => h("section", null, gpu(id, name, gpus, figure))),
      h(
        "section",
        { hidden: () => runs.value.size === 0 },
        figure("Memory of each model", () => byModel(models.value), { format: bytes }),
      ),
    ),
  );
}

/** Each load when it begins; who made room for it is told when it has ended. @param {import("../view.js").Signal<Mark[]>} loads */
function noteLoads(loads) {
  /** @type {Map<string, Mark>} */
  const latest = new Map();
  /** @param {string} id @param {Mark} mark @param {Mark} [old] what it stands in the place of */
  const note = (id, mark, old) => {
    latest.set(id, mark);
    loads.value = [...loads.now.filter((each) => each !== old && each.at > Date.now() - KEPT), mark];
  };
  cleanup(
    on("swap", ({ to, from }) => {
      const old = latest.get(to);
      note(to, { at: old?.at ?? Date.now(), text: `${from.join(", ")} made room for ${to}` }, old);
    }),
  );
  /** @type {Set<string> | null} */
  let before = null;
  effect(() => {
    const loading = new Set(known.value.filter(({ state }) => state === "starting").map(({ id }) => id));
    for (const id of before ? loading : []) {
      if (!before?.has(id)) note(id, { at: Date.now(), text: `${id} was loaded` });
    }
    before = loading;
  });
}

/** @param {string} id @param {string} name @param {import("../view.js").Signal<Sample[]>} gpus @param {(label: string, series: () => import("../parts/plot.js").Series[], more?: any) => Element} figure */
function gpu(id, name, gpus, figure) {
  const own = () => gpus.value.filter((row) => row.id === id);
  const capacity = (gpus.now.find((row) => row.id === id)?.mem_total_mb ?? 0) * MB;
  return [
    h("h2", null, h("span", null, `GPU ${id}`), h("small", null, h("bdi", null, name))),
    figure("Use", () => [line("use", own(), (row) => row.gpu_util_pct)], { format: percent, most: () => 100 }),
    figure("Memory", () => [line("used", own(), (row) => scaled(row.mem_used_mb))], {
      format: bytes,
      most: () => capacity,
    }),
    figure(
      "Temperature",
      () =>
        [line("chip", own(), (row) => row.temp_c), line("memory", own(), (row) => row.vram_temp_c)].filter(hasValues),
      { format: (/** @type {number} */ value) => `${Math.round(value)} °C` },
    ),
    figure("Power", () => [line("draw", own(), (row) => row.power_draw_w)], {
      format: (/** @type {number} */ value) => `${Math.round(value)} W`,
    }),
  ];
}

/** @param {unknown} error */
function reason(error) {
  if (error instanceof ApiError && error.status === 503) {
    return empty(
      "Readings are off",
      "The configuration has ",
      h("code", null, "performance: {disabled: true}"),
      ". Remove that line to see the processor, the memory and the GPUs here.",
    );
  }
  return empty("There are no figures", error instanceof Error ? error.message : String(error));
}

/** Each sample of each GPU once: a slow server may be asked again before it has answered. @param {Sample[]} known @param {any[]} newer @returns {Sample[]} */
function joined(known, newer) {
  const oldest = Date.now() - KEPT;
  const all = known.filter(({ at }) => at > oldest);
  const newest = new Map(all.map(({ id, at }) => [id, at]));
  for (const row of newer) {
    const at = toLocal(row.timestamp);
    if (at <= (newest.get(row.id) ?? 0)) continue;
    newest.set(row.id, at);
    all.push({ ...row, at });
  }
  return all;
}

/** @param {string} name @param {Sample[]} rows @param {(row: Sample) => number | null} value @returns {import("../parts/plot.js").Series} */
const line = (name, rows, value) => ({ name, points: rows.map((row) => [row.at, value(row) ?? null]) });

/** @param {import("../parts/plot.js").Series} series */
const hasValues = ({ points }) => points.some(([, value]) => value !== null);

/** @param {Sample[]} rows */
function processor(rows) {
  const mean = line("all cores", rows, ({ cpu_util_per_core: cores }) =>
    cores.length ? sum(cores) / cores.length : null,
  );
  const busiest = line("the busiest core", rows, ({ cpu_util_per_core: cores }) =>
    cores.length ? Math.max(...cores) : null,
  );
  return [mean, busiest];
}

/** @param {Sample[]} rows */
function memory(rows) {
  const swap = line("swap", rows, (row) => (row.swap_total_mb ? scaled(row.swap_used_mb) : null));
  return [line("used", rows, (row) => scaled(row.mem_used_mb)), swap].filter(
    (each, index) => index === 0 || hasValues(each),
  );
}

/** Bytes a second between two samples, of all interfaces but the machine's own. @param {Sample[]} rows */
function network(rows) {
  /** @param {string} key */
  const rate = (key) => (/** @type {Sample} */ row, /** @type {number} */ index) => {
    const before = rows[index - 1];
    if (!before) return null;
    const outer = (/** @type {Sample} */ each) =>
      sum(
        each.net_io.filter((/** @type {any} */ one) => one.name !== "lo"),
        key,
      );
    const moved = outer(row) - outer(before);
    return moved < 0 ? null : (moved / (row.at - before.at)) * 1000;
  };
  return [
    ["received", "bytes_recv"],
    ["sent", "bytes_sent"],
  ].map(([name = "", key = ""]) => ({
    name,
    points: /** @type {[number, number | null][]} */ (rows.map((row, index) => [row.at, rate(key)(row, index)])),
  }));
}

/** @param {{ at: number, taken: Map<string, number> }[]} samples */
function byModel(samples) {
  const names = new Set(samples.flatMap(({ taken }) => [...taken.keys()]));
  return [...names].sort().map((name) => ({
    name,
    points: /** @type {[number, number | null][]} */ (samples.map(({ at, taken }) => [at, taken.get(name) || null])),
  }));
}

/** @param {any[]} rows @param {string} [key] */
const sum = (rows, key) => rows.reduce((total, row) => total + (key === undefined ? row : (row[key] ?? 0)), 0);

/** @param {number | null} megabytes */
const scaled = (megabytes) => (megabytes === null ? null : megabytes * MB);

/** @param {number} value */
const tenths = (value) => value.toFixed(1);
