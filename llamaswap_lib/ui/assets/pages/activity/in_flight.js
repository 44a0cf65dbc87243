/** The requests that are in progress, above the table: fed by the page's one event stream. */

import { operate, pathOf } from "../../api.js";
import { bytes, duration, several } from "../../format.js";
import { inFlight, queue } from "../../live.js";
import { now } from "../../parts/clock.js";
import { confirm } from "../../parts/dialog.js";
import { attempt } from "../../parts/notices.js";
import { visible } from "../../parts/odd_text.js";
import { h, keyed } from "../../view.js";

/** @typedef {import("../../in_flight.js").Seen} Request */

const MOST = 100; // rows shown

/** How long it lasts, by the server's clock and then by ours. @param {Request} request */
const elapsed = (request) => Math.max(0, request.elapsed_ms + now.value - request.seen);

/** @param {Request} request @param {string} name */
function header(request, name) {
  const found = Object.entries(request.req_headers ?? {}).find(([key]) => key.toLowerCase() === name);
  return found ? visible(found[1].slice(0, 200)) : "";
}

/** @param {Request} request @param {string[]} names of the headers that name a session */
const session = (request, names) => names.map((name) => header(request, name.toLowerCase())).find(Boolean) ?? "–";

/** @param {() => string[]} sessionHeaders */
export function inFlightTable(sessionHeaders) {
  const shown = () => [...inFlight.value.values()].slice(0, MOST);
  const rows = keyed(
    h("tbody"),
    shown,
    (request) => request.id,
    (item) => row(item, sessionHeaders),
  );
  const titles = ["Elapsed", "Model", "Request", "Address", "User-Agent", "Session"];
  return h(
    "section.in-flight",
    { "aria-label": "In progress" },
    h(
      "h2",
      null,
      "In progress",
      h("small", null, () => summary()),
    ),
    h(
      "div.in-flight-scroll",
      { hidden: () => inFlight.value.size === 0, tabindex: "0", role: "group", "aria-label": "Requests in progress" },
      h(
        "table",
        null,
        h(
          "thead",
          null,
          h(
            "tr",
            null,
            titles.map((title, index) => h("th", { class: index > 1 ? "hide-narrow" : index ? "" : "n" }, title)),
            h("th.n", null, "Bytes"),
            h("th", null, h("span.visually-hidden", null, "Cancel")),
          ),
        ),
        rows,
      ),
    ),
  );
}

function summary() {
  const { size } = inFlight.value;
  if (!size) return "nothing";
  const waiting = queue.value.length;
  const more = size > MOST ? `, ${MOST} of them shown` : "";
  return `${several(size, "request")}${waiting ? `, ${waiting} waiting` : ""}${more}`;
}

/** @param {import("../../view.js").Signal<Request>} item @param {() => string[]} sessionHeaders */
function row(item, sessionHeaders) {
  const { id, model, method, req_path, remote_ip } = item.value;
  return h(
    "tr",
    null,
    h("td.n", null, () => duration(elapsed(item.value))),
    h("td", null, h("bdi", null, visible(model))),
    h("td.hide-narrow", null, h("span.soft", null, method, " "), h("bdi", null, visible(req_path.slice(0, 200)))),
    h("td.hide-narrow", null, remote_ip || "–"),
    h(
      "td.hide-narrow",
      null,
      h("bdi.agent", { title: header(item.value, "user-agent") }, header(item.value, "user-agent") || "–"),
    ),
    h(
      "td.hide-narrow",
      null,
      h("bdi.agent", null, () => session(item.value, sessionHeaders())),
    ),
    h("td.n", null, () => (item.value.resp_bytes ? bytes(item.value.resp_bytes) : "–")),
    h(
      "td.n",
      null,
      h(
        "button.small",
        { type: "button", "aria-label": `Cancel the request to ${model}`, onclick: () => cancel(id, model) },
        "Cancel",
      ),
    ),
  );
}

/** @param {string} id @param {string} model */
async function cancel(id, model) {
  const request = inFlight.value.get(id);
  const hasBegun = Boolean(request?.resp_bytes);
  const question = `Cancel the request to ${model}?${hasBegun ? " Its answer has begun." : ""}`;
  if (await confirm(question, "Cancel the request")) {
    await attempt(() => operate(`api/inflight/${pathOf(id)}/cancel`), "Cancelling");
  }
}
