/** A log as it comes: read by fetch for as long as it is shown, again and again should it break. */

import { ApiError, keyIsMissing, pathOf, request } from "../../api.js";
import { pieces } from "../../streams.js";
import { cleanup, effect, signal } from "../../view.js";

const FIRST_DELAY = 500; // milliseconds
const LONGEST_DELAY = 15_000;

/** The path of a log. @param {string} name "proxy", "upstream", or a model */
export const logPath = (name) => `logs/stream/${pathOf(...name.split("/"))}`;

/**
 * @param {string} path @param {(text: string, isAgain: boolean) => void} take told each piece; `isAgain` with the first one of a
 *   stream that was opened again, which begins with the history
 * @returns {{ state: import("../../view.js").Signal<string>, retryAt: import("../../view.js").Signal<number>, retry: () => void }}
 *   state: "connecting", "open", "lost", or the reason why there is no such log
 */
export function follow(path, take) {
  const state = signal("connecting");
  const retryAt = signal(0);
  const stop = new AbortController();
  let hurry = () => {};
  cleanup(() => (stop.abort(), hurry()));
  cleanup(effect(() => void (keyIsMissing.value || hurry())));
  const run = async () => {
    let delay = FIRST_DELAY;
    let isAgain = false;
    while (!stop.signal.aborted) {
      try {
        const response = await request(path, { signal: stop.signal, cache: "no-store" });
        state.value = "open";
        delay = FIRST_DELAY;
        for await (const piece of pieces(response)) {
          take(piece, isAgain);
          isAgain = false;
        }
      } catch (error) {
        if (stop.signal.aborted) return;
        if (error instanceof ApiError && error.status >= 400 && error.status < 500 && error.status !== 401) {
          state.value = error.message;
          return;
        }
      }
      if (stop.signal.aborted) return;
      isAgain = true;
      state.value = "lost";
      retryAt.value = Date.now() + delay;
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, delay);
        hurry = () => (clearTimeout(timer), resolve(undefined));
      });
      delay = Math.min(delay * 2, LONGEST_DELAY);
    }
  };
  void run();
  const online = () => hurry();
  addEventListener("online", online);
  cleanup(() => removeEventListener("online", online));
  return { state, retryAt, retry: () => hurry() };
}
