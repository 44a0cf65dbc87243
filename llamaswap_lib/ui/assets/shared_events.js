/**
 * The stream of events, which all tabs of a browser share by a worker (`events_worker.js`).
 *
 * A browser without such workers has a stream for each tab. They need no HTTPS, as the locks do by which tabs could
 * agree on one of them; and the browser may put any tab to sleep, but not what all tabs need.
 */

import { ApiError, keyIsMissing, question, request } from "./api.js";
import { events } from "./streams.js";

const PATH = "api/events";
const ALIVE_EVERY = 20_000; // milliseconds

let isShared = typeof SharedWorker === "function";

/** The events as they come, each as text. Raises ApiError where they do not begin. @returns {Promise<AsyncIterable<string>>} */
export async function openEvents() {
  if (isShared) {
    const line = dial();
    if (line) {
      try {
        return await line.opened;
      } catch (error) {
        if (error instanceof ApiError) throw error;
        isShared = false; // it could not be started, as in old versions of Firefox
      }
    }
  }
  const response = await request(PATH, { headers: { Accept: "text/event-stream" }, cache: "no-store" });
  return texts(response);
}

/** @param {Response} response */
async function* texts(response) {
  for await (const { data } of events(response)) yield data;
}

function dial() {
  try {
    return new Line(new SharedWorker(new URL("./events_worker.js", import.meta.url), { type: "module" }));
  } catch {
    isShared = false; // forbidden, as in a frame of another site
    return null;
  }
}

/** What the worker and this tab have to say to each other, for as long as one stream lasts. */
class Line {
  /** @param {SharedWorker} worker */
  constructor(worker) {
    this.port = worker.port;
    /** @type {string[]} */
    this.told = [];
    this.hasEnded = false;
    this.isHeard = true;
    this.wake = () => {};
    /** @type {Promise<AsyncIterable<string>>} */
    this.opened = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
    worker.onerror = () => (this.reject?.(new Error("there is no worker")), this.#end());
    this.port.onmessage = ({ data }) => this.#hear(data);
    this.port.postMessage(question(PATH, { Accept: "text/event-stream" }));
    this.timer = setInterval(() => this.#lookAlive(), ALIVE_EVERY);
    this.leave = () => this.#end();
    addEventListener("pagehide", this.leave);
  }

  /** @param {{ isOpen?: boolean, texts?: string[], status?: number }} said */
  #hear({ isOpen, texts: more, status }) {
    this.isHeard = true;
    if (isOpen) this.resolve?.(this.#each());
    if (more) this.told.push(...more);
    if (status !== undefined) {
      if (status === 401) keyIsMissing.value = true;
      this.#end(status);
    }
    this.wake();
  }

  /** The browser may have ended the worker, and says so to nobody. */
  #lookAlive() {
    if (!this.isHeard) return this.#end();
    this.isHeard = false;
    this.port.postMessage("alive?");
  }

  #end(status = 0) {
    if (this.hasEnded) return;
    this.hasEnded = true;
    clearInterval(this.timer);
    removeEventListener("pagehide", this.leave);
    this.port.postMessage("bye");
    this.port.close();
    this.reject?.(new ApiError(status, "the server cannot be reached"));
    this.wake();
  }

  /** @returns {AsyncGenerator<string>} */
  async *#each() {
    try {
      for (;;) {
        yield* this.told.splice(0);
        if (this.told.length) continue;
        if (this.hasEnded) return;
        this.port.postMessage("more");
        await new Promise((resolve) => {
          this.wake = () => resolve(undefined);
        });
      }
    } finally {
      this.#end();
    }
  }
}
