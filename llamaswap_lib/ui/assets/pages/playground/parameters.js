/** Sampling parameters: empty ones are left to the model's server. */

import { computed, h, signal } from "../../view.js";
import { area, line, numberOf, objectOf } from "./fields.js";

export class ParameterFields {
  constructor() {
    this.temperature = signal("");
    this.top_p = signal("");
    this.max_tokens = signal("");
    this.seed = signal("");
    this.more = signal("");
  }

  /** Raises Error that says what is wrong. @returns {import("./dialects.js").Parameters} */
  read() {
    const { temperature, top_p, max_tokens, seed } = this;
    return {
      temperature: numberOf(temperature.now),
      top_p: numberOf(top_p.now),
      max_tokens: numberOf(max_tokens.now),
      seed: numberOf(seed.now),
      more: objectOf(this.more.now),
    };
  }

  view() {
    const trouble = computed(() => {
      try {
        return objectOf(this.more.value) && "";
      } catch (error) {
        return /** @type {Error} */ (error).message;
      }
    });
    /** @param {string} step @param {string} [max] */
    const number = (step, max = "") => ({
      type: "number",
      min: "0",
      step,
      max: max || null,
      inputmode: "decimal",
      placeholder: "model's default",
    });
    return h(
      "div.fields",
      null,
      line("Temperature", this.temperature, number("0.1", "5")),
      line("Top p", this.top_p, number("0.05", "1")),
      line("Max tokens", this.max_tokens, number("1")),
      line("Seed", this.seed, number("1")),
      h(
        "div.wide",
        null,
        area("More, as JSON", this.more, { rows: 2, spellcheck: "false", placeholder: '{"top_k": 40}', class: "mono" }),
        h("p.fail", { role: "status" }, () => trouble.value),
      ),
    );
  }
}
