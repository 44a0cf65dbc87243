/** One row of the list of models. */

import { count, memorySize, several, speed } from "../../format.js";
import { runs, about, until } from "../../live.js";
import { cancelLoad, loadModel, unloadModel } from "../../parts/actions.js";
import { changed, phasesOf, speedsOf } from "../../parts/history.js";
import { spark } from "../../parts/spark.js";
import { to } from "../../router.js";
import { still } from "../../parts/still.js";
import { computed, h, signal } from "../../view.js";
import { pinned, runThere, stateOf, togglePin } from "./catalog.js";
import { lastLines } from "./last_lines.js";
import { busy, byId, isAsleep, loadOf, memoryOf, peerOf, reasonOf, unloadsIn, waiting } from "./now.js";
import { isByMemory, needWords } from "./needs.js";
import { costInFull, costOf, planOf, watchPlan } from "./plans.js";

/** @typedef {import("./catalog.js").Entry} Entry */

export const DOTS = { starting: "load", stopping: "load", ready: "ready", failed: "fail" };
export const WORDS = {
  starting: "loading",
  stopping: "stopping",
  ready: "running",
  failed: "failed",
  sleeping: "sleeping",
  stopped: "stopped",
};
const MOST_ALIASES = 4;
const PATIENCE = 4000; // milliseconds until what was done at a box is known here

/** The class of the dot of a state. @param {string} id */
export const dotOf = (id) => DOTS[/** @type {keyof typeof DOTS} */ (stateOf(id))] ?? "";

/** @param {string} id */
export const stateWords = (id) => WORDS[/** @type {keyof typeof WORDS} */ (stateOf(id))] ?? "";

/** @param {import("../../view.js").Signal<Entry>} entry */
export function modelRow(entry) {
  const { id, kind } = entry.value;
  const model = kind === "alias" ? (entry.value.targets[0] ?? id) : id;
  const isOurs = kind === "model";
  const row = h(
    "tr.model",
    { class: kind },
    h("td.what", null, nameLine(entry, model), kind === "model" ? underName(model) : where(entry)),
    h("td.n.hide-narrow", null, () => (isOurs ? memoryCell(model) : "")),
    isOurs || kind === "peer" ? speedCell(model) : h("td.hide-narrow"),
    h("td.n.use", null, useCell(model, kind)),
    h("td.n.hide-narrow", null, () => (isOurs ? ttlCell(model) : "")),
    h("td.n.act", null, ["model", "alias", "peer"].includes(kind) ? actions(model) : null),
  );
  if (kind !== "alias" && kind !== "peer") watchPlan(model, row);
  return row;
}

/** @param {import("../../view.js").Signal<Entry>} entry @param {string} model */
function nameLine(entry, model) {
  const { id, kind } = entry.value;
  return h(
    "div.name-line",
    null,
    kind === "model" || kind === "peer"
      ? h("span.dot", {
          class: () => (stateOf(model) ? dotOf(model) : "none"),
          role: "img",
          "aria-label": () => stateWords(model),
        })
      : h("span.dot.none"),
    h("a.name", { href: to("models", id), title: id }, h("bdi", null, id)),
    () => aliasWords(entry.value),
    () => tags(entry.value),
    h(
      "button.quiet.pin",
      {
        type: "button",
        "aria-pressed": () => String(pinned.value.includes(id)),
        "aria-label": () => `Pin ${id}`,
        onclick: () => togglePin(id),
      },
      () => (pinned.value.includes(id) ? "pinned" : "pin"),
    ),
  );
}

/** @param {Entry} entry */
function aliasWords({ aliases, name, id }) {
  const shown = aliases.slice(0, MOST_ALIASES).map((alias) => h("bdi", { title: alias }, alias));
  const more = aliases.length - shown.length;
  return [
    name && name !== id ? h("span.alias", null, h("bdi", { title: name }, name)) : null,
    shown.length
      ? h(
          "span.alias",
          { title: aliases.slice(0, 50).join(", ") },
          shown.flatMap((node, index) => [index ? ", " : "", node]),
          more > 0 ? ` and ${more} more` : "",
        )
      : null,
  ];
}

/** What it can do, in words. @param {any} capabilities */
export function abilities(capabilities) {
  const words = {
    vision: "vision",
    audio_transcriptions: "transcription",
    audio_speech: "speech",
    image_generation: "images",
    image_to_image: "image editing",
    function_calling: "tools",
    reranker: "rerank",
  };
  return Object.entries(words)
    .filter(([name]) => capabilities?.[name])
    .map(([, word]) => word);
}

/** @param {Entry} entry */
function tags({ id, kind, unlisted, strategy }) {
  const words = abilities(byId.value.get(id)?.capabilities);
  if (kind === "selector") words.push(strategy === "pool" ? "pool" : `selector: ${strategy}`);
  if (kind === "profile") words.push("profile");
  if (kind === "alias") words.push("alias");
  if (unlisted) words.push("unlisted");
  return words.map((word) => h("span.tag", null, word));
}

/** Where a name leads that is no model itself. @param {import("../../view.js").Signal<Entry>} entry */
function where(entry) {
  const { id, kind, peer } = entry.value;
  /** @param {string} name */
  const link = (name) => h("a.plain", { href: to("models", name) }, h("bdi", null, name));
  if (kind === "peer") {
    const isOut = computed(() => peerOf(peer)?.up === false);
    const words = () => (isOut.value ? ", which is out" : stateWords(id) && ` · ${stateWords(id)}`);
    return h("div.why.soft", null, "on ", h("bdi", null, peer), words);
  }
  return h("div.why.soft", null, () => {
    const now = kind === "selector" ? planOf(id).value?.model : "";
    const names = entry.value.targets.slice(0, 8).flatMap((name, index) => [index ? ", " : "", link(name)]);
    return [kind === "selector" ? "one of " : "→ ", names, now ? [" · now ", link(now)] : null];
  });
}

/** Why it is as it is, how far its load is, and what its process says. @param {string} id */
function underName(id) {
  const isLoading = computed(() => byId.value.get(id)?.state === "starting");
  const need = computed(() => (isByMemory.value ? needWords(id) : null));
  return [
    h("div.why.soft.only-narrow", { hidden: () => !need.value }, () =>
      need.value?.size ? `needs ${need.value.size}, ${need.value.source}` : `need ${need.value?.source ?? ""}`,
    ),
    h(
      "div.why",
      { class: () => whyClass(id), hidden: () => !reasonOf(id) },
      h("bdi", null, () => reasonOf(id).slice(0, 600)),
    ),
    () => (isLoading.value ? still(() => [progress(id), processLine(id)]) : null),
  ];
}

/** @param {string} id */
const whyClass = (id) => (stateOf(id) === "failed" && !waiting.value.has(id) ? "fail" : "wait");

/** A bar for the load: how much of the time that it takes is over. @param {string} id */
export function progress(id) {
  const share = () => {
    const load = loadOf(id);
    if (!load || load.left === null) return null;
    return Math.min(0.97, load.elapsed / Math.max(1, load.elapsed + load.left));
  };
  return h(
    "div.progress",
    {
      role: "progressbar",
      "aria-label": `Load of ${id}`,
      "aria-valuemin": "0",
      "aria-valuemax": "100",
      "aria-valuenow": () => (share() === null ? null : Math.round((share() ?? 0) * 100)),
      class: () => (share() === null ? "unknown" : ""),
    },
    h("i", { style: () => ({ width: `${(share() ?? 1) * 100}%` }) }),
  );
}

/** @param {string} id */
function processLine(id) {
  const lines = lastLines(id, 1, { history: !phasesOf(id).at(-1)?.isSeen }); // not the lines of the run before
  return h(
    "div.said",
    { "aria-hidden": "true" },
    h("bdi", null, () => lines.value.at(-1) ?? "\u00a0"),
  );
}

/** @param {string} id */
function memoryCell(id) {
  if (isByMemory.value) return memoryAndNeed(id);
  const memory = memoryOf(id);
  if (!memory) return h("span.faint", null, "–");
  if (memory.isNow) return memorySize(memory.bytes);
  return h("span.faint", { title: "What it took when it last ran" }, memorySize(memory.bytes));
}

/** What it takes now, and what it needs: the second decides who stays. @param {string} id */
function memoryAndNeed(id) {
  const [memory, need] = [memoryOf(id), needWords(id)];
  return [
    memory?.isNow ? h("div", null, memorySize(memory.bytes)) : null,
    need
      ? h("div.need", { title: need.why }, need.size ? `needs ${need.size}` : "need", h("span", null, need.source))
      : h("span.faint", null, "–"),
  ];
}

/** @param {string} id */
function speedCell(id) {
  const values = computed(() => {
    changed.value;
    return speedsOf(id);
  });
  return h("td.n.hide-narrow", null, () => speedWords(values.value));
}

/** @param {number[]} values */
function speedWords(values) {
  const last = values.slice(-5);
  if (!last.length) return h("span.faint", null, "–");
  const mean = last.reduce((sum, value) => sum + value, 0) / last.length;
  const words = `${speed(mean)} tokens a second, of its last ${several(last.length, "request")}`;
  return h(
    "span.speed",
    { title: words },
    spark(values, `Speed of its last ${several(values.length, "request")}`),
    h("span", null, speed(mean), h("small", null, " tok/s")),
  );
}

/** Places in use, and who waits; made anew only when one of the figures has changed. @param {string} id @param {string} kind */
function useCell(id, kind) {
  if (kind !== "model" && kind !== "peer") return null;
  const works = computed(() => runThere(id)?.in_flight ?? busy.value.get(id) ?? 0);
  const waits = computed(() => runThere(id)?.waiting ?? waiting.value.get(id)?.length ?? 0);
  const limit = computed(
    () => runs.value.get(id)?.concurrency_limit ?? about.value?.config?.models?.[id]?.concurrencyLimit ?? 0,
  );
  const isUp = computed(() => runs.value.has(id) || Boolean(runThere(id)));
  return () => useWords(works.value, waits.value, limit.value, isUp.value);
}

/** @param {number} works @param {number} waits @param {number} limit 0 for none @param {boolean} isUp */
function useWords(works, waits, limit, isUp) {
  if (!isUp && !works && !waits) return h("span.faint", null, "–");
  const title = `${several(works, "request")} inside${limit ? `, of ${limit} that may be` : ""}; ${waits} wait`;
  return h(
    "span",
    { title },
    h("span", { class: works ? "working" : "faint" }, limit ? `${works} of ${limit}` : count(works)),
    waits ? h("span.waits", null, ` · ${waits} wait${waits === 1 ? "s" : ""}`) : null,
  );
}

/** @param {string} id */
function ttlCell(id) {
  const words = unloadsIn(id);
  return words.startsWith("in")
    ? words
    : h("span.faint", { title: words ? "" : "Only a model that is idle has a time" }, words || "–");
}

/** Load, cancel or unload, and under the button what follows from it; nothing where its box cannot do it. @param {string} id */
export function actions(id) {
  const asked = signal(false);
  /** @param {() => Promise<unknown>} work */
  const once = (work) => async () => {
    const before = state.now;
    asked.value = true;
    await work();
    if (box.now) await until(() => state.value !== before, PATIENCE);
    asked.value = false;
  };
  const load = once(() => loadModel(id));
  const unload = once(() => unloadModel(id));
  const state = computed(() => runThere(id)?.state ?? byId.value.get(id)?.state);
  const box = computed(() => peerOf(byId.value.get(id)?.peerID ?? ""));
  /** @type {import("../../view.js").Signal<"Load" | "Cancel" | "Unload">} */
  const kind = computed(() => {
    if (state.value === "starting") return "Cancel";
    return state.value === "ready" || state.value === "stopping" ? "Unload" : "Load";
  });
  const run = () => void { Load: load, Cancel: () => cancelLoad(id), Unload: unload }[kind.value]();
  const label = () => (kind.value === "Cancel" ? `Cancel the load of ${id}` : `${kind.value} ${id}`);
  const isOff = () => state.value === "stopping" || (asked.value && kind.value !== "Cancel");
  const plan = () => (kind.value === "Load" ? planOf(id).value : null);
  const cost = computed(() => {
    const rows = kind.value === "Cancel" ? (waiting.value.get(id) ?? []).filter((row) => row.request) : [];
    return rows.length ? `starts again for ${several(rows.length, "request")}` : costOf(plan(), inside);
  });
  return h(
    "div.action",
    { hidden: () => box.value?.up === false || box.value?.kind === "other" },
    h(
      "button.small",
      // not `disabled`: that would take the focus from who has pressed it
      { type: "button", "aria-label": label, "aria-disabled": () => String(isOff()), onclick: () => isOff() || run() },
      () => (state.value === "stopping" ? "Stopping" : kind.value),
    ),
    h(
      "button.quiet.small",
      { type: "button", "aria-label": `Unload ${id}`, hidden: () => !isAsleep(id), disabled: isOff, onclick: unload },
      "Unload",
    ),
    h(
      "span.cost",
      { title: () => costInFull(plan()), hidden: () => !cost.value },
      h("bdi", null, () => cost.value),
    ),
  );
}

/** @param {string} id */
const inside = (id) => busy.value.get(id) ?? 0;
