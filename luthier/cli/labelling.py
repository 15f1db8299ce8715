"""The verb for rows without labels: label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from luthier import show
from luthier.cli.frame import columns_option, pairs, verb


@verb
@click.argument("data", required=False)
@click.option("--task", type=click.Path(path_type=Path), help="Take source, columns and labels from this task file.")
@click.option("--labels", metavar="NAME,NAME|@FILE", help="Labels to choose from; more can be added in the page.")
@columns_option
@click.option(
    "--out", type=click.Path(path_type=Path), help="The file of labels; default: beside DATA, *.labels.jsonl."
)
@click.option("--by", metavar="NAME", help="Who labels; default: your login. Everyone can change it in the page.")
@click.option("--votes", type=click.IntRange(1, 99), default=1, show_default=True, help="People asked about each row.")
@click.option("--blind", is_flag=True, help="Show no suggestions, so that nobody leans on them.")
@click.option("--again", is_flag=True, help="Ask about rows that have a label too.")
@click.option(
    "--order", type=click.Choice(["learn", "random"]), default="learn", show_default=True,
    help="Rows the model would learn most from first, or by chance, as rows to test on must be.",
)  # fmt: skip
@click.option(
    "--vectors", type=click.Choice(["embedded", "words"]), default="embedded", show_default=True,
    help="What the order and the suggestions are learnt from.",
)  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True, help="Address; other than loopback needs an API key.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8322, show_default=True, help="Port; 0 takes a free one."
)
@click.option(
    "--api-key", envvar="LUTHIER_API_KEY", help="Key that every request must carry; better given as LUTHIER_API_KEY."
)
@click.option("--open/--no-open", "browse", default=True, show_default=True, help="Open the page in a browser.")
@click.option(
    "--export", type=click.Path(path_type=Path), help="Serve nothing: write the labels to this .csv or .jsonl."
)
def label(
    data: str | None, task: Path | None, columns: tuple[str, ...], out: Path | None, browse: bool, export: Path | None,
    as_json: bool, quiet: bool, **options: Any,
) -> None:  # fmt: skip
    """Label rows in a page that asks first for those the model would learn most from."""
    from luthier.lifecycle.labelling import export_labels, label_data

    if export is not None:
        found = export_labels(data, task=task, out=out, to=export)
        if as_json:
            show.emit_json(found)
        else:
            show.emit_line(f"wrote {found['rows']} labelled rows to {export}")
            if found["ties"] and not quiet:
                show.say(f"  {found['ties']} of them are ties: their votes stand there and no label")
        return

    def ready(url: str, facts: dict[str, Any]) -> None:
        if as_json:
            show.emit_json({"url": url, **facts})
        elif not quiet:
            show.say(f"labelling {facts['rows']:,} rows at {url}, kept in {facts['out']}  (^C ends)")
        if browse:
            _browse(url)

    options["api_key"] = options["api_key"] or None
    done = label_data(data, task=task, columns=pairs(columns, "--column"), out=out, ready=ready, **options)
    if not quiet and not as_json:
        show.say(f"{done['labelled']:,} rows have a label in {done['out']}; it can be named in data.source as it is")


def _browse(url: str) -> None:
    import os
    import sys
    import threading
    import webbrowser

    # Without a display only a text browser could open, in this very terminal.
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return
    # A slow browser must not hold the page's program back.
    threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
