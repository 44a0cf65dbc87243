/** The log of a model, and its resolved command. */

import { about, runs } from "../../live.js";
import { copy } from "../../parts/actions.js";
import { to } from "../../router.js";
import { effect, h } from "../../view.js";
import { lastLines } from "./last_lines.js";

/** @typedef {import("../../view.js").Signal<import("./catalog.js").Entry>} Entry */

const LINES = 300;

/** @param {Entry} entry */
export function logTab(entry) {
  const { id } = entry.value;
  const lines = lastLines(id, LINES, { characters: 60_000 });
  const box = h(
    "pre.lines.tall",
    { "aria-label": `Log of ${id}`, tabindex: "0" },
    h("bdi", null, () => lines.value.join("\n")),
  );
  effect(() => {
    lines.value;
    const isAtEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
    if (isAtEnd) requestAnimationFrame(() => (box.scrollTop = box.scrollHeight));
  });
  return h(
    "section",
    null,
    h(
      "h2",
      null,
      "The newest lines",
      h("a", { href: to("logs", "", { show: id }) }, "The whole log, with search and colours"),
    ),
    h("p.soft", { hidden: () => lines.value.length > 0 }, "It has printed nothing yet."),
    h("div", { hidden: () => lines.value.length === 0 }, box),
  );
}

/** @param {Entry} entry */
export function commandTab(entry) {
  const { id } = entry.value;
  const config = () => about.value?.config?.models?.[id];
  const command = () => String(runs.value.get(id)?.cmd ?? config()?.cmd ?? "");
  return h(
    "div.page",
    null,
    h(
      "section",
      null,
      h("h2", null, "Command", copyButton(command, "The command")),
      h("pre.wrap", null, h("bdi", null, command)),
      h(
        "p.soft",
        { hidden: () => runs.value.has(id) },
        "It does not run. Its port may be another one then, should this one be taken.",
      ),
    ),
    h(
      "section",
      null,
      h("h2", null, "As it is configured", h("a", { href: to("config") }, "The whole configuration")),
      h(
        "pre.wrap",
        { hidden: () => !config() },
        h("bdi", null, () => JSON.stringify(config() ?? {}, null, 2).slice(0, 100_000)),
      ),
      h("p.soft", { hidden: () => config() }, "The configuration cannot be read from here."),
      h("p.soft", null, "With all macros and defaults put in, and [hidden] in the place of secrets."),
    ),
  );
}

/** @param {() => string} text @param {string} what */
const copyButton = (text, what) =>
  h("button.small", { type: "button", "aria-label": `Copy: ${what}`, onclick: () => copy(text(), what) }, "Copy");
