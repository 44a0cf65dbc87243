/**
 * Looks for a regular expression in lines, in a thread of its own: one that takes for ever is ended with the thread, and
 * the page goes on.
 */

/** @typedef {{ id: number, source: string, texts: string[] }} Question */

const MOST_OF_LINE = 20_000; // characters looked at
const MOST_MARKS = 20; // of one line

/** Where the expression is found in a text: starts and ends, one after the other. @param {RegExp} expression @param {string} text */
function marksOf(expression, text) {
  const found = [];
  const part = text.length > MOST_OF_LINE ? text.slice(0, MOST_OF_LINE) : text;
  expression.lastIndex = 0;
  for (let match; found.length < 2 * MOST_MARKS && (match = expression.exec(part));) {
    if (match[0]) found.push(match.index, match.index + match[0].length);
    else expression.lastIndex += 1;
  }
  return found;
}

addEventListener("message", (/** @type {MessageEvent<Question>} */ { data }) => {
  const expression = new RegExp(data.source, "gi");
  /** @type {[number, number[]][]} the place among the texts, and its marks */
  const found = [];
  data.texts.forEach((text, index) => {
    const marks = marksOf(expression, text);
    if (marks.length) found.push([index, marks]);
  });
  /** @type {any} */ (self).postMessage({ id: data.id, found });
});
