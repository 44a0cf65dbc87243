/** Which rows are meant: what stands in the address, and what the server is asked with. */

import { toServer } from "../../api.js";
import { setQuery } from "../../router.js";

/** Filters of which there may be several values. */
export const LISTS = /** @type {const} */ (["model", "status", "path", "key", "session", "ended"]);
const SINGLE = ["q", "min_duration", "since", "start", "end", "min_id", "max_id"];
const ALL = [...LISTS, ...SINGLE];

/** Spans up to now that `since` may name, in milliseconds. @type {Record<string, number>} */
export const SPANS = {
  "15m": 900_000,
  "1h": 3_600_000,
  "6h": 21_600_000,
  "24h": 86_400_000,
  "7d": 604_800_000,
  "30d": 2_592_000_000,
};

/** @typedef {Record<string, string[]>} Filter by parameter, without those that say nothing */

/** @param {URLSearchParams} query @returns {Filter} */
export function filterOf(query) {
  const found = ALL.map((name) => [name, query.getAll(name).filter(Boolean)]);
  return Object.fromEntries(found.filter(([, values]) => values?.length));
}

/** What the server takes: a span up to now is a start. @param {Filter} filter @param {number} [now] */
export function forServer(filter, now = Date.now()) {
  const { since, ...rest } = filter;
  const span = SPANS[since?.[0] ?? ""];
  if (span && !rest.start) rest.start = [toServer(now - span)];
  return rest;
}

/** @typedef {{ sort: string, order: string }} Order */

/** @param {URLSearchParams} query @returns {Order} */
export function orderOf(query) {
  const sort = query.get("sort") || "id";
  return { sort, order: query.get("order") === "asc" ? "asc" : "desc" };
}

/** Whether the newest row stands at the top. @param {Order} order */
export const isNewestFirst = ({ sort, order }) => (sort === "id" || sort === "time") && order === "desc";

/** Sort by a column, or the other way round. @param {string} sort @param {Order} now */
export function sortBy(sort, now) {
  const order = now.sort === sort && now.order === "desc" ? "asc" : "desc";
  const isUsual = sort === "id" && order === "desc";
  setQuery({ sort: isUsual ? "" : sort, order: order === "asc" ? "asc" : "" });
}

/** Add a value to a list, or take it out. @param {Filter} filter @param {string} name @param {string} value */
export function toggle(filter, name, value) {
  const values = filter[name] ?? [];
  setQuery({ [name]: values.includes(value) ? values.filter((each) => each !== value) : [...values, value] });
}

/** All rows again. */
export const clearFilters = () => setQuery(Object.fromEntries(ALL.map((name) => [name, ""])));

/** What of the address is a view: filters and order. @param {URLSearchParams} query */
export function viewOf(query) {
  const kept = new URLSearchParams();
  for (const name of [...ALL, "sort", "order", "figures"])
    query.getAll(name).forEach((value) => kept.append(name, value));
  return kept.toString();
}

const NAMES = {
  q: "text",
  min_duration: "at least",
  since: "last",
  start: "from",
  end: "until",
  min_id: "id from",
  max_id: "id to",
};

/** A filter in words, such as `model: qwen`. @param {string} name @param {string} value */
export function inWords(name, value) {
  const word = /** @type {Record<string, string>} */ (NAMES)[name] ?? name;
  return `${word}: ${name === "ended" ? value.replaceAll("_", " ") : value}`;
}
