/** Chat: one conversation with a model, or with two side by side. */

import { models } from "../../live.js";
import { notify } from "../../parts/notices.js";
import { shortcuts } from "../../parts/shortcuts.js";
import { setQuery } from "../../router.js";
import { cleanup, effect, h, scope, signal } from "../../view.js";
import { fitting, usual } from "../../parts/fitting.js";
import { composer } from "./composer.js";
import { area, choice } from "./fields.js";
import { ParameterFields } from "./parameters.js";
import { picker } from "./picker.js";
import { readHeads } from "./store.js";
import { anyRuns, current, openTalk } from "./talk.js";
import { newTalk, talks } from "./talks.js";
import { transcript } from "./turns.js";

/** @typedef {import("./talk.js").Talk} Talk */

const parameters = new ParameterFields();
const areSettingsOpen = signal(false);
export const isBusy = anyRuns;

/** The parameters as they were typed; what is wrong with them is told. */
function options() {
  try {
    return parameters.read();
  } catch (error) {
    notify(/** @type {Error} */ (error).message, "fail");
    areSettingsOpen.value = true;
    return null;
  }
}

/** @param {Talk} talk */
function send(talk) {
  const text = talk.draft.now.trim();
  const images = talk.pictures.now;
  if (!text && !images.length) return;
  if (!talk.models[0]?.now) return notify("Choose a model first", "fail");
  const chosen = options();
  if (!chosen) return;
  talk.draft.value = "";
  talk.pictures.value = [];
  talk.send(text, images, chosen);
  setQuery({ c: talk.id });
}

/** @param {import("../../view.js").Signal<import("../../router.js").Place>} place */
export function show(place) {
  void readHeads();
  followPlace(place);
  shortcuts(
    { keys: "Escape", what: "Stop the answer", run: () => current.now.stop() },
    { keys: "n", what: "New conversation", run: newTalk },
    {
      keys: "e",
      what: "Type a message",
      run: () => /** @type {HTMLElement | null} */ (document.querySelector(".composer textarea"))?.focus(),
    },
  );
  const shown = signal(/** @type {Element | null} */ (null));
  let end = () => {};
  effect(() => {
    const talk = current.value;
    end();
    end = scope(() => {
      shown.value = talkView(talk);
    });
  });
  cleanup(() => end());
  return h("div.chat", null, talks(), () => shown.value);
}

/** The address names the conversation and the models. @param {import("../../view.js").Signal<import("../../router.js").Place>} place */
function followPlace(place) {
  effect(() => {
    const { page, rest, query } = place.value;
    if (page !== "playground" || (rest && rest !== "chat")) return;
    const [id, model, other] = [query.get("c"), query.get("model"), query.get("with")];
    if (id && id !== current.now.id) {
      void openTalk(id).then((isThere) => isThere || setQuery({ c: null }));
      return;
    }
    const [first, second] = current.now.models;
    if (model && first) first.value = model;
    if (other && second) second.value = other;
  });
  effect(() => {
    const first = current.value.models[0];
    if (models.value.length && first && !first.value) first.value = usual("chat");
  });
}

/** @param {Talk} talk */
function talkView(talk) {
  const [first, second] =
    /** @type {[import("../../view.js").Signal<string>, import("../../view.js").Signal<string>]} */ (talk.models);
  const compare = () => {
    second.value = fitting("chat").find((model) => model.id !== first.now)?.id ?? first.now;
    setQuery({ with: second.now });
  };
  const alone = () => {
    second.value = "";
    setQuery({ with: null });
  };
  return h(
    "div.talk",
    null,
    h(
      "div.row.choices-of-talk",
      null,
      picker(first, "chat", { onchoose: (model) => setQuery({ model }) }),
      () =>
        second.value
          ? [
              picker(second, "chat", { label: "Model beside it", onchoose: (model) => setQuery({ with: model }) }),
              h("button.small", { type: "button", onclick: alone }, "One model"),
            ]
          : h("button.small", { type: "button", onclick: compare }, "Compare two"),
      h("span.spring"),
      h(
        "button.small",
        {
          type: "button",
          "aria-expanded": () => String(areSettingsOpen.value),
          onclick: () => (areSettingsOpen.value = !areSettingsOpen.now),
        },
        "Settings",
      ),
    ),
    h(
      "div.settings.stack",
      { hidden: () => !areSettingsOpen.value },
      area("System prompt", talk.system, { rows: 2, placeholder: "What the model is told first" }),
      choice("Endpoint", talk.dialect, ["chat/completions", "messages", "responses"], (name) => `/v1/${name}`),
      parameters.view(),
    ),
    h("h2.visually-hidden", null, "Conversation"),
    transcript(talk, options),
    h(
      "div.empty",
      { hidden: () => talk.turns.value.length > 0 },
      h("h2", null, "Say something to a model"),
      h(
        "p",
        null,
        "It is loaded when you send. Enter sends; pictures can be pasted or dropped. With “Compare two” two models answer side by side.",
      ),
    ),
    composer(talk, () => send(talk)),
  );
}
