"""The command line: one verb per step, thin; heavy imports inside the commands."""

from __future__ import annotations

import functools
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from luthier import __version__, show
from luthier.base.errors import Interrupted, LuthierError

ACCEPTED, MISSED = 0, 1
# Python ends a bug with 1, which here means a missed bar; 70 is "internal software error" in sysexits.h.
BUG = 70


class _Verbs(click.Group):
    """Lists the verbs in the order of the work."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="luthier")
def cli() -> None:
    """Fine-tune a language model to a definition of done.

    From a labelled file and a task file to a model that is checked, judged, packed, served and improved.

    \b
    luthier init messages.csv     look at the data and write a task file
    luthier run task.yaml         the whole circle, ending in a verdict
    """


def _verb(function: Callable[..., int | None]) -> Callable[..., None]:
    """Make a command: --json and --quiet, our own errors in plain words, the contract's exit codes."""

    @cli.command(name=function.__name__.rstrip("_"), short_help=(function.__doc__ or "").splitlines()[0].rstrip("."))
    @click.option("--json", "as_json", is_flag=True, help="Print exactly one JSON object on standard output.")
    @click.option("--quiet", "-q", is_flag=True, help="No progress and no words, only results and errors.")
    @functools.wraps(function)
    def command(as_json: bool, quiet: bool, **options: Any) -> None:
        try:
            code = function(as_json=as_json, quiet=quiet, **options) or 0
        except LuthierError as problem:
            show.error(problem)
            if as_json:
                show.emit_json(
                    {"error": {"faults": [f.as_dict() for f in problem.faults]}, "exit_code": problem.exit_code}
                )
            code = problem.exit_code
        except KeyboardInterrupt:
            show.say("interrupted")
            code = 130
        except BrokenPipeError:
            # The reader went away (`| head`); what is left in the buffer has nowhere to go.
            sys.stdout = None  # type: ignore[assignment]
            code = 0
        sys.exit(code)

    return command


_task = click.argument("task", type=click.Path(path_type=Path))
_bundle = click.argument("bundle", type=click.Path(path_type=Path))
_set = click.option(
    "--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Override the task file; repeatable."
)
_out = click.option("--out", type=click.Path(path_type=Path), help="Where the result goes.")
_columns = click.option(
    "--column", "columns", multiple=True, metavar="WHAT=COLUMN", help="Which column is what, such as text=body."
)


def _pairs(texts: tuple[str, ...], option: str) -> dict[str, str]:
    pairs = dict(text.partition("=")[::2] for text in texts)
    if any(not key or not value for key, value in pairs.items()):
        raise LuthierError("expected NAME=VALUE", where=f"{option} {' '.join(texts)}")
    return pairs


@_verb
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("luthier.yaml"), show_default=True, help="The task file."
)
@click.option("--force", is_flag=True, help="Replace an existing task file.")
def init(data: Path, out: Path, force: bool, as_json: bool, quiet: bool) -> None:
    """Look at DATA and write a task file that runs."""
    from luthier.lifecycle.begin import write_task

    found = write_task(data, out, force=force)
    if not quiet:
        for reason in found["reasons"]:
            show.say(f"  {reason}")
    if as_json:
        show.emit_json(found)
    else:
        show.emit_line(f"wrote {out}; next: luthier run {out}")


@_verb
@_task
@_set
def check(task: Path, overrides: tuple[str, ...], as_json: bool, quiet: bool) -> int:
    """Check task file and data, change nothing."""
    from luthier.lifecycle.begin import check_data

    found = check_data(task, overrides)
    if as_json:
        show.emit_json(found)
    elif not quiet:
        show.checked(found)
    return 2 if found["stops"] else 0


@_verb
@_task
@_set
@_out
@click.option("--again", is_flag=True, help="Run anew even if nothing changed.")
def run(task: Path, overrides: tuple[str, ...], out: Path | None, again: bool, as_json: bool, quiet: bool) -> int:
    """Do the whole circle: check, train, judge, pack, report."""
    finished = _round(task, overrides, out, again, quiet, judge=True)
    if not quiet:
        show.verdict(finished.record, names=_main_metrics(finished.record))
        show.say(f"report: {finished.report}\nnext:   luthier serve {finished.bundle}")
    if as_json:
        show.emit_json(finished.as_dict())
    else:
        show.emit_line(finished.verdict)
    return ACCEPTED if finished.accepted else MISSED


@_verb
@_task
@_set
@_out
@click.option("--again", is_flag=True, help="Train anew even if nothing changed.")
def train(task: Path, overrides: tuple[str, ...], out: Path | None, again: bool, as_json: bool, quiet: bool) -> None:
    """Prepare, train and pack; the test rows stay closed."""
    finished = _round(task, overrides, out, again, quiet, judge=False)
    if as_json:
        show.emit_json(finished.as_dict())
    else:
        show.emit_line(str(finished.bundle))


def _round(task: Path, overrides: tuple[str, ...], out: Path | None, again: bool, quiet: bool, *, judge: bool) -> Any:
    from luthier.lifecycle import run as run_

    progress = show.Progress(quiet=quiet)
    try:
        return run_(task, overrides=overrides, out=out, again=again, judge=judge, watcher=progress)
    finally:
        progress.close()


def _main_metrics(record: Any) -> list[str]:
    asked = [bar["metric"] for bar in record.get("bars", [])]
    usual = {
        "classify": ["accuracy", "macro_f1", "roc_auc", "ece"],
        "generate": ["perplexity", "token_f1", "rougeL", "exact_match"],
    }
    return list(dict.fromkeys([*asked, *usual.get(record["task"]["objective"], [])]))


@_verb
@_bundle
@click.argument("data")
@_columns
@click.option(
    "--accept",
    multiple=True,
    metavar='METRIC">= VALUE"',
    help='A bar such as "macro_f1 >= 0.8", in place of the bundle\'s own.',
)
@_out
def evaluate(
    bundle: Path,
    data: str,
    columns: tuple[str, ...],
    accept: tuple[str, ...],
    out: Path | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Measure BUNDLE on labelled DATA against its bars."""
    from luthier.lifecycle.bundles import evaluate as evaluate_

    bars = _bars(accept) if accept else None
    record = evaluate_(bundle, data, columns=_pairs(columns, "--column"), accept=bars, out=out)
    if not quiet:
        show.verdict(record, names=_main_metrics(record))
    if as_json:
        show.emit_json(
            {key: record[key] for key in ("verdict", "reasons", "notes", "bundle", "rows", "metrics", "report")}
        )
    else:
        show.emit_line(record["verdict"])
    return ACCEPTED if record["verdict"] == "accepted" else MISSED


def _bars(texts: tuple[str, ...]) -> dict[str, str]:
    import re

    bars = {}
    for text in texts:
        found = re.match(r"^\s*([^<>=]+?)\s*([<>].*)$", text)
        if found is None:
            raise LuthierError(f'"{text}" is not a bar', where="--accept", mend='Write one such as "macro_f1 >= 0.8".')
        bars[found[1]] = found[2]
    return bars


@_verb
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@click.argument("data")
@_columns
def compare(first: Path, second: Path, data: str, columns: tuple[str, ...], as_json: bool, quiet: bool) -> int:
    """Compare two bundles on the same labelled DATA."""
    from luthier.lifecycle.bundles import compare as compare_

    found = compare_(first, second, data, columns=_pairs(columns, "--column"))
    if not quiet:
        show.compared(found)
    better = found["metrics"][found["main_metric"]]["better"]
    if as_json:
        show.emit_json({**found, "better": better})
    else:
        show.emit_line(better)
    return MISSED if better == "first" else ACCEPTED


@_verb
@_bundle
@click.argument("data")
@_columns
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write the predictions to this file instead of standard output."
)
@click.option("--max-new-tokens", type=click.IntRange(min=1), help="Longest generated answer.")
def predict(
    bundle: Path,
    data: str,
    columns: tuple[str, ...],
    out: Path | None,
    max_new_tokens: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Answer every row of DATA (or - for standard input), one JSON object a line."""
    from luthier.lifecycle.answering import predict_file

    written = predict_file(bundle, data, columns=_pairs(columns, "--column"), out=out, max_new_tokens=max_new_tokens,
                           write=None if as_json else show.emit_json)  # fmt: skip
    if as_json:
        show.emit_json(written)
    elif out and not quiet:
        show.say(f"wrote {written['rows']} predictions to {out}")


@_verb
@_bundle
@click.option("--host", help="Address to listen on; other than loopback needs an API key.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port; 0 takes a free one.")
@click.option("--ledger", type=click.Path(path_type=Path), help="The file that keeps predictions and feedback.")
@click.option(
    "--api-key", envvar="LUTHIER_API_KEY", help="Key that every request must carry; better given as LUTHIER_API_KEY."
)
def serve(
    bundle: Path,
    host: str | None,
    port: int | None,
    ledger: Path | None,
    api_key: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Serve BUNDLE over HTTP and keep what it said and what people said of it."""
    from luthier.lifecycle.answering import serve_bundle

    def ready(url: str) -> None:
        if as_json:
            show.emit_json({"url": url, "bundle": str(bundle)})
        elif not quiet:
            show.say(f"serving {bundle} at {url}  (a page to try it, POST {url}/v1/predict; ^C stops)")

    serve_bundle(bundle, host=host, port=port, ledger=ledger, api_key=api_key or None, ready=ready)


@_verb
@click.option(
    "--ledger", type=click.Path(path_type=Path), default=Path("ledger.sqlite"), show_default=True, help="The ledger."
)
@click.option(
    "--task", type=click.Path(path_type=Path), help="The task file, so that rows it knows and test rows are left out."
)
@click.option("--since", help="Only what was said then or later (ISO date).")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("harvest.jsonl"),
    show_default=True,
    help="The file to write.",
)
def harvest(ledger: Path, task: Path | None, since: str | None, out: Path, as_json: bool, quiet: bool) -> None:
    """Turn what people said of the answers into a source file."""
    from luthier.lifecycle.answering import harvest_ledger

    found = harvest_ledger(ledger, task, since=since, out=out)
    if as_json:
        show.emit_json(found)
        return
    if not quiet:
        for reason, count in found["dropped"].items():
            show.say(f"  left out {count}: {reason}")
    show.emit_line(f"wrote {found['written']} rows to {out}")
    if found["written"] and not quiet:
        show.say(f"next: add {out} to the end of data.source and run again; a correction wins over the row it corrects")


@_verb
@click.argument("run", type=click.Path(path_type=Path))
@_out
def report(run: Path, out: Path | None, as_json: bool, quiet: bool) -> None:
    """Write the report page of RUN again from its report.json."""
    from luthier.lifecycle.begin import write_page

    page = write_page(run, out)
    if as_json:
        show.emit_json({"report": str(page)})
    else:
        show.emit_line(str(page))


@_verb
def doctor(as_json: bool, quiet: bool) -> int:
    """Look at this machine and installation, and say what will work."""
    from luthier.lifecycle.doctor import examine

    findings = examine()
    bad = [f for f in findings if f["state"] == "bad"]
    if as_json:
        show.emit_json({"findings": findings, "healthy": not bad})
    elif not quiet:
        show.findings(findings)
    return MISSED if bad else ACCEPTED


def main() -> None:
    """Entry point of the `luthier` command."""
    # Threads that wait by spinning slow each other down many times over when the machine is shared (docs/experiments.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        cli(standalone_mode=True)
    except Interrupted as problem:  # a signal between two commands' work
        show.error(problem)
        sys.exit(problem.exit_code)
    except Exception:
        traceback.print_exc()
        show.say("this is a bug in Luthier, not a fault of yours: please report it with the lines above")
        sys.exit(BUG)


if __name__ == "__main__":
    main()
