/** What is pressed stays under the pointer until it is let go: where it moved meanwhile, a browser makes no click of it. */

import { hold } from "../view.js";

export function holdWhatIsPressed() {
  /** @type {number | undefined} */
  let timer;
  addEventListener("pointerdown", ({ button, target }) => {
    if (button !== 0 || !(target instanceof Element) || !target.closest("a, button")) return;
    clearTimeout(timer); // of the press before
    hold(true);
  });
  const letGo = () => {
    clearTimeout(timer);
    timer = setTimeout(() => hold(false)); // behind the click
  };
  for (const end of ["pointerup", "pointercancel", "blur"]) addEventListener(end, letGo);
}
