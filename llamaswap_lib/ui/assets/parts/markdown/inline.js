/**
 * What stands inside a paragraph: emphasis, code, links, pictures, breaks, math. Text in, DOM nodes out.
 *
 * It goes by the algorithm of CommonMark's appendix, with GitHub's bare addresses and its ~~struck~~ text (two tildes only,
 * for one means "about"). Beside Chinese, Japanese and Korean letters emphasis may also end at punctuation. Math
 * (`$x$`, `\(x\)`, `\[x\]`) stays as it was written, and so does HTML, but for <br>. Time is linear.
 */

import { h } from "../../view.js";
import { build, link } from "./nodes.js";
import { entityAt, normalLabel, unescaped } from "./text.js";

/**
 * @typedef {{ definitions: import("./blocks.js").Definitions, left: number }} Surroundings `left`: how many elements
 *   may still be made; when there are none left, text stays text
 * @typedef {{ char: string, count: number, length: number, canOpen: boolean, canClose: boolean, index: number, opens: string[],
 *   closes: string[], previous: Run | null, next: Run | null }} Run of `*`, `_` or `~`
 * @typedef {{ written: string, from: number, isImage: boolean, isActive: boolean, hasBracket: boolean, run: Run | null,
 *   target: import("./blocks.js").Target | null }} Bracket
 * @typedef {{ text: string } | { node: (isInLink: boolean) => Node } | { run: Run } | { bracket: Bracket } | { end: true }} Token
 */

const DEEPEST_PARENTHESES = 32; // of a destination, as in CommonMark
const PLAIN = /(?:[^\\`*_~[\]!<&\n$hw]|h(?!ttps?:\/\/)|w(?!ww\.))+/iy;
const RUN = /\*+|_+|~+/y;
const TICKS = /`+/g;
const ANGLED = /<([a-z][a-z0-9+.-]{1,31}:[^\s<>]*)>|<([\w.!#$%&'*+/=?^`{|}~-]{1,64}@[a-z0-9][a-z0-9.-]{0,250})>/iy;
const TAG = /<\/?[a-z][a-z0-9-]*(?:\s[^<>]*)?>/iy;
const BREAK = /^<br\s*\/?>$/i;
const BARE = /(?:https?:\/\/|www\.)[^\s<>`|，。；：！？、）」』】]+/iy;
const BARE_IN_BRACKETS = /(?:https?:\/\/|www\.)[^\s<>`|\]，。；：！？、）」』】]+/iy;
const BLANKS = /[ \t\n]*/y;
const ANGLED_DESTINATION = /<((?:[^<>\n\\]|\\.)*)>/y;
const TITLE = /"((?:[^"\\]|\\[^])*)"|'((?:[^'\\]|\\[^])*)'|\(((?:[^()\\]|\\[^])*)\)/y;
const LABEL = /\[((?:[^[\]\\]|\\[^]){0,999})\]/y;
const DOLLARS = /\$(?![\s$])(?:[^$\n\\]|\\.)*(?<![\s\\])\$(?!\d)|\$\$(?:[^$\\]|\\[^])+\$\$/y;
const IS_PUNCTUATION = /[\p{P}\p{S}]/u;
const IS_CJK = /[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Hangul}]/u;
const HAS_LETTER = /[\p{L}\p{N}]/u;
const ESCAPABLE = /[!-/:-@[-`{-~]/;
const TAGS = { "*1": "em", "*2": "strong", _1: "em", _2: "strong", "~2": "del" };

/** @param {RegExp} pattern sticky @param {string} text @param {number} at */
function match(pattern, text, at) {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

/**
 * Put the nodes of a text into `parent`; true where it has brackets that a label may yet make a link of.
 * @param {Element} parent @param {string} text @param {Surroundings} around
 */
export function inline(parent, text, around) {
  const reader = new Reader(text, around.definitions);
  reader.read();
  build(parent, reader.tokens, around);
  return reader.isOpen;
}

class Reader {
  /** @param {string} text @param {import("./blocks.js").Definitions} definitions */
  constructor(text, definitions) {
    this.text = text;
    this.definitions = definitions;
    this.at = 0;
    /** @type {Token[]} */
    this.tokens = [];
    /** @type {Bracket[]} */
    this.brackets = [];
    /** @type {Run | null} */
    this.lastRun = null;
    this.runs = 0;
    this.isOpen = false;
    /** @type {Map<number, number[]> | null} where runs of so many backticks begin, the last first */
    this.ticks = null;
    /** @type {Map<string, number>} from where on there is no such end of math */
    this.noEnd = new Map();
  }

  read() {
    while (this.at < this.text.length) {
      const plain = match(PLAIN, this.text, this.at);
      if (plain) this.say(plain[0], plain[0].length);
      else if (!this.special(this.text.charAt(this.at))) this.say(this.text.charAt(this.at), 1);
    }
    this.emphasize(null);
  }

  /** @param {string} text @param {number} length of what it was written as */
  say(text, length) {
    const last = this.tokens[this.tokens.length - 1];
    if (last && "text" in last) last.text += text;
    else this.tokens.push({ text });
    this.at += length;
    return true;
  }

  /** @param {number} length @param {(isInLink: boolean) => Node} node */
  put(length, node) {
    this.tokens.push({ node });
    this.at += length;
    return true;
  }

  /** @param {string} char */
  special(char) {
    if (char === "\\") return this.backslash();
    if (char === "`") return this.code();
    if (char === "*" || char === "_" || char === "~") return this.run();
    if (char === "\n") return this.newline();
    if (char === "[") return this.bracket("[");
    if (char === "!") return this.text[this.at + 1] === "[" && this.bracket("![");
    if (char === "]") return this.closeBracket();
    if (char === "&") return this.entity();
    if (char === "<") return this.angle();
    if (char === "$") return this.dollars();
    return this.bare();
  }

  backslash() {
    const next = this.text.charAt(this.at + 1);
    if (next === "(") return this.math("\\)") || this.say(next, 2);
    if (next === "[") return this.math("\\]") || this.say(next, 2);
    if (next === "\n") return this.put(2, () => h("br"));
    return ESCAPABLE.test(next) && this.say(next, 2);
  }

  /** @param {string} end */
  math(end) {
    const known = this.noEnd.get(end);
    if (known !== undefined && this.at >= known) return false;
    const found = this.text.indexOf(end, this.at + 2);
    if (found < 0) this.noEnd.set(end, this.at);
    const inner = this.text.slice(this.at + 2, Math.max(found, this.at + 2));
    return HAS_LETTER.test(inner) && this.putMath(`${this.text.slice(this.at, this.at + 2)}${inner}${end}`);
  }

  dollars() {
    const found = match(DOLLARS, this.text, this.at);
    return found !== null && this.text[this.at - 1] !== "$" && this.putMath(found[0]);
  }

  /** @param {string} text */
  putMath(text) {
    return this.put(text.length, () => h("span.math", null, text));
  }

  code() {
    const length = /** @type {RegExpExecArray} */ (match(/`+/y, this.text, this.at))[0].length;
    if (!this.ticks) {
      this.ticks = new Map();
      for (const run of [...this.text.matchAll(TICKS)].reverse()) {
        const places = this.ticks.get(run[0].length);
        if (places) places.push(run.index);
        else this.ticks.set(run[0].length, [run.index]);
      }
    }
    const places = this.ticks.get(length) ?? [];
    while (places.length && /** @type {number} */ (places[places.length - 1]) <= this.at) places.pop();
    const end = places[places.length - 1];
    if (end === undefined) return this.say("`".repeat(length), length);
    let inner = this.text.slice(this.at + length, end).replaceAll("\n", " ");
    if (inner.startsWith(" ") && inner.endsWith(" ") && inner.trim()) inner = inner.slice(1, -1);
    return this.put(end + length - this.at, () => h("code", null, inner));
  }

  newline() {
    const last = this.tokens[this.tokens.length - 1];
    if (last && "text" in last) {
      const isHard = last.text.endsWith("  ");
      last.text = last.text.trimEnd();
      if (isHard) return this.put(1, () => h("br"));
    }
    return this.say("\n", 1);
  }

  entity() {
    const found = entityAt(this.text, this.at);
    return found !== null && this.say(found.meant, found.written.length);
  }

  angle() {
    const found = match(ANGLED, this.text, this.at);
    if (found) {
      const shown = found[1] ?? found[2] ?? "";
      return this.put(found[0].length, (isInLink) =>
        link(found[1] ?? `mailto:${shown}`, "", isInLink, shown, found[0]),
      );
    }
    const tag = match(TAG, this.text, this.at)?.[0];
    if (!tag) return false;
    return BREAK.test(tag) ? this.put(tag.length, () => h("br")) : this.say(tag, tag.length);
  }

  bare() {
    const before = this.text.charAt(this.at - 1);
    if (before && !/[\s*_~("'[：，。（]/.test(before)) return false;
    let found = match(this.brackets.length ? BARE_IN_BRACKETS : BARE, this.text, this.at)?.[0];
    if (!found) return false;
    let unclosed = found.split(")").length - found.split("(").length;
    let end = found.length;
    while (end > 0) {
      const last = found[end - 1] ?? "";
      if (last === ")" && unclosed > 0) unclosed -= 1;
      else if (!"?!.,:;*_~'\"".includes(last)) break;
      end -= 1;
    }
    found = found.slice(0, end);
    const shown = found;
    const href = /^www/i.test(found) ? `http://${found}` : found;
    return this.put(end, (isInLink) => link(href, "", isInLink, shown, shown));
  }

  run() {
    const found = /** @type {RegExpExecArray} */ (match(RUN, this.text, this.at))[0];
    const char = found.charAt(0);
    if (char === "~" && found.length !== 2) return this.say(found, found.length);
    const before = characterBefore(this.text, this.at);
    const after = characterAt(this.text, this.at + found.length);
    const isPunctuated = { before: IS_PUNCTUATION.test(before), after: IS_PUNCTUATION.test(after) };
    const blank = { before: !before.trim(), after: !after.trim() };
    const isLoose = char !== "_";
    const opensLeft =
      !blank.after && (!isPunctuated.after || blank.before || isPunctuated.before || (isLoose && IS_CJK.test(before)));
    const closesRight =
      !blank.before && (!isPunctuated.before || blank.after || isPunctuated.after || (isLoose && IS_CJK.test(after)));
    /** @type {Run} */
    const run = {
      char,
      count: found.length,
      length: found.length,
      canOpen: opensLeft && (isLoose || !closesRight || isPunctuated.before),
      canClose: closesRight && (isLoose || !opensLeft || isPunctuated.after),
      index: (this.runs += 1),
      opens: [],
      closes: [],
      previous: this.lastRun,
      next: null,
    };
    if (this.lastRun) this.lastRun.next = run;
    this.lastRun = run;
    this.tokens.push({ run });
    this.at += found.length;
    return true;
  }

  /** @param {string} written */
  bracket(written) {
    for (const outer of this.brackets.slice(-1)) outer.hasBracket = true;
    const from = this.at + written.length;
    const isImage = written === "![";
    /** @type {Bracket} */
    const bracket = { written, from, isImage, isActive: true, hasBracket: false, run: this.lastRun, target: null };
    this.brackets.push(bracket);
    this.tokens.push({ bracket });
    this.at = from;
    return true;
  }

  closeBracket() {
    const opener = this.brackets.pop();
    if (!opener) return false;
    if (!opener.isActive) return false;
    const target = this.tail() ?? this.reference(opener);
    if (!target) {
      this.isOpen = true;
      for (const outer of this.brackets.slice(-1)) outer.hasBracket = true;
      return false;
    }
    opener.target = target;
    this.emphasize(opener.run);
    this.tokens.push({ end: true });
    // No link stands in a link. The openers below the first that is inactive are so already.
    for (let at = this.brackets.length - 1; at >= 0 && !opener.isImage; at -= 1) {
      const outer = /** @type {Bracket} */ (this.brackets[at]);
      if (!outer.isImage && !outer.isActive) break;
      if (!outer.isImage) outer.isActive = false;
    }
    return true;
  }

  /** `(destination "title")` behind a bracket. */
  tail() {
    const start = this.at + 1;
    if (this.text[start] !== "(") return null;
    let at = this.blanks(start + 1);
    const destination = this.destination(at);
    if (!destination) return null;
    at = this.blanks(destination.end);
    const title = at > destination.end ? match(TITLE, this.text, at) : null;
    if (title) at = this.blanks(at + title[0].length);
    if (this.text[at] !== ")") return null;
    this.at = at + 1;
    return { href: unescaped(destination.text), title: unescaped(title?.[1] ?? title?.[2] ?? title?.[3] ?? "") };
  }

  /** @param {number} at */
  blanks(at) {
    return at + (match(BLANKS, this.text, at)?.[0].length ?? 0);
  }

  /** @param {number} start */
  destination(start) {
    if (this.text[start] === "<") {
      const found = match(ANGLED_DESTINATION, this.text, start);
      return found ? { text: found[1] ?? "", end: start + found[0].length } : null;
    }
    let [at, depth] = [start, 0];
    for (; at < this.text.length; at += 1) {
      const code = this.text.charCodeAt(at);
      if (code === 92 && ESCAPABLE.test(this.text.charAt(at + 1))) at += 1;
      else if (code === 40) depth += 1;
      else if (code === 41 && depth > 0) depth -= 1;
      else if (code <= 32 || code === 41) break;
      if (depth > DEEPEST_PARENTHESES) return null;
    }
    return depth ? null : { text: this.text.slice(start, at), end: at };
  }

  /** `[label]` behind a bracket, or the bracket itself as a label. @param {Bracket} opener */
  reference(opener) {
    if (!this.definitions.size) return null;
    const label = match(LABEL, this.text, this.at + 1);
    const isShort = !label || label[1] === "";
    if (isShort && opener.hasBracket) return null;
    const found = this.definitions.get(
      normalLabel(isShort ? this.text.slice(opener.from, this.at) : (label[1] ?? "")) || " ",
    );
    if (found) this.at += 1 + (label?.[0].length ?? 0);
    return found ?? null;
  }

  /** Make pairs of the runs behind `bottom`, and forget them. @param {Run | null} bottom */
  emphasize(bottom) {
    /** @type {Map<string, number>} */
    const floors = new Map();
    let closer = this.lastRun;
    while (closer && closer !== bottom && closer.previous !== bottom) closer = closer.previous;
    if (closer === bottom) closer = null;
    while (closer) {
      if (!closer.canClose) {
        closer = closer.next;
        continue;
      }
      const key = `${closer.char}${closer.canOpen}${closer.length % 3}`;
      const opener = openerOf(closer, bottom, floors.get(key) ?? 0);
      if (!opener) {
        floors.set(key, closer.index - 1);
        const next = closer.next;
        if (!closer.canOpen) this.forget(closer);
        closer = next;
        continue;
      }
      const size = opener.count > 1 && closer.count > 1 ? 2 : 1;
      opener.count -= size;
      closer.count -= size;
      const tag = TAGS[/** @type {keyof typeof TAGS} */ (`${closer.char}${size}`)];
      opener.opens.push(tag);
      closer.closes.push(tag);
      opener.next = closer;
      closer.previous = opener;
      if (!opener.count) this.forget(opener);
      if (!closer.count) {
        const next = closer.next;
        this.forget(closer);
        closer = next;
      }
    }
    this.lastRun = bottom;
    if (bottom) bottom.next = null;
  }

  /** @param {Run} run */
  forget(run) {
    if (run.previous) run.previous.next = run.next;
    if (run.next) run.next.previous = run.previous;
    else this.lastRun = run.previous;
  }
}

/** @param {Run} closer @param {Run | null} bottom @param {number} floor */
function openerOf(closer, bottom, floor) {
  for (let run = closer.previous; run && run !== bottom && run.index > floor; run = run.previous) {
    if (run.char !== closer.char || !run.canOpen) continue;
    const isOdd = (closer.canOpen || run.canClose) && closer.length % 3 !== 0 && (run.length + closer.length) % 3 === 0;
    if (!isOdd) return run;
  }
  return null;
}

/** @param {string} text @param {number} at */
const characterAt = (text, at) => (at < text.length ? String.fromCodePoint(text.codePointAt(at) ?? 32) : " ");

/** @param {string} text @param {number} at */
function characterBefore(text, at) {
  const code = text.charCodeAt(at - 1);
  const isSecondHalf = code >= 0xdc00 && code <= 0xdfff && at > 1;
  return at > 0 ? characterAt(text, isSecondHalf ? at - 2 : at - 1) : " ";
}
