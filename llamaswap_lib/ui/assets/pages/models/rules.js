/** Which models may run together, as the configuration says it, and which of its groups or sets is in use now. */

import { about, models } from "../../live.js";

/**
 * @typedef {{ name: string, words: string, members: string[], running: string[], isActive: boolean }} Rule
 */

const MOST_COMBINATIONS = 4096;
const TOKEN = /\s*(\+?[A-Za-z0-9_.-]+|[&|()])/y;

const router = () => about.value?.config?.routing?.router ?? {};
/** @returns {Record<string, any>} */
const groups = () => router().settings?.groups ?? {};

const running = () =>
  models.value.filter((model) => ["ready", "starting"].includes(model.state)).map((model) => model.id);

/** The group of a model, or its sets. @param {string} id */
export function setOf(id) {
  if (router().use === "matrix") {
    const sets = rules().filter((rule) => rule.members.includes(id));
    return sets.length ? sets.map((rule) => rule.name).join(", ") : "In no set";
  }
  const found = Object.entries(groups()).find(([, group]) => group.members?.includes(id));
  return found && found[0] !== "(default)" ? found[0] : "In no group";
}

/** Groups, or sets of the matrix. @returns {Rule[]} */
export function rules() {
  const now = running();
  if (router().use === "matrix") return matrixRules(router().settings?.matrix ?? {}, now);
  if (router().use !== "group" && router().use !== undefined) return [];
  return Object.entries(groups()).map(([name, { members = [], swap, exclusive, persistent }]) => {
    const inside = now.filter((id) => members.includes(id));
    const words = [
      swap ? "one at a time" : "side by side",
      exclusive ? "" : "leaves others alone",
      persistent ? "stays" : "",
    ];
    return { name, words: words.filter(Boolean).join(", "), members, running: inside, isActive: inside.length > 0 };
  });
}

/** @param {{ sets?: Record<string, string>, vars?: Record<string, string> }} matrix @param {string[]} now */
function matrixRules({ sets = {}, vars = {} }, now) {
  const inSets = new Set();
  const told = Object.entries(sets).map(([name, text]) => {
    const members = membersOf(text, sets, vars);
    members.forEach((id) => inSets.add(id));
    return { name, words: text, members };
  });
  const wanted = now.filter((id) => inSets.has(id));
  return told.map((rule) => {
    const isActive = wanted.length > 0 && allows(rule.words, wanted, sets, vars);
    return { ...rule, running: wanted.filter((id) => rule.members.includes(id)), isActive };
  });
}

/** What a name stands for, if it does. @param {Record<string, string>} named @param {string} name */
const meant = (named, name) => (Object.hasOwn(named, name) ? named[name] : undefined);

/** @param {string} text */
function tokensOf(text) {
  TOKEN.lastIndex = 0;
  const tokens = [];
  for (let found = TOKEN.exec(text); found; found = TOKEN.exec(text)) tokens.push(found[1] ?? "");
  return tokens;
}

/** @param {string} text @param {Record<string, string>} sets @param {Record<string, string>} vars @param {number} [depth] @returns {string[]} */
function membersOf(text, sets, vars, depth = 0) {
  if (depth > 20) return [];
  const names = tokensOf(text).filter((token) => !"&|()".includes(token));
  return [
    ...new Set(
      names.flatMap((name) =>
        name.startsWith("+")
          ? membersOf(meant(sets, name.slice(1)) ?? "", sets, vars, depth + 1)
          : [meant(vars, name) ?? name],
      ),
    ),
  ];
}

/**
 * Whether an expression lets all of `wanted` run together. Followed is which of them each part can hold at once, as bits.
 * @param {string} text @param {string[]} wanted @param {Record<string, string>} sets @param {Record<string, string>} vars
 */
export function allows(text, wanted, sets, vars) {
  if (wanted.length > 12) return false;
  let steps = 0;
  /** @param {string} part @param {number} depth @returns {Set<number>} */
  const read = (part, depth) => {
    const tokens = tokensOf(part);
    let at = 0;
    /** @returns {Set<number>} */
    const either = () => {
      let found = both();
      while (tokens[at] === "|") {
        at += 1;
        found = new Set([...found, ...both()]);
      }
      return found;
    };
    /** @returns {Set<number>} */
    const both = () => {
      let found = one();
      while (tokens[at] === "&") {
        at += 1;
        const other = one();
        const made = new Set();
        for (const mine of found)
          for (const theirs of other) if ((steps += 1) < MOST_COMBINATIONS) made.add(mine | theirs);
        found = made;
      }
      return found;
    };
    /** @returns {Set<number>} */
    const one = () => {
      const token = tokens[at] ?? "";
      at += 1;
      if (token === "(") {
        const inner = either();
        at += 1;
        return inner;
      }
      if (token.startsWith("+")) return depth > 20 ? new Set([0]) : read(meant(sets, token.slice(1)) ?? "", depth + 1);
      const index = wanted.indexOf(meant(vars, token) ?? token);
      return new Set([index < 0 ? 0 : 1 << index]);
    };
    return either();
  };
  return read(text, 0).has((1 << wanted.length) - 1);
}
