/** The lines of a log that are kept: pure. The oldest go when there are too many, or when they are too long together. */

/**
 * @typedef {{ text: string, number: number, edition: number }} Line `number` counts all lines that came, `edition` the texts
 *   that a line without an end has had
 */

export const MOST_LINES = 100_000;
const MOST_CHARACTERS = 64_000_000; // of all lines together
const MOST_OF_LINE = 4_000_000; // a line that is longer goes on in another one
const MOST_OVERWRITTEN = 50; // parts of a line that is written over again and again, as by a progress bar
const AT_ONCE = 2_000; // lines dropped together, so that it is done seldom

export class Lines {
  constructor(most = MOST_LINES) {
    this.most = most;
    /** @type {Line[]} */
    this.list = [];
    this.characters = 0;
    this.last = 0; // number of the newest line
    this.isOpen = false; // whether the newest line has no end yet
  }

  /** Take what came. Says how many of the oldest lines had to go. @param {string} text */
  push(text) {
    const parts = text.split("\n");
    const rest = parts.pop() ?? "";
    for (const part of parts) {
      this.#extend(part);
      this.isOpen = false;
    }
    if (rest) this.#extend(rest);
    return this.#trim();
  }

  clear() {
    this.list = [];
    this.characters = 0;
    this.isOpen = false;
  }

  /** Where a line stands, or -1 for one that is gone. @param {number} number */
  indexOf(number) {
    const first = this.list[0]?.number ?? 0;
    const index = number - first;
    return index >= 0 && index < this.list.length ? index : -1;
  }

  /** @param {string} part */
  #extend(part) {
    const open = this.isOpen ? this.list.at(-1) : undefined;
    if (open && open.text.length + part.length <= MOST_OF_LINE) {
      const text = withoutOverwritten(open.text + part);
      this.characters += text.length - open.text.length;
      this.list[this.list.length - 1] = { text, number: open.number, edition: open.edition + 1 };
    } else {
      const text = part.length > MOST_OF_LINE ? `${part.slice(0, MOST_OF_LINE)}…` : withoutOverwritten(part);
      this.list.push({ text, number: (this.last += 1), edition: 0 });
      this.characters += text.length;
    }
    this.isOpen = true;
  }

  #trim() {
    let count = this.list.length > this.most ? this.list.length - this.most + Math.min(AT_ONCE, this.most >> 3) : 0;
    let characters = 0;
    for (let index = 0; index < count; index++) characters += this.list[index]?.text.length ?? 0;
    while (this.characters - characters > MOST_CHARACTERS && count < this.list.length - 1) {
      characters += this.list[count]?.text.length ?? 0;
      count += 1;
    }
    if (count) this.list.splice(0, count);
    this.characters -= characters;
    return count;
  }
}

/** Only the last parts of a line that a carriage return begins again and again. @param {string} text */
function withoutOverwritten(text) {
  if (!text.includes("\r")) return text;
  let at = text.length;
  for (let count = 0; count < MOST_OVERWRITTEN && at > 0; count++) at = text.lastIndexOf("\r", at - 1);
  return at > 0 ? text.slice(at + 1) : text;
}
