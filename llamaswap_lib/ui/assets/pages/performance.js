import { h } from "../view.js";

export const title = "performance";

export function show() {
  return h("h1", null, title);
}
