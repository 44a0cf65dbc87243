/** Configuration: what is in use, and an editor. */

import { toLocal } from "../api.js";
import { exact } from "../format.js";
import { about, readAbout } from "../live.js";
import { copy } from "../parts/actions.js";
import { ago } from "../parts/clock.js";
import { headWithTabs } from "../parts/tabs.js";
import { place } from "../router.js";
import { h } from "../view.js";
import { edit, reload } from "./config/edit.js";
import { yamlOf } from "./config/yaml.js";

export const title = "Configuration";

export function show() {
  void readAbout();
  return h(
    "div.page",
    null,
    headWithTabs(title, "config", [
      ["", "In use"],
      ["edit", () => (about.value?.can_edit ? "Edit" : "Try a text")],
    ]),
    () => (place.value.rest === "edit" ? edit() : inUse()),
  );
}

function inUse() {
  return h("div.page", null, () => {
    const told = about.value;
    if (!told) return h("p.soft", null, "Reading…");
    const text = yamlOf(told.config);
    return [
      told.error
        ? h(
            "section",
            null,
            h(
              "h2",
              null,
              "The changed files cannot be used",
              h(
                "small",
                null,
                ago(() => toLocal(told.error.at)),
              ),
            ),
            h("p", null, "What is shown below goes on until they can."),
            h("pre.fail", null, told.error.message),
          )
        : null,
      h(
        "section",
        null,
        h(
          "dl.facts",
          null,
          [
            ["Files", told.files.join(", ") || "none"],
            ["Loaded", ago(() => toLocal(told.loaded_at))],
          ].map(([name, value]) => [
            h("dt", null, name),
            h("dd", { title: name === "Loaded" ? exact(told.loaded_at) : null }, value),
          ]),
        ),
        h("div.row.above", null, h("button", { type: "button", onclick: reload }, "Read the files again")),
      ),
      told.warnings.length
        ? h(
            "section",
            null,
            h("h2", null, "Warnings"),
            h(
              "ul.findings.wait",
              null,
              told.warnings.map((/** @type {any} */ warning) =>
                h(
                  "li",
                  null,
                  warning.line ? h("small", null, `${warning.file}, line ${warning.line}`) : null,
                  warning.path ? h("code", null, warning.path) : null,
                  h("span", null, warning.message),
                ),
              ),
            ),
          )
        : null,
      h(
        "section",
        null,
        h(
          "h2",
          null,
          "Resolved",
          h("button.small", { type: "button", onclick: () => copy(text, "The configuration") }, "Copy"),
        ),
        h("p.soft", null, "Macros are filled in, secrets hidden, most defaults left out."),
        h("pre.resolved", { tabindex: "0", "aria-label": "The resolved configuration" }, text),
      ),
    ];
  });
}
