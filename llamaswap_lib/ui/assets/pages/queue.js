import { h } from "../view.js";

export const title = "queue";

export function show() {
  return h("h1", null, title);
}
