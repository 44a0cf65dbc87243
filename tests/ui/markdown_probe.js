/* What test_markdown.py does in the page: compare with CommonMark's examples, and feed texts piece by piece. */

/* exported disagreeing, piecewise, kept, draw, show */

const BLOCKS = "p|ul|ol|li|blockquote|h[1-6]|hr|pre|table|thead|tbody|tr|td|th|div";
const EDGES = new RegExp(`\\s*(</?(?:${BLOCKS})\\b[^>]*>)\\s*`, "g");
const FOLLOWED = /^(?:https?|mailto):/i;

/** Addresses as they are meant: not percent-encoded, and with the slashes that a browser makes of backslashes. */
const meant = (address) => {
  try {
    return decodeURIComponent(address).replaceAll("\\", "/");
  } catch {
    return address;
  }
};

/**
 * A tree as a text in which only what counts differs: blank space between blocks does not, nor what the page adds (the
 * frame of code, the paragraphs of tight lists, the attributes of links). An address that the page does not follow is
 * shown on hover, so it is compared with that. `isOurs` says which of the two it is.
 */
function canonical(root, isOurs) {
  const inner = (node, isPre) => [...node.childNodes].map((child) => outer(child, isPre)).join("");
  const ours = (node, isPre) => {
    if (node.hidden) return "";
    if (node.matches("figure.code")) {
      const code = node.querySelector("code");
      return `<pre><code ${code.className}>${code.textContent}</code></pre>`;
    }
    if (node.matches(".picture")) return `<picture ${node.textContent} ${meant(node.title)}>`;
    if (node.matches("div.table, .math, .tight > li > p")) return inner(node, isPre);
    if (node.localName === "span") return `<unfollowed ${meant(node.title)}>${inner(node, isPre)}</unfollowed>`;
    return null;
  };
  const theirs = (node, isPre) => {
    const target = node.getAttribute("href") ?? node.getAttribute("src") ?? "";
    if (node.localName === "img") return `<picture ${node.alt} ${meant(node.title || target)}>`;
    if (node.localName === "a" && !FOLLOWED.test(target)) {
      return `<unfollowed ${meant(node.title || target)}>${inner(node, isPre)}</unfollowed>`;
    }
    return null;
  };
  const outer = (node, isPre) => {
    if (node.nodeType === Node.TEXT_NODE) return isPre ? node.data : node.data.replace(/\s+/g, " ");
    if (node.nodeType !== Node.ELEMENT_NODE) return "<!---->";
    const special = isOurs ? ours(node, isPre) : theirs(node, isPre);
    if (special !== null) return special;
    const name = node.localName;
    const own = { ol: node.getAttribute("start") ?? "", code: node.className };
    const title = node.title && node.title !== node.getAttribute("href") ? node.title : "";
    const about = name === "a" ? `${meant(new URL(node.href).href)} ${title}` : (own[name] ?? "");
    const end = ["br", "hr"].includes(name) ? "" : `</${name}>`;
    return `<${name}${about || name === "code" ? ` ${about}` : ""}>${inner(node, isPre || name === "pre")}${end}`;
  };
  return inner(root, false)
    .replace(EDGES, "$1")
    .replace(/\s*<br>\s*/g, "<br>")
    .trim();
}

/** Texts made of what Markdown is made of, given in pieces; those that look otherwise than given at once. */
function piecewise({ Markdown, markdown }, texts, rounds, atoms) {
  let seed = 1;
  const random = (below) => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
  const different = [];
  for (let round = 0; round < texts.length + rounds; round += 1) {
    const made = () => Array.from({ length: 3 + random(40) }, () => atoms[random(atoms.length)]).join("");
    const text = texts[round] ?? made();
    const grown = new Markdown();
    for (let at = 1 + random(6); at < text.length; at += 1 + random(6)) grown.set(text.slice(0, at), false);
    grown.set(text, true);
    if (grown.node.outerHTML !== markdown(text).outerHTML) different.push(text);
  }
  return different;
}

/** The numbers of the examples that look otherwise than CommonMark wants. */
function disagreeing({ markdown }, examples) {
  // Styles would be blocked, and said to be. All examples that have any are HTML, and differ anyhow.
  const parsed = (html) => new DOMParser().parseFromString(html.replaceAll("style", "data"), "text/html").body;
  return examples
    .filter((each) => canonical(markdown(each.markdown), true) !== canonical(parsed(each.html), false))
    .map((each) => each.number);
}

/** Whether a title, a paragraph, an item and a line of code are the same elements after more has come. */
function kept({ Markdown }) {
  const made = new Markdown();
  const text = "# Title\n\nwords\n\n- one\n- two\n\n```js\nlet a;\nlet b";
  made.set(text, false);
  const find = () => ["h1", "p", "li", ".line"].map((name) => made.node.querySelector(name));
  const before = find();
  made.set(`${text} = 1;\n\`\`\`\n\nmore`, false);
  return find().map((node, index) => node === before[index] && made.node.textContent.includes("more"));
}

/** Put a node in the place of the page. */
function show(node) {
  document.querySelector("main").replaceChildren(node);
}

/** Draw a text and lay it out, and tell how much that has made. */
function draw({ markdown }, text) {
  const node = markdown(text);
  show(node);
  let deepest = 0;
  for (const leaf of node.querySelectorAll(":not(:has(*))")) {
    let depth = 0;
    for (let at = leaf; at !== node; at = at.parentElement) depth += 1;
    deepest = Math.max(deepest, depth);
  }
  return { deepest, elements: node.querySelectorAll("*").length, height: node.offsetHeight };
}
