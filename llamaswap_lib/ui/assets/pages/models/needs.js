/** What models need of memory and hold of it, and where these figures come from: what the event `memory` tells. */

import { memorySize } from "../../format.js";
import { memory } from "../../live.js";
import { computed } from "../../view.js";

/** @typedef {import("../../live.js").NeedOf} NeedOf */

/** What a source means, for a model's own page (docs/memory.md). */
const SOURCES = /** @type {Record<string, string>} */ ({
  declared: "as memory: in the configuration says",
  measured: "the most that it took in its last five runs",
  estimated: "from the head of its file and its command; its first load measures it",
  unknown: "it is loaded alone, once, and is known then",
});

/** Whether models go by it: `use: memory`. */
export const isByMemory = computed(() => memory.value?.router === "memory");

const rows = computed(() => new Map((memory.value?.models ?? []).map((row) => [row.model, row])));

/** Its row: what it needs, what it holds. @param {string} id */
export const told = (id) => rows.value.get(id) ?? null;

/** @param {string} id @returns {NeedOf | null} */
export const needOf = (id) => told(id)?.need ?? null;

/** `GPU 0`, for the name of a device. @param {string} name */
export const labelOf = (name) => memory.value?.devices.find((each) => each.device === name)?.name ?? name;

/** Bytes on the devices that most of it is on, as `ps` sums them: GPUs, or else the machine. @param {Record<string, number> | null | undefined} sizes */
export function mainSize(sizes) {
  if (!sizes) return null;
  const ofGpus = Object.entries(sizes).filter(([name, size]) => name !== "ram" && size > 0);
  return ofGpus.length ? ofGpus.reduce((sum, [, size]) => sum + size, 0) : (sizes["ram"] ?? null);
}

/** `18.0 GB`, with its source in words; null where nothing is told. @param {string} id @returns {{ size: string, source: string, why: string } | null} */
export function needWords(id) {
  const need = needOf(id);
  if (!need) return null;
  const size = mainSize(need.devices);
  return {
    size: size === null ? "" : memorySize(size),
    source: need.source === "unknown" ? "not known yet" : need.source,
    why: SOURCES[need.source] ?? "",
  };
}

/** `4.2 GB`: what others get if it goes, "" where that is not known. @param {string} id */
export function freedBy(id) {
  const row = told(id);
  const size = Math.max(mainSize(row?.held) ?? 0, mainSize(row?.need.devices) ?? 0);
  return size ? memorySize(size) : "";
}

/** The devices that it is put on, or needs something of, or holds something of; `GPU 0 and RAM`. @param {string} id */
export function placementWords(id) {
  const row = told(id);
  const chosen = row?.placement ?? used(row?.held) ?? used(row?.need.devices) ?? [];
  return chosen.map(labelOf).join(" and ");
}

/** @param {Record<string, number> | null | undefined} sizes */
function used(sizes) {
  const names = Object.keys(sizes ?? {}).filter((name) => (sizes?.[name] ?? 0) > 0);
  return names.length ? names : null;
}
