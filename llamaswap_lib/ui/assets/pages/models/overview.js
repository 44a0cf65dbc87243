/** What a model is and does: why, its load, its process, memory, capabilities, and how it fails. */

import { toLocal } from "../../api.js";
import { count, duration, memorySize, seconds } from "../../format.js";
import { about, inFlight, runs } from "../../live.js";
import { ago } from "../../parts/clock.js";
import { still } from "../../parts/still.js";
import { newRange, rangeButtons, timeline } from "../../parts/timeline.js";
import { to } from "../../router.js";
import { computed, h, keyed } from "../../view.js";
import { addressOf } from "./boxes.js";
import { runThere, stateOf } from "./catalog.js";
import { lastLines } from "./last_lines.js";
import { isByMemory, labelOf, needOf, needWords, placementWords } from "./needs.js";
import { busy, byId, memoryOf, peerOf, reasonOf, unloadsIn, waiting } from "./now.js";
import { costInFull, planOf } from "./plans.js";
import { abilities, progress, stateWords } from "./row.js";
import { setOf } from "./rules.js";

/** @typedef {import("../../view.js").Child} Child */

/** @param {import("../../view.js").Signal<import("./catalog.js").Entry>} entry */
export function overviewTab(entry) {
  const { id, kind } = entry.value;
  if (kind !== "model") return elsewhere(entry);
  const range = newRange();
  return h(
    "div.page",
    null,
    nowSection(id),
    failureSection(id),
    h(
      "section",
      { "aria-label": "Time line" },
      h("h2", null, "The last minutes", rangeButtons(range)),
      timeline(range, { only: id }),
    ),
    h("div.columns", null, h("div.page", null, processSection(id), memoryOfModel(id)), aboutSection(entry)),
  );
}

/** A line of `dl.facts`, where there is something to say. @param {string} name @param {() => Child} value @param {string} [title] */
const fact = (name, value, title) => {
  const said = computed(value);
  const isEmpty = () => said.value === null || said.value === undefined || said.value === "" || said.value === false;
  return [h("dt", { title, hidden: isEmpty }, name), h("dd", { hidden: isEmpty }, () => said.value)];
};

/** Who measured how much memory it takes (docs/hardware.md). */
const WITNESSES = /** @type {Record<string, string>} */ ({ ram: "the system", delta: "what its load added" });

/** @param {string} id */
function nowSection(id) {
  const isLoading = computed(() => byId.value.get(id)?.state === "starting");
  const plan = () => (["stopped", "sleeping", "failed"].includes(stateOf(id)) ? planOf(id).value : null);
  const load = () => {
    const told = plan();
    if (!told) return null;
    if (told.refusal) return `A load would be refused: ${told.refusal}.`;
    if (told.evicts === null) return "What a load would unload, your policy decides when it is made.";
    const names = told.evicts.map(({ model }) => model);
    const first = names.length ? `A load would unload ${names.slice(0, 10).join(", ")}` : "A load would unload nothing";
    const rule = told.rule?.text ? `: ${told.rule.text}` : "";
    const time =
      told.estimate_seconds === null
        ? ""
        : `, and take about ${duration(Math.max(1000, Math.round(told.estimate_seconds) * 1000))}`;
    return `${first}${rule}${time}.`;
  };
  return h(
    "section.now",
    { "aria-live": "polite" },
    h(
      "dl.model-figures",
      null,
      figure("State", () => stateWords(id)),
      figure(
        "Memory",
        () => (memoryOf(id) ? memorySize(memoryOf(id)?.bytes) : "–"),
        () => (memoryOf(id)?.isNow === false ? "when it last ran" : ""),
      ),
      h("div", { hidden: () => !isByMemory.value }, [
        h("dt", null, "Needs"),
        h(
          "dd",
          null,
          () => needWords(id)?.size || "–",
          h("small", null, () => needWords(id)?.source ?? ""),
        ),
      ]),
      figure(
        "In use",
        () => count(busy.value.get(id) ?? 0),
        () => {
          const limit = about.value?.config?.models?.[id]?.concurrencyLimit;
          return limit ? `of ${limit} places` : "";
        },
      ),
      figure("Waiting", () => count(waiting.value.get(id)?.length ?? 0)),
      figure(
        "Unloads",
        () => unloadsIn(id) || "–",
        () => (runs.value.get(id)?.ttl > 0 ? `${seconds(runs.value.get(id)?.ttl)} after its last request` : ""),
      ),
    ),
    h(
      "p.why",
      { hidden: () => !reasonOf(id), class: () => (stateOf(id) === "failed" ? "fail" : "wait") },
      h("bdi", null, () => reasonOf(id).slice(0, 2000)),
    ),
    () => (isLoading.value ? still(() => [progress(id), lines(id, 8, "What its process says")]) : null),
    h("p.soft", { hidden: () => !load(), title: () => costInFull(plan()) }, h("bdi", null, load)),
  );
}

/** @param {string} name @param {() => Child} value @param {() => string} [under] */
const figure = (name, value, under) =>
  h("div", null, h("dt", null, name), h("dd", null, value, under ? h("small", null, () => under()) : null));

/** The newest lines of its log. @param {string} id @param {number} most @param {string} label */
function lines(id, most, label) {
  const said = lastLines(id, most);
  return h(
    "pre.lines",
    { "aria-label": label, tabindex: "0" },
    h("bdi", null, () => said.value.join("\n") || "…"),
  );
}

/** @param {string} id */
function failureSection(id) {
  const fails = computed(() => Boolean(byId.value.get(id)?.failure));
  return h("div.page", { hidden: () => !fails.value }, () =>
    fails.value
      ? still(() =>
          h(
            "section",
            null,
            h("h2", null, "Why it fails", h("a", { href: to("logs", "", { show: id }) }, "Its whole log")),
            h("p.soft", null, "The last lines that its process printed. Load tries again at once."),
            lines(id, 20, "Last lines"),
          ),
        )
      : null,
  );
}

/** @param {string} id */
function processSection(id) {
  const run = () => runs.value.get(id);
  return h(
    "section",
    null,
    h("h2", null, "Process"),
    h("p.soft", { hidden: () => Boolean(run()) }, "It does not run."),
    h(
      "dl.facts",
      null,
      fact("Process id", () => run()?.pid),
      fact("Port", () => run()?.port),
      fact("Address", () => run()?.proxy && h("bdi", null, run().proxy)),
      fact("Started", () => (run()?.started ? ago(() => toLocal(run()?.started)) : null)),
      fact("Load took", () => (typeof run()?.load_seconds === "number" ? seconds(run().load_seconds) : null)),
      fact("Idle for", () =>
        run()?.state === "ready" && run().idle_seconds > 0 ? duration(Math.round(run().idle_seconds) * 1000) : null,
      ),
    ),
  );
}

/** What it needs and takes of each device. @param {string} id */
function memoryOfModel(id) {
  const parts = computed(() => memoryParts(id));
  return h(
    "section",
    { hidden: () => !parts.value.length && !needOf(id) },
    h("h2", null, "Memory"),
    h("dl.facts", null, [
      fact("Needs", () => needInFull(id)),
      fact("Devices", () => h("bdi", null, placementWords(id) || "not known yet")),
    ]),
    h(
      "table.memory",
      { hidden: () => !parts.value.length },
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          ["Device", "Needs", "Now", "At most", "Measured by"].map((text, index) =>
            h(index >= 1 && index <= 3 ? "th.n" : "th", { scope: "col" }, text),
          ),
        ),
      ),
      keyed(
        h("tbody"),
        () => parts.value,
        (part) => part.device,
        (part) =>
          h(
            "tr",
            null,
            h(
              "td",
              null,
              h("bdi", { title: () => part.value.device }, () => part.value.name),
            ),
            h("td.n", null, () => memorySize(part.value.need)),
            h("td.n", null, () => memorySize(part.value.row?.bytes)),
            h("td.n", null, () => memorySize(part.value.row?.peak_bytes)),
            h("td.soft", null, () => witnessWords(part.value.row)),
          ),
      ),
    ),
  );
}

/** A row for each device that it needs or takes something of. @param {string} id */
function memoryParts(id) {
  const taken = new Map((runs.value.get(id)?.memory ?? []).map((/** @type {any} */ row) => [row.device, row]));
  const needs = needOf(id)?.devices ?? {};
  const names = new Set([...Object.keys(needs).filter((name) => needs[name]), ...taken.keys()]);
  return [...names].map((device) => {
    const row = taken.get(device);
    const label = labelOf(device);
    const named = row && row.kind !== "ram" ? row.name : "";
    const name = label === device ? named || (row ? "RAM" : device) : [label, named].filter(Boolean).join(", ");
    return { device, name, need: needs[device], row };
  });
}

/** @param {any} row */
const witnessWords = (row) =>
  row
    ? [
        WITNESSES[row.witness] ?? row.witness,
        row.mapped_bytes >= 1_048_576 ? `, and ${memorySize(row.mapped_bytes)} of mapped files` : "",
      ]
    : "–";

/** @param {string} id */
function needInFull(id) {
  const need = needWords(id);
  if (!need || (!need.size && !isByMemory.value)) return null;
  return [need.size ? `${need.size}, ${need.source}` : need.source, h("span.soft", null, `: ${need.why}`)];
}

/** @param {import("../../view.js").Signal<import("./catalog.js").Entry>} entry */
function aboutSection(entry) {
  const { id } = entry.value;
  const model = () => byId.value.get(id);
  const config = () => about.value?.config?.models?.[id];
  return h(
    "section",
    null,
    h("h2", null, "About"),
    h(
      "p",
      { hidden: () => !entry.value.description },
      h("bdi", null, () => entry.value.description.slice(0, 2000)),
    ),
    h(
      "dl.facts",
      null,
      fact(
        "Aliases",
        () =>
          entry.value.aliases.length > 0 &&
          entry.value.aliases.slice(0, 100).flatMap((alias, index) => [index ? ", " : "", h("bdi", null, alias)]),
      ),
      fact("Can", () => abilities(model()?.capabilities).join(", ")),
      fact("Context", () => (model()?.context_length ? `${count(model()?.context_length)} tokens` : null)),
      fact("Group or set", () => h("bdi", null, setOf(id))),
      fact("Listed", () => (entry.value.unlisted ? "no" : "yes")),
      fact("Places", () => config()?.concurrencyLimit ?? "any number"),
      fact(
        "Ready within",
        () => (config()?.healthCheckTimeout ? seconds(config().healthCheckTimeout) : null),
        "healthCheckTimeout",
      ),
    ),
  );
}

/** A name that leads elsewhere. @param {import("../../view.js").Signal<import("./catalog.js").Entry>} entry */
function elsewhere(entry) {
  const { id, kind, peer } = entry.value;
  const mine = () =>
    [...inFlight.value.values()].filter((flight) => flight.model === id || flight.metadata?.selector === id).length;
  /** @param {string} name */
  const link = (name) => h("a", { href: to("models", name) }, h("bdi", null, name));
  const box = computed(() => peerOf(peer));
  const address = addressOf(() => box.value);
  const isPeers = kind === "peer";
  return h(
    "section",
    null,
    h(
      "p",
      { hidden: () => !entry.value.description },
      h("bdi", null, () => entry.value.description.slice(0, 2000)),
    ),
    h(
      "dl.facts",
      null,
      isPeers
        ? [
            fact("On", () => [h("bdi", null, peer), box.value?.up === false ? ", which is out" : ""]),
            fact("Address", () => box.value && address),
            fact("State", () => stateWords(id)),
          ]
        : null,
      kind === "selector"
        ? fact(
            "Chooses",
            () => STRATEGIES[/** @type {keyof typeof STRATEGIES} */ (entry.value.strategy)] ?? entry.value.strategy,
          )
        : null,
      isPeers
        ? null
        : fact("Leads to", () => entry.value.targets.flatMap((name, index) => [index ? ", " : "", link(name)])),
      isPeers ? null : fact("A request now", () => (planOf(id).value ? link(planOf(id).value?.model ?? "") : null)),
      fact(isPeers ? "In progress from here" : "In progress", () => count(mine())),
      isPeers ? fact("In all", () => usedThere(id)) : null,
    ),
  );
}

/** Of all clients of a box, as it tells. @param {string} id */
function usedThere(id) {
  const run = runThere(id);
  if (!run) return null;
  return `${run.in_flight} in progress${run.waiting ? `, ${run.waiting} wait${run.waiting === 1 ? "s" : ""}` : ""}`;
}

const STRATEGIES = {
  pin: "the first of them, always",
  pool: "the least busy box where it is ready; it is loaded on one more when all are busy",
  spread: "the least busy box where it is ready; it is loaded on one more when all are busy",
  failover: "the first that is up",
  warm: "the first that is ready, else one that starts, else the first",
  spillover: "the least busy of those that run; one more is started when all are busy",
};
