"""Verbs that make: init, check, plan, prepare, run, train, curve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from luthier import show
from luthier.base.errors import LuthierError
from luthier.cli.frame import (
    ACCEPTED,
    MISSED,
    junit_option,
    main_metrics,
    out_option,
    set_option,
    task_argument,
    verb,
)


@verb
@click.argument("data")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("luthier.yaml"), show_default=True, help="The task file."
)
@click.option("--query", help="The SQL query whose rows are read, where DATA is a database URL.")
@click.option("--force", is_flag=True, help="Replace an existing task file.")
def init(data: str, out: Path, query: str | None, force: bool, as_json: bool, quiet: bool) -> None:
    """Look at DATA (a file, a folder, a glob, a hub name, a database URL) and write a task file that runs."""
    from luthier.lifecycle.begin import write_task

    found = write_task(data, out, force=force, query=query)
    if not quiet:
        for reason in found["reasons"]:
            show.say(f"  {reason}")
    if as_json:
        show.emit_json(found)
    else:
        show.emit_line(f"wrote {out}; next: luthier run {out}")


@verb
@task_argument
@set_option
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write a page, the record and a table of probable label errors here."
)
def check(task: Path, overrides: tuple[str, ...], out: Path | None, as_json: bool, quiet: bool) -> int:
    """Check task file and data, change nothing."""
    from luthier.lifecycle.checking import check_data

    found = check_data(task, overrides, out=out, watch=None if quiet else show.Steps())
    if as_json:
        show.emit_json(found)
    elif not quiet:
        show.checked(found)
    return 2 if found["stops"] else 0


@verb
@task_argument
@set_option
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("prepared"), show_default=True, help="Where the folder goes."
)
def prepare(task: Path, overrides: tuple[str, ...], out: Path, as_json: bool, quiet: bool) -> None:
    """Write checked, divided rows as a folder named by its content."""
    from luthier.lifecycle.checking import prepare_data

    found = prepare_data(task, overrides, out=out, watch=None if quiet else show.Steps())
    if as_json:
        show.emit_json(found)
    else:
        show.emit_line(found["folder"])


@verb
@task_argument
@set_option
@click.option("--machine", default="this", show_default=True, metavar="NAME", help="Plan for this machine or a named one, such as a10g.")
@click.option("--price", type=float, metavar="PER_HOUR", help="What an hour of it costs, in any currency.")
def plan(
    task: Path, overrides: tuple[str, ...], machine: str, price: float | None, as_json: bool, quiet: bool
) -> None:  # fmt: skip
    """Say what a run will take: memory, time, disk, cost."""
    from luthier.lifecycle.plan_words import lines, verdict
    from luthier.lifecycle.planning import plan as plan_

    found = plan_(task, overrides, machine=machine, price=price, watch=None if quiet else show.Steps())
    if not quiet:
        for line in lines(found):
            show.say(line)
    if as_json:
        show.emit_json(found)
    else:
        show.emit_line(verdict(found))


@verb
@task_argument
@set_option
@out_option
@junit_option
@click.option("--again", is_flag=True, help="Run anew even if nothing changed.")
def run(
    task: Path, overrides: tuple[str, ...], out: Path | None, junit: Path | None, again: bool, as_json: bool, quiet: bool
) -> int:
    """Do the whole circle: check, train, judge, pack, report."""
    finished = _round(task, overrides, out, again, quiet, judge=True)
    if junit:
        from luthier.evaluate.junit import write_junit

        write_junit(finished.record, junit)
    if not quiet:
        show.verdict(finished.record, names=main_metrics(finished.record))
        show.say(f"report: {finished.report}\nnext:   luthier serve {finished.bundle}")
    if as_json:
        show.emit_json(finished.as_dict())
    else:
        show.emit_line(finished.verdict)
    return ACCEPTED if finished.accepted else MISSED


@verb
@task_argument
@set_option
@out_option
@click.option("--again", is_flag=True, help="Train anew even if nothing changed.")
def train(task: Path, overrides: tuple[str, ...], out: Path | None, again: bool, as_json: bool, quiet: bool) -> None:
    """Prepare, train and pack; the test rows stay closed."""
    finished = _round(task, overrides, out, again, quiet, judge=False)
    if as_json:
        show.emit_json(finished.as_dict())
    else:
        show.emit_line(str(finished.bundle))


@verb
@task_argument
@set_option
@out_option
@click.option(
    "--at", default="25,50,100", show_default=True, metavar="PERCENT,...", help="Shares of the train rows, in percent."
)
@click.option(
    "--seeds", type=click.IntRange(1, 100), default=1, show_default=True, help="Trainings of each share; more say more."
)
def curve(
    task: Path, overrides: tuple[str, ...], out: Path | None, at: str, seeds: int, as_json: bool, quiet: bool
) -> None:
    """Train on parts of the train rows and say what twice as many would bring."""
    from luthier.lifecycle.curving import curve as curve_

    progress = show.Progress(quiet=quiet)
    try:
        found = curve_(task, overrides, at=_shares(at), seeds=seeds, out=out, watcher=progress)
    finally:
        progress.close()
    if not quiet:
        show.learning_curve(found)
        show.say(f"page: {found['page']}")
    if as_json:
        show.emit_json(found)
    else:
        ahead = found["extrapolated"]
        show.emit_line(f"{found['metric']} {ahead['low']:.3f} to {ahead['high']:.3f} with {ahead['rows']} train rows")


def _shares(text: str) -> list[float]:
    try:
        return [float(part.strip().removesuffix("%")) / 100 for part in text.split(",")]
    except ValueError:
        mend = "Name shares of the train rows in percent, such as 25,50,100."
        raise LuthierError(f'"{text}" is not a list of numbers', where="--at", mend=mend) from None


def _round(task: Path, overrides: tuple[str, ...], out: Path | None, again: bool, quiet: bool, *, judge: bool) -> Any:
    from luthier.lifecycle import run as run_

    progress = show.Progress(quiet=quiet)
    try:
        return run_(task, overrides=overrides, out=out, again=again, judge=judge, watcher=progress)
    finally:
        progress.close()
