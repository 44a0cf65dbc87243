import { h } from "../view.js";

export const title = "playground";

export function show() {
  return h("h1", null, title);
}
