/** The hardware, as `/api/hardware` tells it, and as a text to copy. */

import { ask } from "../../api.js";
import { bytes, count } from "../../format.js";
import { copy } from "../../parts/actions.js";
import { empty } from "../../parts/empty.js";
import { h, signal } from "../../view.js";

export function hardware() {
  const shown = signal(/** @type {import("../../view.js").Child} */ (h("p.soft", null, "Reading…")));
  ask("api/hardware").then(
    (told) => (shown.value = sections(told)),
    (error) => (shown.value = empty("The hardware is not known", error.message)),
  );
  return h("div.page", null, () => shown.value);
}

/** What there is to say: a heading, and names with values. @param {any} told @returns {[string, [string, string][]][]} */
function facts(told) {
  const system = told.operating_system ?? {};
  const around = told.environment ?? {};
  const inside = [
    around.container && `container (${around.container})`,
    around.vm && `virtual machine (${around.vm})`,
    around.wsl && "WSL",
  ];
  /** @type {[string, [string, unknown][]][]} */
  const all = [
    [
      "System",
      [
        ["System", [system.name, system.version].filter(Boolean).join(" ")],
        ["Kernel", system.kernel],
        ["Architecture", told.architecture],
        ["Runs in", inside.filter(Boolean).join(", ")],
      ],
    ],
    [
      "Processor",
      [
        ["Model", told.cpu?.model],
        [
          "Cores",
          told.cpu?.physical_cores && `${count(told.cpu.physical_cores)}, ${count(told.cpu.logical_cores)} threads`,
        ],
      ],
    ],
    [
      "Memory",
      [
        ["Capacity", told.memory?.capacity_bytes && bytes(told.memory.capacity_bytes)],
        ["Limit of the container", told.memory?.limit_bytes && bytes(told.memory.limit_bytes)],
      ],
    ],
    ...(told.accelerators ?? []).map((/** @type {any} */ one) => [
      `GPU ${one.index}`,
      [
        ["Model", [one.vendor, one.model].filter(Boolean).join(" ")],
        ["Memory", one.memory?.capacity_bytes && `${bytes(one.memory.capacity_bytes)}, ${one.memory.kind}`],
        ["Architecture", one.architecture],
        ["Driver", [one.driver?.name, one.driver?.version].filter(Boolean).join(" ")],
        ["Power limit", one.power_limit_watts && `${count(one.power_limit_watts)} W`],
        ["Address", [one.uuid, one.pci].filter(Boolean).join(", ")],
      ],
    ]),
  ];
  return all.map(([name, rows]) => [
    name,
    rows.filter(([, value]) => value).map(([key, value]) => [key, String(value)]),
  ]);
}

/** @param {any} told */
function sections(told) {
  const all = facts(told);
  const text = () =>
    all.map(([name, rows]) => [name, ...rows.map(([key, value]) => `  ${key}: ${value}`)].join("\n")).join("\n");
  const problems = told.capture?.problems ?? [];
  return [
    h("div.row", null, h("button", { type: "button", onclick: () => copy(text(), "The summary") }, "Copy as text")),
    all.map(([name, rows]) =>
      h(
        "section",
        null,
        h("h2", null, name),
        h(
          "dl.facts",
          null,
          rows.map(([key, value]) => [h("dt", null, key), h("dd", null, value)]),
        ),
      ),
    ),
    told.accelerators?.length
      ? null
      : h(
          "section",
          null,
          h("h2", null, "GPUs"),
          h(
            "p",
            null,
            "None was found. NVIDIA's are asked by the driver's library, others by what Linux tells of them; without a driver there is nothing to ask.",
          ),
        ),
    problems.length
      ? h(
          "section",
          null,
          h("h2", null, "What keeps GPUs from being asked"),
          h(
            "ul",
            null,
            problems.map((/** @type {unknown} */ problem) =>
              h("li", null, typeof problem === "string" ? problem : JSON.stringify(problem)),
            ),
          ),
        )
      : null,
  ];
}
