"""What others build on: public names, verbs and options. A change here is a change of the contract."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

import luthier
from luthier.cli import cli

SURFACE = {
    "init": {"data", "out", "query", "force"},
    "check": {"task", "overrides", "out"},
    "plan": {"task", "overrides", "machine", "price"},
    "label": {
        "data",
        "task",
        "labels",
        "columns",
        "out",
        "by",
        "votes",
        "blind",
        "again",
        "order",
        "vectors",
        "host",
        "port",
        "api_key",
        "browse",
        "export",
    },
    "prepare": {"task", "overrides", "out"},
    "run": {"task", "overrides", "out", "again", "junit"},
    "train": {"task", "overrides", "out", "again"},
    "curve": {"task", "overrides", "out", "at", "seeds"},
    "evaluate": {"bundle", "data", "columns", "accept", "judge", "against", "junit", "stage", "out"},
    "compare": {"contenders", "columns", "out"},
    "predict": {"bundle", "data", "columns", "out", "max_new_tokens", "stage"},
    "serve": {"bundle", "host", "port", "ledger", "api_key", "stage"},
    "harvest": {"ledger", "task", "since", "out"},
    "report": {"run", "out"},
    "doctor": set(),
}


def test_public_names() -> None:
    assert luthier.__all__ == ["Task", "load", "run"]
    assert all(getattr(luthier, name) for name in luthier.__all__)
    assert set(dir(luthier)) == {*luthier.__all__, "__version__"}
    with pytest.raises(AttributeError):
        luthier.nothing  # noqa: B018


def test_verbs_and_options() -> None:
    assert cli.list_commands(click.Context(cli)) == list(SURFACE)
    for verb, names in SURFACE.items():
        command = cli.commands[verb]
        assert {p.name for p in command.params} == names | {"as_json", "quiet"}
        options = [o for p in command.params if isinstance(p, click.Option) for o in p.opts]
        assert {"--json", "--quiet"} <= set(options)


def test_help_loads_nothing_heavy() -> None:
    """The help page is quick because it imports neither torch nor any other library of weight; no time is asserted."""
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom luthier.cli import cli\n"
        "assert CliRunner().invoke(cli, ['--help']).exit_code == 0\n"
        "heavy = {'torch', 'transformers', 'pydantic', 'numpy', 'sklearn', 'rich', 'fastapi', 'plotly', 'yaml', 'pyarrow'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_check_and_init_load_no_torch() -> None:
    code = "import sys, luthier.lifecycle.begin\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_bug_keeps_its_traceback_and_is_no_missed_bar(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    import luthier.cli as package

    def broken(**_: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(package, "cli", broken)
    with pytest.raises(SystemExit) as ended:
        package.main()
    assert ended.value.code == 70
    words = capsys.readouterr().err
    assert "ZeroDivisionError: planted" in words
    assert "a bug in Luthier" in words
