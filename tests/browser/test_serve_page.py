"""The page of a served model in a real browser: what it answers is put right in the way of its objective, and is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from serve_keywords import EchoModel, KeywordModel, LineModel, MarkModel, ShelfModel, TagModel
from served import running


class Visit:
    """One visit to the page of a model, its complaints and its requests."""

    def __init__(self, browser: Any, url: str) -> None:
        self.page, self.complaints, self.requests = browser.new_page(), [], []
        self.page.on("console", lambda m: self.complaints.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(url)
        self.url = url

    def ask(self, text: str) -> None:
        self.page.fill("#message", text)
        self.page.click("#send")
        self.page.wait_for_selector("#yes", state="visible")

    def wrong(self) -> None:
        self.page.click("#no")
        self.page.wait_for_selector("#mend", state="visible")

    def keep(self) -> None:
        self.page.click("#keep")
        self.page.wait_for_selector("#said.good")

    def clean(self) -> bool:
        return not self.complaints and all(request.startswith(self.url) for request in self.requests)


def test_a_set_of_labels_is_ticked_and_another_label_added(browser: Any, tmp_path: Path) -> None:
    with running(TagModel(), tmp_path) as service:
        visit = Visit(browser, service.url)
        visit.ask("my invoice and my parcel")
        assert visit.page.inner_text("#text") == "billing, delivery"
        visit.wrong()
        marks = {box.get_attribute("data-name"): box.is_checked() for box in visit.page.query_selector_all("#marks input")}
        assert marks == {"account": False, "billing": True, "delivery": True}
        assert not visit.page.is_visible("#right") and not visit.page.is_visible("#better")
        visit.page.uncheck("#marks input[data-name=delivery]")
        visit.page.fill("#more", "refunds")
        visit.keep()
        visit.ask("my parcel")
        visit.wrong()
        assert visit.page.input_value("#more") == ""
        visit.page.uncheck("#marks input[data-name=delivery]")
        visit.keep()
        said = [json.loads(feedback.text) for _, feedback in service.ledger.corrections()]
        assert said == [["billing", "refunds"], []] and visit.clean()


def test_scores_are_all_given_or_the_form_says_so(browser: Any, tmp_path: Path) -> None:
    with running(MarkModel(), tmp_path) as service:
        visit = Visit(browser, service.url)
        visit.ask("an essay")
        assert "content: 1.80" in visit.page.inner_text("#text")
        visit.wrong()
        assert not visit.page.is_visible("#more")
        visit.page.fill("#marks input[data-name=content]", "2.5")
        visit.page.click("#keep")
        assert visit.page.evaluate("document.activeElement.dataset.name") == "style", "the browser asks for what is missing"
        assert not list(service.ledger.corrections())
        visit.page.fill("#marks input[data-name=style]", "9")
        visit.page.click("#keep")
        visit.page.wait_for_selector("#fault:has-text('outside the scale')")
        visit.page.fill("#marks input[data-name=style]", "3")
        visit.keep()
        ((_, feedback),) = service.ledger.corrections()
        assert json.loads(feedback.text) == {"content": 2.5, "style": 3.0}
        assert [c for c in visit.complaints if "422" not in c] == []


def test_sentences_are_copied_from_the_document_word_for_word(browser: Any, tmp_path: Path) -> None:
    with running(LineModel(), tmp_path) as service:
        visit = Visit(browser, service.url)
        visit.ask("It rained. The fair was moved. Nobody minded.")
        visit.wrong()
        assert not visit.page.is_visible("#marks") and visit.page.is_visible("label:has-text('one a line, word for word')")
        assert visit.page.input_value("#better") == "It rained."
        visit.page.fill("#better", "It was moved.")
        visit.page.click("#keep")
        visit.page.wait_for_selector("#fault:has-text('no sentence of the document')")
        visit.page.fill("#better", "Nobody minded.\nThe fair was moved.\n")
        visit.keep()
        assert "luthier harvest" in visit.page.inner_text("#said")
        ((_, feedback),) = service.ledger.corrections()
        assert feedback.text == "The fair was moved.\nNobody minded."
        assert [c for c in visit.complaints if "422" not in c] == []


def test_items_that_are_right_are_ticked_by_name_or_another_is_named(browser: Any, tmp_path: Path) -> None:
    with running(ShelfModel(), tmp_path) as service:
        visit = Visit(browser, service.url)
        visit.ask("when are you there")
        assert visit.page.inner_text("#text").splitlines() == ["1. Refunds", "2. Lost parcels", "3. Passwords"]
        visit.wrong()
        boxes = visit.page.query_selector_all("#marks input")
        assert not any(box.is_checked() for box in boxes) and "Lost parcels" in visit.page.inner_text("#marks")
        visit.page.click("#keep")
        visit.page.wait_for_selector("#fault:has-text('Tick what is right')")
        visit.page.fill("#more", "Opening ours")
        visit.page.click("#keep")
        visit.page.wait_for_selector("#fault:has-text('does not know the item')")
        visit.page.check("#marks input[data-name=a2]")
        visit.page.fill("#more", "Opening hours")
        visit.keep()
        ((_, feedback),) = service.ledger.corrections()
        assert json.loads(feedback.text) == ["a2", "a4"]
        assert [c for c in visit.complaints if "422" not in c] == []


def test_a_label_is_chosen_and_a_text_rewritten(browser: Any, tmp_path: Path) -> None:
    with running(KeywordModel(), tmp_path / "labels") as service:
        visit = Visit(browser, service.url)
        visit.ask("my invoice")
        visit.wrong()
        assert not visit.page.is_visible("#marks") and not visit.page.is_visible("#better")
        visit.page.select_option("#right", "delivery")
        visit.keep()
        visit.ask("my password")
        visit.page.click("#yes")
        visit.page.wait_for_selector("#said.good")
        assert [(f.label, f.rating) for _, f in service.ledger.corrections()] == [("delivery", None), (None, 1)] and visit.clean()
    with running(EchoModel(), tmp_path / "texts") as service:
        visit = Visit(browser, service.url)
        visit.ask("hello there")
        visit.wrong()
        assert visit.page.input_value("#better") == "HELLO THERE" and not visit.page.is_visible("#marks")
        visit.page.fill("#better", "Hello!")
        visit.keep()
        ((_, feedback),) = service.ledger.corrections()
        assert feedback.text == "Hello!" and visit.clean()
