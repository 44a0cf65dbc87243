/** Completion: a text goes on, without roles. */

import { cleanup, effect, h, signal } from "../../view.js";
import { notify } from "../../parts/notices.js";
import { Answer } from "./answer.js";
import { area } from "./fields.js";
import { ParameterFields } from "./parameters.js";
import { followAddress, picker } from "./picker.js";
import { setQuery } from "../../router.js";
import { figuresOf, meanwhile, problem } from "./told.js";

const model = signal("");
const prompt = signal("Once upon a time");
const parameters = new ParameterFields();
parameters.max_tokens.value = "200";
/** @type {import("../../view.js").Signal<{ given: string, answer: Answer } | null>} */
const shown = signal(null);

export const isBusy = () => Boolean(shown.value?.answer.isRunning());

function run() {
  if (isBusy()) return;
  try {
    const options = parameters.read();
    const answer = new Answer(model.now);
    shown.value = { given: prompt.now, answer };
    void answer.run("completions", "", [{ role: "user", text: prompt.now }], options);
  } catch (error) {
    notify(/** @type {Error} */ (error).message, "fail");
  }
}

const stop = () => shown.now?.answer.stop();

/** Go on with what has come. */
function takeOver() {
  if (shown.now) prompt.value = shown.now.given + shown.now.answer.content.now;
}

/** @param {import("../../view.js").Signal<import("../../router.js").Place>} place */
export function show(place) {
  followAddress(model, "chat", place);
  const text = area("Text to continue", prompt, { rows: 6 });
  effect(() => {
    const box = /** @type {HTMLTextAreaElement} */ (text.querySelector("textarea"));
    if (box.value !== prompt.value) box.value = prompt.value;
  });
  return h(
    "div.form-and-outcome",
    null,
    h(
      "form.form",
      {
        onsubmit: (/** @type {Event} */ event) => (event.preventDefault(), run()),
        onkeydown: (/** @type {KeyboardEvent} */ event) => {
          if (event.key === "Escape") stop();
          if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) run();
        },
      },
      picker(model, "chat", { onchoose: (name) => setQuery({ model: name }) }),
      text,
      parameters.view(),
      h(
        "div.row",
        null,
        h("button.primary", { type: "submit", hidden: isBusy, disabled: () => !model.value }, "Complete"),
        h("button", { type: "button", hidden: () => !isBusy(), onclick: stop }, "Stop"),
        h("small.faint.hide-narrow", null, "Ctrl+Enter completes, Esc stops"),
      ),
    ),
    () => (shown.value ? outcome(shown.value.given, shown.value.answer) : null),
  );
}

/** @param {string} given @param {Answer} answer */
function outcome(given, answer) {
  const more = h("span");
  let due = 0;
  effect(() => {
    const text = answer.content.value;
    due ||= requestAnimationFrame(() => {
      due = 0;
      more.textContent = answer.content.now.slice(0, 1_000_000) || text;
    });
  });
  cleanup(() => cancelAnimationFrame(due));
  return h(
    "div.stack",
    null,
    h("div.continuation", { dir: "auto", "aria-label": "The text" }, h("span.given", null, given), more),
    () =>
      answer.state.value === "waiting"
        ? h("p.meanwhile", null, h("span.dot.load"), () => meanwhile(answer.model, answer.began))
        : null,
    () => (answer.state.value === "failed" ? problem(answer.error.value, answer.status, answer.model, run) : null),
    () => (answer.isRunning() ? null : figuresOf(answer.figures.value)),
    h(
      "div.row",
      { hidden: () => answer.isRunning() },
      h("button.small", { type: "button", onclick: takeOver }, "Take it over into the text"),
    ),
  );
}
