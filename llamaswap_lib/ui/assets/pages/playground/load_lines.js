/** The time line of a load test: a line for each request, in the colours of what it was doing. */

import { duration } from "../../format.js";
import { cleanup, effect, h, signal, svg } from "../../view.js";
import { PHASES } from "./load_run.js";

const MOST_LINES = 300;
const LINE = 8; // pixels
const AXIS = 22;
const STEPS = [
  100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_800_000, 3_600_000,
];

/** @param {import("./load_run.js").LoadRun} made @param {import("../../view.js").Signal<number>} tick */
export function timeLine(made, tick) {
  const width = signal(0);
  const holder = h("div.load-lines", { role: "img", "aria-label": "What each request was doing, over time" });
  const watcher = new ResizeObserver(([entry]) => (width.value = Math.floor(entry?.contentRect.width ?? 0)));
  watcher.observe(holder);
  cleanup(() => watcher.disconnect());
  effect(() => {
    tick.value;
    made.isRunning.value;
    if (width.value) holder.replaceChildren(draw(made, width.value));
  });
  return h("div.stack", null, legend(), holder);
}

function legend() {
  return h(
    "div.load-legend",
    { "aria-hidden": "true" },
    PHASES.map(([phase, words]) => h("span", null, h("i", { class: phase }), words)),
  );
}

/** @param {import("./load_run.js").LoadRun} made @param {number} width */
function draw(made, width) {
  const elapsed = Math.max(made.elapsed(), 500);
  const rows = made.rows.now.slice(-MOST_LINES);
  const height = Math.max(1, rows.length) * LINE + AXIS;
  const x = (/** @type {number} */ time) => (time / elapsed) * width;
  const step = STEPS.find((each) => (elapsed / each) * 70 <= width) ?? elapsed;
  const node = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  for (let time = 0; time <= elapsed; time += step) {
    node.append(
      svg("line.axis", { x1: x(time), x2: x(time), y1: 0, y2: height - AXIS }),
      svg("text", { x: Math.min(x(time), width - 30), y: height - 6 }, time ? duration(time) : "0"),
    );
  }
  rows.forEach((row, line) => {
    const isRunning = row.answer.isRunning();
    row.spans.forEach(({ phase, from, to }, index) => {
      const end = isRunning && index === row.spans.length - 1 ? elapsed : to;
      const part = svg("rect", {
        class: phase,
        x: x(from),
        y: line * LINE,
        width: Math.max(1, x(end) - x(from)),
        height: LINE - 2,
      });
      part.append(svg("title", null, `${row.index + 1}. ${row.model}: ${phase} for ${duration(end - from)}`));
      node.append(part);
    });
  });
  return node;
}
