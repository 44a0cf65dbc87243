/** The files of the configuration: edited, checked while one types, compared with what runs, saved. */

import { ApiError, ask, pathOf, request } from "../../api.js";
import { several } from "../../format.js";
import { about, models, readAbout, runs } from "../../live.js";
import { confirm } from "../../parts/dialog.js";
import { attempt, notify } from "../../parts/notices.js";
import { place, setQuery } from "../../router.js";
import { cleanup, computed, effect, h, signal } from "../../view.js";
import { editor } from "./editor.js";

const PAUSE = 400; // milliseconds without a key before the text is checked

/** @typedef {{ name: string, path: string, etag: string | null, text: string | null, error: string | null }} File */
/** @typedef {{ ok: boolean, errors: any[], warnings: any[], changes?: any }} Findings */

/** What was typed and not saved, by the name of the file: it stays when another page is shown. */
const drafts = /** @type {Map<string, { text: string, etag: string | null }>} */ (new Map());

/** Files where they may be changed; else a field to try a text in. */
export function edit() {
  const canEdit = computed(() => about.value?.can_edit); // what else is known of the configuration makes no field anew
  return h("div.page", null, () => (canEdit.value === undefined ? null : canEdit.value ? files() : tryOut()));
}

function tryOut() {
  const text = signal(
    drafts.get("")?.text ?? "models:\n  my-model:\n    cmd: llama-server --port ${PORT} -m model.gguf\n",
  );
  return [
    h(
      "p.soft",
      null,
      "A place to try a configuration: it is checked while you type, and changes nothing. To edit the files themselves, start llamaswap with ",
      h("code", null, "-allow-config-edit"),
      ". That lets everybody who may open this page run any command as its user, so it needs ",
      h("code", null, "apiKeys"),
      " where other machines can reach it.",
    ),
    checked(
      "",
      text,
      (draft) => ask("api/config/check", { method: "POST", body: draft }),
      () => null,
    ),
  ];
}

function files() {
  const list = signal(/** @type {File[]} */ ([]));
  const trouble = signal("");
  const read = async () => {
    try {
      list.value = (await ask("api/config/files")).files;
    } catch (error) {
      trouble.value = error instanceof Error ? error.message : String(error);
    }
  };
  void read();
  const name = () => place.value.query.get("file") ?? list.value[0]?.name ?? "";
  return [
    h("p.fail", null, () => trouble.value),
    h("div.row", { hidden: () => list.value.length < 2 }, () =>
      list.value.map((file) =>
        h(
          "button.small",
          {
            type: "button",
            "aria-pressed": () => String(name() === file.name),
            onclick: () => setQuery({ file: file.name }),
          },
          file.name,
        ),
      ),
    ),
    () => {
      const file = list.value.find((each) => each.name === name());
      return file ? one(file, read) : null;
    },
  ];
}

/** @param {File} file @param {() => Promise<void>} read */
function one(file, read) {
  if (file.text === null) return h("p.fail", null, `${file.path}: ${file.error}`);
  const draft = drafts.get(file.name) ?? file;
  const isSame = draft.text === file.text; // else what was changed meanwhile by others is theirs: a save asks
  const saved = signal({ text: file.text, etag: isSame ? file.etag : draft.etag });
  const text = signal(draft.text ?? file.text);
  const path = `api/config/files/${pathOf(file.name)}`;
  const isBusy = signal(false);

  /** @param {boolean} andReload */
  const save = async (andReload) => {
    isBusy.value = true;
    const done = await attempt(() => store(path, text.now, saved), `Saving ${file.name}`);
    if (done) {
      notify(`${file.name} is saved`);
      if (andReload) await reload();
    }
    isBusy.value = false;
  };
  const forget = async () => {
    if (!(await confirm("Forget what you have changed?", "Forget"))) return;
    drafts.delete(file.name);
    await read();
    text.value = saved.now.text;
  };
  effect(() => {
    if (text.value === saved.value.text) drafts.delete(file.name);
    else drafts.set(file.name, { text: text.value, etag: saved.value.etag });
  });
  const isChanged = () => text.value !== saved.value.text;
  return checked(
    file.name,
    text,
    (draft) => ask(`${path}/check`, { method: "POST", body: draft }),
    (/** @type {() => boolean} */ isGood) =>
      h(
        "div.row",
        null,
        h(
          "button.primary",
          { type: "button", disabled: () => isBusy.value || !isChanged() || !isGood(), onclick: () => save(true) },
          "Save and reload",
        ),
        h(
          "button",
          { type: "button", disabled: () => isBusy.value || !isChanged() || !isGood(), onclick: () => save(false) },
          "Save",
        ),
        h("button", { type: "button", hidden: () => !isChanged(), onclick: forget }, "Forget changes"),
        h("span.soft", null, file.path),
      ),
  );
}

/** @param {string} path @param {string} text @param {import("../../view.js").Signal<{ text: string, etag: string | null }>} saved */
async function store(path, text, saved) {
  /** @param {string | null} etag */
  const put = (etag) => request(path, { method: "PUT", body: text, headers: { "If-Match": etag ?? "" } });
  let response;
  try {
    response = await put(saved.now.etag);
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 412) throw error;
    if (!(await confirm("The file has been changed by somebody else meanwhile. Replace their text?", "Replace")))
      throw error;
    response = await put((await request(path)).headers.get("ETag"));
  }
  const { etag } = await response.json();
  saved.value = { text, etag };
}

/** Read the files again, and say what that changed. */
export async function reload() {
  await attempt(async () => {
    const told = await ask("api/config/reload", { method: "POST" });
    notify(told.changed ? "The new configuration is in use" : "Nothing has changed");
  }, "Reloading");
  await readAbout();
}

/**
 * @param {string} name @param {import("../../view.js").Signal<string>} text @param {(text: string) => Promise<Findings>} check
 * @param {(isGood: () => boolean) => import("../../view.js").Child} buttons
 */
function checked(name, text, check, buttons) {
  const found = signal(/** @type {Findings | null} */ (null));
  const trouble = signal("");
  const isStale = signal(true);
  effect(() => {
    const draft = text.value;
    isStale.value = true;
    if (!name) drafts.set("", { text: draft, etag: null });
    let isOld = false; // there is a newer text
    const timer = setTimeout(async () => {
      let [told, error] = [found.now, ""];
      try {
        told = await check(draft);
      } catch (reason) {
        error = reason instanceof Error ? reason.message : String(reason);
      }
      if (isOld) return;
      found.value = told;
      trouble.value = error;
      isStale.value = false;
    }, PAUSE);
    cleanup(() => {
      isOld = true;
      clearTimeout(timer);
    });
  });
  const all = () => [...(found.value?.errors ?? []), ...(found.value?.warnings ?? [])];
  const field = editor({
    text,
    label: name || "A configuration to try",
    findings: all,
    models: () => models.value.filter((model) => !model.peerID).map((model) => model.id),
  });
  return h(
    "div.edit",
    null,
    field.node,
    h(
      "div.page",
      null,
      buttons(() => !isStale.value && found.value?.ok === true && trouble.value === ""),
      h("p.fail", { role: "alert" }, () => trouble.value),
      h("div.page", { role: "status" }, () =>
        found.value ? verdict(found.value, field.show) : h("p.soft", null, "Checking…"),
      ),
    ),
  );
}

/** @param {Findings} found @param {(line: number) => void} show */
function verdict({ errors, warnings, changes }, show) {
  /** @param {any[]} list @param {string} kind */
  const findings = (list, kind) =>
    h(
      "ul.findings",
      { class: kind },
      list.map(({ line, path, message }) =>
        h(
          "li",
          null,
          line ? h("button.quiet", { type: "button", onclick: () => show(line) }, `line ${line}`) : null,
          path ? h("code", null, path) : null,
          h("span", null, message),
        ),
      ),
    );
  return [
    errors.length ? h("section", null, h("h2", null, several(errors.length, "error")), findings(errors, "fail")) : null,
    warnings.length
      ? h("section", null, h("h2", null, several(warnings.length, "warning")), findings(warnings, "wait"))
      : null,
    !errors.length && !warnings.length ? h("p", null, h("span.dot.ready"), "Nothing is wrong with it.") : null,
    changes ? h("section", null, h("h2", null, "What a reload would change"), effects(changes)) : null,
  ];
}

/** @param {any} changes */
function effects({ models: changed, settings, after_restart: later }) {
  const runsNow = (/** @type {string} */ name) => runs.value.has(name);
  const replaced = changed.replaced.filter(runsNow);
  const quiet = changed.replaced.filter((/** @type {string} */ name) => !runsNow(name));
  /** @type {[string, string[]][]} */
  const lines = [
    ["Start again, when their requests have ended", replaced],
    ["Changed, and do not run now", quiet],
    ["Get other settings, without a restart", changed.updated],
    ["New", changed.added],
    ["Gone", changed.removed],
    ["Other settings", settings.filter((/** @type {string} */ key) => !later.includes(key))],
    ["Count only after a restart of llamaswap", later],
  ];
  const shown = lines.filter(([, names]) => names.length);
  if (!shown.length) return h("p", null, "Nothing.");
  return h(
    "dl.facts",
    null,
    shown.map(([words, names]) => [
      h("dt", null, words),
      h(
        "dd",
        null,
        names.map((name) => h("bdi.tag", null, name)),
      ),
    ]),
  );
}
