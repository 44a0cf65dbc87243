/** The frame around all pages: navigation, state of the connection, title and icon of the tab. */

import { keyIsMissing } from "./api.js";
import { about, connection, inFlight, models, nextTry, queue, tryNow, version } from "./live.js";
import { PAGES } from "./pages.js";
import { openDialog } from "./parts/dialog.js";
import { notices } from "./parts/notices.js";
import { openPalette } from "./parts/palette.js";
import { profileChoice } from "./parts/profiles.js";
import { listenForKeys } from "./parts/shortcuts.js";
import { place, to } from "./router.js";
import { now } from "./parts/clock.js";
import { effect, h } from "./view.js";

const IN_BAR = 4; // pages that have a place at the bottom of a phone

/** @param {import("./view.js").Signal<Element | null>} page */
export function frame(page) {
  listenForKeys();
  followInTab();
  const main = h("main", { id: "main", tabindex: "-1" }, () => page.value);
  return h(
    "div.frame",
    null,
    h("a.skip", { href: "#main", onclick: skip }, "Skip to the page"),
    navigation(),
    h("div.column", null, banner(), main),
    notices(),
  );
}

/** @param {Event} event */
function skip(event) {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

function navigation() {
  return h(
    "nav.pages",
    { "aria-label": "Pages" },
    h("a.brand", { href: to("models") }, h("span.dot", { class: () => overall() }), "llamaswap"),
    PAGES.map((page, index) =>
      h(
        "a.page",
        {
          class: index < IN_BAR ? "" : "hide-narrow",
          href: to(page.name),
          "aria-current": () => (place.value.page === page.name ? "page" : null),
        },
        page.title,
        h("span.amount", null, () => amount(page.name)),
      ),
    ),
    h(
      "button.more",
      {
        type: "button",
        class: () => (PAGES.findIndex((page) => page.name === place.value.page) >= IN_BAR ? "current" : ""),
        onclick: showMore,
      },
      "More",
    ),
    h("div.under", null, profileChoice("div.profile"), searchButton(), stateOfServer()),
  );
}

/** On a phone: what has no place in the bar. */
function showMore() {
  openDialog("More", (close) => [
    h(
      "ul.choices",
      { onclick: close },
      PAGES.slice(IN_BAR).map((page) => h("li", null, h("a", { href: to(page.name) }, page.title))),
    ),
    h(
      "div.row",
      null,
      h("button", { type: "button", onclick: () => (close(), openPalette()) }, "Search or run…"),
      profileChoice("div.profile"),
    ),
  ]);
}

/** @param {string} name */
function amount(name) {
  if (name === "models") return models.value.filter((model) => model.state === "ready").length || "";
  if (name === "queue") return queue.value.length || "";
  if (name === "config") return about.value?.error ? "!" : "";
  return "";
}

function searchButton() {
  return h(
    "button.search",
    { type: "button", onclick: () => openPalette() },
    "Search or run…",
    h("kbd", null, "Ctrl K"),
  );
}

/** What runs, in one word: the class of a dot. */
function overall() {
  const states = new Set(models.value.map((model) => model.state));
  if (connection.value !== "open") return "lost";
  if (states.has("starting") || states.has("stopping")) return "load";
  if (models.value.some((model) => model.failure)) return "fail";
  return states.has("ready") ? "ready" : "";
}

function stateOfServer() {
  return h("footer", null, () => {
    if (connection.value !== "open") return h("span", null, "not connected");
    const warnings = about.value?.warnings?.length;
    return [
      h("span", null, version.value?.version ?? ""),
      warnings ? h("a", { href: to("config") }, `${warnings} warning${warnings === 1 ? "" : "s"}`) : null,
    ];
  });
}

/** A dialog for the key that the server wants: loaded when it is. */
export const askForKey = () => void import("./parts/key_dialog.js").then(({ askForKey: ask }) => ask(), reportError);

/** What everybody has to know at once: the connection is lost, or the changed configuration cannot be used. */
function banner() {
  return h("div.banners", { role: "status" }, () => {
    if (connection.value === "lost") {
      const wait = () => Math.max(0, Math.ceil((nextTry.value - now.value) / 1000));
      return h(
        "p.banner.fail",
        null,
        h("span", null, "The server cannot be reached. What you see may be out of date. "),
        h("span", { "aria-hidden": "true" }, () => (wait() ? `Next try in ${wait()} s. ` : "Trying… ")),
        h("button", { type: "button", onclick: tryNow }, "Try now"),
      );
    }
    if (keyIsMissing.value) {
      return h(
        "p.banner.load",
        null,
        h("span", null, "This server asks for a key. "),
        h("button", { type: "button", onclick: askForKey }, "Type it"),
      );
    }
    if (about.value?.error) {
      return h(
        "p.banner.load",
        null,
        "The changed configuration cannot be used; the one before it goes on. ",
        h("a", { href: to("config") }, "What is wrong"),
      );
    }
    return null;
  });
}

const COLOURS = { ready: "#2f8f6f", load: "#c87a1a", fail: "#c0443a", lost: "#8a8d93", "": "#8a8d93" };

const TAB_PAUSE = 100; // milliseconds: a browser takes longer for a title than a short request does

function followInTab() {
  let told = { text: "", href: "" };
  /** @type {number | undefined} */
  let timer;
  effect(() => {
    told = tellInTab();
    timer ??= setTimeout(() => {
      timer = undefined;
      showInTab(told);
    }, TAB_PAUSE);
  });
}

/** Title and icon of the tab. */
function tellInTab() {
  const state = /** @type {keyof typeof COLOURS} */ (overall());
  const ready = models.value.filter((model) => model.state === "ready").length;
  const loading = models.value.filter((model) => model.state === "starting").length;
  const words = [];
  if (state === "lost") words.push(connection.value === "open" ? "" : "○ not connected");
  else {
    if (loading) words.push(`◐ ${loading} loading`);
    if (ready) words.push(`● ${ready} running`);
    if (inFlight.value.size) words.push(`${inFlight.value.size} in progress`);
  }
  const title = PAGES.find((page) => page.name === place.value.page)?.title ?? "llamaswap";
  const text = [...words.filter(Boolean), place.value.rest || title, "llamaswap"].join(" · ");
  const full = state === "ready" || state === "load";
  const circle = `<circle cx="16" cy="16" r="9" fill="${full ? COLOURS[state] : "none"}" stroke="${COLOURS[state]}" stroke-width="5"/>`;
  const icon = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">${circle}</svg>`;
  return { text, href: `data:image/svg+xml,${encodeURIComponent(icon)}` };
}

/** @param {{ text: string, href: string }} told */
function showInTab({ text, href }) {
  if (document.title !== text) document.title = text;
  const link = document.querySelector("link[rel=icon]");
  if (link?.getAttribute("href") !== href) link?.setAttribute("href", href);
}
