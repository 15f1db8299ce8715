"""Verbs on what was made: evaluate, compare, predict, serve, harvest, report, doctor."""

from __future__ import annotations

from pathlib import Path

import click

from luthier import show
from luthier.base.errors import LuthierError
from luthier.cli.frame import (
    ACCEPTED,
    MISSED,
    bundle_argument,
    columns_option,
    junit_option,
    main_metrics,
    out_option,
    pairs,
    stage_option,
    verb,
)


@verb
@bundle_argument
@click.argument("data")
@columns_option
@click.option(
    "--accept",
    multiple=True,
    metavar='METRIC">= VALUE"',
    help='A bar such as "macro_f1 >= 0.8", in place of the bundle\'s own.',
)
@click.option(
    "--judge/--no-judge", default=None, help="Ask the judge model of the bundle's task; by default only one on this machine is asked."
)
@click.option("--against", type=click.Path(path_type=Path), metavar="BUNDLE", help="An earlier bundle on the same rows; `live` in bars.")
@stage_option
@junit_option
@out_option
def evaluate(
    bundle: Path,
    data: str,
    columns: tuple[str, ...],
    accept: tuple[str, ...],
    judge: bool | None,
    against: Path | None,
    stage: str | None,
    junit: Path | None,
    out: Path | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Measure BUNDLE on labelled DATA against its bars."""
    from luthier.lifecycle.bundles import evaluate as evaluate_
    from luthier.release.folder import bundle_folder

    bundle = bundle_folder(bundle, stage=stage) if stage else bundle
    bars = _bars(accept) if accept else None
    record = evaluate_(bundle, data, columns=pairs(columns, "--column"), accept=bars, out=out, judge=judge, against=against)
    if junit:
        from luthier.evaluate.junit import write_junit

        write_junit(record, junit)
    if not quiet:
        show.verdict(record, names=main_metrics(record))
    if as_json:
        show.emit_json(
            {key: record[key] for key in ("verdict", "reasons", "notes", "bundle", "rows", "metrics", "baselines", "against", "report") if key in record}
        )
    else:
        show.emit_line(record["verdict"])
    return ACCEPTED if record["verdict"] == "accepted" else MISSED


def _bars(texts: tuple[str, ...]) -> dict[str, str]:
    import re

    bars = {}
    for text in texts:
        # A slice such as {channel=email} has a sign of its own.
        found = re.match(r"^\s*((?:[^<>={]|\{[^}]*\})+?)\s*([<>].*)$", text)
        if found is None:
            raise LuthierError(f'"{text}" is not a bar', where="--accept", mend='Write one such as "macro_f1 >= 0.8".')
        bars[found[1]] = found[2]
    return bars


@verb
@click.argument("contenders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN... [DATA]")
@columns_option
@out_option
def compare(contenders: tuple[Path, ...], columns: tuple[str, ...], out: Path | None, as_json: bool, quiet: bool) -> int:
    """Compare runs or bundles on the same rows.

    RUN... are two or more folders of runs or bundles. The rows are the test rows that all runs share, or those of a labelled file
    named last. The page compare.html and compare.json go into --out; without DATA into `compare` in the working folder.
    """
    from luthier.lifecycle.comparing import brief
    from luthier.lifecycle.comparing import compare as compare_

    found = compare_(contenders, columns=pairs(columns, "--column"), out=out)
    if not quiet:
        show.compared(found)
    better = found["better"]
    if as_json:
        show.emit_json(brief(found))
    else:
        show.emit_line(better)
    return MISSED if better == ("first" if len(found["runs"]) == 2 else found["runs"][0]["name"]) else ACCEPTED


@verb
@bundle_argument
@click.argument("data")
@columns_option
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write the predictions to this file instead of standard output."
)
@click.option("--max-new-tokens", type=click.IntRange(min=1), help="Longest generated answer.")
@stage_option
def predict(
    bundle: Path,
    data: str,
    columns: tuple[str, ...],
    out: Path | None,
    max_new_tokens: int | None,
    stage: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Answer every row of DATA (or - for standard input), one JSON object a line."""
    from luthier.lifecycle.answering import predict_file
    from luthier.release.folder import bundle_folder

    bundle = bundle_folder(bundle, stage=stage) if stage else bundle
    written = predict_file(bundle, data, columns=pairs(columns, "--column"), out=out, max_new_tokens=max_new_tokens,
                           write=None if as_json else show.emit_json)  # fmt: skip
    if as_json:
        show.emit_json(written)
    elif out and not quiet:
        show.say(f"wrote {written['rows']} predictions to {out}")


@verb
@bundle_argument
@click.option("--host", help="Address to listen on; other than loopback needs an API key.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port; 0 takes a free one.")
@click.option("--ledger", type=click.Path(path_type=Path), help="The file that keeps predictions and feedback.")
@click.option(
    "--api-key", envvar="LUTHIER_API_KEY", help="Key that every request must carry; better given as LUTHIER_API_KEY."
)
@stage_option
def serve(
    bundle: Path,
    host: str | None,
    port: int | None,
    ledger: Path | None,
    api_key: str | None,
    stage: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Serve BUNDLE over HTTP and keep what it said and what people said of it."""
    from luthier.lifecycle.answering import serve_bundle
    from luthier.release.folder import bundle_folder

    bundle = bundle_folder(bundle, stage=stage) if stage else bundle

    def ready(url: str) -> None:
        if as_json:
            show.emit_json({"url": url, "bundle": str(bundle)})
        elif not quiet:
            show.say(f"serving {bundle} at {url}  (a page to try it, POST {url}/v1/predict; ^C stops)")

    serve_bundle(bundle, host=host, port=port, ledger=ledger, api_key=api_key or None, ready=ready)


@verb
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
    show.emit_line(f"wrote {found['written']} row{'' if found['written'] == 1 else 's'} to {out}")
    if not quiet:
        show.say(
            f"next: add {out} to the end of data.source and run again; a correction wins over the row it corrects"
            if found["written"] else "there is nothing to learn from yet: the file is empty, so leave it out of data.source"
        )


@verb
@click.argument("run", type=click.Path(path_type=Path))
@out_option
def report(run: Path, out: Path | None, as_json: bool, quiet: bool) -> None:
    """Write the report page of RUN again from its report.json."""
    from luthier.lifecycle.begin import write_page

    page = write_page(run, out)
    if as_json:
        show.emit_json({"report": str(page)})
    else:
        show.emit_line(str(page))


@verb
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
