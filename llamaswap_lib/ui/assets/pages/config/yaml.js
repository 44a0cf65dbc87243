/** A value as YAML, for people to read. Pure. */

const PLAIN = /^[A-Za-z_./$(][^\n:#]*(?:[:#](?! |$)[^\n:#]*)*$/;
const SPECIAL = /^(?:true|false|null|yes|no|on|off|~|[-+.]?\d.*|\[.*|\{.*)$/i;

/** @param {string} text */
const scalar = (text) =>
  PLAIN.test(text) && !SPECIAL.test(text) && text.trim() === text && !text.includes(" #") ? text : JSON.stringify(text);

/** @param {unknown} value @param {string} [indent] @returns {string} */
export function yamlOf(value, indent = "") {
  if (Array.isArray(value)) {
    if (!value.length) return "[]\n";
    return `\n${value.map((item) => `${indent}- ${yamlOf(item, `${indent}  `).replace(/^\n\s*/, "")}`).join("")}`;
  }
  if (value !== null && typeof value === "object") {
    const entries = Object.entries(value);
    if (!entries.length) return "{}\n";
    const text = entries
      .map(([key, each]) => `${indent}${scalar(key)}:${spaced(yamlOf(each, `${indent}  `))}`)
      .join("");
    return indent ? `\n${text}` : text;
  }
  if (typeof value === "string") return value.includes("\n") ? block(value, indent) : `${scalar(value)}\n`;
  return `${value}\n`;
}

/** @param {string} text */
const spaced = (text) => (text.startsWith("\n") ? text : ` ${text}`);

/** @param {string} text @param {string} indent */
const block = (text, indent) =>
  `|\n${text
    .trimEnd()
    .split("\n")
    .map((line) => `${indent}${line}\n`)
    .join("")}`;
