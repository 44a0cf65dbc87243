/**
 * An event stream put together again, as the answer that it would have been without streaming. Pure. It knows the shapes of
 * OpenAI (chat/completions, completions, responses), Anthropic (messages) and llama.cpp (completion); what is in none of
 * them is counted, not lost: it can be seen in the raw text.
 */

/**
 * @typedef {{ role: string, content: string, reasoning?: string, tool_calls?: any[] }} Message
 * @typedef {{ messages: Message[], events: number, finish: string, usage: any, timings: any, errors: string[] }} Assembled
 */

/** The events of a text. @param {string} text @returns {Generator<{ event: string, data: string }>} */
export function* eventsOf(text) {
  let event = "";
  /** @type {string[]} */
  let data = [];
  for (const match of text.matchAll(/([^\r\n]*)(\r\n|\n|\r|$)/g)) {
    const line = match[1] ?? "";
    if (line === "") {
      if (data.length) yield { event, data: data.join("\n") };
      event = "";
      data = [];
    } else if (line.startsWith("data:")) data.push(line.slice(line[5] === " " ? 6 : 5));
    else if (line.startsWith("event:")) event = line.slice(6).trim();
  }
}

/** Whether a text is such a stream, whatever its content type says. @param {string} text */
export const isStream = (text) => /^(?:\ufeff)?(?:data|event|id|retry)?:/.test(text.slice(0, 200).trimStart());

/** @param {string} text @returns {Assembled} */
export function assemble(text) {
  const answer = new Answer();
  for (const { event, data } of eventsOf(text)) {
    if (data.trim() === "[DONE]") continue;
    answer.events += 1;
    try {
      answer.take(event, JSON.parse(data));
    } catch {
      answer.errors.push(`an event is no JSON: ${data.slice(0, 200)}`);
    }
  }
  return answer.whole();
}

/** One answer while it is put together: texts are kept in pieces and joined at the end. */
class Answer {
  constructor() {
    this.events = 0;
    this.finish = "";
    /** @type {any} */
    this.usage = null;
    /** @type {any} */
    this.timings = null;
    /** @type {string[]} */
    this.errors = [];
    /** @type {Map<string, Choice>} by the number of the choice, or of the output item */
    this.choices = new Map();
  }

  /** @param {unknown} name @returns {Choice} */
  choice(name) {
    const found = this.choices.get(String(name)) ?? new Choice();
    this.choices.set(String(name), found);
    return found;
  }

  /** @param {string} event @param {any} data */
  take(event, data) {
    if (!isObject(data)) return;
    const type = typeof data.type === "string" ? data.type : event;
    const error = data.error ?? (type === "error" ? data : null);
    if (error) this.errors.push(String(error.message ?? JSON.stringify(error)).slice(0, 2000));
    if (isObject(data.usage)) this.usage = { ...this.usage, ...data.usage };
    if (isObject(data.timings)) this.timings = data.timings;
    if (Array.isArray(data.choices)) data.choices.forEach((/** @type {any} */ each) => this.takeChoice(each));
    else if (type.startsWith("response.")) this.takeResponse(type, data);
    else if (/^(?:message|content_block)_/.test(type)) this.takeMessage(type, data);
    else if (typeof data.content === "string") this.takeNative(data);
  }

  /** chat/completions and completions. @param {any} each */
  takeChoice(each) {
    if (!isObject(each)) return;
    const choice = this.choice(each.index ?? 0);
    const delta = isObject(each.delta) ? each.delta : isObject(each.message) ? each.message : {};
    if (typeof delta.role === "string") choice.role = delta.role;
    choice.say(typeof each.text === "string" ? each.text : delta.content);
    choice.think(delta.reasoning_content ?? delta.reasoning);
    if (typeof delta.refusal === "string") choice.say(delta.refusal);
    for (const call of Array.isArray(delta.tool_calls) ? delta.tool_calls : []) {
      if (isObject(call))
        choice.call(call.index ?? call.id ?? 0, call.id, call.function?.name, call.function?.arguments);
    }
    if (each.finish_reason) this.finish = String(each.finish_reason);
  }

  /** responses: each item of the output is a message of its own. @param {string} type @param {any} data */
  takeResponse(type, data) {
    const choice = this.choice("response");
    if (type === "response.output_text.delta" || type === "response.refusal.delta") choice.say(data.delta);
    else if (/^response\.reasoning(?:_summary)?(?:_text)?\.delta$/.test(type)) choice.think(data.delta);
    else if (type === "response.output_item.added" && data.item?.type === "function_call")
      choice.call(data.output_index, data.item.call_id ?? data.item.id, data.item.name, data.item.arguments);
    else if (type === "response.function_call_arguments.delta") choice.call(data.output_index, "", "", data.delta);
    else if (isObject(data.response)) {
      if (isObject(data.response.usage)) this.usage = data.response.usage;
      if (data.response.error) this.errors.push(String(data.response.error.message ?? "failed"));
      if (/^response\.(?:completed|incomplete|failed)$/.test(type)) this.finish = type.slice("response.".length);
    }
  }

  /** Anthropic's messages: blocks of text, of thoughts and of tools. @param {string} type @param {any} data */
  takeMessage(type, data) {
    const choice = this.choice("message");
    if (type === "message_start" && isObject(data.message)) {
      choice.role = String(data.message.role ?? "assistant");
      if (isObject(data.message.usage)) this.usage = { ...this.usage, ...data.message.usage };
    } else if (type === "content_block_start" && isObject(data.content_block)) {
      const block = data.content_block;
      if (block.type === "tool_use" || block.type === "server_tool_use")
        choice.call(data.index, block.id, block.name, "");
      else if (choice.text.length && block.type === "text") choice.say("\n\n");
      choice.say(block.text);
      choice.think(block.thinking);
    } else if (type === "content_block_delta" && isObject(data.delta)) {
      choice.say(data.delta.text);
      choice.think(data.delta.thinking);
      if (typeof data.delta.partial_json === "string") choice.call(data.index, "", "", data.delta.partial_json);
    } else if (type === "message_delta" && data.delta?.stop_reason) this.finish = String(data.delta.stop_reason);
  }

  /** llama.cpp's completion. @param {any} data */
  takeNative(data) {
    this.choice(data.index ?? 0).say(data.content);
    if (data.stop === true) this.finish = String(data.stop_type ?? "stop");
  }

  /** @returns {Assembled} */
  whole() {
    const { events, finish, usage, timings, errors } = this;
    const messages = [...this.choices.values()].map((choice) => choice.message());
    return { messages, events, finish, usage, timings, errors: [...new Set(errors)].slice(0, 20) };
  }
}

class Choice {
  constructor() {
    this.role = "assistant";
    /** @type {string[]} */
    this.text = [];
    /** @type {string[]} */
    this.thoughts = [];
    /** @type {Map<string, { id: string, name: string, pieces: string[] }>} */
    this.calls = new Map();
  }

  /** @param {unknown} piece */
  say(piece) {
    if (typeof piece === "string" && piece) this.text.push(piece);
  }

  /** @param {unknown} piece */
  think(piece) {
    if (typeof piece === "string" && piece) this.thoughts.push(piece);
  }

  /** A part of a call of a tool. @param {unknown} place @param {unknown} id @param {unknown} name @param {unknown} piece of its arguments */
  call(place, id, name, piece) {
    const call = this.calls.get(String(place)) ?? { id: "", name: "", pieces: [] };
    if (typeof id === "string" && id) call.id = id;
    if (typeof name === "string" && name) call.name = name;
    if (typeof piece === "string") call.pieces.push(piece);
    this.calls.set(String(place), call);
  }

  /** @returns {Message} */
  message() {
    /** @type {Message} */
    const message = { role: this.role, content: this.text.join("") };
    if (this.thoughts.length) message.reasoning = this.thoughts.join("");
    if (this.calls.size) {
      message.tool_calls = [...this.calls.values()].map(({ id, name, pieces }) => ({
        id,
        type: "function",
        function: { name, arguments: pieces.join("") },
      }));
    }
    return message;
  }
}

/** @param {unknown} value @returns {value is Record<string, any>} */
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
