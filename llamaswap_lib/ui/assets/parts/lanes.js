/** What a time line shows between two moments: a lane for each model, and how a lane is drawn. */

import { hourAndMinute, timeOfDay } from "../format.js";
import { models } from "../live.js";
import { svg } from "../view.js";
import { allTasks, phasesOf } from "./history.js";

/**
 * @typedef {import("./history.js").Task} Task
 * @typedef {import("./history.js").Phase} Phase
 * @typedef {{ model: string, tasks: Task[], phases: Phase[], quiet: [number, number][], latest: number }} Lane
 *   `quiet`: it was loaded then, as requests before and after it tell
 * @typedef {{ x0: number, x1: number, y0: number, y1: number, model: string, tasks: Task[], phase: Phase | null,
 *   isWait?: boolean }} Hit what can be pointed at; `isWait`: it is the line of a wait
 * @typedef {{ from: number, to: number, now: number, width: number }} View
 */

export const LANE = 32; // height in pixels
const [TOP, HEIGHT] = [10, 16]; // of a block in its lane
const MOST_TRACKS = 4; // requests drawn above one another; more share the last one
const STEPS = [5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600].map((seconds) => seconds * 1000);
const LABEL = 84; // pixels that a label of the axis needs

/** The lanes in which something is seen, in the order of the models. @param {View} view @returns {Lane[]} */
export function lanesOf({ from, to, now }) {
  /** @type {Map<string, Lane>} */
  const lanes = new Map();
  for (const { id } of models.value) {
    const phases = phasesOf(id).filter((phase) => phase.from < to && (phase.to ?? now) > from);
    const latest = Math.max(0, ...phases.map((phase) => phase.to ?? now));
    lanes.set(id, { model: id, tasks: [], phases, quiet: [], latest });
  }
  /** @type {Map<string, Task>} */
  const before = new Map();
  for (const task of [...allTasks()].sort((one, other) => one.from - other.from)) {
    const lane = lanes.get(task.model);
    if (!lane) continue; // a name that is no model any more
    const last = before.get(task.model);
    if (last && last.to !== null && task.start !== null && task.status < 400 && task.start - task.from < 20) {
      if (last.to < task.start && last.to < to && task.start > from) lane.quiet.push([last.to, task.start]);
    }
    if (task.row === null || task.status < 400) before.set(task.model, task);
    if (task.from >= to || (task.to ?? now) <= from) continue;
    lane.tasks.push(task);
    lane.latest = Math.max(lane.latest, task.to ?? now);
  }
  return [...lanes.values()].filter((lane) => lane.latest > 0 || lane.quiet.length > 0);
}

/** Draw them; `hits` gets what can be pointed at. @param {Lane[]} lanes @param {View} view @param {Hit[]} hits */
export function drawLanes(lanes, view, hits) {
  return lanes.map((lane, index) => {
    const top = index * LANE;
    return svg(
      "g",
      null,
      drawPhases(lane, view, top, hits),
      drawWork(lane, view, top, hits),
      drawWaits(lane, view, top, hits),
    );
  });
}

/** @param {View} view @param {number} moment */
const across = (view, moment) => ((moment - view.from) / (view.to - view.from)) * view.width;

/** From where to where, cut at the edges, one pixel wide at least. @param {View} view @param {number} from @param {number} to */
function extent(view, from, to) {
  const x0 = Math.max(-4, across(view, from));
  return /** @type {[number, number]} */ ([x0, Math.max(x0 + 1, Math.min(view.width + 4, across(view, to)))]);
}

/** @param {string} kind @param {number} x0 @param {number} x1 @param {number} y @param {number} height */
const block = (kind, x0, x1, y, height) =>
  svg(`rect.${kind}`, {
    x: x0.toFixed(1),
    y: y.toFixed(1),
    width: (x1 - x0).toFixed(1),
    height: height.toFixed(1),
    rx: Math.min(3, (x1 - x0) / 3).toFixed(1),
  });

/** @param {Lane} lane @param {View} view @param {number} top @param {Hit[]} hits */
function drawPhases(lane, view, top, hits) {
  const y = top + TOP;
  /** @type {SVGElement[]} */
  const drawn = [];
  for (const [from, to] of lane.quiet) drawn.push(block("ready", ...extent(view, from, to), y, HEIGHT));
  for (const phase of lane.phases) {
    const [x0, x1] = extent(view, phase.from, phase.to ?? view.now);
    drawn.push(block(phase.failed ? "failed" : phase.kind, x0, x1, y, HEIGHT));
    if (phase.kind === "load" || phase.kind === "stop") drawn.push(hatch(phase, x0, x1, y));
    hits.push({ x0, x1, y0: y, y1: y + HEIGHT, model: lane.model, tasks: [], phase });
  }
  return drawn;
}

/** Slanting lines inside a block, by hand: a pattern is looked up in the base of the document. @param {Phase} phase @param {number} x0 @param {number} x1 @param {number} y */
function hatch(phase, x0, x1, y) {
  let path = "";
  for (let start = x0 - HEIGHT; start < x1; start += 6) {
    const [from, to] = [Math.max(start, x0), Math.min(start + HEIGHT, x1)];
    const [low, high] = [y + HEIGHT - (from - start), y + HEIGHT - (to - start)];
    if (from < to) path += `M${from.toFixed(1)} ${low.toFixed(1)}L${to.toFixed(1)} ${high.toFixed(1)}`;
  }
  return svg("path.hatch", { class: phase.failed ? "failed" : phase.kind, d: path });
}

/** Work: requests at the same time above one another, those that touch as one. @param {Lane} lane @param {View} view @param {number} top @param {Hit[]} hits */
function drawWork(lane, view, top, hits) {
  const started = lane.tasks.filter(
    (task) => task.start !== null && (task.row === null || task.start < Number(task.to)),
  );
  /** @type {{ x0: number, x1: number, end: number, tasks: Task[] }[][]} */
  const tracks = [];
  for (const task of started.sort((one, other) => Number(one.start) - Number(other.start))) {
    const start = Number(task.start);
    const end = task.to ?? view.now;
    if (end < view.from || start > view.to) continue;
    let track = tracks.find((each) => (each.at(-1)?.end ?? 0) <= start);
    if (!track && tracks.length < MOST_TRACKS) tracks.push((track = []));
    track ??= /** @type {typeof tracks[0]} */ (tracks.at(-1));
    const [x0, x1] = extent(view, start, end);
    const last = track.at(-1);
    if (last && x0 - last.x1 < 1.5) {
      last.x1 = Math.max(last.x1, x1);
      last.end = Math.max(last.end, end);
      last.tasks.push(task);
    } else track.push({ x0, x1, end, tasks: [task] });
  }
  const height = HEIGHT / Math.max(1, tracks.length);
  return tracks.flatMap((track, index) =>
    track.map(({ x0, x1, tasks }) => {
      const y = top + TOP + index * height;
      hits.push({ x0, x1, y0: y, y1: y + height, model: lane.model, tasks, phase: null });
      const kind = tasks.every((task) => task.status >= 400) ? "failed" : "work";
      return block(kind, x0, x1, y, tracks.length > 1 ? height - 1 : height);
    }),
  );
}

/** Waits: a mark above the lane where a request came, and a line for as long as it waited. @param {Lane} lane @param {View} view @param {number} top @param {Hit[]} hits */
function drawWaits(lane, view, top, hits) {
  let path = "";
  const seen = new Set();
  for (const task of lane.tasks) {
    const end = task.start ?? task.to ?? view.now;
    if (end - task.from < 20) continue;
    const x = Math.round(across(view, task.from));
    const until = Math.round(Math.min(view.width, across(view, Math.min(end, task.to ?? end))));
    if (x >= 0 && !seen.has(x)) path += `M${x} ${top + 2}v${TOP - 3}`;
    if (until > x + 2 && !seen.has(`${x} ${until}`)) path += `M${Math.max(0, x)} ${top + TOP - 3}H${until}`;
    seen.add(x).add(`${x} ${until}`);
    const where = { x0: x, x1: Math.max(x, until), y0: top, y1: top + TOP - 1 };
    hits.push({ ...where, model: lane.model, tasks: [task], phase: null, isWait: true });
  }
  return path ? svg("path.waits", { d: path }) : null;
}

/** The axis below so many lanes. @param {View} view @param {number} lanes */
export function drawAxis(view, lanes) {
  const y = lanes * LANE + 6;
  const span = view.to - view.from;
  const step = STEPS.find((each) => (each / span) * view.width >= LABEL) ?? 7_200_000;
  const label = step < 60_000 ? timeOfDay : hourAndMinute;
  const follows = Math.abs(view.to - view.now) < 1500;
  const marks = [];
  for (let moment = Math.ceil(view.from / step) * step; moment < view.to; moment += step) {
    const x = across(view, moment);
    marks.push(svg("path.tick", { d: `M${x.toFixed(1)} 0V${y + 4}` }));
    const last = view.width - x < (follows ? 70 : 24);
    if (x > 16 && !last)
      marks.push(svg("text", { x: x.toFixed(1), y: y + 17, "text-anchor": "middle" }, label(moment)));
  }
  const now = follows ? svg("text", { x: view.width, y: y + 17, "text-anchor": "end" }, "now") : null;
  return svg("g.axis", null, svg("path", { d: `M0 ${y}H${view.width}` }), marks, now);
}

export const AXIS = 28; // height in pixels
