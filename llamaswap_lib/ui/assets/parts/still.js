/** To make a part of the page once. */

import { cleanup, scope } from "../view.js";

/**
 * What `make` returns. What it reads is not followed by what runs now, but what it makes ends with that.
 * @template T @param {() => T} make @returns {T}
 */
export function still(make) {
  /** @type {T} */
  let made;
  cleanup(
    scope(() => {
      made = make();
    }),
  );
  // @ts-expect-error a scope runs at once
  return made;
}
