import { h } from "../view.js";

export const title = "logs";

export function show() {
  return h("h1", null, title);
}
