"""The verdict as JUnit XML: a test case a bar, which every system of continuous integration can show."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from luthier.base.files import write_text
from luthier.evaluate.verdict import figure

# What XML 1.0 cannot hold, even escaped.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_junit(record: Mapping[str, Any], path: Path) -> Path:
    """Write the bars of a judged run as test cases.

    A missed bar is a failure, one that the test rows cannot tell an error; a run without bars has one case, which says so.
    """
    bars, task = record.get("bars") or [], (record.get("task") or {}).get("name") or "task"
    reasons = list(record.get("reasons") or [])
    suite = ElementTree.Element("testsuite", name=_clean(f"luthier {task}"), time="0")
    failures = errors = 0
    for bar in bars:
        limit = "" if bar.get("limit") is None else f" {figure(bar['limit'])}"
        case = ElementTree.SubElement(
            suite, "testcase", classname=_clean(str(task)), name=_clean(f"{bar['metric']} {bar['op']}{limit}"), time="0"
        )
        state = bar.get("state") or ("met" if bar.get("holds") else "missed")
        if state == "met":
            continue
        why = next((r for r in reasons if r.startswith(f"{bar['metric']} ")), state)
        failures, errors = failures + (state == "missed"), errors + (state != "missed")
        ElementTree.SubElement(case, "failure" if state == "missed" else "error", message=_clean(why))
    if not bars:
        case = ElementTree.SubElement(suite, "testcase", classname=_clean(str(task)), name="no bar is set", time="0")
        ElementTree.SubElement(case, "skipped")
    suite.set("tests", str(max(1, len(bars))))
    suite.set("failures", str(failures))
    suite.set("errors", str(errors))
    said = ElementTree.SubElement(suite, "system-out")
    said.text = _clean("\n".join([f"verdict: {record.get('verdict')}", *reasons, *(record.get("notes") or [])]))
    ElementTree.indent(suite)
    return write_text(path, '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suite, encoding="unicode") + "\n")


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)
