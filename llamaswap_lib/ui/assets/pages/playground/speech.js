/** Speech: a text is read aloud. */

import { ask, request } from "../../api.js";
import { bytes } from "../../format.js";
import { setQuery } from "../../router.js";
import { h, signal } from "../../view.js";
import { modelOf } from "../../parts/fitting.js";
import { attempt } from "../../parts/notices.js";
import { area, choice, line, numberOf, objectOf } from "./fields.js";
import { buttons, formEvents, Job, outcome } from "./job.js";
import { followAddress, picker } from "./picker.js";

const model = signal("");
const text = signal("");
const voice = signal("");
const format = signal("mp3");
const pace = signal("");
const more = signal("");
const voices = signal(/** @type {string[] | null} */ (null));
/** @type {Job<{ address: string, size: number, name: string }>} */
const job = new Job();

export const isBusy = () => job.isRunning.value;

/** @param {AbortSignal} signal */
async function speak(signal) {
  const json = {
    model: model.now,
    input: text.now,
    ...(voice.now ? { voice: voice.now } : {}),
    response_format: format.now,
    ...(numberOf(pace.now) === undefined ? {} : { speed: numberOf(pace.now) }),
    ...objectOf(more.now),
  };
  const response = await request("v1/audio/speech", { json, signal });
  const sound = await response.blob();
  if (job.result.now) URL.revokeObjectURL(job.result.now.address);
  return { address: URL.createObjectURL(sound), size: sound.size, name: `speech.${format.now}` };
}

const run = () => void job.run(speak);

/** Names of voices, in whichever form a server lists them. */
async function readVoices() {
  await attempt(async () => {
    const told = await ask("v1/audio/voices", { query: { model: model.now } });
    const rows = Array.isArray(told) ? told : (told.voices ?? told.data ?? []);
    voices.value = rows
      .map((/** @type {any} */ row) => String(row?.id ?? row?.voice_id ?? row?.name ?? row))
      .slice(0, 500);
  }, "Asking for voices");
}

/** @param {import("../../view.js").Signal<import("../../router.js").Place>} place */
export function show(place) {
  followAddress(model, "audio_speech", place);
  return h(
    "div.form-and-outcome",
    null,
    h(
      "form.form",
      formEvents(job, run),
      picker(model, "audio_speech", { onchoose: (name) => ((voices.value = null), setQuery({ model: name })) }),
      area("Text to read", text, { rows: 4, required: true }),
      h(
        "div.fields",
        null,
        line("Voice", voice, { list: "voices", placeholder: "model's default" }),
        choice("Format", format, ["mp3", "wav", "opus", "flac", "aac"]),
        line("Speed", pace, { type: "number", min: "0.25", max: "4", step: "0.05", placeholder: "1" }),
        h("div.wide", null, area("More, as JSON", more, { rows: 2, spellcheck: "false", class: "mono" })),
      ),
      h("datalist", { id: "voices" }, () => (voices.value ?? []).map((value) => h("option", { value }))),
      h(
        "div.row",
        null,
        h(
          "button.small",
          { type: "button", disabled: () => !model.value, onclick: () => void readVoices() },
          "List the voices",
        ),
        h("span.soft", null, () =>
          voices.value
            ? `${voices.value.length || "no"} voices`
            : modelOf(model.value)?.state === "ready"
              ? ""
              : "This loads the model.",
        ),
      ),
      buttons(job, "Read aloud"),
    ),
    outcome(
      job,
      () => model.value,
      ({ address, size, name }) => [
        h("audio", { controls: true, src: address, "aria-label": "What was read" }),
        h("p", null, h("a", { href: address, download: name }, "Save"), h("span.soft", null, ` ${bytes(size)}`)),
      ],
    ),
  );
}
