/**
 * Source code with simple highlighting: comments, strings, numbers and the words of the usual languages.
 *
 * One small reader for all languages, line by line; what it does not know stays plain. Long lines and long texts are cut
 * where they are shown, not where they are copied. Characters that turn the direction of text are shown by name.
 */

import { h } from "../view.js";
import { several } from "../format.js";
import { copy } from "./actions.js";

const MOST_LINES = 5000;
const LONGEST_LINE = 5000;
const MOST_HIGHLIGHTED = 2000; // lines

const words = (/** @type {string} */ text) => new Set(text.split(" "));
const C_WORDS = words(
  "abstract any as assert async auto await bool boolean break byte case catch char class const constexpr continue crate " +
    "debugger declare default defer delete do double dyn else enum export extends extern false final finally float fn for " +
    "foreach from fun func function get go goto guard if impl implements import in init instanceof int interface internal is " +
    "keyof let long loop match mod module move mut mutable namespace native new nil null nullptr number object of operator " +
    "out override package private protected protocol pub public range readonly ref require return sealed select self set " +
    "short signed sizeof static string struct super suspend switch template this throw throws trait transient true try type " +
    "typealias typedef typename typeof undefined union unsafe unsigned use using val var virtual void volatile when where " +
    "while with yield",
);
const HASH_WORDS = words(
  "False None True alias and as assert async await begin break case class continue def del do done elif else elsif end ensure " +
    "esac except export fi finally for foreach from function global if import in is lambda let local match module next nil not " +
    "null of or pass raise rescue return self set sub super then true false try unless until use while with yield FROM RUN COPY " +
    "CMD ENV WORKDIR EXPOSE ENTRYPOINT ARG",
);
const SQL_WORDS = words(
  "add all alter and as asc avg begin between by case cast check column commit constraint count create cross database default " +
    "delete desc distinct drop else end exists false foreign from full group having if in index inner insert into is join key " +
    "left like limit max min not null offset on or order outer over partition primary references returning right rollback " +
    "select set sum table then true union unique update using values view when where with",
);
const OTHER_WORDS = words(
  "and as break case class data deriving do else elseif end false for forall function goto if import in instance let local module " +
    "nil not null of or repeat return then true type until where while define lambda let cond begin set!",
);
const VALUES = words("true false null yes no on off");

/**
 * @typedef {{ comment: string, block: [string, string] | null, strings: string, long: string[], words: Set<string>,
 *   ignoresCase?: boolean }} Language what begins a comment (a pattern), quotes of strings, and of those over several lines
 */

/** @type {Record<string, Language>} */
const FAMILIES = {
  c: { comment: "\\/\\/", block: ["/*", "*/"], strings: "\"'", long: ["`"], words: C_WORDS },
  css: { comment: "(?!)", block: ["/*", "*/"], strings: "\"'", long: [], words: new Set() },
  hash: { comment: "#(?![\\w]{6}\\b)", block: null, strings: "\"'", long: ['"""', "'''"], words: HASH_WORDS },
  data: { comment: "#|\\/\\/", block: null, strings: "\"'", long: [], words: VALUES },
  ini: { comment: "[#;]", block: null, strings: "\"'", long: ['"""', "'''"], words: VALUES },
  sql: { comment: "--", block: ["/*", "*/"], strings: "'\"", long: [], words: SQL_WORDS, ignoresCase: true },
  lua: { comment: "--(?!\\[\\[)", block: ["--[[", "]]"], strings: "\"'", long: [], words: OTHER_WORDS },
  haskell: { comment: "--", block: ["{-", "-}"], strings: '"', long: [], words: OTHER_WORDS },
  lisp: { comment: ";", block: null, strings: '"', long: [], words: OTHER_WORDS },
  markup: { comment: "(?!)", block: ["<!--", "-->"], strings: '"', long: [], words: new Set() },
};
const NAMES = {
  c: "c h cc cpp c++ cxx hpp java javascript js jsx mjs typescript ts tsx go golang rust rs swift kotlin kt scala dart php csharp cs c# zig objc glsl wgsl cuda proto groovy solidity",
  css: "css scss less",
  hash: "python py python3 ruby rb sh bash shell zsh console perl pl r elixir ex nim powershell ps1 fish dockerfile docker make makefile cmake julia jl awk tcl nix gdscript",
  data: "json jsonc json5 jsonl yaml yml",
  ini: "toml ini conf cfg properties env systemd nginx",
  sql: "sql sqlite postgres postgresql mysql plsql",
  lua: "lua luau",
  haskell: "haskell hs elm purescript",
  lisp: "lisp clojure clj scheme racket elisp el",
  markup: "html xml svg vue svelte xhtml",
};
const BY_NAME = new Map(
  Object.entries(NAMES).flatMap(([family, names]) => names.split(" ").map((name) => [name, FAMILIES[family]])),
);
/** @type {Map<Language, RegExp>} */
const patterns = new Map();
const TURNS = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/;

/** @param {string} text */
const quoted = (text) => text.replace(/[.*+?^${}()|[\]\\/-]/g, "\\$&");

/** What a line is made of; one name for each kind. @param {Language} language */
function patternOf(language) {
  let pattern = patterns.get(language);
  if (!pattern) {
    const long = language.long.map(quoted).join("|") || "(?!)";
    const strings = [...language.strings].map((mark) => `${mark}(?:[^${mark}\\\\]|\\\\.)*${mark}`).join("|");
    const parts = [
      `(?<comment>(?:${language.comment}).*)`,
      `(?<block>${language.block ? quoted(language.block[0]) : "(?!)"})`,
      `(?<long>${long})`,
      `(?<string>${strings})`,
      "(?<number>\\b(?:0x[\\da-f_]+|0b[01_]+|\\d[\\d_]*(?:\\.\\d+)?(?:e[+-]?\\d+)?)\\w{0,3}\\b)",
      "(?<word>[a-z_$][\\w$!]*)",
      "(?<other>[^\"'`\\w#/\\-;<{$]+|.)",
    ];
    pattern = new RegExp(parts.join("|"), "iy");
    patterns.set(language, pattern);
  }
  return pattern;
}

/**
 * The parts of one line: kind and text, "" for what is plain. `inside` is the end of what an earlier line has begun.
 * @param {string} line @param {Language} language @param {string} inside
 * @returns {{ parts: [string, string][], inside: string }}
 */
export function partsOf(line, language, inside) {
  /** @type {[string, string][]} */
  const parts = [];
  let at = 0;
  /** @param {string} kind @param {string} text */
  const put = (kind, text) => {
    const last = parts[parts.length - 1];
    if (last && last[0] === kind) last[1] += text;
    else if (text) parts.push([kind, text]);
    at += text.length;
  };
  /** @param {string} end @param {number} from where its content begins */
  const untilEnd = (end, from) => {
    const found = line.indexOf(end, from);
    const isComment = language.block?.[1] === end;
    put(isComment ? "note" : "text", line.slice(at, found < 0 ? undefined : found + end.length));
    inside = found < 0 ? end : "";
  };
  if (inside) untilEnd(inside, 0);
  const pattern = patternOf(language);
  while (at < line.length) {
    pattern.lastIndex = at;
    const groups = pattern.exec(line)?.groups ?? {};
    if (groups.block !== undefined) untilEnd(language.block?.[1] ?? "", at + groups.block.length);
    else if (groups.long !== undefined) untilEnd(groups.long, at + groups.long.length);
    else if (groups.comment !== undefined) put("note", groups.comment);
    else if (groups.string !== undefined) put("text", groups.string);
    else if (groups.number !== undefined) put("number", groups.number);
    else if (groups.word !== undefined) {
      const word = language.ignoresCase ? groups.word.toLowerCase() : groups.word;
      put(language.words.has(word) ? "word" : "", groups.word);
    } else put("", groups.other ?? line.charAt(at));
  }
  return { parts, inside };
}

/** @typedef {{ text: string, before: string, after: string, node: Element }} Shown a line */

/** A block of code: its language, a button that copies it, its lines. It can be given a longer text. */
export class CodeBlock {
  /** @param {string} text @param {string} info what stands behind the fence */
  constructor(text, info) {
    this.info = info;
    this.text = "";
    /** @type {Shown[]} */
    this.shown = [];
    this.more = h("p.code-more", { hidden: true });
    const name = (info.split(/[\s,{]/)[0] ?? "").slice(0, 40);
    this.language = BY_NAME.get(name.toLowerCase());
    this.code = h("code", { class: name ? `language-${name}` : "" });
    this.node = h(
      "figure.code",
      null,
      h(
        "figcaption",
        null,
        h("bdi", null, name || "text"),
        h("button.quiet", { type: "button", onclick: () => void copy(this.text, "The code") }, "Copy"),
      ),
      h("pre", { tabindex: "0" }, this.code),
      this.more,
    );
    this.set(text);
  }

  /** @param {string} text */
  set(text) {
    if (text === this.text) return;
    this.text = text;
    const all = text.split("\n", MOST_LINES + 1);
    const lines = text ? all.slice(0, MOST_LINES) : [];
    let inside = "";
    lines.forEach((line, index) => {
      const old = this.shown[index];
      if (old && old.text === line && old.before === inside) inside = old.after;
      else {
        const made = this.line(line, inside, index);
        if (old) old.node.replaceWith(made.node);
        else this.code.append(made.node);
        this.shown[index] = made;
        inside = made.after;
      }
    });
    for (const { node } of this.shown.splice(lines.length)) node.remove();
    const hidden = all.length > MOST_LINES ? text.split("\n").length - MOST_LINES : 0;
    this.more.hidden = !hidden;
    this.more.textContent = hidden ? `${several(hidden, "more line")}; Copy takes them all` : "";
  }

  /** @param {string} text @param {string} before @param {number} index @returns {Shown} */
  line(text, before, index) {
    const cut = text.slice(0, LONGEST_LINE);
    const node = h("span.line");
    let after = before;
    if (this.language && index < MOST_HIGHLIGHTED) {
      const read = partsOf(cut, this.language, before);
      after = read.inside;
      for (const [kind, part] of read.parts)
        node.append(kind ? h("span", { class: kind }, ...visible(part)) : fragment(part));
    } else node.append(fragment(cut));
    if (cut.length < text.length)
      node.append(h("span.cut", null, ` … ${several(text.length - cut.length, "more character")}`));
    node.append("\n");
    return { text, before, after, node };
  }
}

/** @param {string} text */
function fragment(text) {
  const made = document.createDocumentFragment();
  made.append(...visible(text));
  return made;
}

/** Characters that turn the direction of text, by their names. @param {string} text @returns {(string | Node)[]} */
export function visible(text) {
  if (!TURNS.test(text)) return [text];
  return text.split(new RegExp(`(${TURNS.source})`)).map((part) => {
    if (!TURNS.test(part)) return part;
    const name = `U+${(part.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}`;
    return h("span.turn", { title: "A character that turns the direction of text" }, name);
  });
}
