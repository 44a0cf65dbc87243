/**
 * What the server says of itself, kept up to date: one stream of events, opened again when it breaks.
 *
 * Pages read the signals here, and ask for nothing that is in them.
 */

import { ask, askByClock, keyIsMissing } from "./api.js";
import { changed } from "./in_flight.js";
import { openEvents } from "./shared_events.js";
import { cleanup, effect, signal } from "./view.js";

/**
 * @typedef {{ id: string, name?: string, description?: string, state: string, unlisted?: boolean, peerID?: string,
 *   aliases?: string[], capabilities?: any, context_length?: number, failure?: any }} Model
 * @typedef {{ ticket: number, request: string | null, model: string, place: number, since: string, waiting_seconds: number,
 *   reason: string, estimate_seconds: number | null }} Waiting
 * @typedef {{ from: string[], to: string, reason: string, seconds: number }} Swap
 * @typedef {{ source: string, devices: Record<string, number> | null }} NeedOf
 * @typedef {{ device: string, name: string, capacity_bytes: number, reserve_bytes: number, others_bytes: number,
 *   held_bytes: number, free_bytes: number }} DeviceMemory
 * @typedef {{ model: string, pinned: boolean, need: NeedOf, held: Record<string, number> | null, placement?: string[] | null }} ModelMemory
 * @typedef {{ router: string, devices: DeviceMemory[], models: ModelMemory[] }} Memory
 * @typedef {{ model: string, state: string, in_flight: number, waiting: number }} PeerRun
 * @typedef {{ peer: string, address: string, up: boolean | null, since: string | null, last_error: string | null,
 *   kind: string | null, models: PeerRun[], in_flight: number, waiting: number }} Peer
 */

/** "connecting", "open", "lost" (it is tried again) or "key" (one is asked for) */
export const connection = signal("connecting");
/** When it is tried again, in milliseconds since 1970; 0 while it is not lost. */
export const nextTry = signal(0);
export const models = signal(/** @type {Model[]} */ ([]));
export const queue = signal(/** @type {Waiting[]} */ ([]));
/** When these came, in milliseconds since 1970: a tab that comes later is told them again. */
export const modelsSeen = signal(Date.now());
export const queueSeen = signal(Date.now());
/** By id. */
export const inFlight = signal(/** @type {Map<string, import("./in_flight.js").Seen>} */ (new Map()));
/** What there is of memory, and who has it; null until it is told. */
export const memory = signal(/** @type {Memory | null} */ (null));
export const activeProfile = signal(/** @type {string | null} */ (null));
export const profiles = signal(/** @type {any[]} */ ([]));
/** The section `ui` of the configuration. */
export const uiConfig = signal(/** @type {any} */ (null));
/** Rows of `/running`, by model; those of peers are left out. */
export const runs = signal(/** @type {Map<string, any>} */ (new Map()));
/** Rows of `/api/peers`; null until they are told, and where the configuration has none. */
export const peers = signal(/** @type {Peer[] | null} */ (null));
/** `/api/config` without the configuration itself: files, warnings, error, can_edit. */
export const about = signal(/** @type {any} */ (null));
export const version = signal(/** @type {any} */ (null));

/** @type {Map<string, Set<(data: any) => void>>} */
const listeners = new Map();
const FIRST_DELAY = 500;
const LONGEST_DELAY = 10_000;
const RUNS_EVERY = 3_000;

/**
 * Hear of events that are told once: "activity" (`{id}`) and "swap"; the result ends that.
 * @param {string} type @param {(data: any) => void} listener
 */
export function on(type, listener) {
  const set = listeners.get(type) ?? new Set();
  listeners.set(type, set.add(listener));
  return () => void set.delete(listener);
}

/**
 * Call `listener` when requests have ended, or may have while the stream was lost, for as long as what runs now is shown.
 * @param {() => void} listener
 */
export function onRows(listener) {
  let wasOpen = true; // what is shown first is asked for anyway
  effect(() => {
    const isOpen = connection.value === "open";
    if (isOpen && !wasOpen) listener();
    wasOpen = isOpen;
  });
  cleanup(on("activity", listener));
}

/** Open the stream, and keep it open for as long as the page is there. */
export async function start() {
  let delay = FIRST_DELAY;
  effect(() => {
    models.value; // a state has changed: what runs has, too
    about.value; // which says whether there are peers
    queueMicrotask(readRuns);
  });
  setInterval(() => document.visibilityState === "visible" && connection.value === "open" && readRuns(), RUNS_EVERY);
  for (;;) {
    try {
      const told = await openEvents();
      connection.value = "open";
      delay = FIRST_DELAY;
      for await (const text of told) take(text);
    } catch {
      // below: what is shown, and when it is tried again
    }
    if (keyIsMissing.value) {
      connection.value = "key";
      await until(() => !keyIsMissing.value);
      connection.value = "connecting";
    } else {
      nextTry.value = Date.now() + delay;
      connection.value = "lost";
      await pause(delay);
      nextTry.value = 0;
      delay = Math.min(delay * 2, LONGEST_DELAY);
    }
  }
}

/** @param {string} text */
function take(text) {
  let type, data, seen;
  try {
    ({ type, data, seen = Date.now() } = JSON.parse(text));
    data = JSON.parse(data);
  } catch {
    return; // a type of a later version that is not as we know them
  }
  if (type === "modelStatus") [modelsSeen.value, models.value] = [seen, data];
  else if (type === "queue") [queueSeen.value, queue.value] = [seen, data.queue];
  else if (type === "profileChanged") {
    activeProfile.value = data.active;
    void readOnce();
  } else if (type === "inflight") inFlight.value = changed(inFlight.value, data);
  else if (type === "memory") memory.value = data;
  else if (type === "uiConfig") uiConfig.value = data;
  for (const listener of listeners.get(type) ?? []) listener(data);
}

let edition = 0;

/** What no event has; asked for when the stream is opened, and when the configuration was read again: `profileChanged` tells. */
async function readOnce() {
  const own = (edition += 1);
  const told = await Promise.allSettled([ask("api/version"), ask("api/profiles"), ask("api/config")]);
  const [said, known, config] = told.map((each) => (each.status === "fulfilled" ? each.value : null));
  if (own !== edition) return;
  version.value = said ?? version.now;
  profiles.value = known?.profiles ?? profiles.now;
  about.value = config ?? about.now;
}

/** Ask again for what `about` has, after the configuration has changed. */
export async function readAbout() {
  about.value = await ask("api/config").catch(() => about.value);
}

/** @param {any} told as `about` has it */
export const hasPeers = (told) => Object.keys(told?.config?.peers ?? {}).length > 0;

/** @returns {Promise<Peer[] | null>} */
async function readPeers() {
  if (!hasPeers(about.now)) return null;
  const told = await ask("api/peers").catch(() => null); // then what was told last stays
  return told ? told.peers : peers.now;
}

let reading = false;
let isBehind = false; // something has changed since it was asked

async function readRuns() {
  isBehind = true;
  if (reading) return;
  reading = true;
  try {
    while (isBehind && connection.now === "open") {
      isBehind = false;
      const [{ running }, told] = await Promise.all([askByClock("running"), readPeers()]);
      if (JSON.stringify(told) !== JSON.stringify(peers.now)) peers.value = told;
      const here = running.filter((/** @type {any} */ run) => !run.peer);
      runs.value = new Map(here.map((/** @type {any} */ run) => [run.model, run]));
    }
  } catch {
    // the stream tells of what is wrong
  } finally {
    reading = false;
  }
}

/** @type {(() => void) | null} */
let hurry = null;

/** Try again now, should the connection be lost. */
export function tryNow() {
  hurry?.();
}

/** @param {number} delay in milliseconds */
function pause(delay) {
  return new Promise((resolve) => {
    const timer = setTimeout(() => hurry?.(), delay);
    hurry = () => {
      clearTimeout(timer);
      hurry = null;
      resolve(undefined);
    };
  });
}

addEventListener("online", tryNow);
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && tryNow());

/** Ends when that is so, or after `most` milliseconds. @param {() => boolean} holds reads signals @param {number} [most] */
export function until(holds, most) {
  return new Promise((resolve) => {
    const stop = () => (end(), clearTimeout(timer), resolve(undefined));
    const timer = most && setTimeout(stop, most);
    const end = effect(() => {
      if (holds()) queueMicrotask(stop);
    });
  });
}
