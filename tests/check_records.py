"""A record of a check with every part filled in, for the page's tests."""

from __future__ import annotations

import copy
from typing import Any

from luthier.base.records import Example, Source
from luthier.data.profile import Profile

EVIL = '<img src=x onerror="window.pwned=1"><b>bold</b>'
_LABELS = ("card_arrival", "lost_card", "exchange_rate")


def _profile() -> dict[str, Any]:
    profile = Profile()
    for i in range(600):
        text = f"where is my card number {i}, it has not come " + "please " * (i % 9)
        text = {5: "ANSWER ME NOW WHERE IS IT", 6: "caf\ufffd card", 7: "!!"}.get(i, text)
        extra = {"day": f"2024-{i % 9 + 1:02}-{i % 28 + 1:02}", "country": "GB", "customer": f"C{i}", "note": ""}
        profile.add(
            Example(str(i), {"text": text}, _LABELS[i % 3], Source("messages.csv", i + 2), None, extra),
            ("train", "valid", "test")[i % 10 // 8],
        )
    return profile.result()


def _tokens(*words: str, learnt: bool = False) -> list[dict[str, Any]]:
    return [{"text": w, "id": 100 + i, "learnt": learnt, "special": w.startswith("[")} for i, w in enumerate(words)]


def _preview() -> dict[str, Any]:
    spread = {"median": 14, "p95": 37, "max": 98, "rows": 600, "looked_at": 500}
    spread |= {"histogram": {"edges": list(range(0, 42, 2)), "counts": [i % 7 * 10 for i in range(20)], "beyond": 4}}
    rows = [{"where": "messages.csv:2", "label": None, "tokens": [*_tokens("[CLS]", "where", " is", "\n", " card"), *_tokens(" here", "[END]", learnt=True)],
             "length": 80, "cut": 3, "left_out": False, "refused": None},
            {"where": "messages.csv:3", "label": "lost_card", "tokens": [], "length": 0, "cut": 0, "left_out": True, "refused": None}]  # fmt: skip
    lengths = {**spread, "cut": {"share": 0.05, "rows": 30}, "left_out": {"share": 0.002, "rows": 1}, "refused": None}
    return {
        "base": "tiny",
        "max_tokens": 64,
        "model_limit": 512,
        "lengths": lengths,
        "sides": {"train": rows, "test": rows[:1]},
        "seconds": 0.4,
    }


_RECORD: dict[str, Any] = {
    "task": "banking", "objective": "classify", "goal": "Send each message to the right queue.", "policy": "stop",
    "rows": 700, "splits": {"train": 480, "valid": 60, "test": 60}, "recognised_as": "text, category", "fingerprint": "a3f1",
    "labels": {label: {"train": 160, "valid": 20, "test": 20} for label in _LABELS},
    "dropped": {"duplicate": 93, "empty text": 7}, "duplicates": {"exact": 81, "conflicting": 12},
    "leaks": {"exact": 12, "near": 31, "semantic": None, "group": 0}, "stopping": {"exact": 12},
    "leak_examples": [
        {"kind": "exact", "side": "train", "where": "messages.csv:17", "other_side": "test", "other_where": "test.csv:212",
         "text": "I wait for my card?", "other_text": "i wait for my card", "group": None, "similarity": 1.0},
        {"kind": "near", "side": "train", "where": "messages.csv:42", "other_side": "held_out", "other_where": "other.csv:9",
         "text": "How do I locate my card?", "other_text": "How do I find my card?", "group": None, "similarity": 0.91},
    ],
    "problems": [
        {"what": "rows one or two words away from a row of another split: 31; scores will look better than they are.", "where": "messages.csv:42", "mend": "Look."},
        {"what": "inputs told again with another label: 12, of which the first is kept.", "where": "messages.csv:51", "mend": "Here."},
        {"what": "personal data in the texts: 2 card, 16 email.", "where": "messages.csv:28", "mend": "Mask it."},
        {"what": "something nobody foresaw.", "where": "", "mend": ""},
    ],
    "personal": {"card": 2, "email": 16}, "masked": {"iban": 3}, "lengths": {"median_chars": 47, "p95_chars": 140, "max_chars": 433},
    "files": [{"name": "messages.csv", "role": "source", "rows": 700, "sha256": "a" * 64}],
    "stops": [
        {"what": "rows are shared between splits: 12 by their text.", "where": "data.leaks", "mend": "Set data.leaks: fix to leave out the train side."},
        {"what": 'this train row shares its text "I wait" with the test row test.csv:212', "where": "messages.csv:17", "mend": ""},
    ],
    "cleaning": {"counts": {"encoding": 14, "language": 2}, "examples": {
        "encoding": [{"file": "messages.csv", "line": 88, "before": "I donâ€™t know", "after": "I don’t know"}],
        "language": [{"file": "messages.csv", "line": 89, "before": "wo ist sie", "after": ""}]}},
    "giveaways": [{"label": "exchange_rate", "token": "rate", "precision": 0.97, "recall": 0.62, "rows": 88},
                  {"label": "lost_card", "column": "day", "precision": 0.99, "recall": 0.9, "rows": 120}],
    "label_errors": {"count": 21, "estimated_share": 0.031, "rows": [
        {"file": "messages.csv", "line": 100 + i, "text": f"row {i}", "label": "lost_card", "suggested": "card_arrival",
         "probability_of_label": 0.01, "probability_of_suggested": 0.95} for i in range(25)]},
    "agreement": {"kappa": 0.71, "pairs": [{"annotators": "anna, ben", "agreement": 0.8}]},
    "hints": [{"step": "whitespace", "rows": 12}], "languages": {"en": 570, "de": 25, "und": 5}, "versions": {"luthier": "0.1"},
}  # fmt: skip


def check_record() -> dict[str, Any]:
    """Return a fresh copy, so that a test may change it."""
    return copy.deepcopy(_RECORD | {"profile": _PROFILE, "preview": _preview()})


_PROFILE = _profile()
