/** A line of a few values, small enough for a row of a table. */

import { svg } from "../view.js";

const [WIDTH, HEIGHT, EDGE] = [64, 18, 2];

/** @param {number[]} values the newest last; nothing is drawn for fewer than two @param {string} label for screen readers */
export function spark(values, label) {
  const box = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, role: "img", "aria-label": label };
  if (values.length < 2) return svg("svg.spark", { ...box, "aria-hidden": "true", "aria-label": null, role: null });
  const most = Math.max(...values);
  const points = values.map((value, index) => {
    const x = EDGE + (index / (values.length - 1)) * (WIDTH - 2 * EDGE);
    const y = HEIGHT - EDGE - (most > 0 ? value / most : 0) * (HEIGHT - 2 * EDGE);
    return `${x.toFixed(1)} ${y.toFixed(1)}`;
  });
  const [x, y] = (points.at(-1) ?? "0 0").split(" ");
  return svg(
    "svg.spark",
    box,
    svg("path", { d: `M${points.join("L")}`, fill: "none" }),
    svg("circle", { cx: x, cy: y, r: 2 }),
  );
}
