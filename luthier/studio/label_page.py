"""The labelling page: one file of HTML, its policy naming the hashes of the one style and the one script in it."""

from __future__ import annotations

import base64
import hashlib
import html as escaping
import json

from luthier.studio.label_chart import CHART
from luthier.studio.label_script import SCRIPT
from luthier.studio.label_style import style_sheet

_BODY = """
<header>
  <h1 class="what"><bdi>@TITLE@</bdi></h1>
  <span class="muted small">kept in <bdi>@OUT@</bdi></span>
  <label class="small">You are <input id="by" maxlength="60" autocomplete="off" spellcheck="false" aria-label="Your name"></label>
</header>
<div id="advice" role="status" hidden>
  <h2>More labels change little now</h2>
  <p id="why"></p>
  <button class="act" id="on" type="button">Go on anyway</button>
</div>
<div id="desk">
<main>
  <div id="row">
    <div id="where" class="muted small"></div>
    <div aria-live="polite" aria-atomic="true"><div id="text" dir="auto" tabindex="-1">One moment …</div></div>
    <div id="guess" aria-label="Suggested labels" hidden></div>
    <form id="find" role="search">
      <input id="seek" type="text" maxlength="120" autocomplete="off" spellcheck="false" dir="auto"
        placeholder="Find a label, or type a new one" aria-label="Find a label, or type a new one" aria-describedby="seekkey">
      <kbd id="seekkey" aria-label="key: slash">/</kbd>
      <button id="add" class="act" type="submit" hidden></button>
    </form>
    <ul id="labels" aria-label="Labels"></ul>
    <div id="acts">
      <button class="act" id="skip" type="button" aria-keyshortcuts="s">Skip <kbd aria-hidden="true">s</kbd></button>
      <button class="act" id="unsure" type="button" aria-keyshortcuts="x">Cannot tell <kbd aria-hidden="true">x</kbd></button>
      <button class="act" id="noter" type="button" aria-keyshortcuts="n" aria-expanded="false">Note <kbd aria-hidden="true">n</kbd></button>
      <button class="act" id="undo" type="button" aria-keyshortcuts="u">Undo <kbd aria-hidden="true">u</kbd></button>
    </div>
    <div id="noting" hidden>
      <label for="note" class="small muted">A note on this row, kept with your answer</label>
      <textarea id="note" maxlength="2000" dir="auto"></textarea>
      <button class="act small" id="keep" type="button">Keep the note alone</button>
      <span class="small muted"><kbd>Esc</kbd> goes back to the keys</span>
    </div>
  </div>
  <div id="end" hidden>
    <p class="big">Nothing is left to ask</p>
    <p>Every row here has its answers. Stop the page with ^C, or take the last answer back with <kbd>u</kbd>.</p>
  </div>
  <p id="fault" role="alert"></p>
  <p id="said" role="status"></p>
</main>
<aside aria-label="Progress">
  <section>
    <h2>Labelled</h2>
    <div class="big num" id="done">0</div>
    <div class="small muted" id="left"></div>
    <div class="small muted" id="people"></div>
  </section>
  <section>
    <h2>Accuracy on rows not labelled, estimated</h2>
    <div class="big num" id="accuracy">–</div>
    <div class="small muted" id="interval">Shown when ten rows chosen by chance have labels.</div>
    <svg id="chart" viewBox="0 0 280 130" role="img" aria-label="Accuracy by number of labels" hidden></svg>
  </section>
  <section @BLIND@>
    <h2>Agreed with the suggestion</h2>
    <div class="big num" id="agreed">–</div>
    <div class="small muted" id="agreedof"></div>
  </section>
  <section id="reading">
    <h2>Reading the rows</h2>
    <div class="small" id="readwords"></div>
    <meter id="readmeter" min="0" max="1" value="0" aria-label="Rows read"></meter>
  </section>
  <section>
    <h2>By label</h2>
    <ul id="counts"></ul>
  </section>
</aside>
</div>
"""


def page(*, by: str, title: str, out: str, blind: bool) -> tuple[str, str]:
    """Return the page and its Content-Security-Policy: nothing else runs or loads, whatever a row holds."""
    style, script = style_sheet(), CHART + SCRIPT
    about = json.dumps({"by": by, "blind": blind}).replace("<", "\\u003c")
    body = _BODY.replace("@BLIND@", "hidden" if blind else "")
    body = body.replace("@OUT@", escaping.escape(out)).replace("@TITLE@", escaping.escape(title))
    whole = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escaping.escape(title)} – labelling</title>\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
        f"<style>{style}</style></head>\n<body>{body}"
        f'<script id="about" type="application/json">{about}</script>\n<script>{script}</script></body></html>\n'
    )
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return whole, policy


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
