/** Who waits for what, since when, why and for about how long; who is served; and what happened in the last minutes. */

import { ask, operate, pathOf, root } from "../api.js";
import { bytes, count, duration, several } from "../format.js";
import { inFlight, queue, queueSeen } from "../live.js";
import { leftOf, now } from "../parts/clock.js";
import { usual } from "../parts/fitting.js";
import { notify, attempt } from "../parts/notices.js";
import { shortcuts } from "../parts/shortcuts.js";
import { TEN_MINUTES, newRange, rangeButtons, timeline, timetable, zoom } from "../parts/timeline.js";
import { place, setQuery, to } from "../router.js";
import { effect, h, keyed } from "../view.js";

export const title = "Queue";

const MOST = 200; // rows that are shown of each table

/**
 * @typedef {import("../live.js").Waiting} Waiting
 * @typedef {import("../in_flight.js").Seen} Flight
 */

export function show() {
  const range = rangeOfAddress();
  shortcuts(
    { keys: "+", what: "Zoom into the time line", run: () => zoom(range, 0.5) },
    { keys: "-", what: "Zoom out of it", run: () => zoom(range, 2) },
    { keys: "0", what: "Back to the present", run: () => void (range.until.value = null) },
  );
  const heading = () =>
    `${several(queue.value.length, "request")} wait${queue.value.length === 1 ? "s" : ""}, ${served().length} in progress`;
  return h(
    "div.page.queue",
    null,
    h("header.page-head", null, h("h1", null, title, h("small", { role: "status" }, heading))),
    h(
      "section",
      { "aria-label": "Time line" },
      h("h2", null, "Time line", rangeButtons(range)),
      timeline(range),
      legend(),
      timetable(range),
    ),
    waitingSection(),
    servedSection(),
  );
}

/** What is seen of the time line stands in the address, so that it can be linked. */
function rangeOfAddress() {
  const { query } = place.now;
  const range = newRange(Number(query.get("span")) * 1000 || TEN_MINUTES);
  range.until.value = Number(query.get("until")) || null;
  /** @type {number | undefined} */
  let timer;
  effect(() => {
    const span = Math.round(range.span.value / 1000);
    const until = range.until.value;
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (place.now.page !== "queue") return;
      setQuery({ span: span * 1000 === TEN_MINUTES ? null : span, until: until && Math.round(until) });
    }, 300);
  });
  return range;
}

function legend() {
  /** @param {string} kind @param {string} words */
  const one = (kind, words) => h("span", null, h("i", { class: kind }), words);
  return h(
    "p.legend",
    { "aria-hidden": "true" },
    one("load", "loads"),
    one("work", "works on a request"),
    one("ready", "is loaded"),
    one("stop", "stops"),
    one("wait", "a request came and waited"),
  );
}

// --- who waits ---

function waitingSection() {
  const rows = () => queue.value.slice(0, MOST);
  return h(
    "section",
    { "aria-labelledby": "waiting" },
    h(
      "h2",
      { id: "waiting" },
      "Waiting",
      h(
        "small",
        { hidden: () => queue.value.length <= MOST },
        () => `the first ${MOST} of ${count(queue.value.length)}`,
      ),
    ),
    h(
      "table.stacks",
      { hidden: () => queue.value.length === 0 },
      header(["", "Model", "Why", "Waits", "Load", "Request", ""], [3, 4]),
      keyed(h("tbody"), rows, (row) => row.ticket, waitingRow),
    ),
    h(
      "div.empty",
      { hidden: () => queue.value.length > 0 },
      h(
        "p",
        null,
        "Nobody waits. A request waits here while its model loads, or while a model that is in its way serves others.",
      ),
    ),
  );
}

/** @param {import("../view.js").Signal<Waiting>} row */
function waitingRow(row) {
  const flight = () => inFlight.value.get(row.value.request ?? "");
  const waited = () => row.value.waiting_seconds * 1000 + Math.max(0, now.value - queueSeen.value);
  return h(
    "tr",
    null,
    h("td.n.soft.place", null, () => row.value.place),
    h(
      "td.name",
      null,
      modelLink(() => row.value.model),
    ),
    h(
      "td.why",
      { "data-label": "Why" },
      h("bdi", null, () => row.value.reason),
    ),
    h(
      "td.n",
      { "data-label": "Waits" },
      h("time", { title: () => `since ${row.value.since}` }, () => whole(waited())),
    ),
    h("td.n", { "data-label": "Load", title: "What is left of the load, as far as loads before this one tell" }, () => {
      const about = leftOf(row.value);
      if (about === null) return "–";
      if (row.value.reason !== "loading") return `then ${whole(about * 1000)}`;
      return about > 0 ? `about ${whole(about * 1000)}` : "soon";
    }),
    h("td.request", { "data-label": "Request" }, () => {
      const found = flight();
      return found ? [requestWords(found)] : row.value.request ? "" : "a load by hand";
    }),
    h(
      "td.n.act",
      null,
      h(
        "button.small",
        {
          type: "button",
          "aria-label": () => `Cancel the request for ${row.value.model} in place ${row.value.place}`,
          onclick: () => cancelWaiting(row.value),
        },
        "Cancel",
      ),
    ),
  );
}

/** Whole seconds: what ticks is easier to read so. @param {number} time */
const whole = (time) => duration(Math.max(1, Math.round(time / 1000)) * 1000);

/** @param {Waiting} row */
async function cancelWaiting(row) {
  let id = row.request;
  if (!id) {
    const told = await ask("api/queue").catch(() => ({ queue: [] }));
    id = told.queue.find((/** @type {Waiting} */ each) => each.ticket === row.ticket)?.request;
  }
  if (id) await cancel(id, row.model);
  else notify(`This is a load by hand. To end it, unload ${row.model}.`, "fail");
}

/** @param {string} id @param {string} model */
async function cancel(id, model) {
  if (await attempt(() => operate(`api/inflight/${pathOf(id)}/cancel`), "Cancelling"))
    notify(`A request for ${model} was cancelled`);
}

// --- who is served ---

const served = () => {
  const waiting = new Set(queue.value.map((row) => row.request));
  return [...inFlight.value.values()].filter((flight) => !waiting.has(flight.id));
};

function servedSection() {
  return h(
    "section",
    { "aria-labelledby": "served" },
    h(
      "h2",
      { id: "served" },
      "In progress",
      h("small", { hidden: () => served().length <= MOST }, () => `the first ${MOST} of ${count(served().length)}`),
    ),
    h(
      "table.stacks",
      { hidden: () => served().length === 0 },
      header(["Model", "Request", "For", "Answer so far", "Rate", ""], [2, 3, 4]),
      keyed(
        h("tbody"),
        () => served().slice(0, MOST),
        (flight) => flight.id,
        servedRow,
      ),
    ),
    h(
      "div.empty",
      { hidden: () => served().length > 0 },
      h("p", null, "No request is in progress. This one takes a moment:"),
      h("pre", { tabindex: "0" }, () => curl()),
    ),
  );
}

/** @param {import("../view.js").Signal<Flight>} flight */
function servedRow(flight) {
  const elapsed = () => flight.value.elapsed_ms + Math.max(0, now.value - flight.value.seen);
  return h(
    "tr",
    null,
    h(
      "td.name",
      null,
      modelLink(() => flight.value.model),
    ),
    h("td.request", { "data-label": "Request" }, () => requestWords(flight.value)),
    h(
      "td.n",
      { "data-label": "For" },
      h("time", { title: () => `since ${flight.value.timestamp}` }, () => whole(elapsed())),
    ),
    h("td.n", { "data-label": "Answer so far" }, () =>
      flight.value.resp_bytes ? bytes(flight.value.resp_bytes) : h("span.soft", null, begun(flight.value)),
    ),
    h("td.n.soft", { "data-label": "Rate" }, () =>
      flight.value.resp_bytes ? `${bytes(flight.value.resp_bytes / (flight.value.elapsed_ms / 1000 || 1))}/s` : "–",
    ),
    h(
      "td.n.act",
      null,
      h(
        "button.small",
        {
          type: "button",
          "aria-label": () => `Cancel this request to ${flight.value.model}`,
          onclick: () => cancel(flight.value.id, flight.value.model),
        },
        "Cancel",
      ),
    ),
  );
}

/** @param {Flight} flight */
const begun = (flight) => (Object.keys(flight.resp_headers ?? {}).length ? "has begun" : "not begun");

/** @param {Flight} flight */
function requestWords(flight) {
  const agent =
    Object.entries(flight.req_headers ?? {}).find(([name]) => name.toLowerCase() === "user-agent")?.[1] ?? "";
  const selector = flight.metadata?.selector;
  return h(
    "span",
    { title: `${flight.method} ${flight.req_path}\n${agent}`.slice(0, 500) },
    h("bdi", null, `${flight.method} ${flight.req_path}`.slice(0, 120)),
    h(
      "small.from",
      null,
      h(
        "bdi",
        null,
        [flight.remote_ip, agent.slice(0, 60), selector ? `by ${selector}` : ""].filter(Boolean).join(" · "),
      ),
    ),
  );
}

/** @param {() => string} model */
const modelLink = (model) => h("a.plain", { href: () => to("models", model()) }, h("bdi", null, model));

/** @param {string[]} names @param {number[]} right those that are numbers */
function header(names, right) {
  return h(
    "thead",
    null,
    h(
      "tr",
      null,
      names.map((name, index) => h(right.includes(index) ? "th.n" : "th", { scope: "col" }, name)),
    ),
  );
}

function curl() {
  const model = usual("chat") || "MODEL";
  const body = JSON.stringify({ model, messages: [{ role: "user", content: "hello there" }] });
  return `curl ${new URL("v1/chat/completions", root).href} \\\n  -H 'Content-Type: application/json' \\\n  -d '${body.replaceAll("'", "'\\''")}'`;
}
