/** One answer of a model, from the request to its end: what has come, how long it took, what went wrong. */

import { ApiError, request } from "../../api.js";
import { events } from "../../streams.js";
import { signal } from "../../view.js";
import { addCalls, DIALECTS, splitThought } from "./dialects.js";

/**
 * @typedef {"waiting" | "streaming" | "done" | "stopped" | "failed"} State
 * @typedef {{ input?: number, output?: number, cached?: number, first?: number, total?: number, seen: number,
 *   inputSpeed?: number, outputSpeed?: number, finish?: string }} Figures `first` and `total` in milliseconds since the
 *   request, by this browser's clock; `seen` counts pieces; the others were told
 * @typedef {{ model: string, content: string, reasoning: string, calls: any[], state: State, error: string, status: number,
 *   figures: Figures }} Saved
 */

const SHOWN_EVERY = 30; // milliseconds
const BROKEN_OFF = "The answer broke off: its stream ended without an end.";

export class Answer {
  /** @param {string} model @param {Partial<Saved>} [saved] */
  constructor(model, saved = {}) {
    this.model = model;
    this.content = signal(saved.content ?? "");
    this.reasoning = signal(saved.reasoning ?? "");
    this.calls = signal(saved.calls ?? []);
    // What was kept while it came has lost its stream.
    const state = saved.state === "waiting" || saved.state === "streaming" ? "stopped" : saved.state;
    this.state = signal(/** @type {State} */ (state ?? "waiting"));
    this.error = signal(saved.error ?? "");
    this.status = saved.status ?? 0;
    this.figures = signal(/** @type {Figures} */ (saved.figures ?? { seen: 0 }));
    /** @type {Figures} as they are so far */
    this.told = { seen: 0 };
    this.controller = new AbortController();
    this.began = 0; // milliseconds since 1970
    /** What has come since it was last shown. */
    this.fresh = { content: "", reasoning: "" };
    this.due = 0;
  }

  isRunning() {
    return this.state.value === "waiting" || this.state.value === "streaming";
  }

  /** @returns {Saved} */
  saved() {
    return {
      model: this.model,
      content: this.content.now,
      reasoning: this.reasoning.now,
      calls: this.calls.now,
      state: this.state.now,
      error: this.error.now,
      status: this.status,
      figures: this.figures.now,
    };
  }

  /** What is thought and what is said. */
  parts() {
    return splitThought(this.content.value, this.reasoning.value);
  }

  stop() {
    this.controller.abort();
  }

  /**
   * Ask, and take what comes until the end. Raises nothing: what goes wrong is told by `state` and `error`.
   * @param {string} dialect @param {string} system @param {import("./dialects.js").Said[]} said
   * @param {import("./dialects.js").Parameters} options
   */
  async run(dialect, system, said, options) {
    const { path, body, event: read, whole } = /** @type {import("./dialects.js").Dialect} */ (DIALECTS[dialect]);
    this.began = Date.now();
    const since = performance.now();
    try {
      const json = body(this.model, system, said, options);
      const response = await request(path, { json, signal: this.controller.signal });
      if (!(response.headers.get("content-type") ?? "").includes("event-stream")) {
        this.take(whole(await response.json()), since);
      } else {
        for await (const { data, event } of events(response)) {
          if (data === "[DONE]") this.told.finish ??= "";
          else this.take(read(parsed(data), event), since);
          if (this.controller.signal.aborted) break;
        }
        if (this.told.finish === undefined && !this.controller.signal.aborted) throw new Error(BROKEN_OFF);
      }
      this.end(this.controller.signal.aborted ? "stopped" : "done", since);
    } catch (error) {
      if (this.controller.signal.aborted) this.end("stopped", since);
      else this.fail(/** @type {Error} */ (error), since);
    }
  }

  /** @param {import("./dialects.js").News} news @param {number} since */
  take(news, since) {
    if (news.error) throw new ApiError(200, news.error);
    const figures = this.told;
    if (news.content || news.reasoning || news.calls?.length) {
      figures.first ??= performance.now() - since;
      figures.seen += 1;
    }
    this.fresh.content += news.content ?? "";
    this.fresh.reasoning += news.reasoning ?? "";
    if (news.calls?.length) this.calls.value = addCalls(this.calls.now, news.calls);
    for (const [name, value] of Object.entries(news.usage ?? {})) {
      if (typeof value === "number") figures[/** @type {"input" | "output" | "cached"} */ (name)] = value;
    }
    if (news.finish) figures.finish = news.finish;
    if (news.timings) {
      figures.inputSpeed = news.timings.prompt_per_second;
      figures.outputSpeed = news.timings.predicted_per_second;
      figures.input ??= news.timings.prompt_n;
      figures.output ??= news.timings.predicted_n;
    }
    this.due ||= setTimeout(() => this.show(), SHOWN_EVERY);
  }

  /** What has come becomes what is shown: not for each piece, since hundreds may come in a second. */
  show() {
    clearTimeout(this.due);
    this.due = 0;
    const { content, reasoning } = this.fresh;
    this.fresh = { content: "", reasoning: "" };
    if (this.told.first !== undefined && this.state.now === "waiting") this.state.value = "streaming";
    if (content) this.content.value += content;
    if (reasoning) this.reasoning.value += reasoning;
  }

  /** @param {State} state @param {number} since */
  end(state, since) {
    this.show();
    this.figures.value = { ...this.told, total: performance.now() - since };
    this.state.value = state;
  }

  /** @param {Error} error @param {number} since */
  fail(error, since) {
    this.status = error instanceof ApiError ? error.status : 0;
    this.show();
    const isCut = this.state.now === "streaming" && !(error instanceof ApiError);
    this.error.value = isCut ? BROKEN_OFF : error.message;
    this.end("failed", since);
  }
}

/** @param {string} data */
function parsed(data) {
  try {
    return JSON.parse(data) ?? {};
  } catch {
    throw new ApiError(200, `The server sent an event that is no JSON: ${data.slice(0, 200)}`);
  }
}
