"""The check's page and its findings: every part alone, none at all, and texts that try to be HTML."""

from __future__ import annotations

import html
import html.parser
import json
import re
from pathlib import Path
from typing import Any

import pytest
from check_records import EVIL, check_record
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier import show
from luthier.spec.data import DataSection
from luthier.studio.check_page import SECTIONS, page, write_check
from luthier.studio.check_page_bars import columns_chart, split_bar
from luthier.studio.check_page_findings import TOPICS, findings, percent
from luthier.studio.check_page_rows import _marked

VOID = {"meta", "br", "hr", "link"}


class Shape(html.parser.HTMLParser):
    """Collects the elements, texts and headings, and holds that every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).replace("\xa0", " ").split())

    @property
    def ids(self) -> list[str]:
        return [attrs["id"] or "" for _, attrs in self.tags if "id" in attrs]


def test_the_whole_page_has_every_section_and_its_links() -> None:
    shape = Shape(page(check_record()))
    assert set(SECTIONS) <= set(shape.ids)
    assert len(shape.ids) == len(set(shape.ids))
    links = {attrs["href"] for name, attrs in shape.tags if name == "a"}
    assert {f"#{name}" for name in SECTIONS} <= links
    assert {link[1:] for link in links if link} <= set(shape.ids)


def test_what_stops_a_run_stands_first_with_how_to_mend_it() -> None:
    text = Shape(page(check_record())).text
    assert "✗ Would not run 1 thing stops it." in text
    first = text.index("Stops a run Rows are shared between splits: 12 by their text.")
    assert first < text.index("Set data.leaks: fix") < text.index("Serious ") < text.index("Label balance")


def test_ready_to_run_says_so() -> None:
    found = check_record() | {"stops": []}
    assert "✓ Ready to run" in Shape(page(found)).text
    assert "nothing of weight was found" in Shape(page({"rows": 3, "splits": {"train": 3}, "stops": []})).text


@pytest.mark.parametrize("missing", [*check_record(), "all"])
@pytest.mark.parametrize("value", ["absent", None])
def test_any_part_may_be_missing(missing: str, value: str | None) -> None:
    found: dict[str, Any] = {} if missing == "all" else check_record()
    if value is None and missing != "all":
        found[missing] = None
    else:
        found.pop(missing, None)
    Shape(page(found))


@pytest.mark.parametrize("inner", ["profile", "preview", "label_errors", "cleaning"])
def test_any_part_of_a_part_may_be_missing(inner: str) -> None:
    for key in check_record()[inner]:
        found = check_record()
        found[inner].pop(key)
        Shape(page(found))
        found[inner][key] = None
        Shape(page(found))


def test_texts_of_users_stay_texts() -> None:
    shape = Shape(page(json.loads(json.dumps(check_record()).replace("card", EVIL.replace('"', '\\"')))))
    assert not [name for name, _ in shape.tags if name in ("img", "b")]
    assert sum(name == "script" for name, _ in shape.tags) == 3, "the page's own: one script and two empty tables"
    assert EVIL in "".join(shape.texts)


@given(text=st.text(max_size=80), label=st.text(min_size=1, max_size=20))
@settings(max_examples=40, deadline=None)
def test_any_text_makes_a_whole_page(text: str, label: str) -> None:
    found = check_record()
    found["leak_examples"][0] |= {"text": text, "other_text": text[::-1]}
    found["labels"] = {label: {"train": 3}}
    found["label_errors"]["rows"][0] |= {"text": text, "label": label}
    made = page(found)
    Shape(made)
    made.encode("utf-8")


def test_nothing_is_fetched_and_only_its_own_script_runs() -> None:
    made = page(check_record())
    assert not re.search(r'(?:src|href)="(?!#|data:)', made)
    assert "url(" not in made and "@import" not in made
    assert "default-src 'none'; script-src 'sha256-" in html.unescape(made)


def test_no_personal_data_is_shown_only_counts() -> None:
    shape = Shape(page(check_record()))
    assert "Counts only" in shape.text and "16" in shape.text


@given(one=st.text(max_size=60), other=st.text(max_size=60))
def test_marking_differences_changes_no_text(one: str, other: str) -> None:
    left, right = _marked(one, other)

    def plain(parts: list[object]) -> str:
        return "".join(Shape(part).texts[0] if hasattr(part, "__slots__") else str(part) for part in parts)

    if all(c.isprintable() for c in one + other):
        assert (plain(left), plain(right)) == (one, other)


def test_only_the_words_that_differ_are_marked() -> None:
    left, right = _marked("my card is lost", "my phone is lost")
    assert left == ["my ", "<mark>card</mark>", " is lost"] and right == ["my ", "<mark>phone</mark>", " is lost"]


def test_learnt_tokens_are_marked_by_more_than_colour() -> None:
    made = page(check_record())
    assert 'class="t learnt special"' in made
    assert re.search(r"\.t\.learnt \{[^}]*text-decoration: underline", made)
    assert "Only the underlined tokens are learnt" in Shape(made).text


def test_bars_add_up_to_their_share() -> None:
    drawn = split_bar({"train": 30, "valid": 10, "test": 10}, 100)
    widths = [float(w) for w in re.findall(r'width="([\d.]+)"', drawn)]
    assert widths == [30, 10, 10]
    assert [float(x) for x in re.findall(r' x="([\d.]+)"', drawn)] == [0, 30, 40]


def test_a_limit_inside_the_picture_is_drawn_where_it_stands() -> None:
    assert 'x1="25.00"' in columns_chart([1, 2, 3, 4], ticks=[], words="w", mark=(0.25, "limit"))


@pytest.mark.parametrize(
    ("share", "said"),
    [(0.0, "0 %"), (0.0004, "under 0.1 %"), (0.003, "0.3 %"), (0.031, "3.1 %"), (0.5, "50 %"), (1.0, "100 %")],
)
def test_shares_are_said_and_never_rounded_to_nothing(share: float, said: str) -> None:
    assert percent(share).replace("\xa0", " ") == said


def test_findings_come_by_weight() -> None:
    order = ["stops", "grave", "look", "note"]
    levels = [order.index(f.level) for f in findings(check_record())]
    assert levels == sorted(levels) and set(levels) == {0, 1, 2, 3}


def test_a_warning_of_the_data_room_is_not_told_twice() -> None:
    found = check_record()
    told = [f for f in findings(found) if f.topic == "personal data"]
    assert len(told) == 1 and told[0].where == "messages.csv:28"
    found["problems"] = []
    assert [f.what for f in findings(found) if f.topic == "personal data"] == [
        "Personal data in the texts: 2 card, 16 email."
    ]


def test_every_line_to_copy_is_one_the_task_file_takes() -> None:
    import yaml

    for topic in TOPICS.values():
        if topic.line.startswith("data:") and "DAY" not in topic.line:
            keys = yaml.safe_load(topic.line.replace("LANGUAGE", "en"))["data"]
            assert DataSection.model_validate({"source": "a.csv", **keys}).model_fields_set == {"source", *keys}


@pytest.mark.parametrize(("share", "level"), [(0.0, None), (0.004, "note"), (0.05, "look"), (0.4, "grave")])
def test_the_more_rows_are_cut_the_graver(share: float, level: str | None) -> None:
    found = check_record()
    found["preview"]["lengths"]["cut"] = {"share": share, "rows": round(share * 1_000)}
    told = [f for f in findings(found) if f.topic == "rows cut"]
    assert [f.level for f in told] == ([level] if level else [])
    if told:
        assert told[0].line == "model:\n  max_tokens: 128", "within what the model was built for"


def test_unknown_token_lengths_are_a_finding_with_the_reason() -> None:
    found = check_record() | {
        "preview": {"unknown": {"what": "no folder", "where": "model.base", "mend": "Give a folder."}}
    }
    told = next(f for f in findings(found) if f.topic == "token lengths")
    assert "no folder" in told.what and told.do == "Give a folder."
    assert "lengths" in Shape(page(found)).ids, "characters are shown instead"


def test_the_page_is_written_whole(tmp_path: Path) -> None:
    path = write_check(check_record(), tmp_path / "deep" / "check.html")
    assert path.read_text(encoding="utf-8").endswith("</html>\n")


def test_the_terminal_says_last_whether_it_would_run_and_what_is_worst(capsys: pytest.CaptureFixture[str]) -> None:
    show.checked(check_record() | {"page": "out/check.html"})
    out, err = capsys.readouterr()
    assert out == "this would not run\n"
    lines = err.splitlines()
    assert lines[-1] == "page: out/check.html"
    assert lines[-2] == "the worst: rows are shared between splits: 12 by their text."
    assert any(line.startswith("stops a run: data.leaks: rows are shared") for line in lines)
    assert max(len(line) for line in lines if line.startswith(("serious", "look", "note"))) < 180


def test_the_terminal_cuts_long_tables_and_lists(capsys: pytest.CaptureFixture[str]) -> None:
    found = check_record()
    found["labels"] = {f"label {i}": {"train": 1_000 - i, "valid": 1, "test": 2} for i in range(300)}
    found["stops"] = [{"what": f"thing {i}", "where": "", "mend": ""} for i in range(50)]
    show.checked(found)
    err = capsys.readouterr().err.splitlines()
    assert sum(line.startswith("label ") for line in err) <= 13
    assert any("288 more" in line for line in err) and any("44 more places" in line for line in err)


@pytest.mark.parametrize(
    "found", [{}, {"rows": 5}, {"rows": 5, "stops": [], "preview": {"unknown": {"what": "x"}}, "labels": None}]
)
def test_the_terminal_takes_what_there_is(found: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    show.checked(found)
    assert capsys.readouterr().out == "ready to run\n"
