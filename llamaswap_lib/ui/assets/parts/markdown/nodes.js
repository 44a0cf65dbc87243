/** The nodes of what stands inside a paragraph: which elements are made of it, and how many. */

import { h } from "../../view.js";
import { isOwnPicture, safeAddress } from "./text.js";

/** @typedef {import("./inline.js").Token} Token */
/** @typedef {import("./inline.js").Bracket} Bracket */
/** @typedef {import("./inline.js").Surroundings} Surroundings */

const DEEPEST = 24; // elements within each other

/**
 * A link, or the text where the address may not be followed.
 * @param {string} href @param {string} title @param {boolean} isInLink @param {string} shown @param {string} written
 */
export function link(href, title, isInLink, shown, written) {
  const address = isInLink ? "" : safeAddress(href);
  return address ? anchor(address, title, shown) : document.createTextNode(isInLink ? shown : written);
}

/** @param {string} address @param {string} title @param {string} shown */
const anchor = (address, title, shown) =>
  h("a", { href: address, title: title || address, target: "_blank", rel: "noopener noreferrer nofollow" }, shown);

/** @typedef {{ node: Element | null, bracket: Bracket | null }} Open */

/** @param {Element} parent @param {Token[]} tokens @param {Surroundings} around */
export function build(parent, tokens, around) {
  /** @type {Open[]} */
  const stack = [];
  const linked = () => stack.some(({ bracket, node }) => bracket && node);
  let depth = 0;
  let here = parent;
  /** @param {Element | null} node @param {Bracket | null} bracket */
  const open = (node, bracket) => {
    const fits = node !== null && depth < DEEPEST && around.left > 0;
    stack.push({ node: fits ? node : null, bracket });
    if (!fits) return;
    [depth, around.left] = [depth + 1, around.left - 1];
    here.append(node);
    here = node;
  };
  const close = () => {
    const ended = stack.pop();
    if (!ended?.node) return ended;
    depth -= 1;
    here = /** @type {Element} */ (here.parentElement);
    return ended;
  };
  for (const token of tokens) {
    if ("text" in token) here.append(token.text);
    else if ("node" in token) {
      if (around.left > 0) here.append(token.node(depth > 0 && linked()));
      else here.append(token.node(true).textContent ?? "");
      around.left -= 1;
    } else if ("run" in token) {
      token.run.closes.forEach(close);
      if (token.run.count) here.append(token.run.char.repeat(token.run.count));
      token.run.opens.reverse().forEach((tag) => open(document.createElement(tag), null));
    } else if ("bracket" in token) {
      const { target, written } = token.bracket;
      if (target) open(elementOf(token.bracket, target, linked()), token.bracket);
      else here.append(written);
    } else finishPicture(close());
  }
}

/**
 * A link, or a picture that comes with the text. An address that may not be followed can only be read.
 * @param {Bracket} bracket @param {import("./blocks.js").Target} target @param {boolean} isInLink
 */
function elementOf({ isImage }, { href, title }, isInLink) {
  if (isImage && isOwnPicture(href)) return h("img", { src: href, title: title || null });
  const kind = isImage ? "picture" : "";
  const address = isInLink ? "" : safeAddress(href);
  if (!address) return h("span", { class: kind, title: title || href || null });
  const node = anchor(address, title, "");
  if (kind) node.className = kind;
  return node;
}

/** The words between its brackets are what a picture is called. @param {Open | undefined} ended */
function finishPicture(ended) {
  if (!(ended?.node instanceof HTMLImageElement)) return;
  ended.node.alt = ended.node.textContent ?? "";
  ended.node.replaceChildren();
}
