/** Images: by OpenAI's route, or by that of Stable Diffusion's page (SDAPI), which has more to set. */

import { ask } from "../../api.js";
import { setQuery } from "../../router.js";
import { h, signal } from "../../view.js";
import { attempt } from "../../parts/notices.js";
import { area, choice, line, numberOf, objectOf } from "./fields.js";
import { buttons, formEvents, Job, outcome } from "./job.js";
import { followAddress, picker } from "./picker.js";

/** @typedef {{ address: string, isOwn: boolean }} Image `isOwn`: it came with the answer */

const model = signal("");
const route = signal("openai");
const field = {
  prompt: signal(""),
  negative: signal(""),
  size: signal("1024x1024"),
  n: signal("1"),
  seed: signal(""),
  steps: signal(""),
  cfg: signal(""),
  sampler: signal(""),
  scheduler: signal(""),
  more: signal(""),
};
const loras = signal(/** @type {string[] | null} */ (null));
/** @type {Job<{ images: Image[], prompt: string }>} */
const job = new Job();

export const isBusy = () => job.isRunning.value;

/** @param {AbortSignal} signal @returns {Promise<{ images: Image[], prompt: string }>} */
async function make(signal) {
  const prompt = field.prompt.now;
  const [width, height] = field.size.now.split(/[x×*]/).map(Number);
  const more = objectOf(field.more.now);
  /** @param {Record<string, any>} values */
  const given = (values) =>
    Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined && value !== ""));
  const [n, seed, steps] = [numberOf(field.n.now), numberOf(field.seed.now), numberOf(field.steps.now)];
  if (route.now === "openai") {
    const json = given({
      model: model.now,
      prompt,
      n,
      size: field.size.now,
      seed,
      steps,
      response_format: "b64_json",
      ...more,
    });
    const { data = [] } = await ask("v1/images/generations", { json, signal });
    return { prompt, images: data.map(ofOpenAi) };
  }
  const json = given({
    model: model.now,
    prompt,
    negative_prompt: field.negative.now,
    width,
    height,
    batch_size: n,
    seed,
    steps,
    cfg_scale: numberOf(field.cfg.now),
    sampler_name: field.sampler.now,
    scheduler: field.scheduler.now,
    ...more,
  });
  const { images = [] } = await ask("sdapi/v1/txt2img", { json, signal });
  return { prompt, images: images.map((/** @type {string} */ image) => own(image)) };
}

/** @param {any} row @returns {Image} */
function ofOpenAi(row) {
  if (typeof row.b64_json === "string") return own(row.b64_json);
  const address = String(row.url ?? "");
  return address.startsWith("data:image/") ? own(address) : { address, isOwn: false };
}

/** @param {string} data in base64 @returns {Image} */
function own(data) {
  if (data.startsWith("data:image/")) return { address: data, isOwn: true };
  const kind = data.startsWith("/9j/") ? "jpeg" : data.startsWith("UklGR") ? "webp" : "png";
  return { address: `data:image/${kind};base64,${data}`, isOwn: true };
}

const run = () => void job.run(make);

async function readLoras() {
  await attempt(async () => {
    const rows = await ask("sdapi/v1/loras", { query: { model: model.now } });
    loras.value = rows.map((/** @type {any} */ row) => String(row.name ?? row.alias ?? row.path ?? ""));
  }, "Asking for LoRAs");
}

/** @param {import("../../view.js").Signal<import("../../router.js").Place>} place */
export function show(place) {
  followAddress(model, "image_generation", place);
  const prompt = area("What is in the picture", field.prompt, { rows: 3, required: true });
  const box = /** @type {HTMLTextAreaElement} */ (prompt.querySelector("textarea"));
  const number = { type: "number", min: "0", placeholder: "model's default" };
  const ofSd = { hidden: () => route.value === "openai" };
  /** @param {string} name */
  const addLora = (name) => {
    box.value = field.prompt.value = `${field.prompt.now} <lora:${name}:1>`.trim();
  };
  return h(
    "div.form-and-outcome",
    null,
    h(
      "form.form",
      formEvents(job, run),
      picker(model, "image_generation", { onchoose: (name) => setQuery({ model: name }) }),
      choice("Route", route, ["openai", "sdapi"], (name) =>
        name === "openai" ? "OpenAI: /v1/images/generations" : "SDAPI: /sdapi/v1/txt2img",
      ),
      prompt,
      h("div", ofSd, area("What is not in it (negative prompt)", field.negative, { rows: 2 })),
      h(
        "div.fields",
        null,
        line("Size", field.size, { pattern: "\\d+[x×*]\\d+", title: "Width x height in pixels", list: "image-sizes" }),
        line("How many", field.n, { type: "number", min: "1", max: "16" }),
        line("Seed", field.seed, { type: "number", placeholder: "random" }),
        line("Steps", field.steps, number),
        h("div", ofSd, line("Guidance (cfg)", field.cfg, { ...number, step: "0.1" })),
        h("div", ofSd, line("Sampler", field.sampler, { placeholder: "model's default", list: "image-samplers" })),
        h("div", ofSd, line("Scheduler", field.scheduler, { placeholder: "model's default" })),
        h("div.wide", null, area("More, as JSON", field.more, { rows: 2, spellcheck: "false", class: "mono" })),
      ),
      suggestions("image-sizes", ["512x512", "768x768", "1024x1024", "1024x1536", "1536x1024"]),
      suggestions("image-samplers", ["euler", "euler_a", "heun", "dpm2", "dpm++2m", "dpm++2mv2", "lcm"]),
      h(
        "div.row",
        ofSd,
        h("button.small", { type: "button", onclick: () => void readLoras() }, "List LoRAs"),
        () =>
          loras.value?.map((name) =>
            h("button.small", { type: "button", onclick: () => addLora(name) }, h("bdi", null, name)),
          ),
        h("span.soft", { hidden: () => loras.value?.length !== 0 }, "It has none."),
      ),
      buttons(job, "Generate"),
    ),
    outcome(
      job,
      () => model.value,
      ({ images, prompt: words }) =>
        images.length
          ? h(
              "ul.gallery",
              null,
              images.map((image, index) => view(image, words, index)),
            )
          : h("p", null, "The answer has no picture."),
    ),
  );
}

/** @param {string} id @param {string[]} values */
const suggestions = (id, values) =>
  h(
    "datalist",
    { id },
    values.map((value) => h("option", { value })),
  );

/** @param {Image} image @param {string} words @param {number} index */
function view({ address, isOwn }, words, index) {
  if (!isOwn)
    return h("li", null, h("p", null, "The server says that it is at ", h("code", null, address.slice(0, 500))));
  const kind = address.slice("data:image/".length).split(";")[0];
  return h(
    "li",
    null,
    h("img", { src: address, alt: words.slice(0, 300) }),
    h("a", { href: address, download: `picture-${index + 1}.${kind}` }, "Save"),
  );
}
