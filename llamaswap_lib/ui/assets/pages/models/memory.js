/** Memory of the box: a bar for each device, with what models hold, what others use, what is free and what is kept free. */

import { ask, askByClock, toServer } from "../../api.js";
import { memorySize, percent } from "../../format.js";
import { connection, memory, models, runs } from "../../live.js";
import { cleanup, computed, effect, h, keyed, signal } from "../../view.js";
import { isByMemory } from "./needs.js";

/**
 * @typedef {{ id: string, title: string, total: number, used: number | null, free: number | null, reserve: number,
 *   figures: string[], keys: string[] }} Device
 *   sizes in bytes; `free`: what is left for models, and `reserve` what is kept free; `keys`: the names that it may have
 * @typedef {{ model: string, bytes: number, loads: boolean }} Part
 */

const EVERY = 5000;
const MB = 1_048_576;
const MAKERS = /^(NVIDIA|AMD|Intel)(\(R\))? (GeForce |Radeon )?/i; // a row has room for what differs

const sample = signal(/** @type {{ system: any, gpus: any[] } | null} */ (null));
const accelerators = signal(/** @type {any[]} */ ([]));
/** Whether it was asked for. */
export const isMeasured = signal(false);
/** "" or why there is nothing. */
const trouble = signal("");
let after = "";

async function read() {
  if (document.visibilityState !== "visible" || connection.value !== "open") return;
  try {
    let told = await askByClock("api/performance", { query: { after: after || toServer(Date.now() - 30_000) } });
    if (!after && !told.sys_stats.length) {
      told = await ask("api/performance", { query: { after: toServer(Date.now() - 900_000) } });
    }
    const system = told.sys_stats.at(-1) ?? sample.now?.system ?? null;
    const newest = told.gpu_stats.at(-1)?.timestamp;
    const gpus = told.gpu_stats.filter((/** @type {any} */ row) => row.timestamp === newest);
    sample.value = { system, gpus: gpus.length ? gpus : (sample.now?.gpus ?? []) };
    after = told.sys_stats.at(-1)?.timestamp ?? after;
    trouble.value = "";
  } catch (error) {
    const isOff = /** @type {any} */ (error).status === 503;
    trouble.value = isOff ? "Memory of the machine is not measured: performance.disabled is set." : "";
  }
  isMeasured.value = true;
}

/** How much there is and who has it, as the server goes by it; null where it does not. @param {string[]} keys */
function toldOf(keys) {
  const told = memory.value?.devices.find(({ device }) => keys.includes(device));
  if (!told || !isByMemory.value) return null;
  const { capacity_bytes: total, reserve_bytes: reserve, free_bytes: free } = told;
  return { total, used: told.others_bytes + told.held_bytes, free, reserve };
}

/** @returns {Device[]} */
function devices() {
  const sampled = sampledDevices();
  const keys = sampled.flatMap((device) => device.keys);
  const others = (memory.value?.devices ?? []).filter(({ device }) => !keys.includes(device));
  return [
    ...sampled.map((device) => ({ ...device, ...toldOf(device.keys) })),
    ...others.map(({ device, name, capacity_bytes: total, others_bytes: taken, held_bytes: held }) => ({
      ...{ id: device, title: name, total, used: taken + held, free: null, reserve: 0, figures: [], keys: [device] },
      ...toldOf([device]),
    })),
  ].sort((one, other) => Number(one.keys.includes("ram")) - Number(other.keys.includes("ram")));
}

/** Those that are seen in the samples of the machine. @returns {Device[]} */
function sampledDevices() {
  const { system, gpus } = sample.value ?? { system: null, gpus: [] };
  const known = gpus.map((gpu) => {
    const card = accelerators.value.find((each) => each.index === gpu.id);
    return {
      id: `gpu ${gpu.id}`,
      title: `GPU ${gpu.id} · ${String(gpu.name).replace(MAKERS, "")}`,
      total: gpu.mem_total_mb === null ? 0 : gpu.mem_total_mb * MB,
      used: gpu.mem_used_mb === null ? null : gpu.mem_used_mb * MB,
      free: null,
      reserve: 0,
      figures: [
        gpu.gpu_util_pct === null ? "" : percent(gpu.gpu_util_pct),
        gpu.temp_c === null ? "" : `${Math.round(gpu.temp_c)} °C`,
      ],
      keys: [gpu.uuid, card?.uuid, card?.pci, String(gpu.id)].filter(Boolean),
    };
  });
  if (!system?.mem_total_mb) return known;
  const cores = system.cpu_util_per_core ?? [];
  const load = cores.length
    ? cores.reduce((/** @type {number} */ sum, /** @type {number} */ one) => sum + one, 0) / cores.length
    : null;
  const ram = {
    id: "ram",
    title: "RAM",
    total: system.mem_total_mb * MB,
    used: system.mem_used_mb === null ? null : system.mem_used_mb * MB,
    free: null,
    reserve: 0,
    figures: [load === null ? "" : `CPU ${percent(load)}`],
    keys: ["ram"],
  };
  return [...known, ram];
}

/** What runs of ours on a device, the largest first. @param {Device} device @returns {Part[]} */
function partsOf({ keys, used }) {
  const parts = isByMemory.value ? heldParts(keys) : runParts(keys);
  const most = used ?? Infinity;
  return parts
    .map((part) => ({ ...part, bytes: Math.min(part.bytes, most) }))
    .sort((one, other) => other.bytes - one.bytes);
}

/** As the server goes by it. @param {string[]} keys @returns {Part[]} */
function heldParts(keys) {
  const loading = new Set(models.value.filter(({ state }) => state === "starting").map(({ id }) => id));
  return (memory.value?.models ?? []).flatMap(({ model, held }) => {
    const size = held?.[keys.find((key) => key in held) ?? ""] ?? 0;
    return size > 0 ? [{ model, bytes: size, loads: loading.has(model) }] : [];
  });
}

/** As the runs were measured. @param {string[]} keys @returns {Part[]} */
function runParts(keys) {
  const parts = [];
  for (const [model, run] of runs.value) {
    for (const row of run.memory ?? []) {
      if (keys.includes(row.device) && row.bytes > 0)
        parts.push({ model, bytes: row.bytes, loads: run.state === "starting" });
    }
  }
  return parts;
}

export function memorySection() {
  const timer = setInterval(read, EVERY);
  cleanup(() => clearInterval(timer));
  effect(() => {
    if (connection.value === "open") queueMicrotask(read);
  });
  ask("api/hardware").then(
    (told) => (accelerators.value = told.accelerators ?? []),
    () => {},
  );
  const shown = computed(devices);
  return h(
    "section.devices",
    { "aria-label": "Memory", hidden: () => shown.value.length === 0 && !trouble.value },
    h("p.soft", { hidden: () => !trouble.value || shown.value.length > 0 }, () => trouble.value),
    keyed(
      h("div.memory-bars"),
      () => shown.value,
      (device) => device.id,
      bar,
    ),
  );
}

/** `3.2 of 24.0 GB` @param {number | null} used @param {number} total */
function shareWords(used, total) {
  const [amount = "", unit = ""] = memorySize(used).split(" ");
  const whole = memorySize(total);
  return `${whole.endsWith(` ${unit}`) ? amount : memorySize(used)} of ${whole}`;
}

/** @param {import("../../view.js").Signal<Device>} device */
function bar(device) {
  const parts = () => partsOf(device.value);
  const ours = () => parts().reduce((sum, part) => sum + part.bytes, 0);
  const others = () => (device.value.used === null ? 0 : Math.max(0, device.value.used - ours()));
  /** @param {number} size */
  const share = (size) => (device.value.total ? Math.min(1, size / device.value.total) : 0);
  const amount = () => {
    const { used, total, free, figures } = device.value;
    return [
      total ? shareWords(used, total) : "memory unknown",
      free === null ? "" : `${memorySize(free)} free`,
      ...figures,
    ]
      .filter(Boolean)
      .join(" · ");
  };
  const words = () => {
    const told = parts().map((part) => `${part.model} ${memorySize(part.bytes)}`);
    if (others()) told.push(`others ${memorySize(others())}`);
    if (device.value.reserve) told.push(`reserve, which is kept free, ${memorySize(device.value.reserve)}`);
    return `${device.value.title}, ${amount()}: ${told.join(", ") || "nothing of ours"}`;
  };
  return h(
    "div.device",
    null,
    h(
      "div.dev",
      null,
      h("bdi", null, () => device.value.title),
      h("span", null, amount),
    ),
    h(
      "div.memory-bar",
      { role: "img", "aria-label": words },
      keyed(
        h("div.ours"),
        parts,
        (part) => part.model,
        (part) =>
          h(
            "i.mine",
            {
              class: () => (part.value.loads ? "load" : ""),
              title: () => `${part.value.model}: ${memorySize(part.value.bytes)}`,
              style: () => ({ width: `${share(part.value.bytes) * 100}%` }),
            },
            h("bdi", null, () => `${part.value.model} ${memorySize(part.value.bytes)}`),
          ),
      ),
      h(
        "i.others",
        {
          hidden: () => share(others()) < 0.002,
          title: () => `others: ${memorySize(others())}`,
          style: () => ({ width: `${share(others()) * 100}%` }),
        },
        h("bdi", null, () => `others ${memorySize(others())}`),
      ),
      h(
        "i.reserve",
        {
          hidden: () => !device.value.reserve,
          title: () => `reserve, which is kept free: ${memorySize(device.value.reserve)}`,
          style: () => ({ width: `${share(device.value.reserve) * 100}%` }),
        },
        h("bdi", null, () => `reserve ${memorySize(device.value.reserve)}`),
      ),
    ),
  );
}
