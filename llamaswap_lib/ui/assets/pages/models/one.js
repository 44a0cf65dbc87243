/** A model's own page: what it does, its requests, log, speed, command, and how to use it. */

import { address, pathOf } from "../../api.js";
import { connection, models } from "../../live.js";
import { empty } from "../../parts/empty.js";
import { still } from "../../parts/still.js";
import { showCurrent } from "../../parts/tabs.js";
import { go, place, to } from "../../router.js";
import { computed, effect, h } from "../../view.js";
import { entryNamed, pinned, stateOf, togglePin } from "./catalog.js";
import { activityTab } from "./activity_tab.js";
import { connectTab } from "./connect_tab.js";
import { commandTab, logTab } from "./more_tabs.js";
import { overviewTab } from "./overview.js";
import { watchPlan } from "./plans.js";
import { actions, dotOf, stateWords } from "./row.js";
import { speedTab } from "./speed_tab.js";

/** @typedef {import("./catalog.js").Entry} Entry */

/** @type {{ name: string, title: string, kinds: string[], show: (entry: import("../../view.js").Signal<Entry>) => Element }[]} */
const TABS = [
  { name: "", title: "Overview", kinds: ["model", "peer", "selector", "profile"], show: overviewTab },
  { name: "activity", title: "Activity", kinds: ["model", "peer"], show: activityTab },
  { name: "logs", title: "Log", kinds: ["model"], show: logTab },
  { name: "speed", title: "Speed", kinds: ["model", "peer"], show: speedTab },
  { name: "command", title: "Command", kinds: ["model"], show: commandTab },
  { name: "connect", title: "Connect", kinds: ["model", "peer", "selector", "profile"], show: connectTab },
];

/** @param {string} id as the address has it: a name of any kind */
export function modelPage(id) {
  const entry = computed(() => entryNamed(id));
  const kind = computed(() => entry.value?.kind ?? "");
  effect(() => {
    const target = entry.value?.id;
    if (target && target !== id) queueMicrotask(() => go(to("models", target), { replace: true })); // an alias
  });
  return h("div.page.model-page", null, () => {
    if (kind.value) return still(() => known(/** @type {import("../../view.js").Signal<Entry>} */ (entry)));
    if (connection.value !== "open" || !models.value.length) return null;
    return empty(
      "There is no model of this name",
      "Nothing is called “",
      h("bdi", null, id.slice(0, 300)),
      "” in the configuration. ",
      h("a", { href: to("models") }, "To all models"),
    );
  });
}

/** @param {import("../../view.js").Signal<Entry>} entry */
function known(entry) {
  const { id, kind } = entry.value;
  const tabs = TABS.filter((tab) => tab.kinds.includes(kind));
  const name = computed(() => place.value.query.get("tab") ?? "");
  const chosen = computed(() => tabs.find((tab) => tab.name === name.value) ?? tabs[0]);
  return [
    head(entry),
    tabbed(
      h(
        "nav.tabs",
        { "aria-label": "Parts of this page" },
        tabs.map((tab) =>
          h(
            "a",
            { href: to("models", id, { tab: tab.name }), "aria-current": () => (chosen.value === tab ? "page" : null) },
            tab.title,
          ),
        ),
      ),
      () => chosen.value,
    ),
    h("div.page", null, () => {
      const tab = chosen.value;
      return tab ? still(() => tab.show(entry)) : null;
    }),
  ];
}

/** @param {HTMLElement} nav @param {() => unknown} chosen */
function tabbed(nav, chosen) {
  effect(() => {
    chosen();
    showCurrent(nav);
  });
  return nav;
}

/** @param {import("../../view.js").Signal<Entry>} entry */
function head(entry) {
  const { id, kind, strategy } = entry.value;
  const isModel = kind === "model";
  const isPeer = kind === "peer";
  const kindWord = isModel ? "" : strategy === "pool" ? strategy : kind;
  const node = h(
    "header.page-head",
    null,
    h(
      "h1",
      null,
      h("span.dot", { class: () => dotOf(id), hidden: () => !stateOf(id) }),
      h("bdi", null, id),
      h("small", null, () => [kindWord, stateWords(id), entry.value.name].filter(Boolean).join(" · ")),
    ),
    h(
      "button.quiet",
      { type: "button", "aria-pressed": () => String(pinned.value.includes(id)), onclick: () => togglePin(id) },
      () => (pinned.value.includes(id) ? "Pinned" : "Pin"),
    ),
    h("a.button", { href: to("playground", "chat", { model: id }) }, "Chat"),
    isModel
      ? h(
          "a.button",
          {
            href: address(`upstream/${pathOf(id)}/`),
            target: "_blank",
            rel: "noopener",
            hidden: () => stateOf(id) !== "ready",
            title: "The pages of its own server",
          },
          "Its server",
        )
      : null,
    isModel || isPeer ? actions(id) : null,
  );
  if (!isPeer) watchPlan(id, node);
  return node;
}
