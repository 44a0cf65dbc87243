/**
 * How the page asks the server: one place for addresses, the key and errors.
 *
 * A key is kept in `sessionStorage` only, and sent as a header only. Where a proxy in front asks for a login, or the browser
 * knows one for Basic, those of the browser are sent along.
 */

import { signal } from "./view.js";

const STORED_KEY = "llamaswap.key";
let typedKey = ""; // for a browser that keeps nothing

/** The address that all others are relative to: that of the server, also below a path of a proxy. */
export const root = new URL("../", document.baseURI);

/** Whether the server has refused us for want of a key. */
export const keyIsMissing = signal(false);

/** An answer other than 2xx. `status` is 0 where the server cannot be reached. */
export class ApiError extends Error {
  /** @param {number} status @param {string} message @param {any} [body] the JSON that came, if it was JSON */
  constructor(status, message, body = null) {
    super(message);
    this.status = status;
    this.body = body;
  }
}

/** @returns {string} the key that was typed, or "" */
export function key() {
  try {
    return sessionStorage.getItem(STORED_KEY) ?? "";
  } catch {
    return typedKey;
  }
}

/** Keep a key until the tab is closed; "" forgets it. @param {string} typed */
export function setKey(typed) {
  typedKey = typed;
  try {
    if (typed) sessionStorage.setItem(STORED_KEY, typed);
    else sessionStorage.removeItem(STORED_KEY);
  } catch {
    // it counts until the page is loaded again
  }
}

/** The address of a route: `address("api/queue", { page: 2 })`. Empty parameters are left out, lists are repeated.
 * @param {string} path @param {Record<string, any>} [query] */
export function address(path, query = {}) {
  const url = new URL(path, root);
  for (const [name, value] of Object.entries(query)) {
    for (const each of Array.isArray(value) ? value : [value]) {
      if (each !== undefined && each !== null && each !== "") url.searchParams.append(name, String(each));
    }
  }
  return url.href;
}

/** @param {HeadersInit} [own] */
function headersFor(own) {
  const headers = new Headers(own);
  headers.set("X-Requested-With", "llamaswap"); // so that a missing key is asked for here, not by the browser
  if (key()) headers.set("Authorization", `Bearer ${key()}`);
  return headers;
}

/** What a worker needs to ask as this tab would. @param {string} path @param {HeadersInit} headers */
export const question = (path, headers) => ({ href: address(path), headers: [...headersFor(headers)] });

/**
 * Ask, and return the answer as it begins. Raises ApiError for all but 2xx, and AbortError where `signal` of the options
 * has been used.
 * @param {string} path relative to the server, as `api/queue`
 * @param {RequestInit & { query?: Record<string, any>, json?: unknown }} [options] `json` becomes the body
 * @returns {Promise<Response>}
 */
export async function request(path, { query, json, ...options } = {}) {
  const headers = headersFor(options.headers);
  if (json !== undefined) {
    headers.set("Content-Type", "application/json");
    options.body = JSON.stringify(json);
    options.method ??= "POST";
  }
  /** @type {Response} */
  let response;
  try {
    response = await fetch(address(path, query), { ...options, headers });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiError(0, "the server cannot be reached");
  }
  if (response.ok) return response;
  const error = await readError(response);
  if (response.status === 401) keyIsMissing.value = true;
  throw error;
}

/** @param {Response} response */
async function readError(response) {
  const text = (await response.text().catch(() => "")).slice(0, 20_000);
  try {
    const body = JSON.parse(text);
    const told = body?.error?.message ?? body?.error ?? body?.message;
    if (typeof told === "string") return new ApiError(response.status, told, body);
    return new ApiError(response.status, `${response.status} ${response.statusText}`.trim(), body);
  } catch {
    return new ApiError(response.status, text.trim().slice(0, 500) || `${response.status} ${response.statusText}`);
  }
}

/** The JSON of an answer. @param {string} path @param {Parameters<typeof request>[1]} [options] @returns {Promise<any>} */
export async function ask(path, options) {
  const response = await request(path, options);
  return response.json();
}

// --- the clock of the server ---

const SKEW = 2500; // milliseconds by which two clocks may differ before it is put right
let skew = 0;
let told = () => {};
/** Holds when the server has told its clock, or could not be reached: what asks for a span of time waits for it. */
export const clockIsTold = new Promise((resolve) => (told = () => resolve(undefined)));

/** A moment of the server by the clock of this browser. @param {string} moment */
export const toLocal = (moment) => Date.parse(moment) + skew;

/** A moment of ours, in milliseconds since 1970, as the server writes it. @param {number} moment */
export const toServer = (moment) => new Date(moment - skew).toISOString();

/**
 * How much later it is by our clock than by the server's, which said `date`, in whole seconds, between two moments of
 * ours: an answer may take long. 0 for little, null where nothing was said.
 * @param {number} asked @param {number} answered @param {number} date
 */
export function skewOf(asked, answered, date) {
  if (Number.isNaN(date)) return null;
  const least = Math.max(asked - date - 1000, Math.min(0, answered - date));
  return Math.abs(least) > SKEW ? least : 0;
}

/** The JSON of an answer that llamaswap gives itself and at once: it tells the server's clock, too. @type {typeof ask} */
export async function askByClock(path, options) {
  const asked = Date.now();
  try {
    const response = await request(path, options);
    skew = skewOf(asked, Date.now(), Date.parse(response.headers.get("date") ?? "")) ?? skew;
    return await response.json();
  } finally {
    told();
  }
}

/** Do something by POST: `await operate("api/models/unload")`. @param {string} path @param {Parameters<typeof request>[1]} [options] */
export async function operate(path, options) {
  const response = await request(path, { method: "POST", ...options });
  await response.text();
}

/** The path of a model's route: each name is one segment, whatever it holds. @param {...string} parts */
export const pathOf = (...parts) => parts.map(encodeURIComponent).join("/");
