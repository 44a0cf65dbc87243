/** The home page: what fills the memory, what happened lately, and what each model does and why. And a model's own page. */

import { several } from "../format.js";
import { about, activeProfile, connection, hasPeers, models, peers, queue, runs } from "../live.js";
import { unloadAll } from "../parts/actions.js";
import { failed } from "../parts/empty.js";
import { isRead } from "../parts/history.js";
import { profileChoice } from "../parts/profiles.js";
import { shortcuts } from "../parts/shortcuts.js";
import { still } from "../parts/still.js";
import { TEN_MINUTES, newRange, rangeButtons, timeline } from "../parts/timeline.js";
import { place, setQuery, to } from "../router.js";
import { cleanup, computed, effect, h, keyed, scope, signal } from "../view.js";
import { itemsOf } from "./models/catalog.js";
import { isMeasured, memorySection } from "./models/memory.js";
import { isByMemory } from "./models/needs.js";
import { boxWords } from "./models/now.js";
import { modelRow } from "./models/row.js";
import { rules } from "./models/rules.js";

/**
 * @typedef {import("./models/catalog.js").Item} Item
 * @typedef {import("./models/catalog.js").Wish} Wish
 */

export const title = "Models";

const SORTS = { state: "State", name: "Name", use: "Last use", memory: "Memory" };
const PATIENCE = 700; // milliseconds until what has not come yet may push the rest down
const PIECE = 100; // rows that are made at once
const GROUPS = { "": "Not grouped", set: "By group or set", kind: "By kind", state: "By state" };

/** @param {import("../view.js").Signal<import("../router.js").Place>} at */
export function show(at) {
  const id = computed(() => at.value.rest);
  const built = signal(/** @type {Element | null} */ (null));
  effect(() => {
    const name = id.value;
    let isGone = false;
    let end = () => {};
    cleanup(() => {
      isGone = true;
      end();
    });
    /** @param {() => Element} make */
    const build = (make) => {
      if (isGone) return;
      end = scope(() => {
        built.value = make();
      });
      scrollTo(0, 0);
    };
    if (!name) build(home);
    else
      import("./models/one.js").then(
        ({ modelPage }) => build(() => modelPage(name)),
        () => build(() => failed(name)),
      );
  });
  return h("div.page", null, () => built.value);
}

/** What shows boxes: it is loaded where there are any. @type {import("../view.js").Signal<typeof import("./models/boxes.js") | null>} */
const boxes = signal(/** @type {any} */ (null));

function home() {
  const range = newRange();
  const isHeld = signal(false); // somebody is about to click in the list: nothing moves away under the pointer
  const isPatient = signal(true);
  const timer = setTimeout(() => (isPatient.value = false), PATIENCE);
  cleanup(() => clearTimeout(timer));
  effect(() => {
    if (hasPeers(about.value)) import("./models/boxes.js").then((loaded) => (boxes.value = loaded), reportError);
  });
  const isTold = () => about.value && ((peers.value && boxes.value) || !hasPeers(about.value));
  const isSettled = computed(() => !isPatient.value || Boolean(isRead.value && isMeasured.value && isTold()));
  shortcuts(
    { keys: "j", what: "Next model", run: () => step(1) },
    { keys: "k", what: "Previous model", run: () => step(-1) },
  );
  return h(
    "div.page",
    { class: () => (isSettled.value ? "" : "unsettled") },
    head(),
    () => (boxes.value ? still(boxes.value.boxSection) : null),
    memorySection(),
    h(
      "section",
      { "aria-label": "Time line" },
      h(
        "h2",
        null,
        () => (range.span.value === TEN_MINUTES ? "The last ten minutes" : "The last minutes"),
        rangeButtons(range),
      ),
      timeline(range, { most: 8, isHeld }),
    ),
    list(isHeld),
  );
}

/** Move the focus to the name of another row. @param {number} by */
function step(by) {
  const names = /** @type {HTMLElement[]} */ ([...document.querySelectorAll("tr.model a.name")]);
  const row = document.activeElement?.closest("tr.model");
  const at = names.findIndex((name) => row?.contains(name));
  names[at < 0 ? 0 : Math.min(names.length - 1, Math.max(0, at + by))]?.focus();
}

function head() {
  const words = () => {
    const ready = models.value.filter((model) => model.state === "ready").length;
    const loading = models.value.filter((model) => model.state === "starting").length;
    const waits = queue.value.length;
    return [
      `${ready} running`,
      loading ? `${loading} loading` : "",
      ...boxWords(),
      waits ? `${several(waits, "request")} wait${waits === 1 ? "s" : ""}` : "",
      activeProfile.value ? `profile ${activeProfile.value}` : "",
    ]
      .filter(Boolean)
      .join(", ");
  };
  return h(
    "header.page-head",
    null,
    h("h1", null, title, h("small", { role: "status" }, words)),
    profileChoice("div.only-narrow"), // on a phone the one of the navigation is not seen
    h("button", { type: "button", disabled: () => runs.value.size === 0, onclick: unloadAll }, "Unload all"),
  );
}

// --- the list ---

/** What the address asks for. @returns {Wish} */
function wish() {
  const { query } = place.value;
  return {
    q: query.get("q") ?? "",
    sort: query.get("sort") ?? "state",
    group: query.get("group") ?? "",
    unlisted: query.has("unlisted"),
    aliases: query.has("aliases"),
  };
}

/** @param {import("../view.js").Signal<boolean>} isHeld */
function list(isHeld) {
  const items = steady(isHeld, () => itemsOf(wish()));
  const hold = {
    onpointerenter: (/** @type {PointerEvent} */ event) => (isHeld.value = event.pointerType === "mouse"),
    onpointerleave: () => (isHeld.value = false),
  };
  const isEmpty = () => items.value.length === 0;
  const most = signal(PIECE);
  const showMore = () => void (most.value += PIECE);
  return h(
    "section.models",
    { "aria-label": "Models" },
    tools(),
    rulesLine(),
    h(
      "table",
      { class: () => (isByMemory.value ? "by-memory" : ""), hidden: isEmpty, ...hold },
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          ["Model", "Memory", "Speed", "In use", "Unloads", ""].map((text, index) =>
            h(
              index === 0 || index === 5 ? "th" : index === 3 ? "th.n" : "th.n.hide-narrow",
              { scope: "col" },
              text || h("span.visually-hidden", null, "What to do"),
            ),
          ),
        ),
      ),
      keyed(
        h("tbody"),
        () => items.value.slice(0, most.value),
        (item) => item.id,
        (item) => rowOf(item),
      ),
    ),
    moreButton(() => items.value.length - most.value, showMore),
    () => (isEmpty() && connection.value === "open" ? nothing() : null),
  );
}

/** Shows more rows when it is seen, or pressed. @param {() => number} left how many there are @param {() => void} show */
function moreButton(left, show) {
  const button = h("button", { type: "button", hidden: () => left() <= 0, onclick: show }, () => `${left()} more`);
  const observer = new IntersectionObserver((changes) => changes.some((change) => change.isIntersecting) && show());
  observer.observe(button);
  cleanup(() => observer.disconnect());
  return button;
}

/** @param {import("../view.js").Signal<Item>} item */
function rowOf(item) {
  const { head } = item.value;
  if (head === null) return modelRow(computed(() => /** @type {any} */ (item.value).entry));
  return h(
    "tr.group",
    null,
    h(
      "th",
      { colspan: "6", scope: "rowgroup" },
      h("bdi", null, head),
      h("small", null, () => item.value.hint),
    ),
  );
}

/** The items, in the order that they had while that is held. @param {import("../view.js").Signal<boolean>} isHeld @param {() => Item[]} read */
function steady(isHeld, read) {
  /** @type {Map<string, number>} */
  let order = new Map();
  return computed(() => {
    const all = read();
    const isSame = isHeld.value && all.length === order.size && all.every((item) => order.has(item.id));
    if (isSame) all.sort((one, other) => Number(order.get(one.id)) - Number(order.get(other.id)));
    else order = new Map(all.map((item, index) => [item.id, index]));
    return all;
  });
}

function tools() {
  /** @param {string} name @param {string} label @param {Record<string, string>} choices @param {() => string} value */
  const select = (name, label, choices, value) => {
    const node = /** @type {HTMLSelectElement} */ (
      h(
        "select",
        {
          "aria-label": label,
          onchange: (/** @type {any} */ event) =>
            setQuery({ [name]: event.target.value === Object.keys(choices)[0] ? null : event.target.value }),
        },
        Object.entries(choices).map(([key, words]) =>
          h("option", { value: key }, name === "sort" ? `Sorted by ${words.toLowerCase()}` : words),
        ),
      )
    );
    effect(() => {
      node.value = value();
    });
    return node;
  };
  /** @param {string} name @param {string} words @param {() => boolean} value */
  const check = (name, words, value) =>
    h(
      "label.check",
      null,
      h("input", {
        type: "checkbox",
        checked: value,
        onchange: (/** @type {any} */ event) => setQuery({ [name]: event.target.checked ? "1" : null }),
      }),
      words,
    );
  const hasUnlisted = () => models.value.some((model) => model.unlisted);
  const hasAliases = () => models.value.some((model) => model.aliases?.length);
  return h(
    "div.tools",
    null,
    h("input", {
      type: "search",
      placeholder: "Search models",
      "aria-label": "Search models",
      autocomplete: "off",
      spellcheck: "false",
      value: () => wish().q,
      oninput: (/** @type {any} */ event) => setQuery({ q: event.target.value }),
    }),
    select("sort", "Order", SORTS, () => wish().sort),
    select("group", "Groups", GROUPS, () => wish().group),
    h(
      "span",
      { hidden: () => !hasAliases() },
      check("aliases", "Aliases as rows", () => wish().aliases),
    ),
    h(
      "span",
      { hidden: () => !hasUnlisted() },
      check("unlisted", "Unlisted too", () => wish().unlisted),
    ),
  );
}

/** Which of the groups or sets is in use now. */
function rulesLine() {
  const active = computed(() => rules().filter((rule) => rule.isActive && rule.name !== "(default)"));
  const isMatrix = () => about.value?.config?.routing?.router?.use === "matrix";
  const has = computed(() => rules().some((rule) => rule.name !== "(default)"));
  const none = () => h("span.soft", null, isMatrix() ? "no set is in use" : "no group is in use");
  return h("p.rules", { hidden: () => !has.value }, () =>
    active.value.length === 0
      ? none()
      : active.value
          .slice(0, 12)
          .map((rule) =>
            h(
              "span",
              { title: rule.members.slice(0, 60).join(", ") },
              h("span.soft", null, isMatrix() ? "set " : "group "),
              h("bdi", null, rule.name),
              h(
                "span.soft",
                null,
                isMatrix()
                  ? `: ${rule.words.slice(0, 80)}`
                  : `: ${rule.running.length} of ${rule.members.length}, ${rule.words}`,
              ),
            ),
          ),
  );
}

function nothing() {
  if (models.value.length && wish().q) {
    return h(
      "div.empty",
      null,
      h("h2", null, "Nothing has this name"),
      h("button", { type: "button", onclick: () => setQuery({ q: null }) }, "Show all"),
    );
  }
  return h(
    "div.empty",
    null,
    h("h2", null, "There is no model yet"),
    h(
      "p",
      null,
      "Write one into the configuration; it is read again when the file changes and the server was started with ",
      h("code", null, "-watch-config"),
      ", or ",
      h("a", { href: to("config") }, "here"),
      ":",
    ),
    h(
      "pre",
      { tabindex: "0" },
      "models:\n  qwen3-4b:\n    cmd: llama-server --port ${PORT} -hf unsloth/Qwen3-4B-GGUF:Q4_K_M\n    ttl: 600",
    ),
  );
}
