"""``serve:`` where the model answers, and where what it said is kept."""

from __future__ import annotations

from pydantic import Field

from luthier.spec.common import Section


class ServeSection(Section):
    """The service."""

    host: str = Field("127.0.0.1", description="Address to listen on; other than loopback needs an API key.")
    port: int = Field(8321, ge=0, le=65535, description="Port; 0 takes a free one.")
    ledger: str = Field(
        "ledger.sqlite", description="The file that every prediction is appended to before its answer leaves."
    )
    max_chars: int = Field(100_000, ge=1, description="Longest accepted input, in characters.")
    max_batch: int = Field(256, ge=1, description="Most inputs in one request.")
    max_waiting: int = Field(64, ge=1, description="Requests allowed to wait; one more is answered 503 at once.")
