"""The frame of every verb: the group, common options, errors in plain words, exit codes."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from luthier import __version__, show
from luthier.base.errors import Interrupted, LuthierError

ACCEPTED, MISSED = 0, 1
# The order of the work.
ORDER = (
    "init", "check", "plan", "label", "prepare", "run", "train", "curve", "evaluate", "compare", "predict", "serve", "harvest", "report", "doctor",
)  # fmt: skip


class _Verbs(click.Group):
    """Lists the verbs in the order of the work."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self.commands, key=ORDER.index)


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="luthier")
def cli() -> None:
    """Fine-tune a language model to a definition of done.

    From a labelled file and a task file to a model that is checked, judged, packed, served and improved.

    \b
    luthier init messages.csv     look at the data and write a task file
    luthier run task.yaml         the whole circle, ending in a verdict
    """


def verb(function: Callable[..., int | None]) -> Callable[..., None]:
    """Make a command: --json and --quiet, our own errors in plain words, the contract's exit codes."""

    @cli.command(name=function.__name__.rstrip("_"), short_help=(function.__doc__ or "").splitlines()[0].rstrip("."))
    @click.option("--json", "as_json", is_flag=True, help="Print exactly one JSON object on standard output.")
    @click.option("--quiet", "-q", is_flag=True, help="No progress and no words, only results and errors.")
    @functools.wraps(function)
    def command(as_json: bool, quiet: bool, **options: Any) -> None:
        try:
            code = function(as_json=as_json, quiet=quiet, **options) or 0
        except (LuthierError, Interrupted) as problem:
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
            sys.stdout = None
            code = 0
        sys.exit(code)

    return command


task_argument = click.argument("task", type=click.Path(path_type=Path))
bundle_argument = click.argument("bundle", type=click.Path(path_type=Path))
set_option = click.option(
    "--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Override the task file; repeatable."
)
stage_option = click.option(
    "--stage", metavar="NAME", help="Of a run with stages, the bundle of this one; default: the last."
)
out_option = click.option("--out", type=click.Path(path_type=Path), help="Where the result goes.")
junit_option = click.option(
    "--junit", type=click.Path(path_type=Path), help="Write the bars as JUnit XML here, for continuous integration."
)
columns_option = click.option(
    "--column", "columns", multiple=True, metavar="WHAT=COLUMN", help="Which column is what, such as text=body."
)


def pairs(texts: tuple[str, ...], option: str) -> dict[str, str]:
    pairs = dict(text.partition("=")[::2] for text in texts)
    if any(not key or not value for key, value in pairs.items()):
        raise LuthierError("expected NAME=VALUE", where=f"{option} {' '.join(texts)}")
    return pairs


def main_metrics(record: Any) -> list[str]:
    from luthier.evaluate.tables import FAMILIES

    asked = [bar["metric"] for bar in record.get("bars", [])]
    family = FAMILIES.get(record["task"]["objective"])
    return list(dict.fromkeys([*asked, *(family.shown if family else ())]))
