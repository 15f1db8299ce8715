"""How the labelling page looks: the report's two palettes, one column on a telephone, two on a desk."""

from __future__ import annotations

from luthier.evaluate.report.style import DARK, LIGHT


def style_sheet() -> str:
    """Return the page's CSS, both palettes included."""
    light, dark = (" ".join(f"--{name}: {value};" for name, value in palette.items()) for palette in (LIGHT, DARK))
    return (
        f":root {{ color-scheme: light dark; {light} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n" + _SHEET
    )


_SHEET = """
* { box-sizing: border-box; }
[hidden] { display: none !important; }
html { background: var(--paper); color: var(--ink); font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
body { max-width: 76rem; margin: 0 auto; padding: 1rem 1.25rem 3rem; }
h1, h2 { font-size: 1rem; font-weight: 600; margin: 0; letter-spacing: 0; }
h2 { font-size: .8125rem; color: var(--muted); font-weight: 500; }
button, input, textarea { font: inherit; color: inherit; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
kbd { font: 500 .75rem/1 ui-monospace, SFMono-Regular, Menlo, monospace; color: var(--muted); background: var(--low);
  border: 1px solid var(--rule); border-bottom-width: 2px; border-radius: .25rem; padding: .18rem .36rem; min-width: 1.35rem;
  display: inline-block; text-align: center; }
.muted { color: var(--muted); }
.small { font-size: .8125rem; }
.num { font-variant-numeric: tabular-nums; }

header { display: flex; flex-wrap: wrap; gap: .25rem 1rem; align-items: center; padding-bottom: .85rem;
  border-bottom: 1px solid var(--grid); }
header .what { margin-right: auto; min-width: 0; overflow-wrap: anywhere; }
header label { display: flex; gap: .5rem; align-items: center; }
header input { width: 9rem; padding: .2rem .5rem; border: 1px solid var(--rule); border-radius: .375rem; background: transparent; }

#desk { display: grid; grid-template-columns: minmax(0, 1fr) 17.5rem; gap: 2.25rem; margin-top: 1.25rem; align-items: start; }
main { min-width: 0; }
#text { font-size: 1.3125rem; line-height: 1.5; white-space: pre-wrap; overflow-wrap: anywhere; min-height: 5.5rem;
  max-height: 45vh; overflow-y: auto; margin: .35rem 0 1rem; padding-bottom: .25rem; }
#where { display: flex; flex-wrap: wrap; gap: 0 .75rem; min-height: 1.25rem; overflow-wrap: anywhere; }

#guess { border: 1px solid var(--grid); background: var(--panel); border-radius: .5rem; padding: .6rem .75rem; margin-bottom: 1rem;
  display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; min-height: 3.6rem; }
#guess > .muted { flex: none; }
#guess .chip { border: 1px solid var(--rule); background: var(--paper); border-radius: 2rem; padding: .3rem .8rem; cursor: pointer;
  display: inline-flex; gap: .5rem; align-items: center; min-width: 0; max-width: 100%; }
#guess .chip.best { border-color: var(--accent); box-shadow: inset 0 0 0 1px var(--accent); font-weight: 600; }
#guess .chip:not(.best) { font-size: .875rem; }
.chip bdi, .label bdi { min-width: 0; overflow-wrap: anywhere; text-align: start; }

#labels { display: grid; grid-template-columns: repeat(auto-fill, minmax(12.5rem, 1fr)); gap: .4rem; margin: .6rem 0 0; padding: 2px;
  max-height: 42vh; overflow-y: auto; list-style: none; }
.label { width: 100%; height: 100%; display: flex; align-items: center; gap: .6rem; padding: .5rem .65rem; text-align: start;
  border: 1px solid var(--rule); border-radius: .5rem; background: var(--paper); cursor: pointer; min-height: 2.6rem;
  line-height: 1.25; font-size: .9375rem; }
.label:hover, #guess .chip:hover, .act:hover { background: var(--panel); border-color: var(--muted); }
.label:active, .act:active { transform: translateY(1px); }
.label .num { margin-inline-start: auto; }
.label kbd, .label .nokey { flex: none; min-width: 1.35rem; }
.label.first { border-color: var(--accent); box-shadow: inset 0 0 0 1px var(--accent); }
#find { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; }
#seek { flex: 1 1 12rem; min-width: 0; padding: .5rem .75rem; border: 1px solid var(--rule); border-radius: .5rem;
  background: transparent; }
input::placeholder, textarea::placeholder { color: var(--muted); opacity: 1; }

#acts { display: flex; flex-wrap: wrap; gap: .4rem; margin-top: .9rem; padding: .75rem 0; border-top: 1px solid var(--grid);
  position: sticky; bottom: 0; background: var(--paper); }
.act { border: 1px solid var(--rule); background: var(--paper); border-radius: .5rem; padding: .4rem .75rem; cursor: pointer;
  display: inline-flex; gap: .5rem; align-items: center; }
button:disabled { opacity: .45; cursor: default; }
#noting { margin-top: .25rem; }
#note { width: 100%; min-height: 4rem; padding: .5rem .75rem; border: 1px solid var(--rule); border-radius: .5rem;
  background: transparent; display: block; margin: .25rem 0; resize: vertical; }
#said { min-height: 1.5rem; margin: .25rem 0 0; font-size: .875rem; color: var(--muted); overflow-wrap: anywhere; }
#fault { color: var(--bad); font-weight: 500; margin: .75rem 0 0; overflow-wrap: anywhere; }
#fault:empty { display: none; }

aside > section { padding-bottom: 1.1rem; margin-bottom: 1.1rem; border-bottom: 1px solid var(--grid); }
aside > section:last-child { border: 0; margin: 0; }
.big { font-size: 1.75rem; font-weight: 600; line-height: 1.2; letter-spacing: -.02em; }
#chart { display: block; width: 100%; height: auto; margin-top: .5rem; }
#chart text { fill: var(--muted); font-size: 10.5px; font-variant-numeric: tabular-nums; }
#chart .grid { stroke: var(--grid); stroke-width: 1; }
#chart .band { fill: var(--accent); opacity: .16; }
#chart .line { fill: none; stroke: var(--accent); stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
#chart .dot { fill: var(--accent); }
#counts { margin: .5rem 0 0; padding: 0; list-style: none; max-height: 17rem; overflow-y: auto; }
#counts li { display: grid; grid-template-columns: minmax(0, 1fr) auto; gap: 0 .5rem; font-size: .8125rem; padding: .14rem 0; }
#counts bdi { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
#counts .bar { grid-column: 1 / -1; height: 3px; border-radius: 2px; background: var(--grid); overflow: hidden; }
#counts .bar i { display: block; height: 100%; background: var(--accent); }
#advice { border: 1px solid var(--good); background: var(--panel); border-radius: .5rem; padding: .85rem 1rem; margin-top: 1.25rem; }
#advice p { margin: .25rem 0 .6rem; }
#advice h2 { font-size: 1rem; color: var(--good); font-weight: 600; }
#end { padding: 1rem 0 2rem; }
meter { width: 100%; height: .5rem; margin-top: .4rem; }

@media (max-width: 52rem) {
  #desk { grid-template-columns: minmax(0, 1fr); gap: 1.5rem; }
  body { padding: .75rem .9rem 2rem; }
  #text { font-size: 1.1875rem; min-height: 4rem; }
  #labels { grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); max-height: none; }
  .act { padding: .4rem .5rem; font-size: .875rem; gap: .35rem; }
  aside { border-top: 1px solid var(--grid); padding-top: 1.25rem; }
}
@media (prefers-reduced-motion: no-preference) { .label, .act, .chip { transition: background-color .12s, border-color .12s; } }
"""
