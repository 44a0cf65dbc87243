/** The choice of the profile that is active. */

import { activeProfile, profiles } from "../live.js";
import { effect, h } from "../view.js";
import { setProfile } from "./actions.js";

/** Hidden where there is no profile. @param {string} tag of what it stands in */
export const profileChoice = (tag) =>
  h(tag, { hidden: () => profiles.value.length === 0 }, () => {
    const select = h(
      "select",
      { "aria-label": "Profile", onchange: choose },
      h("option", { value: "" }, "No profile"),
      profiles.value.map((profile) => h("option", { value: profile.id }, profile.id)),
    );
    effect(() => {
      /** @type {HTMLSelectElement} */ (select).value = activeProfile.value ?? "";
    });
    return select;
  });

/** @param {Event} event */
async function choose(event) {
  const select = /** @type {HTMLSelectElement} */ (event.currentTarget);
  if (!(await setProfile(select.value || null))) select.value = activeProfile.value ?? "";
}
