"""The labelling page in a real browser: by keyboard alone, over reloads and crashes, narrow, dark, and nothing fetched."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import start

EVIL = "<script>window.pwned=1</script>"
HEBREW = "איפה החבילה שלי?"
LABELS = ["billing", "delivery", EVIL]


class Server:
    """`luthier label` as a process, on a port of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder, self.options = folder, options
        self.process: subprocess.Popen[str] | None = None
        self.port = "0"

    def begin(self) -> str:
        """Start the process, unless it runs; return its address."""
        if self.process is not None and self.process.poll() is None:
            return self.url
        self.process = start("label", "messages.csv", "--labels", "@labels.txt", "--by", "Ana", "--vectors", "words", "--port", self.port,
                             "--no-open", "--json", *self.options, cwd=self.folder)  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read() if self.process.stderr else ""
        self.url: str = json.loads(line)["url"]
        self.port = self.url.rsplit(":", 1)[1]
        return self.url

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(30)

    def events(self) -> list[dict[str, Any]]:
        lines = (self.folder / "messages.labels.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]


def folder_of(folder: Path, texts: list[str]) -> Path:
    with (folder / "messages.csv").open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([["text"], *([text] for text in texts)])
    (folder / "labels.txt").write_text("\n".join(LABELS), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    topics = ("my parcel from the courier", "the invoice was charged", "refund the money", "tracking of the delivery")
    texts = [f"{topics[i % 4]} number {i} is not right" for i in range(60)]
    found = Server(folder_of(tmp_path_factory.mktemp("label"), texts))
    yield found
    found.kill()


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    found = Server(folder_of(tmp_path_factory.mktemp("odd"), [HEBREW, EVIL, "x" * 500]))
    yield found
    found.kill()


class Visit:
    """One person's browser, with what it complained of and what it asked for."""

    def __init__(self, browser: Any, url: str, *, width: int = 1200, scheme: str = "light") -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 820}, color_scheme=scheme)
        self.page, self.url = self.context.new_page(), url
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda m: self.complaints.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(url)
        self.until(lambda: self.text() != "One moment …")

    def text(self) -> str:
        return str(self.page.locator("#text").text_content())

    def done(self) -> int:
        return int(self.page.locator("#done").text_content())

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait for a condition, asked from outside: the page's own policy forbids it to evaluate."""
        for _ in range(400):
            if holds():
                return
            self.page.wait_for_timeout(25)
        raise AssertionError(f"never came true; the page says: {self.page.locator('#fault').text_content()}")

    def press(self, key: str) -> str:
        """Press a key that answers; return the row it was about, when the next one is there."""
        before, said = self.text(), self.page.locator("#said").text_content()
        self.page.keyboard.press(key)
        self.until(lambda: self.text() != before or self.page.locator("#said").text_content() != said)
        return before

    def close(self) -> None:
        self.context.close()
        assert self.complaints == []
        own = (self.url, "data:")
        assert [url for url in self.requests if not url.startswith(own)] == [], "no request leaves the machine"


def test_ten_rows_by_keyboard_undo_reload_and_a_killed_server(browser: Any, server: Server) -> None:
    visit = Visit(browser, server.begin())
    rows = [visit.press("12"[i % 2]) for i in range(10)]
    assert len(set(rows)) == 10 and visit.done() == 10
    assert visit.page.locator("#said").text_content() == "Kept: delivery"
    visit.page.keyboard.press("u")
    visit.until(lambda: visit.done() == 9)
    assert visit.text() == rows[9], "what is taken back is asked again"
    visit.page.keyboard.press("Backspace")
    visit.until(lambda: visit.done() == 8)
    assert visit.text() == rows[8]
    visit.press("1")
    shown = visit.text()
    visit.page.reload()
    visit.until(lambda: visit.done() == 9)
    assert visit.text() == shown, "the same row after a reload"

    server.kill()
    visit.page.keyboard.press("1")
    visit.until(lambda: "does not answer" in str(visit.page.locator("#fault").text_content()))
    visit.complaints.clear()  # the browser tells of the refused connection
    server.begin()
    visit.page.reload()
    visit.until(lambda: visit.done() == 9)
    visit.page.keyboard.press("u")
    visit.until(lambda: visit.done() == 8)
    assert visit.text() == rows[8], "undo reaches back over the crash"
    visit.complaints.clear()
    visit.close()
    kinds = [e["kind"] for e in server.events() if e["kind"] != "round"]
    assert kinds == ["opened", *["label"] * 10, "undo", "undo", "label", "undo"]
    assert all(e["by"] == "Ana" and e["seconds"] >= 0 for e in server.events() if e["kind"] == "label")


def test_two_browsers_get_different_rows_and_names_are_kept_apart(browser: Any, server: Server) -> None:
    url = server.begin()
    ana, ben = Visit(browser, url), Visit(browser, url)
    ben.page.fill("#by", "Ben")
    ben.page.keyboard.press("Enter")
    ben.page.locator("#by").blur()
    seen = []
    for _ in range(4):
        assert ana.text() != ben.text()
        seen += [ana.press("1"), ben.press("2")]
    assert len(set(seen)) == 8
    ana.close()
    ben.close()
    last = {e["text"]: e["by"] for e in server.events() if e["kind"] == "label"}
    assert [last[text] for text in seen] == ["Ana", "Ben"] * 4


def test_skip_unsure_note_search_and_a_new_label_by_keyboard(browser: Any, server: Server) -> None:
    visit = Visit(browser, server.begin())
    skipped = visit.press("s")
    visit.page.keyboard.press("n")
    visit.page.keyboard.type("1 x two things in one")
    visit.page.keyboard.press("Escape")
    unsure = visit.press("x")
    visit.page.keyboard.press("/")
    visit.page.keyboard.type("deliv")
    assert visit.page.locator("#labels button").count() == 1
    found = visit.press("Enter")
    visit.page.keyboard.press("/")
    visit.page.keyboard.type("lost and found")
    assert visit.page.locator("#add").is_visible()
    added = visit.press("Enter")
    visit.until(lambda: visit.page.locator("#labels button").count() == 4)
    by_key = visit.press("4")
    last = {e["text"]: e for e in server.events() if "text" in e}
    assert last[skipped]["kind"] == "skip"
    assert (last[unsure]["kind"], last[unsure]["note"]) == ("unsure", "1 x two things in one")
    assert last[found]["label"] == "delivery"
    assert last[added]["label"] == last[by_key]["label"] == "lost and found"
    visit.close()


def test_texts_and_labels_are_text_and_nothing_scrolls_sideways(browser: Any, odd: Server) -> None:
    visit = Visit(browser, odd.begin(), width=400)
    seen = []
    for _ in range(3):
        seen.append(visit.text())
        for width, scheme, paper in ((400, "light", "rgb(253, 252, 250)"), (1200, "dark", "rgb(22, 24, 28)")):
            visit.page.set_viewport_size({"width": width, "height": 820})
            visit.page.emulate_media(color_scheme=scheme)
            assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
            assert visit.page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == paper
        direction = visit.page.evaluate("getComputedStyle(document.getElementById('text')).direction")
        assert direction == ("rtl" if seen[-1] == HEBREW else "ltr")
        visit.press("s")
    assert set(seen) == {HEBREW, EVIL, "x" * 500}
    assert EVIL in visit.page.locator("#labels").text_content()
    assert visit.page.locator("#text script, #labels script, #counts script").count() == 0
    assert visit.page.evaluate("window.pwned") is None
    visit.close()


def test_it_can_be_walked_by_tab_and_focus_is_seen(browser: Any, server: Server) -> None:
    visit = Visit(browser, server.begin())
    names = set()
    for _ in range(30):
        visit.page.keyboard.press("Tab")
        names.add(visit.page.evaluate("document.activeElement.tagName + '#' + document.activeElement.id"))
        if visit.page.evaluate("document.activeElement.matches('#labels button')"):
            assert visit.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
            break
    assert "INPUT#seek" in names and any(name.startswith("BUTTON#") for name in names)
    before = visit.done()
    visit.page.keyboard.press("Enter")
    visit.until(lambda: visit.done() == before + 1)
    assert visit.page.locator("[aria-live] #text").count() == 1
    visit.close()
