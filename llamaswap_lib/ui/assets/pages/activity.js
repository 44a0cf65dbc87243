import { h } from "../view.js";

export const title = "activity";

export function show() {
  return h("h1", null, title);
}
