/** What one can do from several places: load, unload, profiles. Each says what has happened. */

import { operate, pathOf, request } from "../api.js";
import { models, queue, runs, until } from "../live.js";
import { confirm } from "./dialog.js";
import { notify, attempt } from "./notices.js";

/** The loads that were asked for here and have not ended. @type {Map<string, AbortController>} */
const loads = new Map();
const PATIENCE = 5000; // milliseconds until a load that was taken back has left the queue
const MOMENT = 300; // the same at a box, whose queue is not known here

/** Load a model; ends when it is ready. @param {string} id */
export async function loadModel(id) {
  const end = new AbortController();
  loads.set(id, end);
  const work = () => operate(`api/models/load/${pathOf(id)}`, { signal: end.signal });
  await attempt(() => work().catch((error) => end.signal.aborted || Promise.reject(error)), `Loading ${id}`);
  if (loads.get(id) === end) loads.delete(id);
}

/** End the load of a model. One that is waited for would begin anew, so what was asked for here goes first. @param {string} id */
export async function cancelLoad(id) {
  const waiters = () => queue.value.filter((row) => row.model === id && !row.request).length;
  const most = waiters() - 1;
  if (loads.get(id)) {
    loads.get(id)?.abort();
    await until(() => waiters() <= most, models.now.find((model) => model.id === id)?.peerID ? MOMENT : PATIENCE);
  }
  await unloadModel(id);
}

/** @param {string} id */
export const unloadModel = (id) => attempt(() => operate(`api/models/unload/${pathOf(id)}`), `Unloading ${id}`);

/** Unload every model, if that is what was meant. */
export async function unloadAll() {
  const running = [...runs.value.keys()];
  const all = running.length ? `all ${running.length} models` : "all models";
  if (!(await confirm(`Unload ${running.length === 1 ? running[0] : all}?`, "Unload all"))) return;
  if (await attempt(() => operate("api/models/unload"), "Unloading")) notify("No model is loaded any more");
}

/** @param {string | null} name */
export async function setProfile(name) {
  const work = () => request("api/profiles/active", { method: "PUT", json: { name } });
  const done = await attempt(work, "Changing the profile");
  if (done) notify(name ? `The profile ${name} is active` : "No profile is active");
  return done;
}

/** Copy a text, and say so. @param {string} text @param {string} what as `The command` */
export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const before = document.activeElement;
    const area = document.createElement("textarea"); // without HTTPS a browser has no clipboard for pages
    area.value = text;
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    if (before instanceof HTMLElement) before.focus({ preventScroll: true });
  }
  notify(`${what} is copied`);
}
