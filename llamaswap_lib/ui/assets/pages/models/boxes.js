/** The boxes of the fleet, which are peers: which of them are up, since when, what runs there, and how busy they are. */

import { toLocal } from "../../api.js";
import { age, exact } from "../../format.js";
import { peers } from "../../live.js";
import { now } from "../../parts/clock.js";
import { still } from "../../parts/still.js";
import { to } from "../../router.js";
import { computed, h, keyed, signal } from "../../view.js";
import { byId } from "./now.js";
import { DOTS, WORDS, actions } from "./row.js";

/** @typedef {import("../../live.js").Peer} Peer */

const MOST = 12; // boxes that are shown at once
const MOST_MODELS = 20; // of a box

/** Those that are out come first. */
const boxes = computed(() => {
  const told = peers.value ?? [];
  return [...told.filter(({ up }) => up === false), ...told.filter(({ up }) => up !== false)];
});

/** A section for all of them; hidden where there are none. */
export function boxSection() {
  const shown = signal(MOST);
  const left = () => boxes.value.length - shown.value;
  const summary = () => `${boxes.value.filter(({ up }) => up).length} of ${boxes.value.length} up`;
  return h(
    "section.boxes",
    { "aria-label": "Boxes", hidden: () => boxes.value.length === 0 },
    h("h2", null, "Boxes", h("small", null, summary)),
    keyed(
      h("ul"),
      () => boxes.value.slice(0, shown.value),
      ({ peer }) => peer,
      boxItem,
    ),
    h(
      "button",
      { type: "button", hidden: () => left() <= 0, onclick: () => (shown.value = Infinity) },
      () => `${left()} more`,
    ),
  );
}

/** @param {import("../../view.js").Signal<Peer>} box */
function boxItem(box) {
  const { peer } = box.value;
  return h(
    "li",
    null,
    h(
      "div.box-name",
      null,
      h("span.dot", { class: () => dotOf(box.value), role: "img", "aria-label": () => stateOf(box.value) }),
      h("bdi", { title: peer }, peer),
      addressOf(() => box.value),
      h("span.busy", null, () => usedWords(box.value)),
    ),
    h("p", { class: () => (box.value.up === false ? "fail" : "soft"), title: () => exact(box.value.since ?? "") }, () =>
      upWords(box.value),
    ),
    keyed(
      h("ul", { hidden: () => box.value.models.length === 0 }),
      () => box.value.models.slice(0, MOST_MODELS),
      ({ model }) => model,
      (run) => runItem(peer, run),
    ),
    h(
      "p.soft",
      { hidden: () => box.value.models.length <= MOST_MODELS },
      () => `and ${box.value.models.length - MOST_MODELS} more`,
    ),
  );
}

/** @param {Peer} box */
const dotOf = ({ up }) => (up === null ? "lost" : up ? "ready" : "fail");

/** @param {Peer} box */
const stateOf = ({ up }) => (up === null ? "not looked at yet" : up ? "up" : "out");

/** @param {Peer} box */
function upWords(box) {
  const { up, since, last_error: error, kind, models } = box;
  const state = since ? `${stateOf(box)} for ${age(Math.max(0, now.value - toLocal(since)))}` : stateOf(box);
  if (!up) return error ? `${state}: ${error}` : state;
  return state + (kind === "other" ? ", does not say what runs there" : models.length ? "" : ", nothing runs");
}

/** @param {{ in_flight: number, waiting: number }} counted */
const usedWords = ({ in_flight: works, waiting }) => [
  works > 0 && h("span.working", null, `${works} in progress`),
  works && waiting ? " · " : "",
  waiting > 0 && h("span.waits", null, `${waiting} wait${waiting === 1 ? "s" : ""}`),
];

/** A model that runs there; a link where it can be asked for by that name. @param {string} peer @param {import("../../view.js").Signal<import("../../live.js").PeerRun>} run */
function runItem(peer, run) {
  const { model } = run.value;
  const name = `${peer}/${model}`;
  const isKnown = computed(() => byId.value.has(name));
  const word = () => WORDS[/** @type {keyof typeof WORDS} */ (run.value.state)] ?? "";
  return h(
    "li",
    null,
    h("span.dot", {
      class: () => DOTS[/** @type {keyof typeof DOTS} */ (run.value.state)] ?? "",
      role: "img",
      "aria-label": word,
    }),
    () => (isKnown.value ? h("a.plain", { href: to("models", name) }, h("bdi", null, model)) : h("bdi", null, model)),
    h("small", null, () => [" ", usedWords(run.value)]),
    () => (isKnown.value ? still(() => actions(name)) : null),
  );
}

/**
 * Its address, as a link to its own page where a browser may have a way there; made anew only when it is another one.
 * @param {() => Peer | null} box followed
 */
export function addressOf(box) {
  const address = computed(() => box()?.address ?? "");
  const page = computed(() => pageOf(address.value, box()?.kind ?? ""));
  const title = "Its own page, if there is a way to it from here";
  return () =>
    page.value
      ? h("a.address", { href: page.value, target: "_blank", rel: "noopener noreferrer", title }, address.value)
      : h("bdi.address", null, address.value);
}

/**
 * The address of a box's own page; "" where it has none, or none that leads there from another machine.
 * @param {string} address @param {string} kind @param {string} [here] the name by which this page was reached
 */
export function pageOf(address, kind, here = location.hostname) {
  if (kind !== "llamaswap" || !URL.canParse(address)) return "";
  const url = new URL(address);
  const isWeb = url.protocol === "http:" || url.protocol === "https:";
  if (!isWeb || url.username || url.password || (isLoopback(url.hostname) && !isLoopback(here))) return "";
  return `${url.origin}${url.pathname.replace(/\/$/, "")}/ui/`;
}

/** Whether that name means the very machine where it is used. @param {string} host */
const isLoopback = (host) => /^(localhost|.*\.localhost|127\..*|\[::1\]|0\.0\.0\.0)$/.test(host);
