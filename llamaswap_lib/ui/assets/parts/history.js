/**
 * What has happened of late, model by model: loads, stops, and requests with their waits. Collected from the live events
 * since the page was opened, and from the rows of activity for what was before.
 *
 * All moments are milliseconds by the clock of this browser. Memory is bounded: the oldest is forgotten.
 */

import { askByClock, toLocal } from "../api.js";
import { connection, inFlight, models, on, queue, runs } from "../live.js";
import { cleanup, effect, signal } from "../view.js";

/**
 * @typedef {{ key: string, model: string, path: string, from: number, start: number | null, to: number | null,
 *   row: number | null, flight: string | null, status: number, ended: string, behind: string, speed: number }} Task
 *   One request: it came at `from`, was at work from `start` (null while it waits) until `to` (null while it lasts). `row`
 *   is its number in the activity, null before it is there; `flight` its id while it is in progress.
 * @typedef {{ kind: "load" | "ready" | "stop", from: number, to: number | null, failed: boolean,
 *   isSeen: boolean }} Phase `isSeen`: its beginning was seen
 */

const MOST_TASKS = 3000;
const KEPT = 2 * 3_600_000; // milliseconds for which phases are kept
const FIRST_ROWS = 40; // at once; the others when the page is there
const MOST_ROWS = 400;
const ROWS_EVERY = 2000;
const TOLD_EVERY = 400;
/** @type {number[]} */
const NONE = [];

/** Another number whenever something was added. */
export const changed = signal(0);
/** Whether the rows of activity have been asked for. */
export const isRead = signal(false);

/** @type {Map<string, Task>} */
const tasks = new Map();
/** @type {Map<string, Task>} */
const open = new Map(); // by id of the request in progress
/** @type {Map<string, Phase[]>} */
const phases = new Map();
/** @type {Map<string, string>} */
const states = new Map();
/** @type {Map<string, number[]>} */
let speeds = new Map();
const begun = Date.now();
let newest = 0; // id of a row
let watchers = 0;
let fetching = false;
let isBehind = true;
let hasAll = false;

/** @type {number | undefined} */
let telling;

function touch() {
  telling ??= setTimeout(() => {
    telling = undefined;
    changed.value = changed.now + 1;
  }, TOLD_EVERY);
}

/** @returns {Iterable<Task>} the oldest first, as far as they came in their order */
export const allTasks = () => tasks.values();

/** @param {string} model @returns {Phase[]} */
export const phasesOf = (model) => phases.get(model) ?? [];

/** Tokens a second of its newest requests, the newest last; read `changed` to follow them. @param {string} model */
export const speedsOf = (model) => speeds.get(model) ?? NONE;

/** Keep the rows of activity up to date for as long as what runs now is shown. */
export function watchHistory() {
  watchers += 1;
  cleanup(() => {
    watchers -= 1;
  });
  void catchUp();
}

// --- what runs ---

effect(() => {
  const now = Date.now();
  for (const { id, state, failure, peerID } of models.value) if (!peerID) noteState(id, state, Boolean(failure), now);
  touch();
});

/** @param {string} id @param {string} state @param {boolean} fails @param {number} now */
function noteState(id, state, fails, now) {
  if (states.get(id) === state) return;
  const isSeen = states.has(id);
  states.set(id, state);
  const lane = laneOf(id);
  const last = lane.at(-1);
  if (last && last.to === null) {
    last.to = now;
    last.failed = last.kind === "load" && fails && state !== "ready";
  }
  const kind = { starting: "load", ready: "ready", stopping: "stop" }[state];
  if (kind) lane.push({ kind: /** @type {Phase["kind"]} */ (kind), from: now, to: null, failed: false, isSeen });
  while (lane[0] && (lane[0].to ?? now) < now - KEPT) lane.shift();
}

/** @param {string} id */
function laneOf(id) {
  const lane = phases.get(id) ?? [];
  phases.set(id, lane);
  return lane;
}

// What runs since before the page was opened: its own figures say since when.
effect(() => {
  for (const [id, run] of runs.value) {
    const lane = laneOf(id);
    const last = lane.at(-1);
    if (!last || last.to !== null) continue;
    if (last.kind === "load" && run.phase !== "waking") last.from = Math.min(last.from, toLocal(run.started));
    if (last.kind !== "ready" || !run.ready) continue;
    last.from = Math.min(last.from, toLocal(run.ready));
    for (const task of open.values()) {
      const waited = task.model === id && task.start !== null && task.start < last.from;
      if (waited) task.start = last.from; // it came before the model was ready, and before the page was opened
    }
    if (lane.length === 1) addLoad(id, last.from - run.load_seconds * 1000, last.from);
  }
  touch();
});

/** A load that was not seen. @param {string} id @param {number} from @param {number} to */
function addLoad(id, from, to) {
  const lane = laneOf(id);
  const known = lane.some((phase) => phase.kind === "load" && phase.from < to + 500 && (phase.to ?? to) > from - 500);
  if (known || to < Date.now() - KEPT) return;
  lane.push({ kind: "load", from, to, failed: false, isSeen: false });
  lane.sort((one, other) => one.from - other.from);
}

// --- requests in progress ---

effect(() => {
  const now = Date.now();
  const waiting = new Set(queue.value.map((row) => row.request));
  for (const [id, flight] of inFlight.value) {
    let task = open.get(id);
    if (!task) open.set(id, (task = taskOf(flight.model, flight.timestamp, flight.seen - flight.elapsed_ms)));
    task.flight = id;
    task.path = flight.req_path;
    if (waiting.has(id)) task.start = null;
    else if (task.start === null) task.start = task.behind ? now : task.from;
    if (waiting.has(id)) task.behind = "?"; // until its row says for what it waited
  }
  for (const [id, task] of open) {
    if (inFlight.value.has(id)) continue;
    open.delete(id);
    task.flight = null;
    task.to ??= now;
  }
  touch();
});

/** The request of this model that began at this moment, as its row names it. @param {string} model @param {string} moment @param {number} from */
function taskOf(model, moment, from) {
  const key = `${model}\n${moment}`;
  let task = tasks.get(key);
  if (task) return task;
  const unknown = { start: null, to: null, row: null, flight: null, status: 0, ended: "", behind: "", speed: 0 };
  task = { key, model, path: "", from, ...unknown };
  tasks.set(key, task);
  if (tasks.size > MOST_TASKS) for (const old of [...tasks.keys()].slice(0, MOST_TASKS / 10)) tasks.delete(old);
  return task;
}

// --- rows of activity ---

on("activity", ({ id }) => {
  if (id < newest) newest = id - 1; // a server that was started anew counts from 1
  isBehind = true;
  void catchUp();
});
document.addEventListener("visibilitychange", () => void catchUp());
effect(() => {
  if (connection.value !== "open") return;
  isBehind = true;
  queueMicrotask(catchUp);
});

async function catchUp() {
  const wanted = isBehind && watchers > 0 && document.visibilityState === "visible" && connection.value === "open";
  if (fetching || !wanted) return;
  fetching = true;
  isBehind = false;
  try {
    if (newest) await readRows({ min_id: newest + 1, limit: 999 });
    else await readRows({ limit: FIRST_ROWS });
    if (!hasAll) {
      hasAll = true;
      if (newest > FIRST_ROWS)
        setTimeout(() => readRows({ limit: MOST_ROWS, max_id: newest }).catch(() => {}), ROWS_EVERY);
    }
  } catch {
    // what is wrong is shown elsewhere; it is asked again with the next request
  }
  isRead.value = true;
  setTimeout(() => {
    fetching = false;
    void catchUp();
  }, ROWS_EVERY);
}

/** @param {Record<string, any>} query */
async function readRows(query) {
  const { data } = await askByClock("api/metrics/activity", { query });
  for (const row of data.reverse()) noteRow(row);
  speeds = new Map();
  const rows = [...tasks.values()].filter((task) => task.speed > 0 && task.row !== null);
  for (const { model, speed } of rows.sort((one, other) => Number(one.row) - Number(other.row))) {
    speeds.set(model, [...(speeds.get(model) ?? []), speed].slice(-24));
  }
  touch();
}

/** @param {any} row */
function noteRow(row) {
  newest = Math.max(newest, row.id);
  const moment = toLocal(row.timestamp);
  const task = taskOf(row.model, row.timestamp, moment);
  const waited = Math.max(0, row.timing?.queue_ms ?? 0);
  const load = Math.max(0, row.timing?.load_ms ?? 0);
  task.start = task.from + waited + load;
  task.to = task.from + Math.max(row.duration_ms, waited + load);
  task.row = row.id;
  task.path = row.req_path;
  task.status = row.resp_status_code;
  task.ended = row.ended;
  task.behind = row.timing?.behind ?? "";
  task.speed = row.tokens?.tokens_per_second ?? 0;
  if (load > 0 && row.resp_status_code < 400 && moment < begun) addLoad(row.model, task.start - load, task.start);
}
