/** The newest lines that a model's process has printed, for as long as what asks for them is shown. */

import { pathOf, request } from "../../api.js";
import { connection } from "../../live.js";
import { pieces } from "../../streams.js";
import { cleanup, effect, signal } from "../../view.js";

const MOST_CHARACTERS = 4000; // of what is kept; a line may be endless
const SHOWN_EVERY = 250; // milliseconds
const AT_ONCE = 2; // streams: a browser has six connections for a server in all
const AGAIN = 2000;

const [ESC, BEL] = [String.fromCharCode(27), String.fromCharCode(7)];
const SEQUENCES = new RegExp(`${ESC}\\[[0-9;?]*[ -/]*[@-~]|${ESC}\\][^${ESC}${BEL}]*${BEL}?`, "g"); // colours, titles
const CONTROLS = /(?!\t)\p{Cc}/gu;

let streams = 0;

/** Text without colours and control characters; of a line that overwrites itself, what is seen last. @param {string} line */
export function plain(line) {
  const last = line.replace(/\r+$/, "").split("\r").at(-1) ?? "";
  return last.replace(SEQUENCES, "").replace(CONTROLS, "").slice(0, 400);
}

/**
 * @param {string} id @param {number} most how many lines @param {{ history?: boolean, characters?: number }} [options] `history`:
 * from the beginning of what is kept, not only what comes from now on
 */
export function lastLines(id, most, { history = true, characters = MOST_CHARACTERS } = {}) {
  const lines = signal(/** @type {string[]} */ ([]));
  const end = new AbortController();
  let [ended, reading] = [false, false];
  /** @type {number | undefined} */
  let timer;
  cleanup(() => {
    ended = true;
    clearTimeout(timer);
    end.abort();
  });
  const read = async () => {
    clearTimeout(timer);
    if (ended || reading) return;
    if (streams >= AT_ONCE) {
      timer = setTimeout(read, AGAIN);
      return;
    }
    streams += 1;
    reading = true;
    try {
      await follow(id, { history, characters }, end.signal, (text) => {
        const next = text
          .split("\n")
          .map(plain)
          .filter((line) => line.trim());
        lines.value = next.slice(-most);
      });
    } catch {
      // its model is gone, or the page: the lines that came are shown
    } finally {
      streams -= 1;
      reading = false;
    }
  };
  effect(() => {
    if (connection.value !== "open") return; // it is read again when the server is there again
    if (!id.includes("?")) queueMicrotask(read); // the route takes it for the beginning of a query, as in llama-swap
  });
  return lines;
}

/** @param {string} id @param {{ history: boolean, characters: number }} how @param {AbortSignal} signal @param {(text: string) => void} show */
async function follow(id, { history, characters }, signal, show) {
  const query = history ? {} : { "no-history": "1" };
  const response = await request(`logs/stream/${pathOf(id)}`, { signal, query });
  let text = "";
  let shown = 0;
  /** @type {number | undefined} */
  let timer;
  const tell = () => {
    timer = undefined;
    shown = Date.now();
    show(text);
  };
  for await (const piece of pieces(response)) {
    text = (text + piece).slice(-characters);
    timer ??= setTimeout(tell, Math.max(0, shown + SHOWN_EVERY - Date.now()));
  }
}
