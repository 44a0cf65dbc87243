/** Everything that can be asked for, as rows: models, their aliases, peers' models, selectors, names of the profile. */

import { ask } from "../../api.js";
import { about, activeProfile, connection, models } from "../../live.js";
import { changed, allTasks } from "../../parts/history.js";
import { computed, effect, signal } from "../../view.js";
import { isByMemory, mainSize, needOf } from "./needs.js";
import { byId, busy, isAsleep, memoryOf, there, waiting } from "./now.js";
import { rules, setOf } from "./rules.js";

/**
 * @typedef {"model" | "selector" | "peer" | "profile" | "alias"} Kind
 * @typedef {{ id: string, kind: Kind, name: string, description: string, aliases: string[], unlisted: boolean,
 *   targets: string[], strategy: string, peer: string }} Entry `targets`: where the name leads, for what is no model itself
 * @typedef {{ q: string, sort: string, group: string, unlisted: boolean, aliases: boolean }} Wish what is to be shown, and how
 * @typedef {{ head: string, hint: string, id: string } | { head: null, hint: "", id: string, entry: Entry }} Item
 */

const PINS = "llamaswap.pins";
const KINDS = {
  model: "Models",
  selector: "Selectors",
  profile: "Names of the profile",
  peer: "Models of peers",
  alias: "Aliases",
};
const STATES = {
  starting: "Loading",
  ready: "Running",
  stopping: "Stopping",
  failed: "Failed",
  sleeping: "Sleeping",
  stopped: "Stopped",
  "": "Elsewhere",
};
const ORDER = Object.keys(STATES);

/** What only the list of models tells: selectors, and names of the profile. */
const listed = signal(/** @type {any[]} */ ([]));

/** The models of peers, a line each: a list that a peer tells changes by itself. */
const peersModels = computed(() =>
  models.value
    .filter(({ peerID }) => peerID)
    .map(({ id }) => id)
    .join("\n"),
);

effect(() => {
  activeProfile.value;
  about.value;
  peersModels.value;
  if (connection.value === "open") queueMicrotask(readList);
});

let asked = 0;

async function readList() {
  const own = (asked += 1);
  const { data } = await ask("v1/models").catch(() => ({ data: listed.now }));
  if (own === asked) listed.value = data; // else another profile may be active
}

/** The full names of the models that aliases of peers' models stand for. */
const behind = computed(() => {
  /** @type {Map<string, string>} */
  const found = new Map();
  for (const { id, meta } of listed.value) {
    const { type, peerID, modelID } = meta?.llamaswap ?? {};
    if (type === "peer" && modelID) found.set(id, `${peerID}/${modelID}`);
  }
  return found;
});

/** A peer's model, if it runs there. @param {string} id */
export const runThere = (id) => there.value.get(id) ?? there.value.get(behind.value.get(id) ?? "");

/** @type {import("../../view.js").Signal<string[]>} */
export const pinned = signal(readPins());

function readPins() {
  try {
    const kept = JSON.parse(localStorage.getItem(PINS) ?? "[]");
    return Array.isArray(kept) ? kept.filter((id) => typeof id === "string").slice(0, 500) : [];
  } catch {
    return [];
  }
}

/** Show it first, or not any more. @param {string} id */
export function togglePin(id) {
  pinned.value = pinned.now.includes(id) ? pinned.now.filter((each) => each !== id) : [...pinned.now, id];
  try {
    localStorage.setItem(PINS, JSON.stringify(pinned.now));
  } catch {
    // it counts until the page is loaded again
  }
}

/** @param {Partial<Entry> & { id: string, kind: Kind }} told @returns {Entry} */
const entryOf = (told) => ({
  name: "",
  description: "",
  aliases: [],
  unlisted: false,
  targets: [],
  strategy: "",
  peer: "",
  ...told,
});

export const entries = computed(() => {
  /** @type {Entry[]} */
  const all = models.value.map(({ id, name = "", description = "", aliases = [], unlisted = false, peerID = "" }) =>
    entryOf({ id, kind: peerID ? "peer" : "model", name, description, aliases, unlisted, peer: peerID }),
  );
  for (const { id, name = "", description = "", meta } of listed.value) {
    const { type, strategy = "", targets = [] } = meta?.llamaswap ?? {};
    if (type === "selector") all.push(entryOf({ id, kind: type, name, description, strategy, targets }));
    if (type === "pool") all.push(entryOf({ id, kind: "selector", strategy: type, targets }));
    if (type === "profile") all.push(entryOf({ id, kind: type, targets: [pinOf(id)].filter(Boolean) }));
  }
  return all;
});

/** Where the active profile leads a name. @param {string} name @returns {string} */
export const pinOf = (name) => about.value?.config?.profiles?.[activeProfile.value ?? ""]?.pins?.[name] ?? "";

/** The entry of a name, also of an alias. @param {string} id */
export const entryNamed = (id) =>
  entries.value.find((entry) => entry.id === id) ?? entries.value.find((entry) => entry.aliases.includes(id)) ?? null;

/** When each model was last asked for. */
const lastUse = computed(() => {
  changed.value;
  /** @type {Map<string, number>} */
  const latest = new Map();
  for (const { model, from } of allTasks()) latest.set(model, Math.max(from, latest.get(model) ?? 0));
  return latest;
});

/** @param {string} id */
export const stateOf = (id) => {
  const model = byId.value.get(id);
  if (model?.peerID) return runThere(id)?.state ?? "";
  return model?.failure ? "failed" : isAsleep(id) ? "sleeping" : (model?.state ?? "");
};

/** The items of the list: rows, and heads of groups. @param {Wish} wish @returns {Item[]} */
export function itemsOf(wish) {
  const all = entries.value.flatMap((entry) => (wish.aliases ? [entry, ...aliasesOf(entry)] : [entry]));
  const words = wish.q.toLowerCase().split(/\s+/).filter(Boolean);
  const found = all.filter((entry) => (wish.unlisted || !entry.unlisted || words.length > 0) && matches(entry, words));
  const sorted = found.map((entry) => ({ entry, rank: rankOf(entry, wish.sort) })).sort(compare);
  if (!wish.group) return sorted.map(({ entry }) => itemOf(entry));
  /** @type {Map<string, Entry[]>} */
  const groups = new Map();
  for (const { entry } of sorted) {
    const name = groupOf(entry, wish.group);
    groups.set(name, [...(groups.get(name) ?? []), entry]);
  }
  const names = [...groups.keys()].sort((one, other) => placeOf(one, wish.group) - placeOf(other, wish.group));
  return names.flatMap((name) => {
    const members = groups.get(name) ?? [];
    const running = members.filter((entry) => stateOf(entry.id) === "ready").length;
    const hint = running ? `${running} of ${members.length} running` : String(members.length);
    return [{ head: name, hint, id: `\0${name}` }, ...members.map(itemOf)];
  });
}

/** @param {Entry} entry @returns {Item} */
const itemOf = (entry) => ({ head: null, hint: "", id: `${entry.kind} ${entry.id}`, entry });

/** @param {Entry} entry */
const aliasesOf = ({ id, aliases, unlisted }) =>
  aliases.map((alias) => entryOf({ id: alias, kind: "alias", unlisted, targets: [id] }));

/** @param {Entry} entry @param {string[]} words */
function matches({ id, name, description, aliases, kind, strategy, peer }, words) {
  const text = [id, name, description, ...aliases, kind, strategy, peer, stateOf(id)].join(" ").toLowerCase();
  return words.every((word) => text.includes(word));
}

/** What decides the order; smaller comes first. @param {Entry} entry @param {string} sort @returns {(number | string)[]} */
function rankOf(entry, sort) {
  const { id, kind } = entry;
  const pin = pinned.value.includes(id) ? 0 : 1;
  const kinds = Object.keys(KINDS).indexOf(kind === "alias" ? "model" : kind);
  if (sort === "name") return [pin, id.toLowerCase()];
  if (sort === "memory") return [pin, -sizeOf(id), kinds, id.toLowerCase()];
  if (sort === "use") {
    const now = (busy.value.get(id) ?? 0) + (waiting.value.get(id)?.length ?? 0);
    return [pin, now ? 0 : 1, -(lastUse.value.get(id) ?? 0), kinds, id.toLowerCase()];
  }
  return [pin, ORDER.indexOf(stateOf(id)), kinds, id.toLowerCase()];
}

/** @param {string} id */
const sizeOf = (id) => (isByMemory.value ? mainSize(needOf(id)?.devices) : null) ?? memoryOf(id)?.bytes ?? 0;

/** @param {{ rank: (number | string)[] }} one @param {{ rank: (number | string)[] }} other */
function compare(one, other) {
  for (const [index, value] of one.rank.entries()) {
    const against = other.rank[index] ?? 0;
    if (value !== against) return value < against ? -1 : 1;
  }
  return 0;
}

/** @param {Entry} entry @param {string} by */
function groupOf({ id, kind }, by) {
  if (by === "kind") return KINDS[kind];
  if (by === "state") return STATES[/** @type {keyof typeof STATES} */ (stateOf(id))] ?? STATES[""];
  return kind === "model" ? setOf(id) : KINDS[kind];
}

/** @param {string} name @param {string} by */
function placeOf(name, by) {
  if (by === "state") return Object.values(STATES).indexOf(name);
  const kind = Object.values(KINDS).indexOf(name);
  if (kind >= 0) return 10_000 + kind;
  const place = by === "set" ? rules().findIndex((rule) => rule.name === name) : 0;
  return place < 0 ? 5000 : place;
}
