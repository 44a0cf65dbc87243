/** Answers that come in pieces; in pages and in workers. */

/** The text of a body, in pieces as they come. @param {Response} response @returns {AsyncGenerator<string>} */
export async function* pieces(response) {
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      if (value) yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/**
 * The events of an event stream (text/event-stream): what stands in `data`, and in `event`.
 * @param {Response} response @returns {AsyncGenerator<{ event: string, data: string }>}
 */
export async function* events(response) {
  let rest = "";
  let event = "message";
  /** @type {string[]} */
  let data = [];
  for await (const piece of pieces(response)) {
    const lines = (rest + piece).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line === "") {
        if (data.length) yield { event, data: data.join("\n") };
        event = "message";
        data = [];
      } else if (line.startsWith("data:")) data.push(line.slice(line[5] === " " ? 6 : 5));
      else if (line.startsWith("event:")) event = line.slice(6).trim();
    }
  }
  if (rest.startsWith("data:")) data.push(rest.slice(5).trim());
  if (data.length) yield { event, data: data.join("\n") }; // a stream that ends without an empty line
}
