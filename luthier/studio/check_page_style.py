"""What the check page adds to the report's style sheet."""

from __future__ import annotations

SHEET = """
.verdict { border-bottom: 0; padding-bottom: 0; }
.summary { font-size: 1.08rem; margin: 0 0 1.4rem; }
.findings { list-style: none; padding: 0; margin: 0; border-top: 1px solid var(--rule); }
.findings > li { max-width: none; margin: 0; padding: 1.05rem 0 1.1rem; border-bottom: 1px solid var(--grid); display: grid;
  grid-template-columns: minmax(0, 1fr) minmax(13rem, 20rem); gap: 0 2.5rem; align-items: start; }
.findings h3 { font-size: 1rem; font-weight: 600; margin: 0 0 0.2rem; line-height: 1.45; letter-spacing: 0; text-wrap: pretty; }
.findings p { margin: 0.15rem 0; }
.findings .why { color: var(--muted); }
.findings .level { font-weight: 700; margin-right: 0.2em; }
.level.stops, .level.grave { color: var(--bad); }
.level.look { color: var(--mark); }
.level.note { color: var(--muted); font-weight: 550; }
.findings .where { font-size: 0.92rem; color: var(--muted); }
.findings pre { margin: 0.2rem 0 0; padding: 0.6rem 0.8rem; white-space: pre-wrap; overflow-wrap: anywhere; }
.copy small { display: block; color: var(--muted); font-size: 0.85rem; }
h3.sub { font-size: 1.02rem; font-weight: 600; margin: 2rem 0 0.4rem; }
dl.numbers { grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); margin: 1.6rem 0 0; }
dl.numbers dd { font-size: 1.35rem; font-weight: 600; line-height: 1.3; }
svg.bar { display: block; width: 100%; min-width: 7rem; height: 0.85rem; margin-top: 0.3rem; }
.barred td:nth-child(2) { width: 38%; }
rect.train { fill: var(--series1); } rect.valid { fill: var(--series2); } rect.test { fill: var(--series4); }
.legend { color: var(--muted); font-size: 0.92rem; margin: 0.4rem 0; }
.legend span { margin-right: 1.2rem; display: inline-block; }
.legend svg { width: 0.8rem; height: 0.8rem; margin-right: 0.4rem; vertical-align: -0.05rem; }
.columns-chart .plotted { position: relative; padding-top: 1.6rem; }
.columns-chart svg { display: block; width: 100%; height: 9rem; border-bottom: 1px solid var(--rule); overflow: visible; }
.columns-chart .most { position: absolute; left: 0; top: 0; color: var(--muted); font-size: 0.85rem; }
.limit { stroke: var(--mark); stroke-width: 2px; stroke-dasharray: 5 3; }
.limit-word { position: absolute; top: 0; color: var(--mark); font-size: 0.88rem; font-weight: 600; white-space: nowrap; }
.axis { position: relative; height: 1.5rem; color: var(--muted); font-size: 0.85rem; font-variant-numeric: tabular-nums; }
.axis span { position: absolute; top: 0.2rem; white-space: nowrap; }
.twin { margin: 1.2rem 0 1.6rem; break-inside: avoid; }
.twin > p { margin: 0 0 0.4rem; }
.twin .kind { font-weight: 600; }
.side-by-side { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); gap: 0.5rem 2rem; }
.side-by-side > div { border-left: 3px solid var(--rule); padding-left: 0.9rem; min-width: 0; }
.side-by-side small, .place { color: var(--muted); font-size: 0.88rem; overflow-wrap: anywhere; }
.words { margin: 0.1rem 0 0; white-space: pre-wrap; overflow-wrap: anywhere; max-width: none; }
mark { background: none; color: inherit; font-weight: 650; text-decoration: underline; text-decoration-thickness: 2px;
  text-underline-offset: 0.2em; text-decoration-color: var(--mark); }
.row-shown { margin: 0.9rem 0 1.5rem; break-inside: avoid; }
.row-shown > p { margin: 0 0 0.35rem; }
.tokens { white-space: pre-wrap; overflow-wrap: anywhere; line-height: 2; background: var(--panel); padding: 0.7rem 0.9rem;
  border-radius: 4px; font: 0.9em/2 ui-monospace, "SF Mono", Menlo, Consolas, monospace; max-width: none; margin: 0; }
.t { border: 1px solid var(--rule); border-radius: 3px; background: var(--paper); padding: 0.08em 0.22em; margin: 0 0.06em;
  -webkit-box-decoration-break: clone; box-decoration-break: clone; }
.t.learnt { color: var(--good); font-weight: 650; text-decoration: underline; text-decoration-thickness: 2px; text-underline-offset: 0.28em; }
.t.special { border-style: dashed; border-color: var(--muted); color: var(--muted); background: none; }
.t.special.learnt { color: var(--good); border-color: var(--good); }
.gap { color: var(--muted); font-style: italic; }
.row-shown details { margin: 0.2rem 0 0; } .row-shown summary { font-weight: 400; font-size: 0.88rem; color: var(--muted); }
@media (max-width: 48rem) { .findings > li { grid-template-columns: minmax(0, 1fr); gap: 0.5rem; } }
@media print { svg, mark, .t, .tokens { print-color-adjust: exact; } .findings > li { break-inside: avoid; } }
"""
