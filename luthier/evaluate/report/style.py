"""How the report looks: two palettes, one style sheet. System fonts, nothing fetched."""

from __future__ import annotations

# Every text colour has at least 4.5 : 1 on its paper and its panel (WCAG AA), which a test holds.
LIGHT = {
    "paper": "#fdfcfa",
    "panel": "#f4f2ee",
    "ink": "#1f2328",
    "muted": "#5d6269",
    "rule": "#c9c5be",
    "grid": "#dedad3",
    "accent": "#1d5a96",
    "mark": "#b3470f",
    "good": "#1a6b3c",
    "bad": "#a8261c",
    "low": "#f0ede7",
    "series0": "#a8261c",
    "series1": "#1d5a96",
    "series2": "#8a6d00",
    "series3": "#6b3fa0",
    "series4": "#00736b",
    "series5": "#4a4f57",
}
DARK = {
    "paper": "#16181c",
    "panel": "#1f2227",
    "ink": "#e6e4df",
    "muted": "#a3a7ae",
    "rule": "#454a52",
    "grid": "#33373e",
    "accent": "#7db4ea",
    "mark": "#f0a06a",
    "good": "#76c893",
    "bad": "#f28b82",
    "low": "#22262c",
    "series0": "#f28b82",
    "series1": "#7db4ea",
    "series2": "#e0c35a",
    "series3": "#bfa2ef",
    "series4": "#5fcabb",
    "series5": "#c4c8ce",
}


def style_sheet() -> str:
    """Return the page's CSS, both palettes included."""
    light, dark = (" ".join(f"--{name}: {value};" for name, value in palette.items()) for palette in (LIGHT, DARK))
    return (
        f":root {{ color-scheme: light dark; {light} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n" + _SHEET
    )


_SHEET = """
* { box-sizing: border-box; }
html { background: var(--paper); color: var(--ink); font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", sans-serif; }
body { max-width: 68rem; margin: 0 auto; padding: 2.5rem 1.25rem 5rem; overflow-wrap: break-word; }
h1, h2, h3 { line-height: 1.2; letter-spacing: -0.01em; text-wrap: balance; }
h1 { font-size: clamp(1.7rem, 5vw, 2.6rem); font-weight: 650; margin: 0.3rem 0 1rem; }
h2 { font-size: 1.35rem; font-weight: 620; margin: 3.2rem 0 1rem; scroll-margin-top: 1rem; }
p, li { max-width: 44rem; }
a { color: var(--accent); text-underline-offset: 0.2em; }
code, pre { font: 0.86em/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
code { overflow-wrap: anywhere; }
table code { white-space: nowrap; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; border-radius: 3px; }
.skip { position: absolute; left: -100rem; }
.skip:focus { left: 1rem; top: 1rem; background: var(--paper); padding: 0.5rem 1rem; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.kicker { color: var(--muted); margin: 0; font-size: 0.95rem; }
.goal { font-size: 1.12rem; color: var(--muted); margin: 0 0 1.2rem; }
.verdict { border-bottom: 1px solid var(--rule); padding-bottom: 1.4rem; }
.mark { display: inline-block; width: 1.25em; font-weight: 700; }
.accepted .mark, .accepted .word, .yes { color: var(--good); }
.missed .mark, .missed .word, .no { color: var(--bad); }
.untold .mark, .untold .word, .maybe { color: var(--muted); }
.word::after { content: ":"; }
.reasons, .notes { margin: 0.4rem 0; padding-left: 1.2rem; }
.notes { color: var(--muted); }
ol li { margin: 0.4rem 0; padding-left: 0.3rem; }
nav { margin-top: 3.5rem; border-top: 1px solid var(--rule); padding-top: 1.2rem; }
nav p { margin: 0; color: var(--muted); }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: 0.2rem 1.4rem; padding: 0; margin: 0.4rem 0 0; }
nav a { display: inline-block; padding: 0.2rem 0; }
.frame { overflow-x: auto; margin: 1rem 0 1.6rem; max-width: 100%; }
table { border-collapse: collapse; width: 100%; font-size: 0.93rem; font-variant-numeric: tabular-nums lining-nums; }
caption { text-align: left; font-weight: 600; padding: 0 0 0.5rem; }
th, td { text-align: left; vertical-align: top; padding: 0.5rem 0.75rem; border-bottom: 1px solid var(--grid); }
tr > :first-child { padding-left: 0; }
tr > :last-child { padding-right: 0; }
thead th { border-bottom: 1px solid var(--rule); vertical-align: bottom; color: var(--muted); font-weight: 550; }
tbody th { font-weight: 550; min-width: 8rem; }
th.number, td.number { text-align: right; white-space: nowrap; }
thead th.number { white-space: normal; }
td.yes, td.no, td.maybe { font-weight: 600; white-space: nowrap; }
th small { display: block; color: var(--muted); font-weight: 400; font-size: 0.86rem; line-height: 1.4; }
th small { max-width: 22rem; }
.long { min-width: 15rem; max-width: 30rem; white-space: pre-wrap; font-weight: 400; overflow-wrap: anywhere; }
th button { all: unset; cursor: pointer; color: inherit; position: relative; }
th button:hover { color: var(--ink); text-decoration: underline; text-underline-offset: 0.2em; }
th button:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.arrow { position: absolute; left: 100%; top: 0; width: 1em; text-align: center; }
.number .arrow { left: auto; right: 100%; }
th[aria-sort=ascending] .arrow::after { content: "\\2191"; }
th[aria-sort=descending] .arrow::after { content: "\\2193"; }
figure { margin: 1.2rem 0; min-width: 0; }
figcaption { color: var(--muted); font-size: 0.92rem; max-width: 44rem; margin-top: 0.3rem; }
.plot { width: 100%; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); gap: 0 3rem; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: 0.9rem 2rem; }
dl { margin: 1rem 0 1.6rem; }
dt { color: var(--muted); font-size: 0.88rem; }
dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
details { margin: 1rem 0; }
summary { cursor: pointer; font-weight: 550; padding: 0.3rem 0; width: fit-content; }
pre { background: var(--panel); padding: 1rem 1.2rem; overflow-x: auto; border-radius: 4px; }
noscript p { color: var(--bad); }
footer { margin-top: 4rem; padding-top: 1rem; border-top: 1px solid var(--rule); color: var(--muted); }
@media (max-width: 40rem) {
  body { padding-top: 1.5rem; } h2 { margin-top: 2.4rem; } .frame { margin-right: -1.25rem; }
  th, td { padding: 0.45rem 0.4rem; } tbody th { min-width: 6.5rem; }
}
@media print {
  html { font-size: 10pt; } body { max-width: none; padding: 0; } nav, .skip, .arrow { display: none; }
  figure, tr, dl div { break-inside: avoid; } h2 { break-after: avoid; } .frame { overflow: visible; }
  th button { text-decoration: none; } a { color: inherit; text-decoration: none; }
}
"""
