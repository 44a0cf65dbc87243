/** A load test: so many requests, so many at once, of several models in turn; what each waited for, and how fast it was. */

import { inFlight, models, queue } from "../../live.js";
import { effect, signal } from "../../view.js";
import { Answer } from "./answer.js";
import { phaseOf } from "./told.js";

/**
 * @typedef {"waiting" | "loading" | "prompt" | "reasoning" | "content" | "failed"} Phase
 * @typedef {{ phase: Phase, from: number, to: number }} Span in milliseconds since the test began
 * @typedef {{ index: number, model: string, answer: Answer, spans: Span[], from: number, to: number }} Row
 * @typedef {{ models: string[], order: string, prompt: string, requests: number, parallel: number,
 *   options: import("./dialects.js").Parameters }} Plan
 */

export const PHASES = /** @type {const} */ ([
  ["waiting", "waits for others"],
  ["loading", "the model loads"],
  ["prompt", "the prompt is read"],
  ["reasoning", "reasoning"],
  ["content", "content"],
  ["failed", "failed"],
]);

/** The model of each request: in turn, or all of the first, then all of the next. @param {Plan} plan */
export function orderOf({ models: names, order, requests }) {
  return Array.from({ length: requests }, (_, index) => {
    const at = order === "turns" ? index % names.length : Math.floor((index * names.length) / requests);
    return /** @type {string} */ (names[at]);
  });
}

export class LoadRun {
  /** @param {Plan} plan */
  constructor(plan) {
    this.plan = plan;
    this.names = orderOf(plan);
    this.rows = signal(/** @type {Row[]} */ ([]));
    this.isRunning = signal(true);
    this.began = performance.now();
    this.took = 0;
    this.isStopped = false;
  }

  /** How long it has taken, in milliseconds. */
  elapsed() {
    return this.isRunning.now ? performance.now() - this.began : this.took;
  }

  stop() {
    this.isStopped = true;
    for (const { answer } of this.rows.now) answer.stop();
  }

  async run() {
    const endWatch = effect(() => {
      models.value;
      queue.value;
      inFlight.value;
      this.mark();
    });
    const work = async () => {
      while (!this.isStopped && this.rows.now.length < this.names.length) await this.one();
    };
    await Promise.all(Array.from({ length: this.plan.parallel }, work));
    endWatch();
    this.took = performance.now() - this.began;
    this.isRunning.value = false;
  }

  async one() {
    const index = this.rows.now.length;
    const model = /** @type {string} */ (this.names[index]);
    const from = performance.now() - this.began;
    /** @type {Row} */
    const row = {
      index,
      model,
      answer: new Answer(model),
      spans: [{ phase: phaseOf(model), from, to: from }],
      from,
      to: from,
    };
    this.rows.value = [...this.rows.now, row];
    const endWatch = effect(() => {
      row.answer.state.value;
      row.answer.content.value;
      row.answer.reasoning.value;
      this.step(row);
    });
    await row.answer.run("chat/completions", "", [{ role: "user", text: this.plan.prompt }], this.plan.options);
    endWatch();
    this.step(row);
    row.to = performance.now() - this.began;
    this.rows.value = [...this.rows.now];
  }

  /** All that wait, when the server has told something new. */
  mark() {
    for (const row of this.rows.now) if (row.answer.state.now === "waiting") this.step(row);
  }

  /** The phase of a request goes on, or another one begins. @param {Row} row */
  step(row) {
    const now = performance.now() - this.began;
    const phase = phaseOfRow(row);
    const last = /** @type {Span} */ (row.spans[row.spans.length - 1]);
    last.to = row.to = now;
    if (last.phase !== phase) row.spans.push({ phase, from: now, to: now });
  }
}

/** @param {Row} row @returns {Phase} */
function phaseOfRow({ answer, model }) {
  if (answer.state.now === "failed") return "failed";
  if (answer.content.now) return answer.parts().content ? "content" : "reasoning";
  if (answer.reasoning.now) return "reasoning";
  return phaseOf(model);
}

/** @param {number[]} values @param {number} share */
export function percentile(values, share) {
  const sorted = values.filter(Number.isFinite).sort((one, other) => one - other);
  return sorted.length ? sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] : undefined;
}

/** The figures of some of the requests. @param {Row[]} rows @param {number} elapsed in milliseconds */
export function totals(rows, elapsed) {
  const ended = rows.filter(({ answer }) => !answer.isRunning());
  const good = ended.filter(({ answer }) => answer.state.now === "done");
  const tokens = good.reduce((sum, { answer }) => sum + (answer.figures.now.output ?? answer.figures.now.seen), 0);
  const of = (/** @type {(row: Row) => number | undefined} */ figure) => good.map((row) => figure(row) ?? NaN);
  const waits = of(({ spans }) =>
    spans
      .filter(({ phase }) => phase === "waiting" || phase === "loading")
      .reduce((sum, { from, to }) => sum + to - from, 0),
  );
  const firsts = of(({ answer }) => answer.figures.now.first);
  const whole = of(({ answer }) => answer.figures.now.total);
  const speeds = of(
    ({
      answer: {
        figures: { now },
      },
    }) => {
      const writing = (now.total ?? 0) - (now.first ?? 0);
      return now.outputSpeed ?? (writing > 0 ? (((now.output ?? now.seen) - 1) * 1000) / writing : NaN);
    },
  );
  const seconds = elapsed / 1000 || 1;
  return {
    ended: ended.length,
    good: good.length,
    failed: ended.filter(({ answer }) => answer.state.now === "failed").length,
    tokens,
    perSecond: good.length / seconds,
    tokensPerSecond: tokens / seconds,
    waits,
    firsts,
    whole,
    speeds,
  };
}
