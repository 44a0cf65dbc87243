/**
 * Which page is shown: the address says it, and all of it (`/ui/models/qwen?tab=logs`), so that everything can be linked.
 *
 * Links are plain links; a click on one that leads to a page of ours changes the address and loads nothing anew.
 */

import { signal } from "./view.js";

const base = new URL(document.baseURI);

/** @typedef {{ page: string, rest: string, query: URLSearchParams }} Place `rest`: what follows the page, decoded */

/** @type {import("./view.js").Signal<Place>} */
export const place = signal(read(location.href));

/** @param {string} href @returns {Place} */
function read(href) {
  const url = new URL(href);
  const path = url.pathname.slice(base.pathname.length);
  const [page = "", ...rest] = path.split("/");
  return { page: page || "models", rest: rest.map(decode).join("/"), query: url.searchParams };
}

/** @param {string} part */
function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // a percent sign that encodes nothing
  }
}

/** The address of a page, relative to the base of the document: `to("models", "org/qwen", { tab: "logs" })`.
 * @param {string} page @param {string} [rest] @param {Record<string, any>} [query] */
export function to(page, rest = "", query = {}) {
  const segments = rest.split("/");
  const plain = segments.every((part) => part !== "" && part !== "." && part !== "..");
  const path = plain ? segments.map(encodeURIComponent).join("/") : encodeURIComponent(rest);
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const each of Array.isArray(value) ? value : [value]) {
      if (each !== undefined && each !== null && each !== "") search.append(name, String(each));
    }
  }
  return `${page}${rest ? `/${path}` : ""}${search.size ? `?${search}` : ""}`;
}

/** Show another page. @param {string} href as `to` makes it @param {{ replace?: boolean }} [options] no entry in the history */
export function go(href, { replace = false } = {}) {
  const url = new URL(href, base);
  if (url.href === location.href) return;
  history[replace ? "replaceState" : "pushState"](null, "", url);
  place.value = read(url.href);
}

/** Change parameters of the present address, "" and null remove one. No entry in the history. @param {Record<string, any>} changes */
export function setQuery(changes) {
  const { page, rest, query } = place.value;
  /** @type {Record<string, any>} */
  const next = {};
  for (const name of query.keys()) next[name] = query.getAll(name);
  go(to(page, rest, { ...next, ...changes }), { replace: true });
}

addEventListener("popstate", () => {
  place.value = read(location.href);
});

document.addEventListener("click", (event) => {
  const link = event.target instanceof Element ? event.target.closest("a[href]") : null;
  if (!(link instanceof HTMLAnchorElement) || event.button || event.defaultPrevented) return;
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey || link.target || link.hasAttribute("download"))
    return;
  if (!link.href.startsWith(base.href)) return;
  event.preventDefault();
  go(link.href);
});
