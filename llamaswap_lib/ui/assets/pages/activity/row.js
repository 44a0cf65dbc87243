/** One request: what is known of it, where its time went, and its capture. It stands at the side of the table. */

import { ask, toLocal } from "../../api.js";
import { bytes, count, duration, exact, speed, UNKNOWN } from "../../format.js";
import { ago } from "../../parts/clock.js";
import { visible } from "../../parts/odd_text.js";
import { go, place, setQuery, to } from "../../router.js";
import { cleanup, computed, h, signal } from "../../view.js";
import { captureOf } from "./capture.js";
import { endedBadly, tokens } from "./columns.js";
import { filterOf, forServer, orderOf } from "./query.js";
import { rowAddress } from "./table.js";
import { timeBar } from "./time_bar.js";

/** @typedef {import("./rows.js").Row} Row */

const closeIt = () => setQuery({ row: "", tab: "", raw: "" });

/** @param {import("./rows.js").Rows} rows */
export function openedRow(rows) {
  const id = computed(() => Number(place.value.query.get("row")) || 0);
  return h("div.drawer-place", null, () => (id.value ? drawer(rows, id.value) : null));
}

/** @param {import("./rows.js").Rows} rows @param {number} id */
function drawer(rows, id) {
  const listed = rows.at(rows.indexOf(id));
  const row = signal(/** @type {Row | null} */ (listed));
  const trouble = signal("");
  let ended = false;
  cleanup(() => (ended = true));
  if (!listed) {
    ask("api/metrics/activity", { query: { min_id: id, max_id: id, limit: 1 } }).then(
      ({ data }) => {
        if (ended) return;
        row.value = data[0] ?? null;
        if (!data[0]) trouble.value = "There is no such request any more: only the newest are kept.";
      },
      (error) => (trouble.value = error.message),
    );
  }
  const heading = h("h2", { tabindex: "-1" }, `Request ${id}`);
  const opener = document.activeElement;
  queueMicrotask(() => {
    if (!heading.isConnected) return;
    heading.focus({ preventScroll: true });
  });
  cleanup(() => {
    const link = document.querySelector(`a[data-row="${id}"]`);
    const back = link ?? opener;
    queueMicrotask(() => {
      if (!place.value.query.get("row") && back instanceof HTMLElement && back.isConnected)
        back.focus({ preventScroll: true });
    });
  });
  return h(
    "aside.drawer",
    { role: "dialog", "aria-label": `Request ${id}` },
    h(
      "header.drawer-head",
      null,
      heading,
      h("button.small", { type: "button", title: "k", onclick: () => void stepRow(rows, null, -1) }, "↑ Previous"),
      h("button.small", { type: "button", title: "j", onclick: () => void stepRow(rows, null, 1) }, "↓ Next"),
      h("button.quiet", { type: "button", "aria-label": "Close", onclick: closeIt }, "✕"),
    ),
    h("p.fail", { role: "alert" }, () => trouble.value),
    () => (row.value ? inside(row.value) : null),
  );
}

/** @param {Row} row */
function inside(row) {
  return h("div.drawer-body", null, facts(row), timeBar(row), captureOf(row));
}

/** @param {Row} row */
function facts(row) {
  const ended = endedBadly(row);
  const isBad = row.resp_status_code >= 400 || ended;
  /** @type {[string, import("../../view.js").Child][]} */
  const all = [
    ["Model", h("a", { href: to("models", row.model) }, h("bdi", null, visible(row.model)))],
    ["Time", [ago(() => toLocal(row.timestamp)), h("span.soft", null, ` ${exact(row.timestamp)}`)]],
    ["Request", [h("span.soft", null, `${row.method} `), h("bdi", null, visible(row.req_path))]],
    [
      "Status",
      h("span", { class: isBad ? "fail" : "" }, [row.resp_status_code || UNKNOWN, ended].filter(Boolean).join(", ")),
    ],
    ["Error", row.error_msg ? h("bdi.fail", null, visible(row.error_msg)) : null],
    ["Tokens", tokenWords(row)],
    ["Speed", speedWords(row)],
    ["First token", row.timing.first_token_ms >= 0 ? `after ${duration(row.timing.first_token_ms)}` : null],
    ["Bytes", `${bytes(row.request_bytes)} sent, ${bytes(row.response_bytes)} answered`],
    ["Content-Type", visible(row.resp_content_type || "") || null],
    ["Client", row.remote_ip || null],
    ["Session", row.session ? h("bdi", null, visible(row.session)) : null],
    ["Key", row.key || null],
    ["Selector", row.metadata?.selector ? visible(row.metadata.selector) : null],
    ["Priority", row.metadata?.fifo_priority && row.metadata.fifo_priority !== "0" ? row.metadata.fifo_priority : null],
    ["Sent again", row.retries ? `${row.retries} ×, since the model had died` : null],
  ];
  return h(
    "dl.facts",
    null,
    all.flatMap(([name, value]) => (value === null ? [] : [h("dt", null, name), h("dd", null, value)])),
  );
}

/** @param {Row} row */
function tokenWords(row) {
  const [prompt, cached, generated] = ["input_tokens", "cache_tokens", "output_tokens"].map((name) =>
    tokens(row, name),
  );
  if (prompt === null && generated === null) return null;
  const drafted = tokens(row, "draft_tokens");
  return [
    `${count(prompt)} processed`,
    cached ? `${count(cached)} cached` : "",
    `${count(generated)} generated`,
    drafted ? `${count(tokens(row, "draft_acc_tokens"))} of ${count(drafted)} drafted` : "",
  ]
    .filter(Boolean)
    .join(", ");
}

/** @param {Row} row */
function speedWords(row) {
  const { prompt_per_second, tokens_per_second } = row.tokens;
  const said = [
    prompt_per_second > 0 ? `${speed(prompt_per_second)} prompt` : "",
    tokens_per_second > 0 ? `${speed(tokens_per_second)} generation` : "",
    row.seen_per_second > 0 ? `${speed(row.seen_per_second)} as seen by the client` : "",
  ].filter(Boolean);
  return said.length ? `${said.join(", ")} (tokens a second)` : null;
}

/**
 * Open the next request of the list, or the one before.
 * @param {import("./rows.js").Rows} rows @param {import("../../parts/virtual_list.js").VirtualList | null} list @param {1 | -1} step
 */
export async function stepRow(rows, list, step) {
  const id = Number(place.value.query.get("row")) || 0;
  const index = id ? rows.indexOf(id) : -1;
  const next = index + step;
  const known = id && index < 0 ? await neighbour(id, step) : rows.at(Math.max(0, next));
  if (!known || (index >= 0 && next < 0)) return;
  if (index >= 0 || !id) list?.show(Math.max(0, next));
  go(rowAddress(known.id), { replace: Boolean(id) });
}

/** Of a request that is not in the list that was read. @param {number} id @param {1 | -1} step @returns {Promise<Row | null>} */
async function neighbour(id, step) {
  const isOlder = (step === 1) === (orderOf(place.value.query).order === "desc");
  const filter = forServer(filterOf(place.value.query));
  const bound = isOlder
    ? { max_id: Math.min(id - 1, Number(filter.max_id?.[0] ?? Infinity)) }
    : { min_id: Math.max(id + 1, Number(filter.min_id?.[0] ?? 0)) };
  const query = { ...filter, ...bound, order: isOlder ? "desc" : "asc", limit: 1 };
  try {
    return (await ask("api/metrics/activity", { query })).data[0] ?? null;
  } catch {
    return null; // before the first, or the server is gone, which the page tells
  }
}
