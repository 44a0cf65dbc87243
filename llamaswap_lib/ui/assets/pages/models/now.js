/** What each model does now: its state, who it serves, who waits for it and why, what it takes. */

import { toLocal } from "../../api.js";
import { duration, relative, several } from "../../format.js";
import { inFlight, models, modelsSeen, peers, queue, queueSeen, runs } from "../../live.js";
import { now } from "../../parts/clock.js";
import { phasesOf } from "../../parts/history.js";
import { computed, effect } from "../../view.js";
import { planOf } from "./plans.js";

/** Models by id. */
export const byId = computed(() => new Map(models.value.map((model) => [model.id, model])));

/** The models whose servers sleep, a line each: a text, so that it changes only when they do. */
const sleepers = computed(() =>
  [...runs.value.values()]
    .filter((run) => run.phase === "sleeping")
    .map((run) => run.model)
    .join("\n"),
);

/** Of a model that is `stopped` for those who know nothing of sleep. @param {string} id */
export const isAsleep = (id) => byId.value.get(id)?.state === "stopped" && sleepers.value.split("\n").includes(id);

/** What is known of the peer of this name. @param {string} name */
export const peerOf = (name) => peers.value?.find(({ peer }) => peer === name) ?? null;

/** What runs at peers, by the full names of the models. */
export const there = computed(
  () =>
    new Map((peers.value ?? []).flatMap(({ peer, models: all }) => all.map((run) => [`${peer}/${run.model}`, run]))),
);

/** What the head of the page says of boxes. */
export function boxWords() {
  const ready = [...there.value.values()].filter(({ state }) => state === "ready").length;
  const out = (peers.value ?? []).filter(({ up }) => up === false).length;
  return [ready ? `${ready} on boxes` : "", out ? `${several(out, "box", "boxes")} out` : ""];
}

/** The requests that wait, by model. */
export const waiting = computed(() => {
  /** @type {Map<string, import("../../live.js").Waiting[]>} */
  const found = new Map();
  for (const row of queue.value) found.set(row.model, [...(found.get(row.model) ?? []), row]);
  return found;
});

/** How many requests each model works on. */
export const busy = computed(() => {
  const idle = new Set(queue.value.map((row) => row.request));
  /** @type {Map<string, number>} */
  const found = new Map();
  for (const { id, model } of inFlight.value.values()) if (!idle.has(id)) found.set(model, (found.get(model) ?? 0) + 1);
  return found;
});

/**
 * How far its load is; null while it does not load. `left` is null where no load of it was ever seen. Follows the clock.
 * @param {string} id @returns {{ elapsed: number, left: number | null } | null} in milliseconds
 */
export function loadOf(id) {
  if (byId.value.get(id)?.state !== "starting") return null;
  const run = runs.value.get(id);
  const phase = phasesOf(id).at(-1);
  const isStart = run?.state === "starting" && run.phase !== "waking";
  const since = isStart ? toLocal(run.started) : (phase?.from ?? now.value);
  const row = waiting.value.get(id)?.[0];
  const plan = planOf(id).value;
  let readyAt = null;
  if (typeof plan?.estimate_seconds === "number") readyAt = plan.at + plan.estimate_seconds * 1000;
  if (typeof row?.estimate_seconds === "number") readyAt = queueSeen.value + row.estimate_seconds * 1000;
  return { elapsed: Math.max(0, now.value - since), left: readyAt === null ? null : Math.max(0, readyAt - now.value) };
}

/** Why a model is as it is, as the queue and the log say it; "" where there is nothing to say. @param {string} id */
export function reasonOf(id) {
  const model = byId.value.get(id);
  const rows = waiting.value.get(id) ?? [];
  const wait = rows.length ? `${several(rows.length, "request")} wait${rows.length === 1 ? "s" : ""}` : "";
  const load = loadOf(id);
  if (load) {
    const left =
      load.left === null ? "" : load.left >= 1000 ? `about ${seconds(load.left)} to go` : "about to be ready";
    return [`loading for ${seconds(load.elapsed)}${left ? `, ${left}` : ""}`, wait].filter(Boolean).join(" · ");
  }
  if (rows[0]) return [rows[0].reason, wait].filter(Boolean).join(" · ");
  if (model?.failure) {
    const { message, since, retry_in: wait, tries } = model.failure;
    const retry = wait * 1000 - Math.max(0, now.value - modelsSeen.value);
    const often = tries > 1 ? `, ${tries} times` : "";
    return `${message} · since ${relative(toLocal(since), now.value)}${often}${retry > 0 ? `, not tried again for ${seconds(retry)}` : ""}`;
  }
  if (isAsleep(id)) return "sleeping";
  return model?.state === "stopping" ? "stopping" : "";
}

/** @param {number} time in milliseconds */
const seconds = (time) => duration(Math.max(1, Math.round(time / 1000)) * 1000);

/** In how long it is unloaded; "" while nothing says so. @param {string} id */
export function unloadsIn(id) {
  const run = runs.value.get(id);
  if (run?.state !== "ready" && !isAsleep(id)) return "";
  if (run.ttl_remaining === null) return run.ttl > 0 ? "" : "never";
  const left = Math.ceil(run.ttl_remaining);
  return `in ${duration((left < 60 ? left : Math.round(left / 60) * 60) * 1000)}`;
}

// --- memory ---

const KEPT = "llamaswap.memory";
/** What each model took when it was last seen to run, in bytes. @type {Map<string, number>} */
const before = new Map(readKept());

/** @returns {[string, number][]} */
function readKept() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEPT) ?? "[]");
    return kept.filter((/** @type {any} */ each) => typeof each?.[0] === "string" && typeof each[1] === "number");
  } catch {
    return [];
  }
}

/** Memory that a run takes: of devices, or else of the machine. @param {any} run @returns {number | null} */
function taken(run) {
  /** @type {any[]} */
  const rows = run?.memory ?? [];
  const devices = rows.filter((row) => row.kind !== "ram" && row.bytes > 0);
  const known = (devices.length ? devices : rows).filter((row) => typeof row.bytes === "number");
  return known.length ? known.reduce((sum, row) => sum + row.bytes, 0) : null;
}

/** `isNow`: it is measured now; otherwise it is what it took when it last ran. @param {string} id */
export function memoryOf(id) {
  const bytes = taken(runs.value.get(id));
  if (bytes !== null) return { bytes, isNow: true };
  const last = before.get(id);
  return last === undefined ? null : { bytes: last, isNow: false };
}

effect(() => {
  let isNew = false;
  for (const [id, run] of runs.value) {
    const bytes = taken(run);
    const last = before.get(id);
    if (bytes === null || (last !== undefined && Math.abs(bytes - last) < last / 50)) continue;
    before.delete(id);
    before.set(id, bytes);
    isNew = true;
  }
  if (!isNew) return;
  try {
    localStorage.setItem(KEPT, JSON.stringify([...before].slice(-300)));
  } catch {
    // it is measured again
  }
});
