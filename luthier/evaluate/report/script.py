"""What the report does in the browser: draw its plots in the colours in force, sort tables, open up for print."""

from __future__ import annotations

SCRIPT = """
"use strict";
(function () {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const plots = read("plots"), palettes = read("palettes");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const still = { displaylogo: false, responsive: true, displayModeBar: false };

  function painted(value, palette) {
    if (typeof value === "string" && value[0] === "@") return palette[value.slice(1)] || value;
    if (Array.isArray(value)) return value.map((item) => painted(item, palette));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, painted(item, palette)]));
  }

  function draw(palette) {
    for (const place of document.querySelectorAll("[data-plot]")) {
      const figure = plots[place.dataset.plot];
      // Texts of users are data, not roles: only what the report itself wrote is painted.
      const data = figure.data.map((trace) => {
        const kept = {};
        for (const key of ["name", "text", "hovertext", "x", "y"]) if (key in trace) kept[key] = trace[key];
        return Object.assign(painted(trace, palette), kept);
      });
      const layout = painted(figure.layout, palette);
      for (const axis of ["xaxis", "yaxis"])
        if (figure.layout[axis] && figure.layout[axis].ticktext) layout[axis].ticktext = figure.layout[axis].ticktext;
      Plotly.react(place, data, layout, still);
    }
  }
  const current = () => (dark.matches ? palettes.dark : palettes.light);
  if (window.Plotly) {
    draw(current());
    dark.addEventListener("change", () => draw(current()));
    window.addEventListener("beforeprint", () => draw(palettes.light));
    window.addEventListener("afterprint", () => draw(current()));
  }

  window.addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("details")) part.open = true;
  });

  function key(row, column) {
    const cell = row.cells[column], text = cell.dataset.sort ?? cell.textContent.trim();
    const number = Number(text);
    return text !== "" && Number.isFinite(number) ? number : text;
  }
  // What has no value stays at the end whichever way the column is sorted.
  const empty = (value) => value === "" || value === "\\u2013";
  function compare(a, b, sign) {
    if (empty(a) || empty(b)) return empty(a) - empty(b);
    if (typeof a === "number" && typeof b === "number") return sign * (a - b);
    return sign * String(a).localeCompare(String(b));
  }
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
      const falling = head.getAttribute("aria-sort") === "ascending" ||
        (!head.hasAttribute("aria-sort") && head.classList.contains("number"));
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const rows = [...body.rows].map((row) => [key(row, column), row]);
      rows.sort((a, b) => compare(a[0], b[0], falling ? -1 : 1));
      body.append(...rows.map((pair) => pair[1]));
    }));
  }
})();
"""
