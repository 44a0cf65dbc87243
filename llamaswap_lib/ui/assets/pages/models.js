import { h } from "../view.js";

export const title = "models";

export function show() {
  return h("h1", null, title);
}
