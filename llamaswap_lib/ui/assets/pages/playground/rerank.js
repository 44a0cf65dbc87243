/** Rerank: which of several texts answers a question best. */

import { ask } from "../../api.js";
import { setQuery } from "../../router.js";
import { h, signal } from "../../view.js";
import { area, line, linesOf } from "./fields.js";
import { buttons, formEvents, Job, outcome } from "./job.js";
import { followAddress, picker } from "./picker.js";

/** @typedef {{ text: string, score: number, share: number }[]} Ranking the best first; `share` between 0 and 1 */

const model = signal("");
const query = signal("Where does the cat sleep?");
const documents = signal("The cat sleeps on the sofa.\nDogs like long walks.\nThe sofa is next to the window.");
/** @type {Job<Ranking>} */
const job = new Job();

export const isBusy = () => job.isRunning.value;

/** @param {AbortSignal} signal @returns {Promise<Ranking>} */
async function rank(signal) {
  const texts = linesOf(documents.now);
  if (!texts.length) throw new Error("Write at least one text, each on a line of its own.");
  const told = await ask("v1/rerank", { json: { model: model.now, query: query.now, documents: texts }, signal });
  const rows = (told.results ?? told.data ?? []).map((/** @type {any} */ row) => ({
    text: texts[row.index] ?? "",
    score: Number(row.relevance_score ?? row.score),
  }));
  rows.sort((/** @type {any} */ one, /** @type {any} */ other) => other.score - one.score);
  const scores = rows.map((/** @type {any} */ row) => row.score);
  const [most, least] = [Math.max(...scores, 0), Math.min(...scores, 0)];
  return rows.map((/** @type {any} */ row) => ({
    ...row,
    share: most === least ? 0 : (row.score - least) / (most - least),
  }));
}

const run = () => void job.run(rank);

/** @param {import("../../view.js").Signal<import("../../router.js").Place>} place */
export function show(place) {
  followAddress(model, "reranker", place);
  return h(
    "div.form-and-outcome",
    null,
    h(
      "form.form",
      formEvents(job, run),
      picker(model, "reranker", { onchoose: (name) => setQuery({ model: name }) }),
      line("Question", query, { required: true, dir: "auto" }),
      area("Texts, one on each line", documents, { rows: 6, required: true }),
      buttons(job, "Rank"),
    ),
    outcome(
      job,
      () => model.value,
      (rows) =>
        h(
          "ol.ranking",
          { "aria-label": "The best first" },
          rows.map(({ text, score, share }, index) =>
            h(
              "li",
              null,
              h("span.n", null, index + 1),
              h("bdi", null, text.slice(0, 2000)),
              h("span", null, Number.isFinite(score) ? score.toFixed(3) : "–"),
              h(
                "div.rank-bar",
                { "aria-hidden": "true" },
                h("i", { style: { "--share": `${(100 * share).toFixed(1)}%` } }),
              ),
            ),
          ),
        ),
    ),
  );
}
