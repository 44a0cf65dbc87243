/** What was sent and answered: as a conversation, as a tree, or raw. */

import { ask, root } from "../../api.js";
import { bytes, count, several } from "../../format.js";
import { about } from "../../live.js";
import { copy } from "../../parts/actions.js";
import { conversation } from "../../parts/conversation.js";
import { empty } from "../../parts/empty.js";
import { jsonTree } from "../../parts/json_tree.js";
import { longText } from "../../parts/long_text.js";
import { visible } from "../../parts/odd_text.js";
import { saveAs } from "../../parts/save.js";
import { place, setQuery, to } from "../../router.js";
import { cleanup, computed, h, signal } from "../../view.js";
import { bodyOf, conversationOf } from "./captured.js";
import { curl } from "./curl.js";

/** @typedef {import("./rows.js").Row} Row */
/** @typedef {import("./captured.js").Body} Body */
/** @typedef {{ row: Row, told: any, request: Body, answer: Body, messages: any[] }} Capture */

const MOST_PICTURE = 20_000_000; // characters of a data URL

/** @param {Row} row */
export function captureOf(row) {
  if (!row.has_capture) return nothingKept();
  const found = signal(/** @type {Capture | null} */ (null));
  const trouble = signal("");
  const stop = new AbortController();
  cleanup(() => stop.abort());
  ask(`api/captures/${row.id}`, { signal: stop.signal }).then(
    (told) => {
      const request = bodyOf(told.req_body, told.req_headers);
      const answer = bodyOf(told.resp_body, told.resp_headers);
      found.value = { row, told, request, answer, messages: conversationOf(request, answer) };
    },
    (error) => {
      if (stop.signal.aborted) return;
      trouble.value = error.status === 404 ? "The capture is gone: newer ones took its place." : error.message;
    },
  );
  return h(
    "div.capture",
    null,
    h("p.fail", { role: "alert" }, () => trouble.value),
    () => {
      if (found.value) return tabs(found.value);
      return trouble.value ? null : h("p.soft", null, "Reading what was captured…");
    },
  );
}

/** @param {Capture} capture */
function tabs(capture) {
  const names = capture.messages.length ? ["chat", "request", "answer"] : ["request", "answer"];
  const tab = computed(() => {
    const wanted = place.value.query.get("tab") ?? "";
    return names.includes(wanted) ? wanted : (names[0] ?? "");
  });
  const isRaw = computed(() => place.value.query.get("raw") === "1");
  const titles = { chat: "Conversation", request: "Request", answer: "Answer" };
  return [
    h(
      "div.row.capture-head",
      null,
      h(
        "nav.tabs",
        { "aria-label": "The capture" },
        names.map((name) =>
          h(
            "a",
            { href: () => here({ tab: name }), "aria-current": () => (tab.value === name ? "page" : null) },
            titles[/** @type {"chat"} */ (name)],
          ),
        ),
      ),
      h(
        "label",
        { hidden: () => tab.value === "chat" },
        h("input", {
          type: "checkbox",
          checked: () => isRaw.value,
          onchange: () => setQuery({ raw: isRaw.value ? "" : "1" }),
        }),
        " Raw",
      ),
      h("button.small", { type: "button", onclick: () => copy(asCurl(capture), "A command for curl") }, "Copy as curl"),
    ),
    h("div.capture-tab", null, () => {
      if (tab.value === "chat") return chat(capture);
      const isAnswer = tab.value === "answer";
      return side(
        isAnswer ? capture.answer : capture.request,
        isAnswer ? capture.told.resp_headers : capture.told.req_headers,
        isRaw.value,
        capture,
        isAnswer,
      );
    }),
  ];
}

/** This very address with some parameters changed. @param {Record<string, string>} changes */
function here(changes) {
  const { query } = place.value;
  return to("activity", "", {
    ...Object.fromEntries([...query.keys()].map((name) => [name, query.getAll(name)])),
    ...changes,
  });
}

/** @param {Capture} capture */
function chat(capture) {
  return [conversation(() => capture.messages), outcome(capture.answer)];
}

/** How a stream ended, in a line. @param {Body} answer */
function outcome({ assembled }) {
  if (!assembled) return null;
  const words = [
    several(assembled.events, "event"),
    assembled.finish ? `ended with ${assembled.finish}` : "ended without a reason",
  ];
  return [h("p.soft", null, words.join(", ")), assembled.errors.map((error) => h("p.fail", null, visible(error)))];
}

/** One side of the exchange. @param {Body} body @param {Record<string, string>} headers @param {boolean} isRaw @param {Capture} capture @param {boolean} isAnswer */
function side(body, headers, isRaw, capture, isAnswer) {
  const name = `${isAnswer ? "answer" : "request"}-${capture.row.id}`;
  return [headersOf(headers), bodyHead(body, name), isRaw ? raw(body) : pretty(body, capture, isAnswer)];
}

/** @param {Record<string, string>} headers */
function headersOf(headers) {
  const all = Object.entries(headers ?? {});
  return h(
    "details",
    null,
    h("summary", null, several(all.length, "header")),
    h(
      "dl.facts.headers",
      null,
      all.flatMap(([name, value]) => [
        h("dt", null, h("bdi", null, visible(name))),
        h("dd", null, h("bdi", null, longText(value, { first: 2_000 }))),
      ]),
    ),
  );
}

/** @param {Body} body @param {string} name of the file */
function bodyHead(body, name) {
  if (body.kind === "none") return null;
  const ending = body.kind === "json" ? "json" : body.text ? "txt" : body.type.split("/")[1] || "bin";
  return h(
    "div.row",
    null,
    h("h3.grow", null, `Body, ${bytes(body.bytes.length)}${body.type ? ` of ${visible(body.type)}` : ""}`),
    body.text ? h("button.small", { type: "button", onclick: () => copy(body.text, "The body") }, "Copy") : null,
    h(
      "button.small",
      { type: "button", onclick: () => saveAs(new Blob([/** @type {any} */ (body.bytes)]), `${name}.${ending}`) },
      "Save",
    ),
  );
}

/** @param {Body} body */
function raw(body) {
  if (body.text) return h("pre.raw", null, longText(body.text));
  return body.kind === "none"
    ? h("p.soft", null, "Nothing was kept of it.")
    : h("p.soft", null, "These bytes are no text.");
}

/** @param {Body} body @param {Capture} capture @param {boolean} isAnswer */
function pretty(body, capture, isAnswer) {
  if (body.kind === "none") return noBody(capture.row, isAnswer);
  if (body.kind === "json" && body.root) return jsonTree(body.root, picture);
  if (body.kind === "stream" && body.assembled) {
    const { messages, usage, timings } = body.assembled;
    return [
      outcome(body),
      messages.length ? conversation(() => messages) : h("p.soft", null, "No text is in the events: see them raw."),
      usage || timings
        ? h("pre.raw", null, visible(JSON.stringify({ usage, timings }, null, 2).slice(0, 5_000)))
        : null,
    ];
  }
  if (body.kind === "image" || body.kind === "audio") return media(body);
  return raw(body);
}

/** @param {Body} body */
function media(body) {
  const url = URL.createObjectURL(new Blob([/** @type {any} */ (body.bytes)], { type: body.type }));
  cleanup(() => URL.revokeObjectURL(url));
  if (body.kind === "audio") return h("audio", { controls: true, src: url });
  return h("img.captured", { src: url, alt: "The picture that was sent" });
}

/** A picture within JSON. @param {string | null} key @param {string} value */
function picture(key, value) {
  if (value.length > MOST_PICTURE) return null;
  const starts = { iVBOR: "png", "/9j/": "jpeg", UklGR: "webp", R0lGOD: "gif" };
  const type = Object.entries(starts).find(([start]) => value.startsWith(start))?.[1];
  const isNamed = key !== null && /^(?:b64_json|data|image|images|init_images)$/.test(key);
  const url = /^data:image\/(?:png|jpeg|gif|webp|avif|bmp);base64,/.test(value)
    ? value
    : type && value.length > 100 && (isNamed || key === null)
      ? `data:image/${type};base64,${value}`
      : "";
  return url
    ? h(
        "span",
        null,
        h("img.captured", { src: url, alt: key ?? "picture" }),
        h("small.soft", null, ` ${count(value.length)} characters`),
      )
    : null;
}

/** @param {Row} row @param {boolean} isAnswer */
function noBody(row, isAnswer) {
  if (isAnswer && row.resp_status_code !== 200)
    return h(
      "p.soft",
      null,
      "Of answers with a status other than 200 no body is kept. ",
      row.error_msg ? visible(row.error_msg) : "",
    );
  return h("p.soft", null, "There is none, or it is not kept: sounds and pictures are left out.");
}

/** @param {Capture} capture */
function asCurl({ row, told, request }) {
  const path = String(told.req_path ?? row.req_path).replace(/^\/+/, "");
  const body = request.kind === "none" ? null : request.text || null;
  const command = curl(new URL(path, root).href, row.method || "POST", told.req_headers ?? {}, body);
  return request.bytes.length && !body
    ? `# The body is no text: save it, and add --data-binary @FILE\n${command}`
    : command;
}

/** Why there is no capture, and what to write. */
function nothingKept() {
  const size = () => about.value?.config?.captureBuffer;
  const line = h("pre.raw", null, "captureBuffer: 5   # MB, in memory only");
  return h("div.capture", null, () => {
    if (size() === 0) {
      return [
        empty(
          "Captures are turned off",
          "The configuration has captureBuffer: 0. To keep what is sent and answered, write:",
        ),
        line,
      ];
    }
    if (size() === undefined) {
      return [
        empty(
          "Nothing was captured of this request",
          "The newest captures are kept, within 5 MB, and only until the server ends. Where other machines can reach the server and nobody needs a key, nothing is captured unless the configuration says so:",
        ),
        line,
      ];
    }
    return empty(
      "Nothing was captured of this request",
      `The newest captures are kept, within ${size()} MB, and only until the server ends. To keep more, write a larger captureBuffer.`,
    );
  });
}
