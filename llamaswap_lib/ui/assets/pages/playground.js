/** The playground: try models, each kind of request in a tab. What runs goes on while another tab or page is shown. */

import { models } from "../live.js";
import { showCurrent } from "../parts/tabs.js";
import { empty } from "../parts/empty.js";
import { to } from "../router.js";
import { effect, h, scope, cleanup, signal } from "../view.js";
import * as chat from "./playground/chat.js";
import * as completion from "./playground/completion.js";
import * as images from "./playground/images.js";
import * as speech from "./playground/speech.js";
import * as transcription from "./playground/transcription.js";
import * as embeddings from "./playground/embeddings.js";
import * as rerank from "./playground/rerank.js";
import * as load from "./playground/load.js";

export const title = "Playground";

/** @typedef {{ show: (place: import("../view.js").Signal<import("../router.js").Place>) => Element, isBusy: () => boolean }} Tab */

/** @type {[string, string, Tab][]} */
const TABS = [
  ["chat", "Chat", chat],
  ["completion", "Completion", completion],
  ["images", "Images", images],
  ["speech", "Speech", speech],
  ["transcription", "Transcription", transcription],
  ["embeddings", "Embeddings", embeddings],
  ["rerank", "Rerank", rerank],
  ["load", "Load test", load],
];

const EXAMPLE = `models:
  small:
    cmd: llama-server --port \${PORT} -m /models/small.gguf`;

/** @param {import("../view.js").Signal<import("../router.js").Place>} place */
export function show(place) {
  const shown = signal(/** @type {Element | null} */ (null));
  let end = () => {};
  let name = "";
  const nameOf = () => (TABS.some(([each]) => each === place.value.rest) ? place.value.rest : "chat");
  const tabs = h(
    "nav.tabs",
    { "aria-label": "Kinds of requests" },
    TABS.map(([each, words, tab]) =>
      h(
        "a",
        {
          href: () => to("playground", each, { model: place.value.query.get("model") }),
          "aria-current": () => (nameOf() === each ? "page" : null),
        },
        words,
        h("span.busy", { hidden: () => !tab.isBusy() }, h("span.visually-hidden", null, " (in progress)")),
      ),
    ),
  );
  effect(() => {
    if (place.value.page !== "playground" || nameOf() === name) return;
    name = nameOf();
    end();
    const tab = TABS.find(([each]) => each === name)?.[2] ?? chat;
    end = scope(() => {
      shown.value = tab.show(place);
    });
    showCurrent(tabs);
  });
  cleanup(() => end());
  return h(
    "div.page.playground",
    null,
    h("header.page-head", null, h("h1", null, title)),
    tabs,
    h("div.no-models", { hidden: () => models.value.length > 0 }, noModels()),
    () => shown.value,
  );
}

function noModels() {
  return h(
    "section",
    null,
    empty("There are no models yet", "Write one into the configuration, and it can be tried here:"),
    h("pre", { tabindex: "0" }, h("code", null, EXAMPLE)),
    h("p", null, h("a", { href: to("config") }, "To the configuration")),
  );
}
