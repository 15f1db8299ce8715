"""What the labelling page does: keys, answers, and the counts beside them. What a row or label holds is only ever text."""

from __future__ import annotations

SCRIPT = r"""
const about = JSON.parse(document.getElementById("about").textContent);
const $ = (id) => document.getElementById(id);
// s, x, n and u are the other keys of the page.
const KEYS = [..."123456789", ..."qwertyiopadfghjklzcvbm"];
const MANY = 12;
let row = null, labels = [], busy = false, since = 0, away = 0, hiddenAt = 0, dismissed = false;

function kept(store, name, make) {
  try {
    const found = store.getItem(name);
    if (found) return found;
    const made = make();
    if (made) store.setItem(name, made);
    return made;
  } catch (error) { return make(); }
}
const session = kept(window.sessionStorage, "luthier-session",
  () => [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join(""));
$("by").value = kept(window.localStorage, "luthier-by", () => "") || about.by;

function element(name, kind, text) {
  const node = document.createElement(name);
  if (kind) node.className = kind;
  if (text !== undefined) node.textContent = text;
  return node;
}
function word(text) {
  const node = element("bdi");
  node.dir = "auto";
  // Names such as card_not_working may break after an underscore, a hyphen or a slash.
  const parts = text.split(/(?<=[_/-])/);
  parts.forEach((part, index) => node.append(...(index ? [document.createElement("wbr"), part] : [part])));
  return node;
}
function percent(value) { return Math.round(100 * value) + " %"; }
function count(n, one, many) { return n.toLocaleString("en") + " " + (n === 1 ? one : many); }

async function ask(path, body) {
  let response;
  try {
    response = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ by: $("by").value.trim() || about.by, session, ...body }) });
  } catch (error) {
    throw new Error("The page's program does not answer. Start it again with the same command: nothing given is lost.");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error ? answer.error.message : "The program answered " + response.status + ".");
  return answer;
}

async function working(work) {
  if (busy) return;
  busy = true;
  $("fault").textContent = "";
  document.body.setAttribute("aria-busy", "true");
  try { await work(); } catch (error) { $("fault").textContent = error.message; }
  document.body.removeAttribute("aria-busy");
  busy = false;
}

function take(answer) {
  progress(answer.progress);
  if ("row" in answer) show(answer.row);
}

function show(next) {
  row = next;
  since = performance.now();
  away = 0;
  $("row").hidden = row === null;
  $("end").hidden = row !== null;
  $("note").value = "";
  closeNote();
  clearSeek();
  if (row === null) return;
  $("text").textContent = row.text;
  $("text").scrollTop = 0;
  const why = { group: "from the middle of a group of rows", doubt: "one the model would learn much from",
    random: "chosen by chance", second: "someone has labelled it: a second answer", again: "" }[row.chosen];
  $("where").replaceChildren(word(row.file + (row.line ? ":" + row.line : "")), ...(why ? [element("span", "", why)] : []));
  guesses();
}

function guesses() {
  const chips = row.guesses.map((guess, index) => {
    const chip = element("button", "chip" + (index ? "" : " best"));
    chip.type = "button";
    chip.append(word(guess.label), element("span", "muted num", percent(guess.probability)));
    if (!index) chip.append(element("kbd", "", "Enter"));
    chip.addEventListener("click", () => give("label", guess.label));
    return chip;
  });
  $("guess").replaceChildren(element("span", "muted small", "Suggested"), ...chips);
  $("guess").hidden = !chips.length;
}

function drawLabels() {
  const sought = $("seek").value.trim().toLowerCase();
  const shown = labels.filter((label) => label.name.toLowerCase().includes(sought));
  $("labels").replaceChildren(...shown.map((label, index) => {
    const item = element("li");
    const button = element("button", "label" + (sought && !index ? " first" : ""));
    button.type = "button";
    const key = KEYS[labels.indexOf(label)];
    const hint = key ? element("kbd", "", key) : element("span", "nokey");
    hint.setAttribute("aria-hidden", "true");
    if (key) button.setAttribute("aria-keyshortcuts", key);
    button.append(hint, word(label.name), element("span", "muted small num", label.count || ""));
    button.addEventListener("click", () => give("label", label.name));
    item.append(button);
    return item;
  }));
  const exact = labels.some((label) => label.name.toLowerCase() === sought);
  $("add").hidden = !sought || exact;
  $("add").replaceChildren("Add ", word("“" + $("seek").value.trim() + "”"), " and use it");
  return shown;
}

function clearSeek() {
  if ($("seek").value) { $("seek").value = ""; drawLabels(); }
  if (document.activeElement === $("seek")) $("seek").blur();
}

function spent() {
  const hidden = hiddenAt ? performance.now() - hiddenAt : 0;
  return Math.min(86400, Math.round(Math.max(0, performance.now() - since - away - hidden)) / 1000);
}

function give(kind, label) {
  if (!row) return;
  return working(async () => {
    const best = row.guesses[0];
    const body = { id: row.id, kind, note: $("note").value, seconds: spent(), chosen: row.chosen };
    if (kind === "label") body.label = label;
    if (best) Object.assign(body, { suggestion: best.label, probability: best.probability });
    take(await ask("/api/answer", body));
    const words = { label: "Kept: " + label, skip: "Skipped; it comes again at the end.", unsure: "Kept: cannot tell.",
      note: "The note is kept." };
    $("said").textContent = words[kind];
    if (document.activeElement !== document.body) document.activeElement.blur();
  });
}

function undo() {
  return working(async () => {
    const answer = await ask("/api/undo", {});
    take(answer);
    $("said").textContent = answer.undone ? "Taken back: your last answer." : "There is nothing to take back.";
  });
}

function addLabel(name) {
  return working(async () => { take(await ask("/api/labels", { label: name })); }).then(() => {
    if (!$("fault").textContent) return give("label", name.trim());
  });
}

function openNote() {
  $("noting").hidden = false;
  $("noter").setAttribute("aria-expanded", "true");
  $("note").focus();
}
function closeNote() {
  $("noting").hidden = true;
  $("noter").setAttribute("aria-expanded", "false");
}

function progress(now) {
  const names = JSON.stringify(labels), fresh = JSON.stringify(now.labels);
  labels = now.labels;
  if (names !== fresh) drawLabels();
  $("find").hidden = false;
  $("seek").placeholder = labels.length > MANY ? "Find one of " + labels.length + " labels, or type a new one"
    : labels.length ? "Find a label, or type a new one" : "No labels yet: type the first one";
  $("done").textContent = now.labelled.toLocaleString("en");
  const of = now.sampled ? now.rows.toLocaleString("en") + " rows, a sample of " + now.source_rows.toLocaleString("en")
    : count(now.rows, "row", "rows");
  const more = [now.skipped ? now.skipped + " skipped" : "", now.unsure ? now.unsure + " cannot be told" : ""].filter(Boolean);
  $("left").textContent = ["of " + of, ...more].join(" · ");
  const others = Object.entries(now.people);
  $("people").textContent = others.length > 1 ? others.map(([who, n]) => who + " " + n).join(" · ") : "";
  const estimates = now.rounds.filter((r) => r.accuracy !== null), last = estimates[estimates.length - 1];
  $("accuracy").textContent = last ? percent(last.accuracy) : "–";
  $("interval").textContent = last ? "95 % interval " + Math.round(100 * last.low) + " to " + percent(last.high) + ", at "
    + last.labelled + " labels; measured on rows chosen by chance" : "Shown when ten rows chosen by chance have labels.";
  drawChart($("chart"), now.rounds);
  $("agreed").textContent = now.suggested ? percent(now.agreed / now.suggested) : "–";
  $("agreedof").textContent = now.suggested ? count(now.suggested, "answer", "answers") + " with a suggestion" : "";
  reading(now.reading, now.notes);
  counts(now);
  advice(now, last);
}

function reading(state, notes) {
  const done = state.vectors === "embedded" || (state.of > 0 && state.done >= state.of);
  $("reading").hidden = done && !state.problem && !notes.length;
  $("readmeter").hidden = done || Boolean(state.problem);
  $("readmeter").value = state.of ? state.done / state.of : 0;
  const words = state.problem || (done ? "" : "Suggestions come from words until the rows are read"
    + (state.of ? ": " + state.done.toLocaleString("en") + " of " + state.of.toLocaleString("en") : "") + ".");
  $("readwords").textContent = [words, ...notes].filter(Boolean).join(" ");
}

function counts(now) {
  const most = Math.max(1, ...now.labels.map((label) => label.count));
  const sorted = [...now.labels].sort((a, b) => b.count - a.count);
  $("counts").replaceChildren(...sorted.map((label) => {
    const item = element("li"), bar = element("span", "bar"), fill = element("i");
    fill.style.width = 100 * label.count / most + "%";
    bar.append(fill);
    item.append(word(label.name), element("span", "num muted", label.count + (label.known ? " + " + label.known : "")), bar);
    item.firstChild.title = label.name;
    return item;
  }));
}

function advice(now, last) {
  $("advice").hidden = !now.advice.stop || dismissed;
  if (!now.advice.stop) { dismissed = false; return; }
  const changed = Math.max(...now.advice.changed), rise = Math.round(1000 * now.advice.gain) / 10;
  $("why").textContent = "In each of the last " + now.advice.changed.length + " rounds a tenth more labels changed at most "
    + (100 * changed).toFixed(1) + " % of the suggestions for the rows not labelled, and the estimated accuracy moved by "
    + (rise > 0 ? "+" : "") + rise + " points, within its interval of ± " + Math.round(100 * now.advice.reach)
    + ". It is " + percent(last.accuracy) + " (" + Math.round(100 * last.low) + " to " + percent(last.high) + ").";
}

const ACTIONS = { s: () => give("skip"), x: () => give("unsure"), n: openNote, u: undo, Backspace: undo,
  "/": () => { $("seek").focus(); $("seek").select(); } };

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    if (event.target === $("seek")) clearSeek();
    else if (event.target === $("note")) { $("note").blur(); if (!$("note").value) closeNote(); }
    else if (event.target !== document.body) event.target.blur();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.repeat) return;
  if (event.target.closest("input, textarea")) return;
  if (event.key === "Enter") {
    if (event.target.closest("button")) return;
    if (row && row.guesses.length) { event.preventDefault(); give("label", row.guesses[0].label); }
    return;
  }
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const place = KEYS.indexOf(key);
  if (place >= 0 && place < labels.length) { event.preventDefault(); give("label", labels[place].name); }
  else if (ACTIONS[key]) { event.preventDefault(); ACTIONS[key](); }
});

$("seek").addEventListener("input", drawLabels);
$("find").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = $("seek").value.trim(), shown = drawLabels();
  if (!name) return;
  const exact = labels.find((label) => label.name.toLowerCase() === name.toLowerCase());
  // Enter takes the first match, which is marked; the button adds what is typed, and so does Enter where nothing matches.
  if (exact) give("label", exact.name);
  else if (event.submitter === $("add") && document.activeElement === $("add") || !shown.length) addLabel(name);
  else give("label", shown[0].name);
});
$("skip").addEventListener("click", ACTIONS.s);
$("unsure").addEventListener("click", ACTIONS.x);
$("undo").addEventListener("click", undo);
$("noter").addEventListener("click", () => { $("noting").hidden ? openNote() : closeNote(); });
$("keep").addEventListener("click", () => { if ($("note").value.trim()) give("note"); });
$("on").addEventListener("click", () => { dismissed = true; $("advice").hidden = true; });
$("by").addEventListener("change", () => {
  try { localStorage.setItem("luthier-by", $("by").value.trim()); } catch (error) { /* private window */ }
  $("by").blur();
  working(async () => take(await ask("/api/next", {})));
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) hiddenAt = performance.now();
  else if (hiddenAt) { away += performance.now() - hiddenAt; hiddenAt = 0; }
});

async function begin() {
  await working(async () => take(await ask("/api/next", {})));
  drawLabels();
}
// While rows are being read and models fitted the counts change without an answer.
setInterval(async () => {
  if (busy || document.hidden) return;
  try { progress((await ask("/api/progress", {})).progress); } catch (error) { /* the next answer says so */ }
}, 4000);
begin();
"""
