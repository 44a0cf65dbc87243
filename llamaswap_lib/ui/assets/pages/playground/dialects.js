/** The three ways to chat with a model: what is sent, and what each event of the answer says. Pure. */

/**
 * @typedef {{ role: "user" | "assistant", text: string, images?: string[] }} Said
 * @typedef {{ temperature?: number, top_p?: number, max_tokens?: number, seed?: number, more?: Record<string, any> }} Parameters
 * @typedef {{ content?: string, reasoning?: string, calls?: any[], usage?: { input?: number, output?: number, cached?: number },
 *   timings?: any, finish?: string, error?: string }} News
 * @typedef {{ path: string, body: (model: string, system: string, said: Said[], options: Parameters) => any,
 *   event: (data: any, event: string) => News, whole: (data: any) => News }} Dialect
 */

const MOST_BY_DEFAULT = 4096; // tokens, where the API wants a number

/** @param {Parameters} options @param {string} most how the API calls the most tokens */
function common({ temperature, top_p, max_tokens, seed, more }, most) {
  /** @type {Record<string, any>} */
  const body = { temperature, top_p, seed, [most]: max_tokens };
  return { ...Object.fromEntries(Object.entries(body).filter(([, value]) => value !== undefined)), ...more };
}

/** @param {any} error */
const messageOf = (error) => (typeof error === "string" ? error : String(error?.message ?? JSON.stringify(error)));

/** @param {any} usage @returns {News["usage"]} */
function usageOf(usage) {
  if (!usage || typeof usage !== "object") return undefined;
  return {
    input: usage.prompt_tokens ?? usage.input_tokens,
    output: usage.completion_tokens ?? usage.output_tokens,
    cached:
      usage.prompt_tokens_details?.cached_tokens ??
      usage.input_tokens_details?.cached_tokens ??
      usage.cache_read_input_tokens,
  };
}

/** Anthropic's count of the prompt leaves out what came from the cache or went there. @param {any} usage */
function usageOfMessage(usage) {
  const told = usageOf(usage);
  if (told?.input !== undefined)
    told.input += (usage.cache_read_input_tokens ?? 0) + (usage.cache_creation_input_tokens ?? 0);
  return told;
}

/** @type {Dialect} */
const completions = {
  path: "v1/chat/completions",
  body: (model, system, said, options) => ({
    model,
    messages: [
      ...(system ? [{ role: "system", content: system }] : []),
      ...said.map(({ role, text, images }) => ({
        role,
        content: images?.length
          ? [{ type: "text", text }, ...images.map((url) => ({ type: "image_url", image_url: { url } }))]
          : text,
      })),
    ],
    stream: true,
    stream_options: { include_usage: true },
    ...common(options, "max_tokens"),
  }),
  event: (data) => (data.error ? { error: messageOf(data.error) } : ofChoice(data, data.choices?.[0]?.delta)),
  whole: (data) => ofChoice(data, data.choices?.[0]?.message),
};

/** @param {any} data @param {any} said @returns {News} */
function ofChoice(data, said) {
  return {
    content: typeof said?.content === "string" ? said.content : "",
    reasoning: said?.reasoning_content ?? said?.reasoning ?? "",
    calls: said?.tool_calls,
    finish: data.choices?.[0]?.finish_reason ?? undefined,
    usage: usageOf(data.usage),
    timings: data.timings,
  };
}

/** @type {Dialect} */
const messages = {
  path: "v1/messages",
  body: (model, system, said, options) => ({
    model,
    ...(system ? { system } : {}),
    messages: said.map(({ role, text, images }) => ({
      role,
      content: images?.length ? [...images.map(pictureOf), { type: "text", text }] : text,
    })),
    stream: true,
    ...common({ max_tokens: MOST_BY_DEFAULT, ...defined(options) }, "max_tokens"),
  }),
  event: (data) => {
    if (data.type === "error") return { error: messageOf(data.error) };
    if (data.type === "message_start") return { usage: usageOfMessage(data.message?.usage) };
    if (data.type === "message_delta")
      return { usage: usageOfMessage(data.usage), finish: data.delta?.stop_reason, timings: data.timings };
    if (data.type === "message_stop") return { timings: data.timings };
    const { content_block: block, delta, index } = data;
    if (block?.type === "tool_use") return { calls: [{ index, function: { name: block.name, arguments: "" } }] };
    if (delta?.type === "input_json_delta") return { calls: [{ index, function: { arguments: delta.partial_json } }] };
    return { content: delta?.text ?? "", reasoning: delta?.thinking ?? "" };
  },
  whole: (data) => {
    const parts = data.content ?? [];
    return {
      content: parts.map((/** @type {any} */ part) => part.text ?? "").join(""),
      reasoning: parts.map((/** @type {any} */ part) => part.thinking ?? "").join(""),
      usage: usageOfMessage(data.usage),
      finish: data.stop_reason,
      timings: data.timings,
    };
  },
};

/** @param {string} url a data: URL */
function pictureOf(url) {
  const [head = "", data = ""] = url.split(",", 2);
  return { type: "image", source: { type: "base64", media_type: head.slice(5).split(";")[0], data } };
}

/** @param {Parameters} options */
const defined = (options) => Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));

/** @type {Dialect} */
const responses = {
  path: "v1/responses",
  body: (model, system, said, options) => ({
    model,
    ...(system ? { instructions: system } : {}),
    input: said.map(({ role, text, images }) => ({
      role,
      content: [
        { type: role === "user" ? "input_text" : "output_text", text },
        ...(images ?? []).map((image_url) => ({ type: "input_image", image_url })),
      ],
    })),
    stream: true,
    ...common(options, "max_output_tokens"),
  }),
  event: (data) => {
    const type = String(data.type ?? "");
    if (type === "error" || type === "response.failed")
      return { error: messageOf(data.error ?? data.response?.error ?? data.message) };
    if (type === "response.output_text.delta") return { content: data.delta };
    if (/^response\.reasoning.*\.delta$/.test(type)) return { reasoning: data.delta };
    if (type === "response.output_item.added" && data.item?.type === "function_call") {
      return { calls: [{ index: data.output_index, function: { name: data.item.name, arguments: "" } }] };
    }
    if (type === "response.function_call_arguments.delta")
      return { calls: [{ index: data.output_index, function: { arguments: data.delta } }] };
    if (type === "response.completed" || type === "response.incomplete") {
      return {
        usage: usageOf(data.response?.usage),
        timings: data.timings ?? data.response?.timings,
        finish: data.response?.status,
      };
    }
    return {};
  },
  whole: (data) => ({
    content: (data.output ?? [])
      .flatMap((/** @type {any} */ item) => (item.type === "message" ? (item.content ?? []) : []))
      .map((/** @type {any} */ part) => part.text ?? "")
      .join(""),
    usage: usageOf(data.usage),
    timings: data.timings,
    finish: data.status,
  }),
};

/** @type {Dialect} */
const plain = {
  path: "v1/completions",
  body: (model, _system, said, options) => ({
    model,
    prompt: said[0]?.text ?? "",
    stream: true,
    stream_options: { include_usage: true },
    ...common(options, "max_tokens"),
  }),
  event: (data) => (data.error ? { error: messageOf(data.error) } : ofText(data)),
  whole: (data) => ofText(data),
};

/** @param {any} data @returns {News} */
const ofText = (data) => ({
  content: data.choices?.[0]?.text ?? data.content ?? "",
  finish: data.choices?.[0]?.finish_reason ?? undefined,
  usage: usageOf(data.usage),
  timings: data.timings,
});

/** By what one calls them. @type {Record<string, Dialect>} */
export const DIALECTS = { "chat/completions": completions, messages, responses, completions: plain };

/** Calls of tools come in pieces, each with the index of the call that it goes on. @param {any[]} calls @param {any[]} pieces */
export function addCalls(calls, pieces) {
  const next = calls.map((call) => ({ ...call, function: { ...call.function } }));
  for (const piece of pieces) {
    let call = next.find((each) => each.index === (piece.index ?? 0));
    if (!call) next.push((call = { index: piece.index ?? 0, id: piece.id, function: { name: "", arguments: "" } }));
    call.function.name += piece.function?.name ?? "";
    call.function.arguments += piece.function?.arguments ?? "";
  }
  return next;
}

const OPENING = /^\s*<think(?:ing)?>/;
const CLOSING = /<\/think(?:ing)?>/;
/** Where a template has begun the thoughts, so that the answer has only their end: on a line of its own. */
const CLOSING_ALONE = /(?:^|\n)<\/think(?:ing)?>[ \t]*\n/;

/** What is thought, and what is said, where a model writes its thoughts into what it says.
 * @param {string} content @param {string} reasoning */
export function splitThought(content, reasoning) {
  const opening = OPENING.exec(content.slice(0, 40));
  if (!opening && !content.includes("</think")) return { content, reasoning };
  const rest = opening ? content.slice(opening[0].length) : content;
  const closing = (opening ? CLOSING : CLOSING_ALONE).exec(rest);
  if (!closing) return opening ? { content: "", reasoning: reasoning + rest } : { content, reasoning };
  const thought = rest.slice(0, closing.index).trim();
  return { content: rest.slice(closing.index + closing[0].length).trimStart(), reasoning: reasoning + thought };
}
