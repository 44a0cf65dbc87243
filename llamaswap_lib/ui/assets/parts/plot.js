/**
 * Figures over time, drawn anew for the width there is.
 *
 * What is read off it: the legend has the value under the pointer, or the last one. Left and right move from point to
 * point where the plot has the focus.
 */

import { hourAndMinute, timeOfDay, exact, UNKNOWN } from "../format.js";
import { cleanup, computed, h, signal, svg } from "../view.js";

/**
 * @typedef {{ name: string, colour?: string, points: [number, number | null][] }} Series `points`: milliseconds since
 *   1970 and a value, null for unknown, the oldest first; `colour`: a CSS colour
 * @typedef {{ at: number, text: string }} Mark
 * @typedef {object} Options
 * @property {string} label what it shows, for those who do not see it
 * @property {() => Series[]} series
 * @property {() => number} from milliseconds since 1970
 * @property {() => number} to
 * @property {(value: number) => string} [format]
 * @property {() => Mark[]} [marks] moments with a line and a word
 * @property {number} [height] in pixels
 * @property {() => number} [most] the top of the scale, 0 for not known; else the highest value
 * @property {boolean} [bars] bars in the place of lines; for one series of buckets
 */

const LEFT = 54;
const BOTTOM = 20;
const TOP = 8;
const STEPS = [
  1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800,
];
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

/** The colour of the series with this number. @param {number} index */
export const seriesColour = (index) => `var(--series-${(index % 6) + 1})`;

/** @param {Options} options */
export function plot({ label, series, from, to, format = String, marks, height = 132, most, bars = false }) {
  const width = signal(0);
  const pointed = signal(/** @type {number | null} */ (null)); // a moment
  const area = h("div.plot-area");
  const watcher = new ResizeObserver(([entry]) => (width.value = Math.round(entry?.contentRect.width ?? 0)));
  watcher.observe(area);
  cleanup(() => watcher.disconnect());

  const scale = computed(() => {
    const all = series();
    const [first, last] = [from(), to()];
    const highest = Math.max(0, ...all.map((each) => highestOf(each.points, first, last)));
    const ticks = ticksOf(Math.max(highest, most?.() ?? 0));
    const top = most?.() || ticks.at(-1) || 1;
    return {
      first,
      last,
      ticks,
      x: (/** @type {number} */ at) => LEFT + ((at - first) / Math.max(1, last - first)) * (width.value - LEFT),
      y: (/** @type {number} */ value) => TOP + (1 - value / top) * (height - TOP - BOTTOM),
    };
  });

  /** @param {number} at */
  const moment = (at) => {
    const { first, last } = scale.value;
    const ratio = (at - LEFT) / Math.max(1, width.value - LEFT);
    pointed.value = first + Math.min(1, Math.max(0, ratio)) * (last - first);
  };
  /** @param {KeyboardEvent} event */
  const onkeydown = (event) => {
    const points = series()[0]?.points ?? [];
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || points.length === 0) return;
    event.preventDefault();
    const now = pointed.value === null ? points.length : nearest(points, pointed.value);
    pointed.value = points[Math.min(points.length - 1, Math.max(0, now + step))]?.[0] ?? null;
  };

  const drawing = svg(
    "svg",
    {
      height,
      width: () => width.value,
      role: "img",
      tabindex: "0",
      "aria-label": () =>
        `${label}: ${series()
          .map((each) => `${each.name} ${valueOf(each, null, format)}`)
          .join(", ")}`,
      onpointermove: (/** @type {PointerEvent} */ event) => moment(event.offsetX),
      onpointerleave: () => (pointed.value = null),
      onblur: () => (pointed.value = null),
      onkeydown,
    },
    () => axes(scale.value, width.value, height, format),
    () =>
      (marks?.() ?? [])
        .filter(({ at }) => at >= scale.value.first && at <= scale.value.last)
        .map((mark) => markOf(mark, scale.value.x(mark.at), height)),
    () =>
      width.value
        ? series().map((each, index) => (bars ? barsOf : lineOf)(each, index, scale.value, width.value))
        : null,
    () =>
      pointed.value !== null &&
      svg("line.plot-pointer", {
        x1: scale.value.x(pointed.value),
        x2: scale.value.x(pointed.value),
        y1: TOP,
        y2: height - BOTTOM,
      }),
  );
  area.append(drawing);
  return h("figure.plot", null, legend(label, series, pointed, format), area);
}

/** @param {string} label @param {() => Series[]} series @param {import("../view.js").Signal<number | null>} pointed @param {(value: number) => string} format */
function legend(label, series, pointed, format) {
  return h(
    "figcaption",
    null,
    h("span.plot-title", null, label),
    h("time.plot-moment", null, () => (pointed.value === null ? "" : exact(pointed.value))),
    h("span.plot-legend", null, () =>
      series().map((each, index) =>
        h(
          "span",
          null,
          h("i", { style: { background: each.colour ?? seriesColour(index) } }),
          h("bdi", null, each.name),
          h("b", null, () => valueOf(each, pointed.value, format)),
        ),
      ),
    ),
  );
}

/** @param {Series} series @param {number | null} moment @param {(value: number) => string} format */
function valueOf({ points }, moment, format) {
  const point = moment === null ? points.findLast(([, value]) => value !== null) : points[nearest(points, moment)];
  return point && point[1] !== null ? format(point[1]) : UNKNOWN;
}

/** The number of the point that is nearest to a moment. @param {[number, number | null][]} points @param {number} moment */
function nearest(points, moment) {
  let [low, high] = [0, points.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((points[middle]?.[0] ?? 0) < moment) low = middle + 1;
    else high = middle;
  }
  const before = points[low - 1];
  const here = points[low];
  return before && here && moment - before[0] < here[0] - moment ? low - 1 : low;
}

/** @param {[number, number | null][]} points @param {number} first @param {number} last */
function highestOf(points, first, last) {
  let highest = 0;
  for (const [at, value] of points) if (value !== null && value > highest && at >= first && at <= last) highest = value;
  return highest;
}

/** Round numbers from 0 to at least `highest`. @param {number} highest */
function ticksOf(highest) {
  if (!(highest > 0)) return [0, 1];
  const raw = highest / 3;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((each) => each * power).find((each) => each >= raw) ?? raw;
  const ticks = [];
  for (let tick = 0; tick < highest + step * 0.999 && ticks.length < 6; tick += step) ticks.push(tick);
  return ticks;
}

/** @param {any} scale @param {number} width @param {number} height @param {(value: number) => string} format */
function axes({ first, last, ticks, x, y }, width, height, format) {
  if (!width) return null;
  const lines = ticks.map((/** @type {number} */ tick) => [
    svg("line.plot-grid", { x1: LEFT, x2: width, y1: y(tick), y2: y(tick) }),
    svg("text.plot-y", { x: LEFT - 6, y: y(tick) + 4 }, format(tick)),
  ]);
  const span = (last - first) / 1000;
  const step = (STEPS.find((each) => (width - LEFT) / (span / each) >= 78) ?? 604_800) * 1000;
  const offset = new Date(first).getTimezoneOffset() * 60_000;
  const times = [];
  for (let at = Math.ceil((first - offset) / step) * step + offset; at <= last; at += step) {
    const text = step >= 86_400_000 ? day.format(at) : step < 60_000 ? timeOfDay(at) : hourAndMinute(at);
    const place = x(at);
    if (place < LEFT + 18 || place > width - 18) continue;
    times.push(svg("text.plot-x", { x: place, y: height - 4 }, text));
  }
  return [lines, times];
}

/** At most two points a pixel: the lowest and the highest of those that fall together.
 * @param {[number, number | null][]} points @param {(at: number) => number} x */
function thin(points, x) {
  /** @type {[number, number | null][]} */
  const kept = [];
  let column = NaN;
  let low = 0;
  for (const point of points) {
    const at = Math.round(x(point[0]));
    const value = point[1];
    if (at !== column || value === null) {
      kept.push(point);
      [column, low] = [value === null ? NaN : at, kept.length - 1];
    } else if (kept.length - low < 2) kept.push(point);
    else {
      const [one, other] = [kept[low]?.[1] ?? 0, kept[low + 1]?.[1] ?? 0];
      if (value > Math.max(one, other)) kept[low + 1] = point;
      else if (value < Math.min(one, other)) kept[low] = [kept[low]?.[0] ?? 0, value];
    }
  }
  return kept;
}

/** @param {Series} series @param {number} index @param {any} scale @param {number} width */
function lineOf({ points, colour }, index, { first, last, x, y }, width) {
  const seen = points.filter(([at]) => at >= first && at <= last);
  let path = "";
  let isDown = false;
  const drawn = width && seen.length > 2 * width ? thin(seen, x) : seen;
  for (const [place, [at, value]] of drawn.entries()) {
    const isAlone = !isDown && (drawn[place + 1]?.[1] ?? null) === null;
    if (value !== null && isAlone) path += `M${(x(at) - 2).toFixed(1)} ${y(value).toFixed(1)}h4`;
    else if (value !== null) path += `${isDown ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
    isDown = value !== null;
  }
  return svg("path.plot-line", { d: path, style: { stroke: colour ?? seriesColour(index) } });
}

/** @param {Series} series @param {number} index @param {any} scale */
function barsOf({ points, colour }, index, { first, last, x, y }) {
  const apart = (points[1]?.[0] ?? last) - (points[0]?.[0] ?? first);
  const wide = Math.max(1, x(first + apart) - x(first) - 1);
  return points
    .filter(([at, value]) => value && at >= first - apart && at <= last)
    .map(([at, value]) => {
      const left = Math.max(LEFT, x(at));
      return svg("rect", {
        x: left,
        y: y(value ?? 0),
        width: Math.max(1, Math.min(wide, x(at) + wide - left)),
        height: Math.max(0.5, y(0) - y(value ?? 0)),
        style: { fill: colour ?? seriesColour(index) },
      });
    });
}

/** @param {Mark} mark @param {number} x @param {number} height */
function markOf({ text }, x, height) {
  return svg(
    "g.plot-mark",
    null,
    svg("title", null, text),
    svg("line", { x1: x, x2: x, y1: TOP, y2: height - BOTTOM }),
  );
}
