/** What a load would do (`/api/models/ID/plan`), asked for what is seen only, and again when states have changed. */

import { ask, pathOf } from "../../api.js";
import { activeProfile, connection, memory, models } from "../../live.js";
import { cleanup, effect, signal } from "../../view.js";
import { freedBy, isByMemory } from "./needs.js";

/**
 * @typedef {{ at: number, model: string, type: string, evicts: { model: string, state: string, in_flight: number, reason: string }[] | null,
 *   waits_for: { model: string, for: string, in_flight: number }[], rule: any, estimate_seconds: number | null, refusal?: string,
 *   failure?: any }} Plan
 *   `at`: when it was told, by the clock of this browser
 */

const AT_ONCE = 2;
const PAUSE = 300; // milliseconds from a change of states to the next question
const PAUSE_OF_MEMORY = 3000; // the same from a change of memory, which may change all the time

/** @type {Map<string, import("../../view.js").Signal<Plan | null>>} */
const plans = new Map();
/** How often each name is seen. @type {Map<string, number>} */
const seen = new Map();
/** @type {Set<string>} */
const current = new Set();
/** @type {Set<string>} */
const asking = new Set();
/** @type {number | undefined} */
let timer;

/** The plan as it was last told. @param {string} id */
export function planOf(id) {
  const known = plans.get(id) ?? signal(/** @type {Plan | null} */ (null));
  plans.set(id, known);
  return known;
}

const observer = new IntersectionObserver((changes) => {
  for (const { target, isIntersecting } of changes) {
    const id = names.get(target);
    if (id !== undefined) count(id, isIntersecting, target);
  }
});
/** @type {Map<Element, string>} */
const names = new Map();
/** @type {Set<Element>} */
const counted = new Set();

/** @param {string} id @param {boolean} isSeen @param {Element} node */
function count(id, isSeen, node) {
  if (isSeen === counted.has(node)) return;
  if (isSeen) counted.add(node);
  else counted.delete(node);
  const times = (seen.get(id) ?? 0) + (isSeen ? 1 : -1);
  if (times > 0) seen.set(id, times);
  else seen.delete(id);
  if (isSeen) next();
}

/** Keep the plan of `id` up to date while `node` is seen, for as long as what runs now is shown. @param {string} id @param {Element} node */
export function watchPlan(id, node) {
  names.set(node, id);
  observer.observe(node);
  cleanup(() => {
    observer.unobserve(node);
    count(id, false, node);
    names.delete(node);
  });
}

effect(() => {
  models.value;
  activeProfile.value;
  connection.value;
  clearTimeout(timer);
  timer = setTimeout(askAnew, PAUSE);
});

effect(() => {
  memory.value;
  if (isByMemory.value) timer ??= setTimeout(askAnew, PAUSE_OF_MEMORY);
});

function askAnew() {
  timer = undefined;
  current.clear();
  next();
}

/** A plan says something of what does not run, and of selectors. @param {string} id */
function isWanted(id) {
  const state = models.now.find((model) => model.id === id)?.state;
  return !current.has(id) && !asking.has(id) && (state === undefined || state === "stopped" || state === "starting");
}

function next() {
  if (connection.now !== "open") return;
  for (const id of seen.keys()) {
    if (asking.size >= AT_ONCE) return;
    if (isWanted(id)) void read(id);
  }
}

/** @param {string} id */
async function read(id) {
  asking.add(id);
  current.add(id);
  try {
    planOf(id).value = { ...(await ask(`api/models/${pathOf(id)}/plan`)), at: Date.now() };
  } catch {
    planOf(id).value = null; // a name that is gone, or switched off
  } finally {
    asking.delete(id);
    next();
  }
}

/** What loading it would cost others, in a few words; "" for nothing. @param {Plan | null} plan @param {(id: string) => number} inFlightOf */
export function costOf(plan, inFlightOf) {
  if (!plan) return "";
  if (plan.refusal) return "does not fit";
  if (plan.evicts === null) return "what it unloads, your policy decides";
  const names = plan.evicts.map(({ model }) => model);
  if (!names.length) return "";
  const inside = names.reduce((sum, id) => sum + inFlightOf(id), 0);
  const what =
    names.length > 2
      ? `${names.length} models`
      : names.map((name) => (name.length > 40 ? `${name.slice(0, 39)}…` : name) + sizeOf(name)).join(", ");
  return `unloads ${what}${inside ? ` after ${inside} request${inside === 1 ? "" : "s"}` : ""}`;
}

/** The same in full, for a tooltip. @param {Plan | null} plan */
export function costInFull(plan) {
  if (plan?.refusal) return plan.refusal;
  const each = (plan?.evicts ?? []).map(({ model, reason }) => `${model}: ${reason}`);
  return (isByMemory.value && each.length && plan?.rule?.text ? [plan.rule.text] : each).join("\n");
}

/** What is free when it has gone. @param {string} id */
function sizeOf(id) {
  const size = isByMemory.value ? freedBy(id) : "";
  return size ? ` (${size})` : "";
}
