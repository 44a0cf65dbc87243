/** Which models fit for what, as far as they say it or their names do. */

import { models } from "../live.js";

/** @typedef {"chat" | "image_generation" | "audio_speech" | "audio_transcriptions" | "reranker" | "embeddings"} Need */
/** @typedef {import("../live.js").Model} Model */

const OWN = /** @type {const} */ (["image_generation", "audio_speech", "audio_transcriptions", "reranker"]);

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
