"""The report: whole, self-contained, escaped, readable, and honest about what is not there."""

from __future__ import annotations

import base64
import copy
import hashlib
import html.parser
import json
import re
from pathlib import Path
from typing import Any

import pytest
from report_records import classify_record, generate_record

from luthier.evaluate.report.advice import next_steps
from luthier.evaluate.report.html import decimal, tag
from luthier.evaluate.report.page import page, write_report
from luthier.evaluate.report.style import DARK, LIGHT
from luthier.evaluate.verdict import judge
from luthier.spec.bars import Bar

EVIL = '<script>alert(1)</script><img src=x onerror="alert(2)">&\'"</title>'


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    return classify_record()


class Reader(html.parser.HTMLParser):
    """Reads the page as a browser would: its elements, its texts, and whether every element is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((name, dict(attributes)))
        if name not in ("meta", "link", "br", "hr", "img"):
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open and self.open.pop() == name, f"</{name}> closes another element"

    def handle_data(self, data: str) -> None:
        if self.open:
            self.inside.setdefault(self.open[-1], []).append(data)

    def of(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.elements if found == name]


def plain(text: str) -> str:
    """Return the page without scripts, tags and styles."""
    text = re.sub(r"(?s)<(script|style).*?</\1>", " ", text)
    return html.unescape(re.sub(r"<[^>]+>", " ", text))


def test_the_page_says_the_verdict_the_bars_and_the_place_of_mistakes(record: dict[str, Any], tmp_path: Path) -> None:
    path = write_report(record, tmp_path)
    assert path == tmp_path / "report.html"
    words = " ".join(plain(path.read_text(encoding="utf-8")).split())
    assert "Not accepted" in words and record["reasons"][0] in words
    assert f"{record['mistakes'][0]['file']}:{record['mistakes'][0]['line']}" in words
    for title in ("Metrics", "Confusion", "Training", "Data", "Model and settings", "What to do next"):
        assert title in words
    assert "not looked for" in words, "semantic leaks were not looked for, which is not the same as none"
    assert "Merge them." in words, "a problem comes with how to mend it"
    assert write_report(record, tmp_path / "other.html").name == "other.html"


def test_the_page_is_well_formed_and_has_one_of_each(record: dict[str, Any]) -> None:
    reader = Reader(page(record))
    assert len(reader.of("h1")) == len(reader.of("main")) == len(reader.of("html")) == len(reader.of("title")) == 1
    ids = [attributes["id"] for _, attributes in reader.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for link in reader.of("a"):
        assert link["href"].startswith("#") and link["href"][1:] in ids
    assert all(attributes.get("scope") in ("col", "row") for attributes in reader.of("th"))


def test_nothing_comes_from_outside_and_plotly_is_there_once(record: dict[str, Any]) -> None:
    text = page(record)
    reader = Reader(text)
    assert text.count("plotly.js v") == 1
    for _, attributes in reader.elements:
        for name in ("src", "href", "action", "data", "srcset", "poster"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))
    style = "".join(reader.inside["style"])
    assert "@import" not in style and "url(" not in style


def test_the_policy_lets_just_these_scripts_run(record: dict[str, Any]) -> None:
    text = page(record)
    (policy,) = [m["content"] for m in Reader(text).of("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'") and "connect-src" not in policy and "unsafe-eval" not in policy
    scripts = re.findall(r"(?s)<script>(.*?)</script>", text)
    hashes = {"sha256-" + base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts}
    assert hashes == set(re.findall(r"'(sha256-[^']+)'", policy)) and len(scripts) == 2


def poisoned(value: Any) -> Any:
    """Return a record whose every text, keys of users included, is an attack."""
    if isinstance(value, str):
        return EVIL + value
    if isinstance(value, list | tuple):
        return [poisoned(item) for item in value]
    if isinstance(value, dict):
        return {k: poisoned(v) for k, v in value.items()}
    return value


def test_every_text_of_a_user_is_escaped(record: dict[str, Any]) -> None:
    evil = poisoned({k: v for k, v in record.items() if k not in ("verdict", "bars")})
    evil |= {"verdict": "missed", "bars": [{**bar, "metric": f"recall[{EVIL}]"} for bar in record["bars"]]}
    evil["metrics"] = {"test": {f"recall[{EVIL}]": {"value": 0.5, "low": 0.4, "high": 0.6}}}
    evil["roc"] = {EVIL: {"fpr": [0, 1], "tpr": [0, 1], "auc": 0.5}}
    evil["baselines"] = {EVIL: {f"recall[{EVIL}]": 0.4}}
    evil["data"]["dropped"] = {EVIL: 3}
    text = page(evil)
    reader = Reader(text)
    assert not reader.of("img") and len(reader.of("script")) == 4, "two of data, two that run"
    assert not any(name.startswith("on") for _, attributes in reader.elements for name in attributes)
    assert EVIL not in text and text.count("&lt;script&gt;alert(1)") > 30
    data = re.search(r'(?s)<script type="application/json" id="plots">(.*?)</script>', text)
    assert data is not None and "<" not in data[1] and json.loads(data[1])


def test_a_record_of_nothing_but_a_verdict_is_a_page() -> None:
    for verdict in ("accepted", "missed"):
        text = page({"verdict": verdict, "task": {"name": "x", "objective": "classify"}})
        Reader(text)
        assert ("Not accepted" in plain(text)) == (verdict == "missed")
        assert "plotly.js v" not in text, "without a plot, four megabytes are saved"


def test_every_key_may_be_absent_or_empty(record: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.evaluate.report.page.plotly_script", lambda: "// left out, to be quick")
    for source in (record, generate_record()):
        for key in source:
            if key in ("verdict", "task"):
                continue
            without = {k: v for k, v in source.items() if k != key}
            for one in ({**source, key: None}, {**source, key: type(source[key])()}, without):
                text = page(one)
                Reader(text)
                # What is asked of the page first stands on it, whatever is missing.
                assert source["verdict"].capitalize() in plain(text) or "Not accepted" in plain(text), key


def test_odd_numbers_and_broken_text_do_not_break_the_page(record: dict[str, Any], tmp_path: Path) -> None:
    odd = copy.deepcopy(record)
    odd["curve"]["steps"][3]["loss"] = float("nan")
    odd["metrics"]["test"]["roc_auc"] = {"value": None, "low": None, "high": None}
    odd["metrics"]["test"]["mcc"] = 0.25
    odd["mistakes"][0]["text"] = "half a pair \ud800, a bell \x07"
    odd["bars"][0] |= {"value": None, "low": None, "high": None, "holds": False}
    text = write_report(odd, tmp_path).read_text(encoding="utf-8")
    assert "NaN" not in re.search(r'(?s)id="plots">(.*?)</script>', text)[1]
    assert "\x07" not in text


def test_the_figures_are_figures_plotly_knows(record: dict[str, Any]) -> None:
    graph_objects = pytest.importorskip("plotly.graph_objects")
    for source in (record, generate_record()):
        found = json.loads(re.search(r'(?s)id="plots">(.*?)</script>', page(source))[1])
        assert found
        for palette in (LIGHT, DARK):
            for figure in found.values():
                graph_objects.Figure(painted(figure, palette))  # raises on an attribute that plotly does not have


def painted(value: Any, palette: dict[str, str]) -> Any:
    if isinstance(value, str) and value.startswith("@"):
        return palette[value[1:]]
    if isinstance(value, list):
        return [painted(v, palette) for v in value]
    return {k: painted(v, palette) for k, v in value.items()} if isinstance(value, dict) else value


def luminance(color: str) -> float:
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_words_can_be_read_and_marks_can_be_seen(palette: dict[str, str]) -> None:
    def contrast(one: str, two: str) -> float:
        low, high = sorted((luminance(palette[one]), luminance(palette[two])))
        return (high + 0.05) / (low + 0.05)

    for name in ("ink", "muted", "accent", "good", "bad", "mark"):
        assert contrast(name, "paper") >= 4.5, name
    assert contrast("ink", "panel") >= 4.5
    for i in range(6):
        assert contrast(f"series{i}", "paper") >= 3, "WCAG 1.4.11: graphics"
    assert set(LIGHT) == set(DARK)


def test_elements_are_escaped_by_construction() -> None:
    assert tag("p", "<b>", tag("i", "&"), None, ["x", 1], class_='a"b', hidden=True, id=None) == (
        '<p class="a&quot;b" hidden>&lt;b&gt;<i>&amp;</i>x1</p>'
    )
    assert decimal(-0.25) == "−0.250" and decimal(12345.6) == "12,346"


def test_advice_names_the_weakest_label_and_how_many_rows_would_tell(record: dict[str, Any]) -> None:
    advice = " ".join(next_steps(record))
    assert "The weakest label is “urgent”" in advice and "108 training rows" in advice
    assert re.search(
        r"180 test rows cannot tell for sure whether recall\[urgent\] clears 0.90: about \d+ would", advice
    )


def test_advice_counts_what_a_bar_is_made_of() -> None:
    bars = [Bar("case[harm]", ">=", 0.95)]
    held = judge(bars, {"case[harm]": {"value": 1.0, "low": 0.158, "high": 1.0, "rows": 2, "units": 2}}).as_dict()
    advice = " ".join(next_steps({**held, "task": {"objective": "classify"}, "data": {"splits": {"test": 180}}}))
    assert "2 functional tests cannot tell whether case[harm] clears 0.95: it takes 72." in advice
    held = judge(bars, {"case[harm]": {"value": 0.97, "low": 0.94, "high": 0.99, "rows": 100, "units": 100}}).as_dict()
    advice = " ".join(next_steps({**held, "task": {"objective": "classify"}, "data": {"splits": {"test": 180}}}))
    assert "100 functional tests cannot tell for sure whether case[harm] clears 0.95: about 180 would" in advice, "and not all test rows"


def test_advice_follows_the_figures() -> None:
    measured = {"value": 0.8, "low": 0.75, "high": 0.85}
    bar = {"metric": "macro_f1", "op": ">=", "limit": 0.7, **measured, "holds": True, "certain": True}
    base = {
        "verdict": "accepted",
        "task": {"objective": "classify"},
        "bars": [bar],
        "metrics": {"test": {"macro_f1": measured}},
    }
    assert next_steps(base) == [s for s in next_steps(base) if "luthier serve" in s]

    def beside(metric: str, theirs: float, mine: float, better: str) -> dict[str, Any]:
        return {"beside": {"metric": metric, "rivals": {"tfidf_linear": {"first": theirs, "second": mine, "better": better}}}}

    assert "as good" in next_steps({**base, **beside("macro_f1", 0.81, 0.8, "cannot tell")})[0]
    assert "not surely better" in next_steps({**base, **beside("macro_f1", 0.77, 0.8, "cannot tell")})[0]
    assert not any("baseline" in s for s in next_steps({**base, **beside("macro_f1", 0.1, 0.8, "second")}))
    assert "shared between splits" in next_steps({**base, "data": {"leaks": {"near": 3, "semantic": None}}})[0]
    assert "add test rows" in next_steps({**base, "bars": [{**bar, "value": None}]})[0].lower()
    nats = {"value": 9.0, "low": 8.0, "high": 10.0}
    generated = {
        "verdict": "missed",
        "task": {"objective": "generate"},
        "metrics": {"test": {"perplexity": nats, "stopped": 0.5}},
    }
    found = next_steps({**generated, **beside("perplexity", 8.5, 9.0, "cannot tell")})
    assert "as good" in found[0], "lower is better"
    assert "50% of the answers were cut off" in found[1]
    assert not any("untuned" in s for s in next_steps({**generated, "baselines": {"untuned": {"perplexity": 20.0}}}))


def test_a_bar_on_an_accepted_run_reads_well() -> None:
    good = classify_record(skill=8, rows=300, bars=[Bar("macro_f1", ">=", 0.6)])
    words = " ".join(plain(page(good)).split())
    assert "Accepted its bar is met." in words and "✓ yes" in words and "luthier serve" in words


def test_the_fit_is_told_and_both_curves_are_drawn(record: dict[str, Any]) -> None:
    text = page(record)
    words = plain(text)
    assert "overfits from step 135" in words and "(also: data-limited)" in words
    assert "After step 135 the validation loss rose from 0.44 to 0.49" in words
    assert "It overfits from step 135." in " ".join(next_steps(record))
    figure = json.loads(re.search(r'id="plots">(.*?)</script>', text, re.DOTALL)[1])["training"]
    drawn = {trace["name"]: trace for trace in figure["data"]}
    assert drawn["validation rows"]["y"] == [0.9, 0.52, 0.44, 0.49]
    assert drawn["train rows"]["y"] == [0.88, 0.4, 0.2, 0.11]
    assert [shape["x0"] for shape in figure["layout"]["shapes"]] == [135]
    assert "overfits" not in plain(page({**record, "diagnosis": {"verdict": "fits", "evidence": [], "next": []}}))


SEQUENCE = {
    "stages": ["general", "<b>new</b>"], "metrics": ["macro_f1", "accuracy"], "test": [[0.91234, None], [0.61234, 0.87]],
    "valid": [[0.9], [0.6, 0.8]], "forgetting": 0.3, "mean_forgetting": 0.3, "by_stage": {"general": 0.3},
    "backward_transfer": -0.3, "intervals": {"general": [0.25, 0.36]}, "probes": [0.8, 0.7],
    "blends": {"<b>new</b>": {"share": 0.4, "curve": [
        {"share": s / 10, "scores": {"general": 0.6 + s / 50, "<b>new</b>": 0.9 - s / 100}} for s in range(11)]}},
}  # fmt: skip
PROBE = {"kind": "paraphrases", "before": 0.81, "after": 0.42, "change": -0.39, "words": "share of paraphrases found"}


def test_a_sequence_shows_its_matrix_its_losses_and_its_curve() -> None:
    stage = {"name": "general", "objective": "classify", "method": "full", "splits": {"train": 1234}, "trained": 99,
             "steps": 7, "rehearsed": {}, "seconds": 3.0}  # fmt: skip
    later = {**stage, "name": "<b>new</b>", "rehearsed": {"general": 61}}
    text = page({**classify_record(), "sequence": SEQUENCE, "stages": [stage, later], "probe": PROBE})
    Reader(text)
    shown = plain(text)
    for words in (
        "0.912",
        "0.612",
        "0.870",
        "0.300",
        "0.250 to 0.360",
        "−0.390",
        "61",
        "1,234",
        "40% of the weights before",
    ):
        assert words in shown or words.replace("40%", "40 %") in shown, words
    assert "<b>new</b>" not in text
    drawn = json.loads(re.search(r'id="plots">(.*?)</script>', text, re.DOTALL)[1])
    assert [trace["y"] for trace in drawn["stages"]["data"]] == [[0.91234, 0.61234], [0.87]]
    assert drawn["blend-0"]["layout"]["shapes"][0]["x0"] == 0.4
    further = {"chrf": {"test": [[0.4321, None], [0.2222, None]], "by_stage": {"general": 0.2099}, "intervals": {"general": [0.111, 0.333]}}}
    shown = plain(page({**classify_record(), "sequence": {**SEQUENCE, "beside": further}, "stages": [stage, later]}))
    for words in ("By further metrics", "general (chrf)", "0.432", "0.222", "0.210", "0.111 to 0.333"):
        assert words in shown, words
    assert "(chrf)" not in text and "<b>new</b> (chrf)" not in shown
    alone = page({**classify_record(), "probe": PROBE})
    assert "General ability before and after tuning" in alone
    assert "blend-0" not in alone


def test_bars_on_stages_are_in_words() -> None:
    from luthier.evaluate.report.owner import in_words

    assert "lost" in in_words("forgetting[general]")
    assert in_words("macro_f1@general").endswith("on the rows of general after the last stage")
    assert in_words("accuracy@a").startswith(in_words("accuracy"))


def test_what_was_chosen_after_training_is_told() -> None:
    from luthier.evaluate.report.training import training

    near = {"share": 0.5, "rows": 8852, "judged": 970, "log_loss_before": 0.2368, "log_loss_after": 0.2201}
    found = {"nearest": near, "calibrated": {"scale": 1.314, "rows": 970, "log_loss_before": 0.22, "log_loss_after": 0.215}}
    page = "".join(map(str, training({"training": found}, {})))
    assert "have 50% of the say in each answer (8,852 rows); log loss on validation rows 0.237 before, 0.220 after" in page
    assert "scores times 1.31" in page
    for odd in ({}, {"nearest": {}}, {"nearest": {**near, "share": "much"}}, {"nearest": {**near, "rows": None}}, {"nearest": None}):
        assert "of the say" not in "".join(map(str, training({"training": odd}, {})))


def test_the_contest_of_few_labels_is_a_table() -> None:
    from luthier.evaluate.report.training import training

    contenders = [{"method": "head", "accuracy": 0.75, "log_loss": 0.61, "rows": 16, "seconds": 0.4},
                  {"method": "prototypes", "accuracy": None, "log_loss": None, "rows": 0, "seconds": 0.1}]  # fmt: skip
    page = "".join(map(str, training({"training": {"contest": {"winner": "head", "contenders": contenders}}}, {})))
    assert "head (chosen)" in page
    assert "0.750" in page
    assert "prototypes" in page
    assert "What competed" not in "".join(map(str, training({"training": {}}, {})))
