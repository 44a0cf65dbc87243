/**
 * The rows that are listed: read in pages as they are scrolled to, and kept up to date. New rows stand in front of those
 * that were there when the list was made, so that none of them moves.
 */

import { ask, askByClock } from "../../api.js";
import { connection, on } from "../../live.js";
import { cleanup, effect, signal } from "../../view.js";
import { forServer, isNewestFirst } from "./query.js";

/** @typedef {Record<string, any> & { id: number }} Row as in `/api/metrics/activity` */

const PAGE = 100;
const MOST_PAGES = 60; // kept; the others are read again when they are seen
const MOST_AHEAD = 300; // new rows in front, before all is read anew
const PAUSE = 400; // milliseconds between two questions for new rows

export class Rows {
  constructor() {
    /** How many there are; null before that is known. */
    this.total = signal(/** @type {number | null} */ (null));
    /** How many came that are not shown yet. */
    this.news = signal(0);
    /** Why they cannot be read. */
    this.trouble = signal("");
    /** Changes when a row does. */
    this.version = signal(0);
    /** Whether new rows are shown as they come: where the newest stands at the top, and that is in view. */
    this.isLive = () => true;
    /** @type {Row[]} */
    this.ahead = [];
    /** @type {Map<number, Row[] | null>} null while a page is read */
    this.pages = new Map();
    /** @type {import("./query.js").Filter} */
    this.filter = {};
    this.order = { sort: "id", order: "desc" };
    this.newest = 0;
    this.stamp = ""; // when that row began
    this.listed = 0; // rows that were there when the list was made
    this.edition = 0;
    this.isAsking = false;
    this.isStale = false;
    /** @type {number | undefined} */
    this.timer = undefined;
    cleanup(on("activity", () => this.#askSoon()));
    effect(() => {
      if (connection.value === "open") void this.#lookAgain(); // what came while it was lost was not told
    });
    cleanup(() => clearTimeout(this.timer));
    cleanup(() => (this.edition += 1));
  }

  /** Make the list. @param {import("./query.js").Filter} filter @param {import("./query.js").Order} order */
  async load(filter, order) {
    this.filter = filter;
    this.order = order;
    await this.reload();
  }

  /** Make it anew; what is shown stays until the answer is here. */
  async reload() {
    const edition = (this.edition += 1);
    try {
      const { data } = await askByClock("api/metrics/activity", { query: { limit: 1 } }); // first: spans go by the clock
      const first = await ask("api/metrics/activity", { query: this.#query(0, data[0]?.id ?? 0) });
      if (edition !== this.edition) return;
      this.#begin(first, data);
    } catch (error) {
      if (edition !== this.edition) return;
      this.trouble.value = /** @type {Error} */ (error).message;
      this.total.value ??= 0;
    }
  }

  /** @param {{ data: Row[], total: number }} first @param {Row[]} newest the newest of all */
  #begin(first, newest) {
    this.edition += 1; // an answer on its way says what is new beside the list before
    this.#note([...newest, ...first.data]); // where there was none, some may have come
    this.pages = new Map([[0, first.data]]);
    this.ahead = [];
    this.listed = first.total;
    this.total.value = first.total;
    this.news.value = 0;
    this.trouble.value = "";
    this.version.value += 1;
    this.#askSoon(); // what has come meanwhile is not in it
  }

  /** @param {Row[]} rows */
  #note(rows) {
    [this.newest, this.stamp] = [0, ""];
    for (const { id, timestamp } of rows) if (id > this.newest) [this.newest, this.stamp] = [id, timestamp];
  }

  /** The newest row is another one now, or is gone, where the server was started anew or all was deleted elsewhere. */
  async #lookAgain() {
    if (this.total.now === null) return;
    const { edition, newest, stamp } = this;
    const query = { min_id: newest, max_id: newest, limit: 1 };
    const { data } = newest ? await ask("api/metrics/activity", { query }).catch(() => ({ data: [] })) : { data: [] };
    if (edition !== this.edition) return;
    if (this.trouble.now || (data[0]?.timestamp ?? "") !== stamp) await this.reload();
    else this.#askSoon();
  }

  /** A row, or null while it is read. @param {number} index */
  at(index) {
    const place = index - this.ahead.length;
    if (place < 0) return this.ahead[index] ?? null;
    return this.pages.get(Math.floor(place / PAGE))?.[place % PAGE] ?? null;
  }

  /** Where a row stands, or -1 where that is not known. @param {number} id */
  indexOf(id) {
    const ahead = this.ahead.findIndex((row) => row.id === id);
    if (ahead >= 0) return ahead;
    for (const [page, rows] of this.pages) {
      const place = rows?.findIndex((row) => row.id === id) ?? -1;
      if (place >= 0) return this.ahead.length + page * PAGE + place;
    }
    return -1;
  }

  /** These rows are seen: read those that are not here. @param {number} from @param {number} to */
  want(from, to) {
    const first = Math.max(0, Math.floor((from - this.ahead.length) / PAGE));
    const last = Math.floor((to - 1 - this.ahead.length) / PAGE);
    for (let page = first; page <= last; page++) {
      if (!this.pages.has(page) && page * PAGE < this.listed) void this.#read(page);
    }
  }

  /** @param {number} page */
  async #read(page) {
    const { edition } = this;
    this.pages.set(page, null);
    try {
      const answer = await ask("api/metrics/activity", { query: this.#query(page) });
      if (edition !== this.edition) return;
      this.pages.set(page, answer.data);
      this.#forgetFarFrom(page);
      this.listed = answer.total; // the oldest may have gone
      this.total.value = this.ahead.length + answer.total;
      this.version.value += 1;
    } catch (error) {
      if (edition !== this.edition) return;
      this.trouble.value = /** @type {Error} */ (error).message;
      setTimeout(() => edition === this.edition && this.pages.delete(page), 2000);
    }
  }

  /** What a page is asked for with: no row that is newer than the list. @param {number} page @param {number} [newest] */
  #query(page, newest = this.newest) {
    const most = Number(this.filter.max_id?.[0] ?? Infinity);
    const max_id = newest ? Math.min(newest, most) : this.filter.max_id;
    return { ...forServer(this.filter), ...this.order, max_id, page: page + 1, limit: PAGE };
  }

  /** @param {number} page */
  #forgetFarFrom(page) {
    if (this.pages.size <= MOST_PAGES) return;
    const farthest = [...this.pages.keys()].sort((one, other) => Math.abs(other - page) - Math.abs(one - page))[0];
    if (farthest !== undefined) this.pages.delete(farthest);
  }

  #askSoon() {
    this.isStale = true;
    if (this.timer === undefined && !this.isAsking) this.timer = setTimeout(() => this.#askForNew(), 60);
  }

  async #askForNew() {
    this.timer = undefined;
    if (this.total.value === null) return;
    this.isStale = false;
    this.isAsking = true;
    const { edition } = this;
    try {
      const min_id = Math.max(this.newest + 1, Number(this.filter.min_id?.[0] ?? 0));
      const most = Number(this.filter.max_id?.[0] ?? Infinity);
      if (min_id > most) return;
      const answer = await ask("api/metrics/activity", { query: { ...forServer(this.filter), min_id, limit: PAGE } });
      if (edition === this.edition) this.#take(answer);
    } catch {
      // the next event asks again
    } finally {
      this.isAsking = false;
      this.timer = setTimeout(() => {
        this.timer = undefined;
        if (this.isStale) this.#askSoon();
      }, PAUSE);
    }
  }

  /** @param {{ data: Row[], total: number }} answer */
  #take(answer) {
    const isShown = isNewestFirst(this.order) && this.isLive();
    if (!isShown || answer.total > answer.data.length) this.news.value = answer.total;
    if (!isShown || !answer.total) return;
    if (answer.total > answer.data.length || this.ahead.length > MOST_AHEAD) {
      void this.reload();
      return;
    }
    this.ahead = [...answer.data, ...this.ahead];
    this.#note(answer.data);
    this.news.value = 0;
    this.total.value = this.ahead.length + this.listed;
    this.version.value += 1;
  }
}
