/** A request whose answer comes as a whole: it runs, it ends or fails, and it goes on while another page is shown. */

import { ApiError } from "../../api.js";
import { duration } from "../../format.js";
import { h, signal } from "../../view.js";
import { meanwhile, problem } from "./told.js";

/** @template T what it results in */
export class Job {
  constructor() {
    this.isRunning = signal(false);
    this.result = signal(/** @type {T | null} */ (null));
    this.error = signal(/** @type {{ message: string, status: number } | null} */ (null));
    this.seconds = signal(0);
    this.began = 0;
    this.controller = new AbortController();
    /** @type {() => void} */
    this.again = () => {};
  }

  /** @param {(signal: AbortSignal) => Promise<T>} work */
  async run(work) {
    if (this.isRunning.now) return;
    this.again = () => void this.run(work);
    this.controller = new AbortController();
    this.began = Date.now();
    this.error.value = null;
    this.isRunning.value = true;
    const since = performance.now();
    try {
      this.result.value = await work(this.controller.signal);
      this.seconds.value = performance.now() - since;
    } catch (error) {
      if (!this.controller.signal.aborted) {
        const status = error instanceof ApiError ? error.status : 200;
        this.error.value = { message: error instanceof Error ? error.message : String(error), status };
      }
    } finally {
      this.isRunning.value = false;
    }
  }

  stop() {
    this.controller.abort();
  }
}

/** The buttons of a job. @param {Job<any>} job @param {string} words what the button says */
export const buttons = (job, words) =>
  h(
    "div.row",
    null,
    h("button.primary", { type: "submit", hidden: () => job.isRunning.value }, words),
    h("button", { type: "button", hidden: () => !job.isRunning.value, onclick: () => job.stop() }, "Stop"),
    h("span.soft", null, () =>
      !job.isRunning.value && job.seconds.value ? `took ${duration(job.seconds.value)}` : "",
    ),
  );

/**
 * How a job goes: what it waits for, what went wrong, what came of it.
 * @template T @param {Job<T>} job @param {() => string} model @param {(result: T) => import("../../view.js").Child} render
 */
export function outcome(job, model, render) {
  return h(
    "div.stack.outcome",
    { "aria-live": "polite" },
    () =>
      job.isRunning.value ? h("p.meanwhile", null, h("span.dot.load"), () => meanwhile(model(), job.began)) : null,
    () => (job.error.value ? problem(job.error.value.message, job.error.value.status, model(), job.again) : null),
    () => (job.result.value ? render(job.result.value) : null),
  );
}

/** Call `run` when a form is sent, by its button or by Ctrl+Enter; Escape stops. @param {Job<any>} job @param {() => void} run */
export const formEvents = (job, run) => ({
  onsubmit: (/** @type {Event} */ event) => {
    event.preventDefault();
    run();
  },
  onkeydown: (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Escape" && job.isRunning.now) job.stop();
    else if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.isComposing) run();
  },
});
