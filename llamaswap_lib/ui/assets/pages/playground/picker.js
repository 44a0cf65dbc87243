/** Chooses a model: those that fit first, each with its state, and what a request would have to wait for. */

import { ask } from "../../api.js";
import { models } from "../../live.js";
import { loadModel, unloadModel } from "../../parts/actions.js";
import { computed, effect, h, signal } from "../../view.js";

/** @typedef {"chat" | "image_generation" | "audio_speech" | "audio_transcriptions" | "reranker" | "embeddings"} Need */
/** @typedef {import("../../live.js").Model} Model */

const OWN = /** @type {const} */ (["image_generation", "audio_speech", "audio_transcriptions", "reranker"]);
const selectors = signal(/** @type {string[]} */ ([]));

/** How well a model fits: 2 it says so, 1 it says nothing, 0 it is made for something else. @param {Model} model @param {Need} need */
export function fit(model, need) {
  const can = model.capabilities ?? {};
  const says = Object.keys(can).length > 0;
  const named = `${model.id} ${model.name ?? ""}`.toLowerCase();
  const embeds = /embed|bge|gte|e5-/.test(named);
  if (need === "embeddings") return embeds ? 2 : says ? 0 : 1;
  if (need === "chat") {
    if (can.vision || can.function_calling) return 2;
    return OWN.some((each) => can[each]) || embeds ? 0 : 1;
  }
  if (embeds && need !== "reranker") return 0;
  return can[need] ? 2 : says ? 0 : 1;
}

/** The model with this name, also by an alias. @param {string} name */
export const modelOf = (name) => models.value.find((model) => model.id === name || model.aliases?.includes(name));

/** The models that fit, the best first, then by name. @param {Need} need */
export const fitting = (need) =>
  [...models.value]
    .filter((model) => !model.unlisted && fit(model, need) > 0)
    .sort((one, other) => fit(other, need) - fit(one, need) || one.id.localeCompare(other.id));

/** One that may be used before anything was chosen: one that is loaded, or else the first that fits. @param {Need} need */
export function usual(need) {
  const all = fitting(need);
  return (all.find((model) => model.state === "ready") ?? all[0])?.id ?? models.value[0]?.id ?? "";
}

/** Names of selectors, which no event tells. */
async function readSelectors() {
  try {
    const { data } = await ask("v1/models");
    selectors.value = data
      .filter((/** @type {any} */ row) => row.meta?.llamaswap?.type === "selector")
      .map((/** @type {any} */ row) => row.id);
  } catch {
    // they can still be named in the address
  }
}

/** @param {string} state */
const wordOf = (state) =>
  ({ ready: "ready", starting: "loading", stopping: "stopping", stopped: "not loaded" })[state] ?? "";

/**
 * @param {import("../../view.js").Signal<string>} chosen @param {Need} need
 * @param {{ label?: string, onchoose?: (name: string) => void }} [options]
 */
export function picker(chosen, need, { label = "Model", onchoose = () => {} } = {}) {
  void readSelectors();
  const rows = computed(() =>
    JSON.stringify([
      models.value.map((model) => [model.id, model.name ?? "", model.state, fit(model, need)]),
      selectors.value,
      chosen.value,
    ]),
  );
  const select = /** @type {HTMLSelectElement} */ (h("select", { "aria-label": label, onchange: choose }));
  function choose() {
    chosen.value = select.value;
    onchoose(select.value);
  }
  effect(() => {
    const [all, chains, name] = JSON.parse(rows.value);
    const fits = all
      .filter((/** @type {any} */ row) => row[3] > 0)
      .sort((/** @type {any} */ one, /** @type {any} */ other) => other[3] - one[3]);
    const others = all.filter((/** @type {any} */ row) => row[3] === 0);
    const isKnown = all.some((/** @type {any} */ row) => row[0] === name) || chains.includes(name);
    select.replaceChildren(
      ...(isKnown || !name ? [] : [option([name, "", "", 0])]),
      ...(name ? [] : [h("option", { value: "" }, "Choose a model")]),
      ...fits.map(option),
      ...(chains.length
        ? [
            group(
              "Selectors",
              chains.map((/** @type {string} */ id) => [id, "", "", 0]),
            ),
          ]
        : []),
      ...(others.length ? [group("Made for something else", others)] : []),
    );
    select.value = name;
  });
  return h(
    "span.model-picker",
    null,
    select,
    state(() => chosen.value),
  );
}

/** A name that may turn the direction of text, so that it does so for itself only. @param {string} name */
const isolated = (name) => (/^[ -~]*$/.test(name) ? name : `\u2068${name}\u2069`);

/** @param {[string, string, string, number]} row */
function option([id, name, state]) {
  const words = [isolated(id), wordOf(state)].filter(Boolean).join(" · ");
  return h("option", { value: id, title: name || null }, words);
}

/** @param {string} label @param {[string, string, string, number][]} rows */
const group = (label, rows) => h("optgroup", { label }, rows.map(option));

/** The state of a model, and a button that changes it. @param {() => string} name followed */
function state(name) {
  const found = computed(() => {
    const model = modelOf(name());
    return model && !model.peerID ? `${model.state}|${model.failure ? 1 : ""}|${model.id}` : "";
  });
  return h("span.row.state", null, () => {
    const [now = "", failure, id = ""] = found.value.split("|");
    if (!now) return null;
    const isLoaded = now === "ready";
    const isOff = now === "stopped";
    return [
      h("span.dot", { class: failure ? "fail" : isLoaded ? "ready" : isOff ? "" : "load" }),
      isLoaded ? h("button.quiet.small", { type: "button", onclick: () => void unloadModel(id) }, "Unload") : null,
      isOff ? h("button.quiet.small", { type: "button", onclick: () => void loadModel(id) }, "Load") : null,
      isLoaded || isOff ? null : h("span.soft", null, wordOf(now)),
    ];
  });
}

/**
 * The model that a tab uses: of the address, or as it was, or one that fits. It stands in the address.
 * @param {import("../../view.js").Signal<string>} chosen @param {Need} need
 * @param {import("../../view.js").Signal<import("../../router.js").Place>} place
 */
export function followAddress(chosen, need, place) {
  effect(() => {
    if (place.value.page !== "playground") return;
    const named = place.value.query.get("model");
    if (named) chosen.value = named;
    else if (!chosen.value && models.value.length) chosen.value = usual(need);
  });
}
