import { h } from "../view.js";

export const title = "config";

export function show() {
  return h("h1", null, title);
}
