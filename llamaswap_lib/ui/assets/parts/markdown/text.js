/** Small rules that both halves of the Markdown reader need: escapes, entities, labels, and which addresses may be followed. */

/** The named entities that answers use; all others stay as they were written. */
const ENTITIES = new Map(
  Object.entries({
    amp: "&",
    lt: "<",
    gt: ">",
    quot: '"',
    apos: "'",
    nbsp: "\u00a0",
    copy: "©",
    reg: "®",
    trade: "™",
    hellip: "…",
    mdash: "—",
    ndash: "–",
    lsquo: "‘",
    rsquo: "’",
    ldquo: "“",
    rdquo: "”",
    laquo: "«",
    raquo: "»",
    bull: "•",
    middot: "·",
    deg: "°",
    plusmn: "±",
    times: "×",
    divide: "÷",
    frac12: "½",
    frac14: "¼",
    frac34: "¾",
    sup2: "²",
    sup3: "³",
    micro: "µ",
    para: "¶",
    sect: "§",
    euro: "€",
    pound: "£",
    yen: "¥",
    cent: "¢",
    larr: "←",
    uarr: "↑",
    rarr: "→",
    darr: "↓",
    harr: "↔",
    le: "≤",
    ge: "≥",
    ne: "≠",
    asymp: "≈",
    infin: "∞",
    sum: "∑",
    radic: "√",
    pi: "π",
    auml: "ä",
    ouml: "ö",
    uuml: "ü",
    Auml: "Ä",
    Ouml: "Ö",
    Uuml: "Ü",
    szlig: "ß",
    eacute: "é",
    egrave: "è",
    AElig: "Æ",
    Dcaron: "Ď",
    check: "✓",
  }),
);
const ENTITY = /&(?:#x([0-9a-f]{1,6})|#(\d{1,7})|([a-z][a-z0-9]{1,31}));/iy;
const ESCAPED_OR_ENTITY = /\\([!-/:-@[-`{-~])|&(?:#x[0-9a-f]{1,6}|#\d{1,7}|[a-z][a-z0-9]{1,31});/gi;
const LONGEST_LABEL = 999;
const SAFE = new Set(["http:", "https:", "mailto:"]);
const RASTER = /^data:image\/(?:png|jpe?g|gif|webp|avif|bmp)(?:;[\w=.-]+)*;base64,[\w+/=\s%-]*$/i;

/** The entity that stands at `at`: what was written and what it means, or null. @param {string} text @param {number} at */
export function entityAt(text, at) {
  ENTITY.lastIndex = at;
  const found = ENTITY.exec(text);
  if (!found) return null;
  const [written, hex, decimal, name] = found;
  if (name) {
    const meant = ENTITIES.get(name);
    return meant === undefined ? null : { written, meant };
  }
  const code = hex ? parseInt(hex, 16) : Number(decimal);
  const isCharacter = code > 0 && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
  return { written, meant: isCharacter ? String.fromCodePoint(code) : "\ufffd" };
}

/** Without the backslashes of escapes, and with entities as what they mean. @param {string} text */
export const unescaped = (text) =>
  text.replace(ESCAPED_OR_ENTITY, (written, escaped) => escaped ?? entityAt(written, 0)?.meant ?? written);

/** How labels are compared: without regard to case and to how much blank they hold; "" for what is none.
 * @param {string} label */
export function normalLabel(label) {
  if (label.length > LONGEST_LABEL) return "";
  return label.trim().replace(/\s+/g, " ").toLowerCase().toUpperCase();
}

/**
 * An address that may be followed, or "": of http, https or mailto, and not of this very server, since what a model says is
 * no reason to unload its models. @param {string} written
 */
export function safeAddress(written) {
  let url;
  try {
    url = new URL(written);
  } catch {
    return ""; // one that is relative, or none at all
  }
  return SAFE.has(url.protocol) && url.origin !== location.origin ? url.href : "";
}

/** Whether it is a picture that comes with the text, so that nothing is loaded from elsewhere. @param {string} written */
export const isOwnPicture = (written) => RASTER.test(written);
