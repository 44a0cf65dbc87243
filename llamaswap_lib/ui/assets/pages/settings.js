/** Settings of this browser, and what the server is. */

import { key, setKey } from "../api.js";
import { connection, version } from "../live.js";
import { exact } from "../format.js";
import { h, signal } from "../view.js";

export const title = "Settings";

const THEMES = { system: "As the system", light: "Light", dark: "Dark" };
const theme = signal(document.documentElement.dataset.theme ?? "system");

/** @param {string} chosen */
function setTheme(chosen) {
  theme.value = chosen;
  if (chosen === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
  try {
    localStorage.setItem("llamaswap.theme", chosen);
  } catch {
    // it counts until the page is loaded again
  }
}

export function show() {
  const hasKey = signal(key() !== "");
  const forget = () => {
    setKey("");
    hasKey.value = false;
    location.reload();
  };
  return h(
    "div.page",
    null,
    h("header.page-head", null, h("h1", null, title)),
    h(
      "section",
      null,
      h("h2", { id: "theme" }, "Theme"),
      h(
        "div.choice",
        { role: "radiogroup", "aria-labelledby": "theme" },
        Object.entries(THEMES).map(([value, words]) =>
          h(
            "label",
            null,
            h("input", {
              type: "radio",
              name: "theme",
              value,
              checked: theme.value === value,
              onchange: () => setTheme(value),
            }),
            words,
          ),
        ),
      ),
    ),
    h(
      "section",
      null,
      h("h2", null, "Key"),
      h("p", null, () => (hasKey.value ? "A key is kept until this tab is closed." : "No key was typed in this tab.")),
      h("button", { type: "button", hidden: () => !hasKey.value, onclick: forget }, "Forget the key"),
    ),
    h(
      "section",
      null,
      h("h2", null, "Server"),
      h(
        "dl.facts",
        null,
        fact("Version", () => version.value?.version),
        fact("Commit", () => version.value?.commit),
        fact("Built", () => version.value?.build_date && exact(version.value.build_date)),
        fact(
          "Connection",
          () => ({ open: "open", lost: "lost", key: "a key is missing", connecting: "being made" })[connection.value],
        ),
      ),
    ),
  );
}

/** A line, where there is something to say. @param {string} name @param {() => string | undefined} value */
const fact = (name, value) => () => {
  const said = value();
  return said && said !== "unknown" ? [h("dt", null, name), h("dd", null, said)] : null;
};
