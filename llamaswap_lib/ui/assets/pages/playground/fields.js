/** Fields of forms that keep what was typed in a signal, so that a draft is there when its page is shown again. */

import { h } from "../../view.js";

/** @typedef {import("../../view.js").Signal<string>} Text */

/** A field with its label above it. @param {string} label @param {Element} input @param {string} [hint] */
export const labelled = (label, input, hint = "") =>
  h("label.play-field", null, h("span", { title: hint || null }, label), input);

/** @param {string} label @param {Text} text @param {Record<string, any>} [attributes] */
export const area = (label, text, attributes = {}) =>
  labelled(
    label,
    h("textarea", {
      rows: 4,
      dir: "auto",
      value: text.now,
      oninput: (/** @type {Event} */ event) => (text.value = /** @type {HTMLTextAreaElement} */ (event.target).value),
      ...attributes,
    }),
  );

/** @param {string} label @param {Text} text @param {Record<string, any>} [attributes] */
export const line = (label, text, attributes = {}) =>
  labelled(
    label,
    h("input", {
      type: "text",
      value: text.now,
      autocomplete: "off",
      oninput: (/** @type {Event} */ event) => (text.value = /** @type {HTMLInputElement} */ (event.target).value),
      ...attributes,
    }),
    attributes.title,
  );

/** @param {string} label @param {Text} text @param {string[]} choices @param {(choice: string) => string} [words] */
export function choice(label, text, choices, words = (each) => each) {
  const select = /** @type {HTMLSelectElement} */ (
    h(
      "select",
      { onchange: () => (text.value = select.value) },
      choices.map((each) => h("option", { value: each, selected: each === text.now }, words(each))),
    )
  );
  return labelled(label, select);
}

/** A number that was typed, or undefined for none. @param {string} typed */
export function numberOf(typed) {
  const text = typed.trim();
  return text === "" || Number.isNaN(Number(text)) ? undefined : Number(text);
}

/** The JSON object that was typed. Raises Error that says what is wrong. @param {string} typed @returns {Record<string, any>} */
export function objectOf(typed) {
  if (!typed.trim()) return {};
  let value;
  try {
    value = JSON.parse(typed);
  } catch (error) {
    throw new Error(`“More” is no JSON: ${/** @type {Error} */ (error).message}`, { cause: error });
  }
  if (!value || typeof value !== "object" || Array.isArray(value))
    throw new Error('“More” has to be a JSON object, as {"top_k": 40}');
  return value;
}

/** The lines that are not blank. @param {string} text */
export const linesOf = (text) =>
  text
    .split("\n")
    .map((each) => each.trim())
    .filter(Boolean);
