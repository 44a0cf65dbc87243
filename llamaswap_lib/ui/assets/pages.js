/** The pages, in the order of the navigation. `keys` shows one: first `g`, then the letter. */

/**
 * @typedef {{ title: string, show: (place: import("./view.js").Signal<import("./router.js").Place>) => Element }} Page
 *   `show` builds the page inside a scope of its own, which ends when another page is shown
 * @typedef {{ name: string, title: string, letter: string, load: () => Promise<Page> }} Entry
 */

/** @type {Entry[]} */
export const PAGES = [
  { name: "models", title: "Models", letter: "m", load: () => import("./pages/models.js") },
  { name: "queue", title: "Queue", letter: "q", load: () => import("./pages/queue.js") },
  { name: "activity", title: "Activity", letter: "a", load: () => import("./pages/activity.js") },
  { name: "logs", title: "Logs", letter: "l", load: () => import("./pages/logs.js") },
  { name: "performance", title: "Performance", letter: "p", load: () => import("./pages/performance.js") },
  { name: "playground", title: "Playground", letter: "c", load: () => import("./pages/playground.js") },
  { name: "config", title: "Configuration", letter: "o", load: () => import("./pages/config.js") },
  { name: "settings", title: "Settings", letter: "s", load: () => import("./pages/settings.js") },
];
