/**
 * One stream of events for all tabs of a browser, in a thread that they share: by HTTP/1.1 a browser opens six connections to
 * a server, and a stream holds one.
 *
 * Tabs that ask alike (the same address, the same key) share a stream. A tab that comes later is told first how things are. The
 * end of the stream is told to all; the tab that asks again first opens the next one. The key stays in the memory of this thread.
 */

import { changed } from "./in_flight.js";
import { events } from "./streams.js";

/** @typedef {{ href: string, headers: [string, string][] }} Question */

const STANDING = ["modelStatus", "queue", "memory", "profileChanged", "uiConfig"]; // each event of these says all there is
const NOT_PASSED = "logData"; // pages read logs by streams of their own
const MOST_WAITING = 2_000; // events for a tab that takes none: it sleeps, or is no more

/** @type {Map<string, Stream>} those that are open or being opened, by what is asked */
const streams = new Map();

class Stream {
  /** @param {string} name @param {Question} question */
  constructor(name, question) {
    this.name = name;
    this.isOpen = false;
    this.stop = new AbortController();
    /** @type {Set<Tab>} */
    this.tabs = new Set();
    /** @type {Map<string, { type: string, data: string, seen: number }>} the last event of each type that stands for itself */
    this.standing = new Map();
    /** @type {Map<string, any>} */
    this.inFlight = new Map();
    streams.set(name, this);
    void this.#run(question);
  }

  /** @param {Tab} tab */
  join(tab) {
    this.tabs.add(tab);
    if (!this.isOpen) return;
    tab.port.postMessage({ isOpen: true });
    for (const event of this.standing.values()) tab.tell(JSON.stringify(event));
    const requests = [...this.inFlight.values()].map(({ seen, ...request }) => ({
      ...request,
      elapsed_ms: request.elapsed_ms + Date.now() - seen,
    }));
    tab.tell(JSON.stringify({ type: "inflight", data: JSON.stringify({ operation: "snapshot", requests }) }));
  }

  /** @param {Tab} tab */
  leave(tab) {
    this.tabs.delete(tab);
    if (this.tabs.size) return;
    this.stop.abort();
    this.#forget();
  }

  /** @param {Question} question */
  async #run({ href, headers }) {
    let status = 0;
    try {
      const response = await fetch(href, { headers, cache: "no-store", signal: this.stop.signal });
      status = response.status;
      if (response.ok) {
        this.isOpen = true;
        for (const tab of this.tabs) tab.port.postMessage({ isOpen: true });
        for await (const { data } of events(response)) this.#take(data);
      }
    } catch {
      // the same as its end: the tabs ask again
    }
    this.#forget();
    for (const tab of this.tabs) tab.end(status);
  }

  #forget() {
    if (streams.get(this.name) === this) streams.delete(this.name);
  }

  /** @param {string} text */
  #take(text) {
    try {
      const { type, data } = JSON.parse(text);
      if (type === NOT_PASSED) return;
      if (type === "inflight") this.inFlight = changed(this.inFlight, JSON.parse(data));
      else if (STANDING.includes(type)) this.standing.set(type, { type, data, seen: Date.now() });
    } catch {
      return; // a type of a later version
    }
    for (const tab of this.tabs) tab.tell(text);
  }
}

/** One tab, which says after each message that it has taken it. */
class Tab {
  /** @param {MessagePort} port */
  constructor(port) {
    this.port = port;
    /** @type {Stream | null} */
    this.stream = null;
    /** @type {string[]} */
    this.waiting = [];
    this.isBusy = false;
    port.onmessage = ({ data }) => this.#hear(data);
  }

  /** @param {"more" | "alive?" | "bye" | Question} said */
  #hear(said) {
    if (said === "more") {
      this.isBusy = false;
      this.#send();
    } else if (said === "alive?") this.port.postMessage({});
    else if (said === "bye") this.#leave();
    else {
      const name = JSON.stringify(said);
      this.stream = streams.get(name) ?? new Stream(name, said);
      this.stream.join(this);
    }
  }

  /** @param {string} text */
  tell(text) {
    this.waiting.push(text);
    if (this.waiting.length <= MOST_WAITING) this.#send();
    else this.end(0); // once it is awake it asks again, and is told how things are
  }

  #send() {
    if (this.isBusy || !this.waiting.length) return;
    this.port.postMessage({ texts: this.waiting });
    this.waiting = [];
    this.isBusy = true;
  }

  /** @param {number} status of the answer; 0 if there was none */
  end(status) {
    this.port.postMessage({ texts: status ? this.waiting : [], status });
    this.#leave();
  }

  #leave() {
    this.waiting = [];
    this.stream?.leave(this);
    this.stream = null;
  }
}

addEventListener("connect", (event) => {
  const [port] = /** @type {MessageEvent} */ (event).ports;
  if (port) new Tab(port);
});
