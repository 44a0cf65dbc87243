// What every JavaScript of this folder begins with; see tried.py.
export const url = process.env.LLAMASWAP_URL;
export const openai = `${url}/v1`;
export const hello = [{ role: "user", content: "hello there" }];
export const small = "this is small";
export const large = "this is large";
export const weather = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };

export async function tried(what, work) {
  try {
    await work();
    console.log(`ok ${what}`);
  } catch (error) {
    console.error(error);
    console.log(`failed ${what}: ${String(error).split("\n")[0].slice(0, 300)}`);
  }
}

export function holds(text, expected) {
  if (!String(text).includes(expected)) throw new Error(`no ${expected} in ${text}`);
}
