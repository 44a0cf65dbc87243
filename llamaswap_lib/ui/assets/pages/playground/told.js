/** What is said about a request: what the server does meanwhile, how fast it was, what went wrong and what to do. */

import { count, duration, percent, speed } from "../../format.js";
import { models, queue, runs } from "../../live.js";
import { leftOf, now } from "../../parts/clock.js";
import { to } from "../../router.js";
import { h } from "../../view.js";
import { modelOf } from "../../parts/fitting.js";

/**
 * What the server does for a request that has no answer yet, in words.
 * @param {string} name of the model @param {number} began in milliseconds since 1970
 */
export function meanwhile(name, began) {
  const model = modelOf(name);
  const id = model?.id ?? name;
  const since = `${duration(Math.max(0, Math.floor((now.value - began) / 1000) * 1000))}`;
  const row = queue.value.findLast((each) => each.model === id);
  if (row) {
    const seconds = leftOf(row);
    const left = seconds ? `, about ${duration(Math.ceil(seconds) * 1000)} to go` : "";
    const what = row.reason === "loading" ? `${id} is loading` : row.reason;
    return `${row.place > 1 ? `Place ${row.place} in the queue: ` : ""}${what} (${since}${left})`;
  }
  if (model?.state === "starting") return `${id} is loading (${since})`;
  return `Waiting for the first token (${since})`;
}

/** Whether a model is loading, waited for or ready, as the phase of a request. @param {string} name */
export function phaseOf(name) {
  const model = modelOf(name);
  if (!model || model.peerID) return "prompt";
  if (model.state === "starting") return "loading";
  if (models.value.some(({ state }) => state === "stopping") && model.state !== "ready") return "waiting";
  if (model.state !== "ready" || queue.value.some((row) => row.model === model.id)) return "waiting";
  return runs.value.size ? "prompt" : "waiting";
}

const FEWEST_SEEN = 5; // pieces, so that a speed can be seen in them

/** Figures under an answer; those that nobody told are marked "seen". @param {import("./answer.js").Figures} figures */
export function figuresOf(figures) {
  const { first, total, seen, output, outputSpeed, input, inputSpeed, cached, finish } = figures;
  const writing = first !== undefined && total !== undefined ? total - first : 0;
  const tokens = output ?? seen;
  const seenSpeed = writing > 0 && seen >= FEWEST_SEEN ? ((tokens - 1) * 1000) / writing : null;
  /** @type {[string, string][]} */
  const shown = [];
  if (first !== undefined)
    shown.push([`first token ${duration(first)}`, "From the request to the first token, as seen here"]);
  if (outputSpeed) shown.push([`${speed(outputSpeed)} tokens/s`, "As the model's server told"]);
  else if (seenSpeed) shown.push([`${speed(seenSpeed)} tokens/s seen`, "Nobody told: as the pieces came here"]);
  if (output !== undefined) shown.push([`${count(output)} tokens`, "As the model's server told"]);
  else if (seen) shown.push([`${count(seen)} pieces seen`, "Nobody told how many tokens: the pieces that came here"]);
  if (input !== undefined) {
    const ofCache = cached ? `, ${percent((100 * cached) / Math.max(1, input))} from the cache` : "";
    const atSpeed = inputSpeed ? ` at ${speed(inputSpeed)}/s` : "";
    shown.push([`prompt ${count(input)}${atSpeed}${ofCache}`, "Tokens of the prompt, as the model's server told"]);
  }
  if (total !== undefined) shown.push([`${duration(total)} in all`, "As seen here"]);
  if (finish === "length" || finish === "max_tokens" || finish === "incomplete")
    shown.push(["cut: max tokens reached", "Raise “Max tokens” to get more"]);
  return h(
    "p.answer-figures",
    null,
    shown.map(([text, title]) => [h("span", { title }, text), " "]),
  );
}

/** @param {number} status */
function advice(status) {
  if (status === 0) return "Is llamaswap running? The page tries to reach it again by itself.";
  if (status === 401) return "The server wants a key: it is asked for in a dialog.";
  if (status === 404)
    return "Is the name right, and does the model's server have this route? Choose another model or another kind of request.";
  if (status === 429) return "Too many requests wait. Try again in a moment.";
  if (status === 409) return "Somebody cancelled it, or the model was unloaded meanwhile.";
  if (status >= 500) return "The model's own log may say more.";
  return "";
}

/**
 * What went wrong, what to do, and a button that tries again.
 * @param {string} message @param {number} status @param {string} model @param {() => void} retry
 */
export function problem(message, status, model, retry) {
  const id = modelOf(model)?.id;
  return h(
    "div.problem",
    { role: "alert" },
    h("p", null, h("strong", null, status > 200 ? `${status} ` : ""), h("bdi", null, message.slice(0, 2000))),
    h("p.soft", { hidden: !advice(status) }, advice(status)),
    h(
      "div.row",
      null,
      h("button.small", { type: "button", onclick: retry }, "Try again"),
      id ? h("a", { href: to("logs", "", { show: id }) }, "Its log") : null,
    ),
  );
}
