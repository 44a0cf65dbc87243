/** A captured request as a command for curl, quoted for a POSIX shell. Pure. */

// What curl sets by itself, or what belonged to that one connection
const LEFT_OUT = new Set([
  "host",
  "content-length",
  "transfer-encoding",
  "connection",
  "keep-alive",
  "accept-encoding",
  "expect",
  "upgrade",
  "via",
  "x-forwarded-for",
  "x-real-ip",
]);
const SECRET = "[REDACTED]";
const FILL_IN = "YOUR_KEY";

/** @param {string} text */
export const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);

/**
 * @param {string} url @param {string} method @param {Record<string, string>} headers
 * @param {string | null} body null where it is no text or was not kept
 */
export function curl(url, method, headers, body) {
  const parts = [`curl ${quoted(url)}`];
  if (method !== "GET" && !(method === "POST" && body)) parts.push(`-X ${quoted(method)}`);
  for (const [name, value] of Object.entries(headers)) {
    const low = name.toLowerCase();
    if (LEFT_OUT.has(low) || low.startsWith("sec-") || /[\r\n\0]/.test(name + value)) continue;
    if (value === SECRET && low.includes("cookie")) continue;
    const shown = value === SECRET ? (low.endsWith("authorization") ? `Bearer ${FILL_IN}` : FILL_IN) : value;
    parts.push(`-H ${quoted(`${name}: ${shown}`)}`);
  }
  if (body) parts.push(`--data-raw ${quoted(body)}`);
  return `${parts.join(" \\\n  ")}\n`;
}
