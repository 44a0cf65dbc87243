/** What was said in a conversation: turns, each with an answer or two side by side, and what one can do with them. */

import { computed, effect, h, keyed, cleanup, signal } from "../../view.js";
import { copy } from "../../parts/actions.js";
import { messageBody } from "../../parts/conversation.js";
import { figuresOf, meanwhile, problem } from "./told.js";

/** @typedef {import("./talk.js").Talk} Talk */
/** @typedef {import("./talk.js").Turn} Turn */
/** @typedef {() => import("./dialects.js").Parameters | null} Options what was chosen; null where it cannot be used */

const NEAR = 120; // pixels from the end: so near, the end is followed

/** @param {Talk} talk @param {Options} options */
export function transcript(talk, options) {
  const list = keyed(
    h("ol.turns", { "aria-label": "Conversation" }),
    () =>
      talk.turns.value.map((turn, index, all) => ({
        turn,
        isLast: index === all.length - 1,
        answers: [...turn.answers],
      })),
    ({ turn }) => turn.key,
    (row) =>
      h(
        "li.turn",
        null,
        said(talk, row.value.turn, options),
        keyed(
          h("div.answers", { class: () => (row.value.answers.length > 1 ? "two" : "") }),
          () => row.value.answers.flatMap((answer, column) => (answer ? [{ answer, column }] : [])),
          ({ answer }) => answer,
          (each) =>
            answerView(talk, row.value.turn, each.value.column, each.value.answer, options, () => row.value.isLast),
        ),
      ),
  );
  followEnd(list, () => talk.turns.value.length);
  return list;
}

/** Stay at the end while the list grows, unless one has scrolled away from it since something was sent.
 * @param {Element} list @param {() => number} length followed */
function followEnd(list, length) {
  let isNear = true;
  effect(() => {
    length();
    isNear = true;
  });
  const measure = () => {
    const { scrollHeight, scrollTop, clientHeight } = document.documentElement;
    isNear = scrollHeight - scrollTop - clientHeight < NEAR;
  };
  const watcher = new ResizeObserver(() => {
    if (isNear) window.scrollTo({ top: document.documentElement.scrollHeight, behavior: "instant" });
  });
  watcher.observe(list);
  addEventListener("scroll", measure, { passive: true });
  cleanup(() => {
    watcher.disconnect();
    removeEventListener("scroll", measure);
  });
}

/** What the user said. @param {Talk} talk @param {Turn} turn @param {Options} options */
function said(talk, turn, options) {
  const isEdited = signal(false);
  const content = () => [
    { type: "text", text: turn.text },
    ...turn.images.map((url) => ({ type: "image_url", image_url: { url } })),
  ];
  return h("div.message.user", null, h("h3", null, "You"), () => {
    if (isEdited.value) return editor(talk, turn, options, () => (isEdited.value = false));
    return [
      messageBody(() => ({ role: "user", content: content() })),
      h(
        "div.tools",
        null,
        h("button.quiet.small", { type: "button", onclick: () => (isEdited.value = true) }, "Edit"),
        h("button.quiet.small", { type: "button", onclick: () => void copy(turn.text, "The message") }, "Copy"),
      ),
    ];
  });
}

/** @param {Talk} talk @param {Turn} turn @param {Options} options @param {() => void} close */
function editor(talk, turn, options, close) {
  const box = /** @type {HTMLTextAreaElement} */ (
    h("textarea", {
      rows: Math.min(12, turn.text.split("\n").length + 1),
      dir: "auto",
      "aria-label": "Edit the message",
      value: turn.text,
    })
  );
  const send = () => {
    const chosen = options();
    if (chosen) talk.edit(turn, box.value, chosen);
  };
  const after = talk.turns.now.length - talk.turns.now.indexOf(turn) - 1;
  box.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  });
  requestAnimationFrame(() => box.focus());
  return h(
    "div.stack",
    null,
    box,
    h(
      "div.row",
      null,
      h("button.primary.small", { type: "button", onclick: send }, "Send again"),
      h("button.small", { type: "button", onclick: close }, "Cancel"),
      h("span.soft", { hidden: !after }, "What follows is dropped."),
    ),
  );
}

/**
 * @param {Talk} talk @param {Turn} turn @param {number} column @param {import("./answer.js").Answer} answer
 * @param {Options} options @param {() => boolean} isLast followed
 */
function answerView(talk, turn, column, answer, options, isLast) {
  const retry = () => {
    const chosen = options();
    if (chosen) talk.ask(turn, column, chosen);
  };
  /** @type {import("../../view.js").Signal<import("../../parts/conversation.js").Message>} */
  const message = computed(() => {
    const { content, reasoning } = answer.parts();
    return { role: "assistant", content, reasoning, tool_calls: answer.calls.value, streaming: answer.isRunning() };
  });
  const body = messageBody(() => message.value);
  const node = h(
    "article.message.assistant",
    { "aria-label": `Answer of ${answer.model}`, "aria-busy": () => String(answer.isRunning()) },
    h("h3", null, h("bdi", null, answer.model || "no model")),
    body,
    () =>
      answer.state.value === "waiting"
        ? h("p.meanwhile", null, h("span.dot.load"), () => meanwhile(answer.model, answer.began))
        : null,
    () => (answer.state.value === "failed" ? problem(answer.error.value, answer.status, answer.model, retry) : null),
    () => (answer.state.value === "stopped" ? h("p.soft", null, "Stopped") : null),
    () => (answer.isRunning() || answer.state.value === "failed" ? null : figuresOf(answer.figures.value)),
    h(
      "div.tools",
      { hidden: () => answer.isRunning() },
      h(
        "button.quiet.small",
        {
          type: "button",
          hidden: () => !message.value.content,
          onclick: () => void copy(answer.parts().content, "The answer"),
        },
        "Copy",
      ),
      h(
        "button.quiet.small",
        { type: "button", hidden: () => !isLast() || answer.state.value === "failed", onclick: retry },
        "Retry",
      ),
    ),
  );
  const told = h("p.visually-hidden", { role: "status" });
  effect(() => {
    told.textContent = { done: "The answer is complete", failed: "", stopped: "Stopped", waiting: "", streaming: "" }[
      answer.state.value
    ];
  });
  node.append(told);
  return node;
}
