/** A long text: its beginning, and a button for more of it, so that 10 MB freeze nothing. */

import { count } from "../format.js";
import { h, signal } from "../view.js";
import { visible } from "./odd_text.js";

/**
 * @param {string} text
 * @param {{ first?: number, step?: number, build?: (text: string) => import("../view.js").Child }} [options] characters shown at
 *   first, and with each press of the button; `build` makes a piece of them
 */
export function longText(text, { first = 20_000, step = 200_000, build = visible } = {}) {
  const shown = signal(Math.min(first, text.length));
  const place = h("span.long-text", null, build(text.slice(0, shown.value)));
  const more = () => {
    const next = text.slice(shown.value, shown.value + step);
    place.append(h("span", null, build(next)));
    shown.value += next.length;
  };
  const left = () => text.length - shown.value;
  return [
    place,
    h("button.more", { type: "button", hidden: () => left() <= 0, onclick: more }, () =>
      left() > step
        ? `Show ${count(step)} of ${count(left())} more characters`
        : `Show ${count(left())} more characters`,
    ),
  ];
}
