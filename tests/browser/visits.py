"""A page opened in the browser, with what the browser complained of and what it asked for."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

# Milliseconds; a page of five megabytes takes a second, and half a minute on a machine that does much else.
_PATIENCE = 120_000


class Visit:
    """One opened page; leaving it asserts that nothing was complained of and nothing fetched from elsewhere.

    Its plots are drawn before the constructor returns.
    """

    def __init__(self, browser: Any, path: Path, *, width: int = 1200, scheme: str = "light") -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text) if message.type != "log" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri(), timeout=_PATIENCE)
        self.wait_until("[...document.querySelectorAll('[data-plot]')].every(p => p.querySelector('svg.main-svg'))")

    def wait_until(self, condition: str) -> None:
        """Wait for a condition in JavaScript, asked from outside: the page's own policy forbids it to evaluate."""
        until = time.monotonic() + _PATIENCE / 1000
        while time.monotonic() < until and not self.complaints:
            if self.page.evaluate(condition):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"never came true: {condition}; the browser said {self.complaints}")

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *error: object) -> None:
        self.context.close()
        if error[0] is None:
            assert not self.complaints, self.complaints
            outside = [url for url in self.requests if not url.startswith(("file:", "data:", "blob:"))]
            assert not outside, outside
