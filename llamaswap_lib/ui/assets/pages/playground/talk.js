/** A conversation: turns of what the user said, each with an answer of each model; what runs is kept while it comes. */

import { signal } from "../../view.js";
import { Answer } from "./answer.js";
import { splitThought } from "./dialects.js";
import { heads, readBody, save } from "./store.js";

/** @typedef {{ key: number, text: string, images: string[], answers: (Answer | null)[] }} Turn */

const SAVE_EVERY = 2000; // milliseconds, while an answer comes
const LONGEST_TITLE = 60;
let lastKey = 0;

export class Talk {
  /** @param {string} id */
  constructor(id) {
    this.id = id;
    this.turns = signal(/** @type {Turn[]} */ ([]));
    this.system = signal("");
    this.dialect = signal("chat/completions");
    /** The first model, and the one beside it or "". */
    this.models = [signal(""), signal("")];
    this.draft = signal("");
    this.pictures = signal(/** @type {string[]} */ ([]));
    this.isGone = false;
  }

  columns() {
    return this.models[1]?.value ? 2 : 1;
  }

  running() {
    return this.turns.value.flatMap((turn) => turn.answers).filter((answer) => answer?.isRunning());
  }

  stop() {
    for (const answer of this.running()) answer?.stop();
  }

  /** @param {string} text @param {string[]} images @param {import("./dialects.js").Parameters} options */
  send(text, images, options) {
    /** @type {Turn} */
    const turn = { key: (lastKey += 1), text, images, answers: [] };
    this.turns.value = [...this.turns.now, turn];
    for (let column = 0; column < this.columns(); column += 1) this.ask(turn, column, options);
  }

  /** Say something else in the place of a turn; what followed is dropped. @param {Turn} turn @param {string} text
   * @param {import("./dialects.js").Parameters} options */
  edit(turn, text, options) {
    const at = this.turns.now.indexOf(turn);
    if (at < 0) return;
    for (const gone of this.turns.now.slice(at)) for (const answer of gone.answers) answer?.stop();
    this.turns.value = this.turns.now.slice(0, at);
    this.send(text, turn.images, options);
  }

  /** Have a turn answered, once more where it was. @param {Turn} turn @param {number} column
   * @param {import("./dialects.js").Parameters} options */
  ask(turn, column, options) {
    turn.answers[column]?.stop();
    const answer = new Answer(this.models[column]?.now || (turn.answers[column]?.model ?? ""));
    turn.answers[column] = answer;
    const at = this.turns.now.indexOf(turn);
    const said = this.said(this.turns.now.slice(0, at + 1), column);
    this.turns.value = this.turns.now.map((each) => (each === turn ? turn : each));
    void this.keep();
    const keeping = setInterval(() => void this.keep(), SAVE_EVERY);
    void answer.run(this.dialect.now, this.system.now, said, options).finally(() => {
      clearInterval(keeping);
      void this.keep();
    });
  }

  /** What a model in this column has heard and said. @param {Turn[]} turns @param {number} column */
  said(turns, column) {
    /** @type {import("./dialects.js").Said[]} */
    const said = [];
    for (const turn of turns) {
      said.push({ role: "user", text: turn.text, images: turn.images });
      const answer = turn.answers[column] ?? turn.answers[0];
      const text = answer ? splitThought(answer.content.now, "").content : "";
      if (text && turn !== turns[turns.length - 1]) said.push({ role: "assistant", text });
    }
    return said;
  }

  title() {
    const known = heads.now.find(({ id }) => id === this.id)?.title;
    const words = (this.turns.now[0]?.text ?? "").trim().replace(/\s+/g, " ");
    return known || words.slice(0, LONGEST_TITLE) || "A conversation";
  }

  keep() {
    if (this.isGone || !this.turns.now.length) return Promise.resolve();
    const turns = this.turns.now.map(({ text, images, answers }) => ({
      text,
      images,
      answers: answers.map((answer) => answer?.saved() ?? null),
    }));
    const [system, dialect, models] = [this.system.now, this.dialect.now, this.models.map(({ now }) => now)];
    return save(
      { id: this.id, title: this.title(), updated: Date.now() },
      { id: this.id, system, dialect, models, turns },
    );
  }

  /** @param {import("./store.js").Body} body */
  restore(body) {
    this.system.value = body.system ?? "";
    this.dialect.value = body.dialect ?? "chat/completions";
    this.models.forEach((model, column) => (model.value = body.models?.[column] ?? ""));
    this.turns.value = body.turns.map(({ text, images, answers }) => ({
      key: (lastKey += 1),
      text,
      images,
      answers: answers.map((saved) => saved && new Answer(saved.model, saved)),
    }));
  }
}

/** All that were shown since the page was loaded: what runs in one goes on while another is shown. @type {Map<string, Talk>} */
const known = new Map();

/** The conversation that is shown. */
export const current = signal(begin());

/** An empty one, with the models and the system prompt of another. @param {Talk} [like] */
export function begin(like) {
  const made = new Talk(`${Date.now().toString(36)}${Math.random().toString(36).slice(2, 8)}`);
  if (like) {
    made.system.value = like.system.now;
    made.dialect.value = like.dialect.now;
    made.models.forEach((model, column) => (model.value = like.models[column]?.now ?? ""));
  }
  known.set(made.id, made);
  return made;
}

/** Show another one; false where it is not there. @param {string} id */
export async function openTalk(id) {
  let talk = known.get(id);
  if (!talk) {
    const body = await readBody(id);
    if (!body) return false;
    talk = new Talk(id);
    talk.restore(body);
    known.set(id, talk);
  }
  current.value = talk;
  return true;
}

/** @param {string} id */
export function dropTalk(id) {
  const talk = known.get(id);
  if (talk) talk.isGone = true; // what still comes is not kept any more
  talk?.stop();
  known.delete(id);
}

export const anyRuns = () => current.value.running().length > 0;
