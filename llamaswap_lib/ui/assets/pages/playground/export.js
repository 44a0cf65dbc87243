/** A conversation as a text to read elsewhere. Pure. */

/** @param {string} title @param {import("./store.js").Body} body */
export function markdownOf(title, body) {
  const parts = [`# ${title}`];
  if (body.system) parts.push("## System", body.system);
  for (const turn of body.turns) {
    parts.push("## You", turn.text);
    if (turn.images.length) parts.push(`(${turn.images.length} pictures)`);
    for (const answer of turn.answers) if (answer) parts.push(`## ${answer.model}`, answer.content || answer.error);
  }
  return `${parts.join("\n\n")}\n`;
}
