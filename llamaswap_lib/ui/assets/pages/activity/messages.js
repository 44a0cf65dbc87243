/**
 * What was said in a request and in its answer, as messages: pure. Shapes of OpenAI (chat/completions, completions,
 * responses), Anthropic (messages) and llama.cpp (completion) become one: `{role, content, reasoning?, tool_calls?}`,
 * content a text or parts as OpenAI's chat has them.
 */

/** @typedef {{ role: string, content: string | any[], reasoning?: string, tool_calls?: any[] }} Message */

/** The messages of a request's body, or none where it has none. @param {any} body @returns {Message[]} */
export function messagesOfRequest(body) {
  if (!isObject(body)) return [];
  /** @type {Message[]} */
  const found = [];
  const system = body.system ?? body.instructions;
  if (system) found.push({ role: "system", content: contentOf(system) });
  if (Array.isArray(body.messages)) found.push(...body.messages.flatMap(messagesOf));
  else if (typeof body.prompt === "string") found.push({ role: "user", content: body.prompt });
  else if (Array.isArray(body.prompt) && body.prompt.every((/** @type {any} */ each) => typeof each === "string"))
    found.push(...body.prompt.map((/** @type {string} */ content) => ({ role: "user", content })));
  else if (typeof body.input === "string" && "model" in body && !body.encoding_format)
    found.push({ role: "user", content: body.input });
  else if (Array.isArray(body.input) && body.input.some(isObject)) found.push(...body.input.flatMap(messagesOf));
  return found;
}

/** The messages of an answer that came whole. @param {any} body @returns {Message[]} */
export function messagesOfAnswer(body) {
  if (!isObject(body)) return [];
  if (Array.isArray(body.choices)) {
    return body.choices.flatMap((choice) =>
      isObject(choice?.message)
        ? messagesOf(choice.message)
        : typeof choice?.text === "string"
          ? [{ role: "assistant", content: choice.text }]
          : [],
    );
  }
  if (Array.isArray(body.output)) return joined(body.output.flatMap(messagesOf));
  if (Array.isArray(body.content) && body.type === "message") return messagesOf(body);
  if (typeof body.content === "string") return [{ role: "assistant", content: body.content }];
  return [];
}

/** The items of an answer of responses are one message. @param {Message[]} messages @returns {Message[]} */
function joined(messages) {
  const [first] = messages;
  if (!first) return [];
  const reasoning = messages.map((message) => message.reasoning ?? "").join("");
  const calls = messages.flatMap((message) => message.tool_calls ?? []);
  const content = messages.flatMap(({ content }) => (typeof content === "string" ? asParts(content) : content));
  return [
    {
      role: "assistant",
      content,
      ...(reasoning ? { reasoning } : {}),
      ...(calls.length ? { tool_calls: calls } : {}),
    },
  ];
}

/** One message, or an item of responses; results of tools within a message of Anthropic's become messages. @param {any} item @returns {Message[]} */
function messagesOf(item) {
  if (!isObject(item)) return [];
  if (item.type === "function_call")
    return [{ role: "assistant", content: "", tool_calls: [call(item.call_id ?? item.id, item.name, item.arguments)] }];
  if (item.type === "function_call_output") return [{ role: "tool", content: contentOf(item.output) }];
  if (item.type === "reasoning")
    return [{ role: "assistant", content: "", reasoning: textOf(item.content) || textOf(item.summary) }];
  const blocks = Array.isArray(item.content) ? item.content.filter(isObject) : [];
  const thoughts = blocks.filter((block) => block.type === "thinking").map((block) => String(block.thinking ?? ""));
  const reasoning = String(item.reasoning_content ?? item.reasoning ?? thoughts.join("\n\n"));
  const uses = blocks
    .filter((block) => block.type === "tool_use")
    .map((block) => call(block.id, block.name, block.input));
  const calls = Array.isArray(item.tool_calls) ? item.tool_calls.filter(isObject) : uses;
  const results = blocks.filter((block) => block.type === "tool_result");
  const content = contentOf(item.content);
  const message = {
    role: typeof item.role === "string" ? item.role : "user",
    content,
    ...(reasoning ? { reasoning } : {}),
    ...(calls.length ? { tool_calls: calls } : {}),
  };
  const told = results.map((block) => ({ role: "tool", content: contentOf(block.content) }));
  return content.length || reasoning || calls.length || !told.length ? [...told, message] : told;
}

/** @param {unknown} id @param {unknown} name @param {unknown} given its arguments, as a text or as JSON */
function call(id, name, given) {
  const text = typeof given === "string" ? given : JSON.stringify(given ?? {});
  return { id: String(id ?? ""), type: "function", function: { name: String(name ?? ""), arguments: text } };
}

/** @param {unknown} content @returns {string | any[]} */
function contentOf(content) {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return content === null || content === undefined ? "" : JSON.stringify(content);
  const parts = content.flatMap(partOf);
  return parts.every((part) => part.type === "text") ? parts.map((part) => part.text).join("\n\n") : parts;
}

/** @param {any} part @returns {any[]} */
function partOf(part) {
  if (typeof part === "string") return [{ type: "text", text: part }];
  if (!isObject(part)) return [];
  if (typeof part.text === "string") return [{ type: "text", text: part.text }];
  if (typeof part.refusal === "string") return [{ type: "text", text: part.refusal }];
  if (part.type === "image_url")
    return [{ type: "image_url", image_url: { url: String(part.image_url?.url ?? part.image_url ?? "") } }];
  if (part.type === "input_image") return [{ type: "image_url", image_url: { url: String(part.image_url ?? "") } }];
  if (part.type === "image" && isObject(part.source)) {
    const { type, media_type, data, url } = part.source;
    return [
      {
        type: "image_url",
        image_url: { url: type === "base64" ? `data:${media_type};base64,${data}` : String(url ?? "") },
      },
    ];
  }
  if (["thinking", "redacted_thinking", "tool_use", "tool_result"].includes(part.type)) return [];
  return [{ type: "text", text: `[${String(part.type ?? "part")}]` }];
}

/** @param {unknown} content */
function textOf(content) {
  const found = contentOf(content);
  return typeof found === "string" ? found : found.map((part) => part.text ?? "").join("\n\n");
}

/** @param {string} text */
const asParts = (text) => (text ? [{ type: "text", text }] : []);

/** @param {unknown} value @returns {value is Record<string, any>} */
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
