"""Run the labelling page until asked to stop."""

from __future__ import annotations

from collections.abc import Callable

from luthier.base.errors import Interrupted
from luthier.labelling.desk import Desk
from luthier.serve.access import check_binding
from luthier.serve.run import answer_until_stopped, bound
from luthier.studio.label_app import build_label_app


def serve_labelling(
    desk: Desk, *, by: str, title: str, host: str, port: int, api_key: str | None, on_ready: Callable[[str], None]
) -> None:
    """Serve the page until SIGINT or SIGTERM.

    Args:
        on_ready: called once with the real address when requests are taken.
    Raises:
        LuthierError: the address cannot be used, or would be reachable without an API key.
        Interrupted: SIGTERM came (143); ^C is how one stops labelling, and ends without an error.
    """
    check_binding(host, api_key)
    with bound(host, port) as listener:
        app = build_label_app(desk, by=by, title=title, host=host, api_key=api_key)
        number = answer_until_stopped(app, listener, host=host, on_ready=on_ready)
    if number is not None and number != 2:
        raise Interrupted("stopped; every answer given is on disk.", exit_code=128 + number)
