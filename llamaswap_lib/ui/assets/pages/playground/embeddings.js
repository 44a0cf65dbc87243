/** Embeddings: how near several texts are to each other, as a table that is darker where they are nearer. */

import { ask } from "../../api.js";
import { count } from "../../format.js";
import { setQuery } from "../../router.js";
import { h, signal } from "../../view.js";
import { area, linesOf } from "./fields.js";
import { buttons, formEvents, Job, outcome } from "./job.js";
import { followAddress, picker } from "./picker.js";

/** @typedef {{ texts: string[], nearness: number[][], dimensions: number, tokens: number | undefined }} Matrix */

const MOST = 40;
const model = signal("");
const text = signal("The cat sits on the mat\nA cat is lying on a rug\nShares fell sharply on Monday");
/** @type {Job<Matrix>} */
const job = new Job();

export const isBusy = () => job.isRunning.value;

/** @param {AbortSignal} signal @returns {Promise<Matrix>} */
async function compare(signal) {
  const texts = linesOf(text.now);
  if (!texts.length) throw new Error("Write at least one text, each on a line of its own.");
  if (texts.length > MOST) throw new Error(`At most ${MOST} texts at once; these are ${texts.length}.`);
  const { data, usage } = await ask("v1/embeddings", { json: { model: model.now, input: texts }, signal });
  const vectors = [...data].sort((one, other) => one.index - other.index).map(({ embedding }) => embedding);
  if (vectors.length !== texts.length || !vectors.every(Array.isArray))
    throw new Error("The answer has no vector for each text.");
  const nearness = vectors.map((one) => vectors.map((other) => cosine(one, other)));
  return { texts, nearness, dimensions: vectors[0]?.length ?? 0, tokens: usage?.prompt_tokens };
}

/** @param {number[]} one @param {number[]} other */
function cosine(one, other) {
  const dot = (/** @type {number[]} */ a, /** @type {number[]} */ b) =>
    a.reduce((sum, value, index) => sum + value * (b[index] ?? 0), 0);
  return dot(one, other) / (Math.sqrt(dot(one, one) * dot(other, other)) || 1);
}

const run = () => void job.run(compare);

/** @param {import("../../view.js").Signal<import("../../router.js").Place>} place */
export function show(place) {
  followAddress(model, "embeddings", place);
  return h(
    "div.form-and-outcome",
    null,
    h(
      "form.form",
      formEvents(job, run),
      picker(model, "embeddings", { onchoose: (name) => setQuery({ model: name }) }),
      area("Texts, one on each line", text, { rows: 6, required: true }),
      buttons(job, "Compare"),
    ),
    outcome(job, () => model.value, table),
  );
}

/** @param {Matrix} matrix */
function table({ texts, nearness, dimensions, tokens }) {
  return [
    h(
      "p.soft",
      null,
      `${count(dimensions)} dimensions`,
      tokens === undefined ? "" : `, ${count(tokens)} tokens`,
      ". Cosine: 1 is the same direction, 0 is unrelated.",
    ),
    h(
      "div.scroll-x.heat",
      { tabindex: "0", role: "region", "aria-label": "How near the texts are" },
      h(
        "table",
        null,
        h(
          "thead",
          null,
          h(
            "tr",
            null,
            h("td"),
            texts.map((each, index) => h("th", { scope: "col", title: each }, index + 1)),
          ),
        ),
        h(
          "tbody",
          null,
          texts.map((each, row) =>
            h(
              "tr",
              null,
              h("th", { scope: "row", title: each }, `${row + 1}. `, h("bdi", null, each.slice(0, 200))),
              nearness[row]?.map((value) => {
                const heat = Math.max(0, Math.min(1, value));
                return h(
                  "td",
                  { class: heat > 0.6 ? "strong" : "", style: { "--heat": `${Math.round(100 * heat ** 2)}%` } },
                  value.toFixed(2),
                );
              }),
            ),
          ),
        ),
      ),
    ),
  ];
}
