"""The small chart of the labelling page: accuracy and its interval by number of labels, as SVG made in the browser."""

from __future__ import annotations

CHART = """
"use strict";
function drawChart(svg, rounds) {
  const points = rounds.filter((r) => r.accuracy !== null);
  svg.toggleAttribute("hidden", points.length < 2);
  if (points.length < 2) return;
  const left = 30, right = 272, top = 8, bottom = 108;
  const most = points[points.length - 1].labelled, least = points[0].labelled;
  const x = (n) => left + (right - left) * (n - least) / Math.max(1, most - least);
  const y = (v) => bottom - (bottom - top) * v;
  const make = (name, attributes, text) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const parts = [];
  for (const value of [0, 0.5, 1]) {
    parts.push(make("line", { class: "grid", x1: left, x2: right, y1: y(value), y2: y(value) }));
    parts.push(make("text", { x: left - 5, y: y(value) + 3.5, "text-anchor": "end" }, 100 * value));
  }
  const upper = points.map((p) => x(p.labelled).toFixed(1) + "," + y(p.high).toFixed(1));
  const lower = points.map((p) => x(p.labelled).toFixed(1) + "," + y(p.low).toFixed(1)).reverse();
  parts.push(make("polygon", { class: "band", points: upper.concat(lower).join(" ") }));
  parts.push(make("polyline", { class: "line",
    points: points.map((p) => x(p.labelled).toFixed(1) + "," + y(p.accuracy).toFixed(1)).join(" ") }));
  const last = points[points.length - 1];
  parts.push(make("circle", { class: "dot", cx: x(last.labelled), cy: y(last.accuracy), r: 3.5 }));
  parts.push(make("text", { x: left, y: bottom + 16, "text-anchor": "start" }, least + " labels"));
  parts.push(make("text", { x: right, y: bottom + 16, "text-anchor": "end" }, most));
  svg.replaceChildren(...parts);
  const first = points[0], say = (p) => Math.round(100 * p.accuracy) + " percent at " + p.labelled + " labels";
  svg.setAttribute("aria-label", "Estimated accuracy: " + say(first) + ", " + say(last));
}
"""
