/** Transcription: what is said in a file, or into the microphone, becomes text. */

import { request } from "../../api.js";
import { bytes, duration } from "../../format.js";
import { now } from "../../parts/clock.js";
import { copy } from "../../parts/actions.js";
import { notify } from "../../parts/notices.js";
import { setQuery } from "../../router.js";
import { cleanup, h, signal } from "../../view.js";
import { choice, line, numberOf } from "./fields.js";
import { buttons, formEvents, Job, outcome } from "./job.js";
import { followAddress, picker } from "./picker.js";

const model = signal("");
const task = signal("transcriptions");
const language = signal("");
const prompt = signal("");
const temperature = signal("");
const sound = signal(/** @type {File | null} */ (null));
const recording = signal(/** @type {{ recorder: MediaRecorder, began: number } | null} */ (null));
/** @type {Job<string>} */
const job = new Job();

export const isBusy = () => job.isRunning.value || recording.value !== null;

/** @param {AbortSignal} signal */
async function transcribe(signal) {
  if (!sound.now) throw new Error("Choose a file or record something first.");
  const body = new FormData();
  body.append("model", model.now);
  body.append("file", sound.now, sound.now.name);
  body.append("response_format", "json");
  if (language.now) body.append("language", language.now);
  if (prompt.now) body.append("prompt", prompt.now);
  if (numberOf(temperature.now) !== undefined) body.append("temperature", temperature.now);
  const response = await request(`v1/audio/${task.now}`, { method: "POST", body, signal });
  const told = await response.text();
  try {
    return String(JSON.parse(told).text ?? told);
  } catch {
    return told;
  }
}

const run = () => void job.run(transcribe);

/** Why the microphone cannot be used, or "". */
function obstacle() {
  if (!window.isSecureContext) return "A browser gives the microphone only to pages of HTTPS or of localhost.";
  if (!navigator.mediaDevices || !("MediaRecorder" in window)) return "This browser cannot record.";
  return "";
}

let isAsking = false;

async function record() {
  if (isAsking || recording.now) return; // a second one would never be let go
  let stream;
  isAsking = true;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  } catch (error) {
    const isRefused = error instanceof DOMException && error.name === "NotAllowedError";
    notify(
      isRefused
        ? "The browser was told not to give the microphone to this page"
        : `No microphone: ${/** @type {Error} */ (error).message}`,
      "fail",
    );
    return;
  } finally {
    isAsking = false;
  }
  const recorder = new MediaRecorder(stream);
  /** @type {Blob[]} */
  const pieces = [];
  recorder.ondataavailable = ({ data }) => pieces.push(data);
  recorder.onstop = () => {
    for (const track of stream.getTracks()) track.stop();
    const type = recorder.mimeType || "audio/webm";
    const ending = /mp4/.test(type) ? "m4a" : /ogg/.test(type) ? "ogg" : "webm";
    sound.value = new File(pieces, `recording.${ending}`, { type });
    recording.value = null;
  };
  recorder.start();
  recording.value = { recorder, began: Date.now() };
}

function microphone() {
  const reason = obstacle();
  return h(
    "div.row",
    null,
    h(
      "button",
      {
        type: "button",
        disabled: Boolean(reason),
        hidden: () => recording.value !== null,
        onclick: () => void record(),
      },
      "Record",
    ),
    h(
      "button",
      { type: "button", hidden: () => recording.value === null, onclick: () => recording.now?.recorder.stop() },
      "Stop recording",
    ),
    h("span.soft", { role: "status" }, () => {
      if (reason) return reason;
      return recording.value ? `Recording for ${duration(Math.max(0, now.value - recording.value.began))}` : "";
    }),
  );
}

/** @param {import("../../view.js").Signal<import("../../router.js").Place>} place */
export function show(place) {
  followAddress(model, "audio_transcriptions", place);
  const file = /** @type {HTMLInputElement} */ (
    h("input", {
      type: "file",
      accept: "audio/*,video/*",
      "aria-label": "Sound",
      onchange: () => (sound.value = file.files?.[0] ?? sound.now),
    })
  );
  return h(
    "div.form-and-outcome",
    null,
    h(
      "form.form",
      formEvents(job, run),
      picker(model, "audio_transcriptions", { onchoose: (name) => setQuery({ model: name }) }),
      h("div.row", null, file, h("span.soft", null, "or"), microphone()),
      () => (sound.value ? heard(sound.value) : null),
      h(
        "div.fields",
        null,
        choice("Task", task, ["transcriptions", "translations"], (name) =>
          name === "translations" ? "translate into English" : "transcribe",
        ),
        line("Language", language, { placeholder: "detected", title: "As a code: de, en, fr" }),
        line("Temperature", temperature, {
          type: "number",
          min: "0",
          max: "1",
          step: "0.1",
          placeholder: "model's default",
        }),
        h("div.wide", null, line("Prompt", prompt, { placeholder: "Names and words that are likely" })),
      ),
      buttons(job, "Transcribe"),
    ),
    outcome(
      job,
      () => model.value,
      (text) => [
        h("div.continuation", { dir: "auto" }, text.slice(0, 500_000)),
        h("div.row", null, h("button.small", { type: "button", onclick: () => void copy(text, "The text") }, "Copy")),
      ],
    ),
  );
}

/** @param {File} file */
function heard(file) {
  const address = URL.createObjectURL(file);
  cleanup(() => URL.revokeObjectURL(address));
  return h(
    "p.row",
    null,
    h("audio", { controls: true, src: address, "aria-label": "What is written down" }),
    h("span.soft", null, h("bdi", null, file.name), ` ${bytes(file.size)}`),
  );
}
