/** The newest requests of a model. */

import { ask, toLocal } from "../../api.js";
import { count, duration, speed } from "../../format.js";
import { onRows } from "../../live.js";
import { ago } from "../../parts/clock.js";
import { to } from "../../router.js";
import { cleanup, h, keyed, signal } from "../../view.js";

const ROWS = 25;
const PAUSE = 1000;

/** @param {import("../../view.js").Signal<import("./catalog.js").Entry>} entry */
export function activityTab(entry) {
  const { id } = entry.value;
  const { rows, total, trouble } = newest(id);
  return h(
    "section",
    null,
    h(
      "h2",
      null,
      "Newest requests",
      h("a", { href: to("activity", "", { model: id }) }, () =>
        total.value > ROWS ? `All ${count(total.value)}` : "In Activity",
      ),
    ),
    h(
      "table",
      { hidden: () => rows.value.length === 0 },
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          h("th", { scope: "col" }, "When"),
          h("th", { scope: "col" }, "Request"),
          h("th.n", { scope: "col" }, "Status"),
          h("th.n.hide-narrow", { scope: "col" }, "Prompt"),
          h("th.n.hide-narrow", { scope: "col" }, "Answer"),
          h("th.n.hide-narrow", { scope: "col" }, "Speed"),
          h("th.n.hide-narrow", { scope: "col" }, "Waited"),
          h("th.n", { scope: "col" }, "Took"),
        ),
      ),
      keyed(
        h("tbody"),
        () => rows.value,
        (row) => `${row.id} ${row.timestamp}`,
        ({ value: row }) =>
          h(
            "tr",
            null,
            h(
              "td",
              null,
              h(
                "a.plain",
                { href: to("activity", "", { row: row.id }) },
                ago(() => toLocal(row.timestamp)),
              ),
            ),
            h(
              "td.path",
              { title: row.error_msg || null },
              h("bdi", null, pathWords(String(row.req_path).slice(0, 80))),
            ),
            h("td.n", { class: row.resp_status_code >= 400 ? "fail" : "" }, row.resp_status_code || "–"),
            h("td.n.hide-narrow", null, tokens(row.tokens.input_tokens)),
            h("td.n.hide-narrow", null, tokens(row.tokens.output_tokens)),
            h("td.n.hide-narrow", null, speed(row.tokens.tokens_per_second)),
            h("td.n.hide-narrow", null, waited(row.timing)),
            h("td.n", null, duration(row.duration_ms)),
          ),
      ),
    ),
    h("p.fail", { role: "alert" }, () => trouble.value),
    h(
      "div.empty",
      { hidden: () => rows.value.length > 0 },
      h("p.soft", null, "No request to it is kept. The tab Connect has one to try."),
    ),
  );
}

/** It may be broken behind a slash. @param {string} path */
const pathWords = (path) => path.split(/(?<=\/)/).flatMap((part) => [part, h("wbr")]);

/** @param {number} number 0 and -1 are unknown */
const tokens = (number) => (number > 0 ? count(number) : "–");

/** @param {any} timing */
function waited(timing) {
  const sum = Math.max(0, timing?.queue_ms ?? 0) + Math.max(0, timing?.load_ms ?? 0);
  return sum >= 20 ? duration(sum) : "–";
}

/** The rows, kept up to date. @param {string} id */
function newest(id) {
  const rows = signal(/** @type {any[]} */ ([]));
  const total = signal(0);
  const trouble = signal("");
  let ended = false;
  /** @type {number | undefined} */
  let timer;
  const read = async () => {
    timer = undefined;
    try {
      const told = await ask("api/metrics/activity", { query: { model: id, limit: ROWS } });
      if (ended) return;
      rows.value = told.data;
      total.value = told.total;
      trouble.value = "";
    } catch (error) {
      trouble.value = /** @type {Error} */ (error).message;
    }
  };
  onRows(() => (timer ??= setTimeout(read, PAUSE)));
  cleanup(() => {
    ended = true;
    clearTimeout(timer);
  });
  void read();
  return { rows, total, trouble };
}
