/**
 * Conversations, kept in this browser (IndexedDB): heads for the list, bodies for what was said. The oldest go when there
 * are too many. Where a browser keeps nothing, they last until the page is loaded again, and the list says so.
 */

import { signal } from "../../view.js";

/**
 * @typedef {{ id: string, title: string, updated: number }} Head `updated`: milliseconds since 1970
 * @typedef {{ text: string, images: string[], answers: (import("./answer.js").Saved | null)[] }} SavedTurn
 * @typedef {{ id: string, system: string, dialect: string, models: string[], turns: SavedTurn[] }} Body
 */

const NAME = "llamaswap.playground";
const MOST = 100;

/** The newest first. */
export const heads = signal(/** @type {Head[]} */ ([]));
/** Why nothing is kept, or "". */
export const trouble = signal("");

/** @type {Promise<IDBDatabase> | null} */
let opened = null;

/** @returns {Promise<IDBDatabase>} */
function open() {
  opened ??= new Promise((resolve, reject) => {
    const asked = indexedDB.open(NAME, 1);
    asked.onupgradeneeded = () => {
      asked.result.createObjectStore("heads", { keyPath: "id" });
      asked.result.createObjectStore("bodies", { keyPath: "id" });
    };
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
    asked.onblocked = () => reject(new Error("another tab holds them"));
  });
  return opened;
}

/**
 * @template T @param {IDBTransactionMode} mode @param {(heads: IDBObjectStore, bodies: IDBObjectStore) => IDBRequest<T> | void} work
 * @returns {Promise<T | undefined>}
 */
async function inStores(mode, work) {
  const stores = (await open()).transaction(["heads", "bodies"], mode);
  const asked = work(stores.objectStore("heads"), stores.objectStore("bodies"));
  return new Promise((resolve, reject) => {
    stores.oncomplete = () => resolve(asked?.result);
    stores.onabort = () => reject(stores.error);
  });
}

/** @param {() => Promise<unknown>} work */
async function keep(work) {
  try {
    await work();
    trouble.value = "";
  } catch (error) {
    trouble.value = `This browser does not keep conversations: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** Read the list of what is kept. */
export const readHeads = () =>
  keep(async () => {
    const kept = (await inStores("readonly", (store) => store.getAll())) ?? [];
    heads.value = kept.sort((/** @type {Head} */ one, /** @type {Head} */ other) => other.updated - one.updated);
  });

/** What was said in one of them, or null. @param {string} id @returns {Promise<Body | null>} */
export async function readBody(id) {
  try {
    return (await inStores("readonly", (_, store) => store.get(id))) ?? null;
  } catch {
    return null;
  }
}

/** Keep a conversation as it is now. @param {Head} head @param {Body} body */
export async function save(head, body) {
  const all = [head, ...heads.now.filter(({ id }) => id !== head.id)];
  const gone = all.splice(MOST);
  heads.value = all;
  await keep(() =>
    inStores("readwrite", (kept, bodies) => {
      kept.put(head);
      bodies.put(body);
      for (const { id } of gone) {
        kept.delete(id);
        bodies.delete(id);
      }
    }),
  );
}

/** @param {string} id @param {string} title */
export async function rename(id, title) {
  heads.value = heads.now.map((head) => (head.id === id ? { ...head, title } : head));
  const head = heads.now.find((each) => each.id === id);
  if (head) await keep(() => inStores("readwrite", (kept) => void kept.put(head)));
}

/** @param {string} id */
export async function forget(id) {
  heads.value = heads.now.filter((head) => head.id !== id);
  await keep(() =>
    inStores("readwrite", (kept, bodies) => {
      kept.delete(id);
      bodies.delete(id);
    }),
  );
}
