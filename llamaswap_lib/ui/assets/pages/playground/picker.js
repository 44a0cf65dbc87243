/** Chooses a model: those that fit first, each with its state, and what a request would have to wait for. */

import { ask } from "../../api.js";
import { models } from "../../live.js";
import { loadModel, unloadModel } from "../../parts/actions.js";
import { fit, modelOf, usual } from "../../parts/fitting.js";
import { computed, effect, h, signal } from "../../view.js";

/** @typedef {import("../../parts/fitting.js").Need} Need */
/** @typedef {import("../../live.js").Model} Model */

const selectors = signal(/** @type {string[]} */ ([]));

/** Names of selectors and pools, which no event tells. */
async function readSelectors() {
  try {
    const { data } = await ask("v1/models");
    selectors.value = data
      .filter((/** @type {any} */ row) => ["selector", "pool"].includes(row.meta?.llamaswap?.type))
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
