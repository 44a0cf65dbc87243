/** What one can do from several places: load, unload, profiles. Each says what has happened. */

import { operate, pathOf, request } from "../api.js";
import { notify, attempt } from "./notices.js";

/** Load a model; ends when it is ready. @param {string} id */
export const loadModel = (id) => attempt(() => operate(`api/models/load/${pathOf(id)}`), `Loading ${id}`);

/** @param {string} id */
export const unloadModel = (id) => attempt(() => operate(`api/models/unload/${pathOf(id)}`), `Unloading ${id}`);

export async function unloadAll() {
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
    const area = document.createElement("textarea"); // without HTTPS a browser has no clipboard for pages
    area.value = text;
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  notify(`${what} is copied`);
}
