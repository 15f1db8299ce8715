"""Tables and progress in the terminal: the only module that prints."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from luthier.base.errors import Interrupted, Told


def emit_json(value: Mapping[str, Any]) -> None:
    """Print exactly one JSON object on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def emit_line(text: str) -> None:
    """Print one line of result on standard output."""
    sys.stdout.write(text + "\n")


def say(text: str) -> None:
    """Print words for a person, on standard error, so that standard output stays a clean result."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def error(problem: Told) -> None:
    """Print what is wrong, where and how to mend it."""
    lines = str(problem).splitlines()
    if isinstance(problem, Interrupted):
        say(" ".join(lines))
        return
    head = f"error: {lines[0]}" if len(lines) == 1 else f"{len(problem.faults)} things to mend:"
    say("\n".join([head] if len(lines) == 1 else [head, *(f"  {line}" for line in lines)]))


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> None:
    """Print a table on standard error: rich on a terminal, aligned columns elsewhere."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        drawn = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
        for index, name in enumerate(head):
            drawn.add_column(name, justify="left" if index == 0 else "right")
        for row in rows:
            drawn.add_row(*(escape(cell) for cell in row))
        Console(stderr=True).print(drawn)
        return
    widths = [max(len(str(cell)) for cell in column) for column in zip(head, *rows, strict=True)]
    if title:
        say(title)
    for row in [head, *rows]:
        say(
            "  ".join(
                cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
        )


class Progress:
    """Shows a run's events: a bar with rate and time left on a terminal, plain lines elsewhere."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bar: Any = None
        self._task: Any = None
        self._plain_at = 0.0

    def __call__(self, event: Mapping[str, Any]) -> None:
        if self._quiet:
            return
        shown = getattr(self, f"_on_{event['kind']}", None)
        if shown is not None:
            shown(event)
        elif "said" in event:
            self._line(event["said"])

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _line(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            say(text)

    def _on_start(self, event: Mapping[str, Any]) -> None:
        self._line(f"{event['task']} ({event['objective']}) -> {event['run']}")

    def _on_unchanged(self, event: Mapping[str, Any]) -> None:
        self._line(f"nothing changed since {event['created']}: {event['run']} stands (--again runs it anew)")

    def _on_data(self, event: Mapping[str, Any]) -> None:
        leaks = ", ".join(f"{n} {kind}" for kind, n in event["leaks"].items() if n)
        self._line(
            f"data     {event['rows']} rows: {event['train']} train, {event['valid']} valid, {event['test']} test; "
            f"{event['dropped']} dropped; leaks: {leaks or 'none'}"
        )
        for problem in event["problems"]:
            self._line(f"  note   {problem}")

    def _on_model(self, event: Mapping[str, Any]) -> None:
        self._line(f"model    {event['base']} on {event['device']}, up to {event['max_tokens']} tokens")

    def _on_baseline(self, event: Mapping[str, Any]) -> None:
        value = event["value"]
        self._line(
            f"rival    {event['name']}: {event['metric']} {'undefined' if value is None else format(value, '.3f')}"
        )

    def _on_encoded(self, event: Mapping[str, Any]) -> None:
        parts = [f"{event['rows']} rows, {event['tokens']} tokens"]
        if event["cut"]:
            parts.append(f"{event['cut']} cut at the model's limit")
        if event["too_long"]:
            parts.append(
                f"{event['too_long']} left out: their answer does not fit ({', '.join(event['too_long_rows'][:3])})"
            )
        self._line(f"tokens   {'; '.join(parts)}")

    def _on_augment(self, event: Mapping[str, Any]) -> None:
        self._line(f"augment  {event['why']}")

    def _on_balance(self, event: Mapping[str, Any]) -> None:
        self._line(f"balance  {event['why']}")

    def _on_head(self, event: Mapping[str, Any]) -> None:
        self._line(f"head     fitted on the frozen features in {event['seconds']:.1f} s")

    def _on_resumed(self, event: Mapping[str, Any]) -> None:
        self._line(f"resumed  from {event['checkpoint']}")

    def _on_warning(self, event: Mapping[str, Any]) -> None:
        self._line(f"warning  {event['text']}")

    def _on_evaluation(self, event: Mapping[str, Any]) -> None:
        self._line(f"valid    step {event['step']}: {event['score']:.4f}{'  best' if event['best'] else ''}")

    def _on_part(self, event: Mapping[str, Any]) -> None:
        self._line(f"part     {event['done']} of {event['of']}: {event['share']:.0%}, {event['rows']} rows, seed {event['seed']}: "
                   f"{event['metric']} {event['score']:.4f}")  # fmt: skip

    def _on_diagnosis(self, event: Mapping[str, Any]) -> None:
        self.close()
        self._line(f"fit      {event['words']}. {event['why']}")
        if event["next"] and event["verdict"] != "fits":
            self._line(f"         {event['next']}")

    def _on_step(self, event: Mapping[str, Any]) -> None:
        if sys.stderr.isatty():
            self._advance(event)
        elif (now := time.monotonic()) - self._plain_at > 10 or event["step"] == event["steps"]:
            self._plain_at = now
            self._line(f"train    step {event['step']}/{event['steps']}, loss {event['loss']:.4f}")

    def _advance(self, event: Mapping[str, Any]) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(TextColumn("train   "), BarColumn(), MofNCompleteColumn(), TextColumn("loss {task.fields[loss]:.3f}"),
                            TextColumn("{task.fields[rate]:.0f} rows/s"), TimeRemainingColumn(),
                            console=Console(stderr=True))  # fmt: skip
            self._bar.start()
            self._task = self._bar.add_task("train", total=event["steps"], loss=event["loss"], rate=0.0)
        self._bar.update(self._task, completed=event["step"], loss=event["loss"], rate=event["rows"] / event["seconds"])
        if event["step"] == event["steps"]:
            self.close()

    def _on_bundle(self, event: Mapping[str, Any]) -> None:
        self.close()
        self._line(
            f"bundle   {event['path']} (id {event['id']}; reloaded, differs by {event['reload_difference']:.1g})"
        )


def verdict(record: Mapping[str, Any], *, names: Sequence[str]) -> None:
    """Print the measured metrics beside the baselines, then the verdict with its reasons."""
    measured = record["metrics"].get("test", {})
    rivals = record.get("baselines", {})
    rows = []
    for name in names:
        metric = measured.get(name)
        if metric is None or metric["value"] is None:
            continue
        interval = "" if metric["low"] is None else f"{metric['low']:.3f} to {metric['high']:.3f}"
        rows.append(
            [name, f"{metric['value']:.3f}", interval, *(_cell(values.get(name)) for values in rivals.values())]
        )
    if rows:
        table(["on the test rows", "value", "95 % interval", *rivals], rows)
    if "against" in record:
        _against(record["against"], names)
    from luthier.evaluate import forgetting, resolution

    if finest := record.get("resolution"):
        say(resolution.in_words(finest))

    if "sequence" in record:
        table(*forgetting.matrix_in_words(record["sequence"]))
        if more := forgetting.beside_in_words(record["sequence"]):
            table(*more)
    for line in [*forgetting.in_words(record), *(f"note: {line}" for line in record.get("notes", []))]:
        say(line)
    for line in record.get("reasons", []):
        say(f"{'missed' if record['verdict'] == 'missed' else 'not shown'}: {line}")
    say(f"verdict: {record['verdict']}")


def _against(found: Mapping[str, Any], names: Sequence[str]) -> None:
    """Print the comparison with an earlier bundle on the same test rows."""
    words = {"first": "the earlier one is better", "second": "the new one is better"}
    for name in names:
        pair = found["metrics"].get(name)
        if pair and pair["low"] is not None:
            say(f"against {found['bundle']}: {name} {pair['first']:.3f} -> {pair['second']:.3f}, difference {pair['difference']:+.3f} "
                f"[{pair['low']:+.3f}, {pair['high']:+.3f}]: {words.get(pair['better'], 'these rows cannot tell')}")  # fmt: skip


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


_CHECK_LABELS, _CHECK_FINDINGS, _CHECK_STOPS, _CHECK_WIDTH = 12, 8, 6, 160


def checked(found: Mapping[str, Any]) -> None:
    """Print what `luthier check` found: the numbers, what to look at, and last whether it would run and the worst of it."""
    from luthier.studio.check_page_findings import findings as findings_of

    told = findings_of(found)
    stops = [f for f in told if f.level == "stops"]
    splits = found.get("splits") or {}
    sides = ", ".join(f"{splits[side]:,} {side}" for side in ("train", "valid", "test") if side in splits)
    _fact(
        "rows",
        f"{found.get('rows', 0):,} read; {sides}"
        + (f" ({found['recognised_as']})" if found.get("recognised_as") else ""),
    )
    _check_numbers(found)
    _check_labels(found.get("labels") or {})
    for level, mark in (("grave", "serious"), ("look", "look"), ("note", "note")):
        shown = [f for f in told if f.level == level]
        kept = shown if level == "grave" else shown[:_CHECK_FINDINGS]
        for finding in kept:
            _fact(mark, f"{finding.where + ': ' if finding.where else ''}{finding.what}")
            if finding.do and level != "note":
                say(f"         {finding.do}")
        if len(shown) > len(kept):
            say(f"         and {len(shown) - len(kept)} more of this weight")
    for finding in stops[:_CHECK_STOPS]:
        say(f"stops a run: {finding.where + ': ' if finding.where else ''}{finding.what} {finding.do}".rstrip())
    if len(stops) > _CHECK_STOPS:
        say(f"and {len(stops) - _CHECK_STOPS} more places; --json names them all")
    worst = next((f for f in told if f.level in ("stops", "grave", "look")), None)
    if worst is not None and len(told) > 3:
        say(f"the worst: {worst.what}")
    if found.get("page"):
        say(f"page: {found['page']}")
    emit_line("this would not run" if stops else "ready to run")


def _fact(name: str, text: str) -> None:
    """Print a named line, cut where it would run on."""
    say(f"{name:<8} {text if len(text) <= _CHECK_WIDTH else text[: _CHECK_WIDTH - 1] + '…'}")


def _check_numbers(found: Mapping[str, Any]) -> None:
    preview = found.get("preview") or {}
    lengths = preview.get("lengths")
    if lengths:
        cut = lengths["cut"]["rows"]
        _fact(
            "tokens",
            f"half have up to {lengths['median']:,}, 95 % up to {lengths['p95']:,}; {preview['base']} takes {preview['max_tokens']:,}, "
            + (f"{cut:,} rows would be cut" if cut else "no row is cut"),
        )
    dropped = {reason: n for reason, n in (found.get("dropped") or {}).items() if n}
    if dropped:
        _fact("dropped", ", ".join(f"{n:,} {reason}" for reason, n in dropped.items()))
    _fact("leaks", ", ".join(f"{n:,} {kind}" for kind, n in (found.get("leaks") or {}).items() if n) or "none")
    masked = found.get("masked")
    if masked:
        _fact("masked", ", ".join(f"{n:,} {kind}" for kind, n in masked.items()))


def _check_labels(labels: Mapping[str, Mapping[str, int]]) -> None:
    """Print rows by label, the largest first; of many labels only the first and the last few."""
    rows = sorted(labels.items(), key=lambda pair: (-sum(pair[1].values()), pair[0]))
    cells = [[label[:60], *(f"{n.get(side, 0):,}" for side in ("train", "valid", "test"))] for label, n in rows]
    if len(cells) > _CHECK_LABELS + 3:
        gap = [f"... {len(cells) - _CHECK_LABELS} more", "", "", ""]
        cells = [*cells[: _CHECK_LABELS - 4], gap, *cells[-4:]]
    if cells:
        table(["label", "train", "valid", "test"], cells)


def learning_curve(found: Mapping[str, Any]) -> None:
    """Print a learning curve and what more rows would bring."""
    points, ahead = found["points"], found["extrapolated"]
    rows = [[f"{p['share']:.0%}", f"{p['rows']:,}", f"{p['value']:.3f}", f"{p['low']:.3f} to {p['high']:.3f}"] for p in points]
    told = f"{ahead['low']:.3f} to {ahead['high']:.3f}"
    rows.append([f"{ahead['rows'] / points[-1]['rows']:.0%}, extrapolated", f"{ahead['rows']:,}", f"{ahead['value']:.3f}", told])
    table(["train rows", "rows", found["metric"], "95 % interval"], rows)
    say(found["words"])


def compared(found: Mapping[str, Any]) -> None:
    """Print every pair of models side by side."""
    for pair in found["pairs"]:
        rows = [
            [name, _cell(m["first"]), _cell(m["second"]), f"{m['difference']:+.3f}", f"{m['low']:+.3f} to {m['high']:+.3f}", m["better"]]
            for name, m in pair["metrics"].items() if m.get("low") is not None and "[" not in name
        ]  # fmt: skip
        table(["on the same rows", pair["first"], pair["second"], "difference", "95 % interval", "better"], rows)
    for line in [*found["notes"], *([f"page: {found['page']}"] if "page" in found else [])]:
        say(line)


def findings(found: Sequence[Mapping[str, str]]) -> None:
    """Print what `luthier doctor` saw."""
    marks = {"good": "ok  ", "bad": "BAD ", "note": "note"}
    for item in found:
        say(
            f"{marks[item['state']]}  {item['what']}: {item['found']}"
            + (f"\n      {item['mend']}" if item["mend"] else "")
        )


class Steps:
    """Says which step of a check is under way, on a terminal only: its result is what is read later."""

    _WORDS: ClassVar[dict[str, str]] = {
        "reading": "reading and cleaning rows", "dividing": "dividing rows", "leaks": "comparing splits", "looking closer": "looking at texts and labels",
        "tokens": "counting tokens", "passes": "trying out a few passes",
    }  # fmt: skip

    def __call__(self, step: str) -> None:
        if sys.stderr.isatty():
            say(f"... {self._WORDS.get(step, step)}")
