"""The page at ``/``: try the model, see what it says, say what would have been right. One file, no outside request."""

from __future__ import annotations

import base64
import hashlib
import json

from luthier.ledger.answers import MENDED, WAYS

_STYLE = """
:root { color-scheme: light dark; --line: #8886; --good: #1a7f37; --bad: #b42318; --bar: #3b82f6; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0 0 .25rem; }
.quiet { opacity: .75; font-size: .875rem; }
fieldset { border: 1px solid var(--line); border-radius: .375rem; }
#marks label { display: block; }
#marks input[type=number] { font: inherit; width: 6rem; }
textarea, select, input[type=text] { font: inherit; width: 100%; box-sizing: border-box; padding: .5rem;
  border: 1px solid var(--line); border-radius: .375rem; background: Canvas; color: CanvasText; }
button { font: inherit; padding: .4rem 1rem; margin: .5rem .5rem 0 0; border: 1px solid var(--line);
  border-radius: .375rem; background: ButtonFace; color: ButtonText; cursor: pointer; }
button:disabled { opacity: .5; cursor: default; }
:focus-visible { outline: 3px solid var(--bar); outline-offset: 2px; }
#mend { margin-top: 1rem; }
section { margin-top: 1.5rem; border-top: 1px solid var(--line); padding-top: 1rem; }
#label { font-size: 1.25rem; font-weight: 600; }
#text { white-space: pre-wrap; overflow-wrap: anywhere; border-left: 3px solid var(--bar); padding-left: .75rem; }
.score { display: grid; grid-template-columns: minmax(6rem, 14rem) 1fr 4rem; gap: .5rem; align-items: center; }
.score span:first-child { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.score span:last-child { text-align: right; font-variant-numeric: tabular-nums; }
meter { width: 100%; }
#said { font-weight: 600; } #said.good { color: var(--good); } #said.bad, #fault { color: var(--bad); }
[hidden] { display: none !important; }
"""

_SCRIPT = """
"use strict";
const about = JSON.parse(document.getElementById("about").textContent);
const $ = (id) => document.getElementById(id);
const way = about.way;  // how an answer is put right: label, labels, grades, sentences, items, text, or not at all
const textual = way === "text" || way === "sentences";
let shown = null;

async function ask(path, body) {
  let response;
  try {
    response = await fetch(path, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  } catch (error) {
    throw new Error("The service does not answer. Is it still running?");
  }
  const answer = await response.json().catch(() => ({}));
  const fault = answer.error ? answer.error.message : "The service answered " + response.status + ".";
  if (!response.ok) throw new Error(fault);
  return answer;
}

async function busy(button, work) {
  $("fault").textContent = "";
  button.disabled = true;
  try { await work(); } catch (error) { $("fault").textContent = error.message; }
  button.disabled = false;
}

function say(words, kind) {
  $("said").textContent = words;
  $("said").className = kind || "";
}

function score(name, value) {
  const row = document.createElement("div");
  row.className = "score";
  const label = document.createElement("span");
  label.textContent = label.title = name;
  const meter = document.createElement("meter");
  meter.value = value;
  meter.setAttribute("aria-label", name);
  const number = document.createElement("span");
  number.textContent = (100 * value).toFixed(1) + " %";
  row.append(label, meter, number);
  return row;
}

function show(prediction) {
  shown = prediction;
  say("");
  $("answer").hidden = false;
  $("judge").hidden = false;
  $("mend").hidden = true;
  if (way !== "label") {
    $("text").textContent = told(prediction);
    $("better").value = (way === "sentences" ? prediction.sentences.join("\\n") : prediction.text) || "";
    if (way === "labels") mark(Object.keys(prediction.scores).sort(), (name) => tick(name, prediction.labels.includes(name)));
    if (way === "grades") mark(Object.keys(prediction.grades), (name) => figure(name, prediction.grades[name]));
    if (way === "items") {
      const names = Object.fromEntries(prediction.items.map((found) => [found.item, found.name || found.item]));
      mark(Object.keys(names), (item) => tick(item, false), names);  // nothing is chosen for the person
    }
    return;
  }
  const scores = Object.entries(prediction.scores).sort((a, b) => b[1] - a[1]);
  const near = prediction.nearest === undefined ? "" : " (nearest: " + prediction.nearest + ")";
  $("label").textContent = prediction.label + near;
  $("scores").replaceChildren(...scores.slice(0, 5).map(([name, value]) => score(name, value)));
  const names = scores.map(([name]) => name).filter((name) => name !== prediction.label).sort();
  const choose = new Option("choose …", "", true, true);  // nothing is chosen for the person
  choose.disabled = true;
  const options = names.map((name) => new Option(name, name));
  $("right").replaceChildren(choose, ...options, new Option("another label …", "…"));
  $("other").value = "";
  another();
}

function mark(names, field, words) {
  $("marks").replaceChildren(...names.map((name) => {
    const label = document.createElement("label");
    const [input, first] = field(name);
    const shown = words ? words[name] : name;
    input.dataset.name = name;
    label.append(...(first ? [input, " " + shown] : [shown + " ", input]));
    return label;
  }));
  $("more").value = "";
}

function tick(name, on) {
  const input = document.createElement("input");
  input.type = "checkbox";
  input.checked = on;
  return [input, true];
}

function figure(name, given) {
  const input = document.createElement("input");  // nothing is chosen for the person
  Object.assign(input, { type: "number", step: "any", required: true, placeholder: given.toFixed(2) });
  return [input, false];
}

function marked() {
  const inputs = [...$("marks").querySelectorAll("input")];
  if (way === "grades") return { grades: Object.fromEntries(inputs.map((i) => [i.dataset.name, Number(i.value)])) };
  const more = $("more").value.trim();
  const labels = inputs.filter((i) => i.checked).map((i) => i.dataset.name);
  if (way === "items") {
    if (!more && !labels.length) throw new Error("Tick what is right, or name another item.");
    return { items: more ? [...labels, more] : labels };
  }
  return more ? { labels: [...labels, more], new_label: true } : { labels };
}

function told(prediction) {
  if (prediction.labels) return prediction.labels.join(", ") || "no label";
  if (prediction.grades) return Object.entries(prediction.grades).map(([k, v]) => k + ": " + v.toFixed(2)).join("\\n");
  if (prediction.sentences) return prediction.sentences.join("\\n");
  if (prediction.items) return prediction.items.map((found, i) => (i + 1) + ". " + (found.name || found.item)).join("\\n");
  return prediction.text;
}

function another() {
  const right = $("right");
  const chosen = right.selectedIndex > 0 && right.selectedIndex === right.options.length - 1;
  $("other").hidden = !chosen;
  $("other").required = chosen;
  return chosen;
}

async function judge(body) {
  await ask("/v1/feedback", { prediction_id: shown.prediction_id, ...body });
  $("judge").hidden = true;
  $("mend").hidden = true;
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  busy($("send"), async () => {
    const answer = await ask("/v1/predict", { input: $("message").value });
    show(answer.predictions[0]);
  });
});
$("message").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("form").requestSubmit();
});
$("yes").addEventListener("click", () => busy($("yes"), async () => {
  await judge({ rating: 1 });
  say("Noted as right.", "good");
}));
$("no").addEventListener("click", () => {
  if (!way) { $("unsure").click(); return; }
  $("mend").hidden = false;
  (way === "label" ? $("right") : textual ? $("better") : $("marks").querySelector("input")).focus();
});
$("right").addEventListener("change", another);
$("mend").addEventListener("submit", (event) => {
  event.preventDefault();
  busy($("keep"), async () => {
    if (way === "text") {
      await judge({ text: $("better").value });
    } else if (way === "sentences") {
      await judge({ sentences: $("better").value.split("\\n").filter((line) => line.trim()) });
    } else if (way !== "label") {
      await judge(marked());
    } else if (another()) {
      await judge({ label: $("other").value, new_label: true });
    } else {
      await judge({ label: $("right").value });
    }
    say("Noted. " + (about.harvested ? "`luthier harvest` makes a training example of it." : "It is kept in the ledger."), "good");
  });
});
$("unsure").addEventListener("click", () => busy($("unsure"), async () => {
  await judge({ rating: -1 });
  say("Noted as wrong.", "bad");
}));
"""

_BODY = """
<h1>Try the model</h1>
<p class="quiet">Bundle <code>@BUNDLE@</code>. Every answer is kept in the ledger;
what you say of it becomes training data.</p>
<form id="form">
  <label for="message">A message, as your users write it</label>
  <textarea id="message" rows="4" required autofocus></textarea>
  <button id="send">Ask</button> <span class="quiet">or Ctrl+Enter</span>
</form>
<p id="fault" role="alert"></p>
<section id="answer" aria-live="polite" hidden>
  <div @CLASSIFY@><div id="label"></div><div id="scores"></div></div>
  <div @GENERATE@><div id="text"></div></div>
  <div id="judge">
    <button id="yes" type="button">Right</button>
    <button id="no" type="button">Wrong …</button>
  </div>
  <form id="mend" hidden>
    <div @CLASSIFY@>
      <label for="right">What is right?</label>
      <select id="right" @REQUIRED@></select>
      <input id="other" type="text" maxlength="200" aria-label="Another label" placeholder="Another label">
    </div>
    <fieldset @MARKS@>
      <legend>What is right?</legend>
      <div id="marks"></div>
      <input id="more" type="text" maxlength="200" aria-label="@MORE@" placeholder="@MORE@" @LABELS@>
    </fieldset>
    <div @TEXT@>
      <label for="better">@BETTER@</label>
      <textarea id="better" rows="6"></textarea>
    </div>
    <button id="keep">Keep this</button>
    <button id="unsure" type="button">Wrong, but I do not know what is right</button>
  </form>
  <p id="said" role="status"></p>
</section>
"""


def page(*, bundle: str, objective: str) -> tuple[str, str]:
    """Return the page and its Content-Security-Policy.

    The policy names the hashes of the one script and the one style, so nothing else runs, whatever a model answers.
    """
    way = WAYS.get(objective)
    hidden = {
        "@CLASSIFY@": way != "label", "@GENERATE@": way == "label", "@TEXT@": way not in ("text", "sentences"),
        "@MARKS@": way not in ("labels", "grades", "items"), "@LABELS@": way not in ("labels", "items"),
    }  # fmt: skip
    body = _BODY.replace("@BUNDLE@", _escape(bundle)).replace("@REQUIRED@", "required" if way == "label" else "")
    better = "The right sentences, one a line, word for word" if way == "sentences" else "A better answer"
    body = body.replace("@BETTER@", better).replace("@MORE@", "Another item" if way == "items" else "Another label")
    for mark, away in hidden.items():
        body = body.replace(mark, "hidden" if away else "")
    about = json.dumps({"way": way, "harvested": objective in MENDED}).replace("<", "\\u003c")
    html = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Luthier</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
        f"<style>{_STYLE}</style></head>\n<body>{body}"
        f'<script id="about" type="application/json">{about}</script>\n<script>{_SCRIPT}</script></body></html>\n'
    )
    policy = (
        f"default-src 'none'; script-src {_hash(_SCRIPT)}; style-src {_hash(_STYLE)}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return html, policy


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
