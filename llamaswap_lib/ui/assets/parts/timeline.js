/**
 * The time line: each model a lane; loads, work, stops, and waits of requests above it. It follows the present until it is
 * dragged or zoomed. A click on a block, or Enter, opens its request, or its model.
 */

import { count, duration, exact, several, timeOfDay } from "../format.js";
import { models } from "../live.js";
import { go, to } from "../router.js";
import { computed, effect, cleanup, h, keyed, signal, svg } from "../view.js";
import { now } from "./clock.js";
import { changed, watchHistory } from "./history.js";
import { AXIS, LANE, drawAxis, drawLanes, lanesOf } from "./lanes.js";
import { shortcuts } from "./shortcuts.js";
import { BlockKeys } from "./timeline_keys.js";

/**
 * @typedef {import("./lanes.js").Hit} Hit
 * @typedef {import("./lanes.js").Lane} Lane
 * @typedef {{ span: import("../view.js").Signal<number>, until: import("../view.js").Signal<number | null> }} Range
 *   how much is seen, in milliseconds, and until when; null follows the present
 */

const [SHORTEST, LONGEST] = [5_000, 6_900_000];
export const TEN_MINUTES = 600_000;
const STILL = 5000; // milliseconds for which a pointer may rest
const CLICK = 4; // pixels that a pointer may move in a click

/** @returns {Range} */
export const newRange = (span = TEN_MINUTES) => ({
  span: signal(span),
  until: signal(/** @type {number | null} */ (null)),
});

/** Show more or less time; the moment at this share of the width stays where it is. @param {Range} range @param {number} factor @param {number} [share] */
export function zoom(range, factor, share = 1) {
  const before = range.span.now;
  const span = Math.min(LONGEST, Math.max(SHORTEST, before * factor));
  const end = range.until.now ?? Date.now();
  range.span.value = span;
  if (range.until.now !== null || share < 0.98) show(range, end + (span - before) * (1 - share));
}

/** Move by a share of the width; below 0 is into the past. @param {Range} range @param {number} share */
export const pan = (range, share) => show(range, (range.until.now ?? Date.now()) + share * range.span.now);

/** @param {Range} range @param {number} end */
function show(range, end) {
  const present = Date.now();
  range.until.value = end >= present - 300 ? null : Math.max(end, present - LONGEST);
}

/** Buttons for those who have neither wheel nor fingers. @param {Range} range */
export function rangeButtons(range) {
  /** @param {string} label @param {string} text @param {() => void} onclick */
  const button = (label, text, onclick) => h("button.quiet", { type: "button", "aria-label": label, onclick }, text);
  return h(
    "span.range",
    null,
    h(
      "button.quiet",
      { type: "button", hidden: () => range.until.value === null, onclick: () => (range.until.value = null) },
      "Now",
    ),
    button("Zoom out", "−", () => zoom(range, 2)),
    h("span", { "aria-live": "polite" }, () => duration(Math.round(range.span.value / 1000) * 1000)),
    button("Zoom in", "+", () => zoom(range, 0.5)),
  );
}

/**
 * @param {Range} range @param {{ most?: number, only?: string, isHeld?: { value: boolean } }} [options] `most`: lanes that are drawn, those with the
 *   latest events; `only`: the one of this model; `isHeld`: no lane comes or goes
 */
export function timeline(range, { most = 40, only = "", isHeld = { value: false } } = {}) {
  watchHistory();
  const width = signal(0);
  const stopped = signal(/** @type {number | null} */ (null)); // when a pointer came: what it points at stays there
  const view = () => {
    const end = range.until.value ?? stopped.value ?? now.value;
    return { from: end - range.span.value, to: end, now: now.value, width: width.value };
  };
  const all = computed(() => {
    changed.value;
    return lanesOf(view()).filter((lane) => !only || lane.model === only);
  });
  /** @type {Lane[]} */
  let before = [];
  const lanes = computed(() => {
    const latest = [...all.value].sort((one, other) => other.latest - one.latest).slice(0, most);
    const shown = all.value.filter((lane) => latest.includes(lane));
    if (!isHeld.value) return (before = shown);
    return before.map((lane) => all.value.find(({ model }) => model === lane.model) ?? lane);
  });
  const tip = h("div.tip", { hidden: true, role: "presentation" });
  const picture = svg("svg", { "aria-hidden": "true" });
  const chart = h(
    "div.chart",
    {
      tabindex: "0",
      role: "application",
      style: () => ({ height: `${lanes.value.length * LANE + AXIS}px` }),
      "aria-label": () => describe(lanes.value, range.span.value),
    },
    picture,
    tip,
  );
  const keys = new BlockKeys(chart, { open: (hit) => open(hit, range), pan: (share) => pan(range, share), words });
  shortcuts({ keys: "b", what: "Choose a block of the time line", run: () => keys.begin() });
  const resized = new ResizeObserver(() => (width.value = Math.floor(chart.clientWidth)));
  resized.observe(chart);
  cleanup(() => resized.disconnect());
  effect(() => {
    const seen = view();
    if (!seen.width) return;
    const height = lanes.value.length * LANE + AXIS;
    /** @type {Hit[]} */
    const hits = [];
    for (const [name, value] of Object.entries({ width: seen.width, height, viewBox: `0 0 ${seen.width} ${height}` })) {
      picture.setAttribute(name, String(value));
    }
    picture.replaceChildren(drawAxis(seen, lanes.value.length), ...drawLanes(lanes.value, seen, hits));
    keys.hits = hits;
    const wasChosen = !tip.hidden && tip.classList.contains("chosen");
    const mark = keys.chosen.value && keys.mark();
    if (mark) picture.append(mark);
    if (mark || wasChosen) showTip(tip, chart, null, mark && keys.found());
  });
  /** @param {PointerEvent | MouseEvent} event */
  const find = (event) => hitAt(keys.hits, event, chart);
  stopUnder(chart, stopped);
  listen(chart, range, find, (event) => showTip(tip, chart, event, event && find(event)));
  return h(
    "div.timeline",
    null,
    h(
      "div.picture",
      {
        class: only ? "alone" : "",
        hidden: () => lanes.value.length === 0,
      },
      only ? null : names(lanes),
      chart,
    ),
    keys.told,
    h("p.soft", { hidden: () => lanes.value.length > 0 }, "Nothing was loaded or asked in this time."),
    h(
      "p.soft.more",
      { hidden: () => all.value.length <= most },
      () => `${all.value.length - most} more on the page `,
      h("a", { href: to("queue") }, "Queue"),
    ),
  );
}

/** @param {import("../view.js").Signal<Lane[]>} lanes */
function names(lanes) {
  return keyed(
    h("div.names"),
    () => lanes.value,
    (lane) => lane.model,
    (lane) =>
      h("a", { href: to("models", lane.value.model), title: lane.value.model }, h("bdi", null, lane.value.model)),
  );
}

/** @param {Lane[]} lanes @param {number} span */
function describe(lanes, span) {
  const busy = lanes.filter((lane) => lane.tasks.length).length;
  const what = `${several(lanes.length, "model")}, ${busy} with requests`;
  return `Time line of the last ${duration(span)}: ${what}. Plus and minus zoom, left and right move, up and down choose a block, 0 shows the present.`;
}

/** What is under a pointer; requests before what is behind them. @param {Hit[]} hits @param {MouseEvent} event @param {Element} chart */
function hitAt(hits, event, chart) {
  const box = chart.getBoundingClientRect();
  const [x, y] = [event.clientX - box.left, event.clientY - box.top];
  const near = hits.filter((hit) => x >= hit.x0 - 2 && x <= hit.x1 + 2 && y >= hit.y0 - 1 && y <= hit.y1 + 1);
  return near.find((hit) => hit.tasks.length) ?? near[0] ?? null;
}

/** Without an event it belongs to the block that is chosen by keys. @param {HTMLElement} tip @param {Element} chart @param {MouseEvent | null} event @param {Hit | null} hit */
function showTip(tip, chart, event, hit) {
  tip.hidden = !hit;
  tip.classList.toggle("chosen", !event);
  if (!hit) return;
  tip.replaceChildren(...words(hit).map((line) => h("div", null, h("bdi", null, line))));
  const box = chart.getBoundingClientRect();
  const x = event ? event.clientX - box.left + 12 : hit.x0;
  const left = Math.min(Math.max(0, x), Math.max(0, box.width - tip.offsetWidth));
  tip.style.setProperty("left", `${left}px`);
  tip.style.setProperty("top", `${hit.y1 + 8}px`);
}

/** @param {Hit} hit */
function words({ model, tasks, phase }) {
  const name = model.slice(0, 60);
  const only = tasks.length === 1 ? tasks[0] : null;
  if (only) {
    const start = only.start ?? only.from;
    const took = duration((only.to ?? Date.now()) - start);
    const waited = start - only.from >= 20 ? `waited ${duration(start - only.from)}` : "";
    const how =
      only.to === null
        ? "in progress"
        : only.ended && only.ended !== "complete"
          ? only.ended.replaceAll("_", " ")
          : only.status || "";
    return [
      name,
      [only.path.slice(0, 60), how].filter(Boolean).join(" · "),
      [timeOfDay(only.from), took, waited].filter(Boolean).join(" · "),
    ];
  }
  if (tasks.length) return [name, `${count(tasks.length)} requests`, "click to zoom in"];
  if (!phase) return [name];
  const kind = { load: "loading", ready: "loaded", stop: "stopping" }[phase.kind];
  return [
    name,
    phase.failed ? "could not be loaded" : kind,
    `${timeOfDay(phase.from)} · ${duration((phase.to ?? Date.now()) - phase.from)}`,
  ];
}

/** @param {Hit} hit @param {Range} range */
function open({ tasks, phase, model }, range) {
  const [first, last] = [tasks[0], tasks.at(-1)];
  if (!first || !last) {
    if (phase) go(to("models", model));
  } else if (first === last) go(first.row === null ? to("queue") : to("activity", "", { row: first.row }));
  else {
    const from = first.start ?? first.from;
    const end = Math.max(...tasks.map((task) => task.to ?? Date.now()));
    const span = Math.max(SHORTEST, (end - from) * 1.5);
    if (span > range.span.now * 0.7) go(to("activity", "", { model, row: last.row }));
    else {
      range.span.value = span;
      show(range, (from + end) / 2 + span / 2);
    }
  }
}

/** Set `stopped` while a mouse moves over it. @param {HTMLElement} chart @param {import("../view.js").Signal<number | null>} stopped */
function stopUnder(chart, stopped) {
  /** @type {number | undefined} */
  let timer;
  const goOn = () => {
    clearTimeout(timer);
    stopped.value = null;
  };
  chart.addEventListener("pointermove", (event) => {
    if (event.pointerType !== "mouse") return;
    clearTimeout(timer);
    timer = setTimeout(goOn, STILL);
    stopped.value ??= Date.now();
  });
  chart.addEventListener("pointerleave", goOn);
  cleanup(goOn);
}

/** Wheel with Ctrl and two fingers zoom, dragging moves, a click opens. @param {HTMLElement} chart @param {Range} range @param {(event: MouseEvent) => Hit | null} find @param {(event: MouseEvent | null) => void} point */
function listen(chart, range, find, point) {
  /** @type {Map<number, number>} */
  const fingers = new Map();
  let moved = 0;
  const widthOf = () => Math.max(1, chart.clientWidth);
  chart.addEventListener(
    "wheel",
    (event) => {
      const sideways = event.shiftKey ? event.deltaY : event.deltaX;
      if (event.ctrlKey) {
        const box = chart.getBoundingClientRect();
        zoom(range, Math.exp(Math.max(-60, Math.min(60, event.deltaY)) / 100), (event.clientX - box.left) / widthOf());
      } else if (Math.abs(sideways) > Math.abs(event.shiftKey ? 0 : event.deltaY)) pan(range, sideways / widthOf());
      else return;
      event.preventDefault();
    },
    { passive: false },
  );
  chart.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    if (!fingers.size) moved = 0;
    fingers.set(event.pointerId, event.clientX);
    chart.setPointerCapture(event.pointerId);
  });
  chart.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (before === undefined) return point(event);
    const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
    if (other !== undefined) {
      const [was, is] = [Math.abs(before - other), Math.abs(event.clientX - other)];
      if (was > 8 && is > 8) zoom(range, was / is, (other - chart.getBoundingClientRect().left) / widthOf());
      moved = Infinity;
    } else if (fingers.size === 1) {
      moved += Math.abs(event.clientX - before);
      if (moved > CLICK) pan(range, (before - event.clientX) / widthOf());
    }
    fingers.set(event.pointerId, event.clientX);
    point(null);
  });
  chart.addEventListener("pointerup", (event) => {
    const hit = fingers.delete(event.pointerId) && moved <= CLICK ? find(event) : null;
    if (hit) open(hit, range);
  });
  chart.addEventListener("pointercancel", (event) => fingers.delete(event.pointerId));
  chart.addEventListener("pointerleave", () => point(null));
  chart.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const run = /** @type {Record<string, () => void>} */ ({
      "+": () => zoom(range, 0.5),
      "=": () => zoom(range, 0.5),
      "-": () => zoom(range, 2),
      ArrowLeft: () => pan(range, -0.2),
      ArrowRight: () => pan(range, 0.2),
      0: () => (range.until.value = null),
    })[event.key];
    if (!run) return;
    event.preventDefault();
    event.stopPropagation();
    run();
  });
}

/** The same as a table, for those who cannot see it. @param {Range} range */
export function timetable(range) {
  const isOpen = signal(false);
  const rows = () => {
    if (!isOpen.value) return [];
    changed.value;
    models.value;
    const end = range.until.value ?? now.value;
    return lanesOf({ from: end - range.span.value, to: end, now: now.value, width: 0 });
  };
  /** @param {Lane} lane */
  const cells = ({ tasks, phases, model }) => {
    const loads = phases.filter((phase) => phase.kind === "load");
    const work = tasks.reduce((sum, task) => sum + (task.start === null ? 0 : (task.to ?? Date.now()) - task.start), 0);
    const waited = tasks.reduce((sum, task) => sum + Math.max(0, (task.start ?? task.to ?? Date.now()) - task.from), 0);
    const failed = loads.filter((phase) => phase.failed).length;
    const last = tasks.at(-1);
    return [
      h("td", null, h("a", { href: to("models", model) }, h("bdi", null, model))),
      h("td.n", null, failed ? `${loads.length}, ${failed} failed` : count(loads.length)),
      h("td.n", null, count(tasks.length)),
      h("td.n", null, work ? duration(work) : "–"),
      h("td.n", null, waited >= 20 ? duration(waited) : "–"),
      h("td.n.hide-narrow", null, last ? h("time", { title: exact(last.from) }, timeOfDay(last.from)) : "–"),
    ];
  };
  const head = ["Model", "Loads", "Requests", "At work", "Waited", "Last request"];
  return h(
    "details.timetable",
    {
      ontoggle: (/** @type {Event} */ event) => (isOpen.value = /** @type {HTMLDetailsElement} */ (event.target).open),
    },
    h("summary", null, "As a table"),
    h(
      "table",
      null,
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          head.map((text, index) =>
            h(`th${index ? ".n" : ""}${index === 5 ? ".hide-narrow" : ""}`, { scope: "col" }, text),
          ),
        ),
      ),
      keyed(
        h("tbody"),
        rows,
        (lane) => lane.model,
        (lane) => h("tr", null, () => cells(lane.value)),
      ),
    ),
  );
}
