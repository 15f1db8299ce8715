"""The border: bytes of a request -> JSON -> a checked message, with limits held while reading."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any, NoReturn, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from luthier.base.errors import Fault, did_you_mean
from luthier.serve.refusals import Refusal, refuse
from luthier.spec.serve import ServeSection

READ_S = 30.0
_LEAST_BODY_BYTES = 8 << 20
# The longest way to write one character in JSON is a pair of escapes, \ud83d\ude00.
_BYTES_PER_CHAR = 12
# A sender reads no answer before its body is out, so a body somewhat too large is read on and thrown away; one that is
# larger than so many limits is cut off.
_PATIENCE = 4
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_BRANCHES = frozenset({"as_text", "as_item", "as_messages", "as_wanted", "as_list"})

_DICTIONARY = re.compile(r"a valid dictionary( or instance of \w+)?")

M = TypeVar("M", bound=BaseModel)


def body_limit(settings: ServeSection) -> int:
    """Return the most bytes a body may have: one input of the longest length always fits, however it is escaped."""
    return max(_LEAST_BODY_BYTES, _BYTES_PER_CHAR * settings.max_chars + (64 << 10))


async def read_message(request: Request, kind: type[M], *, limit: int) -> M:
    """Read a request's body as ``kind``.

    Raises:
        Refusal: 400 not JSON, 408 too slow, 413 too large, 415 not called JSON, 422 not the shape that is wanted.
    """
    value = parse_json(await _read(request, limit))
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise Refusal(422, _faults(error, kind)) from None


async def _read(request: Request, limit: int) -> bytes:
    kind = request.headers.get("content-type", "application/json").split(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        mend = "Send the header Content-Type: application/json."
        raise refuse(415, f'the body is called "{kind[:80]}"', where="Content-Type", mend=mend)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(READ_S):
            async for part in request.stream():
                size += len(part)
                if size <= limit:
                    parts.append(part)
                elif size > _PATIENCE * limit:
                    break
                else:
                    parts.clear()
    except TimeoutError:
        fault = Fault(f"the body did not arrive within {READ_S:g} seconds", "body", "Send it again.")
        raise Refusal(408, [fault], headers={"Connection": "close"}) from None
    except ClientDisconnect:
        raise refuse(400, "the connection was closed before the body had arrived") from None
    if size > limit:
        fault = Fault(
            f"the body is larger than {limit:,} bytes", "body", "Send fewer or shorter inputs in one request."
        )
        raise Refusal(413, [fault], headers={"Connection": "close"})
    return b"".join(parts)


def parse_json(body: bytes) -> Any:
    """Parse a body strictly: UTF-8, no NaN or Infinity, no nesting without end. Raises Refusal (400)."""
    if not body.strip():
        raise refuse(400, "the body is empty", where="body", mend='Send JSON, for example {"input": "Hello"}.')
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_no_constant)
        if _SURROGATE.search(body):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value
    except UnicodeEncodeError:
        what = "a text holds half a character (one of a surrogate pair)"
        raise refuse(400, what, where="body", mend="Send whole characters.") from None
    except UnicodeDecodeError as error:
        place = f"body, byte {error.start}"
        raise refuse(400, "the body is not UTF-8", where=place, mend="Encode it as UTF-8.") from None
    except json.JSONDecodeError as error:
        place = f"body, line {error.lineno}, column {error.colno}"
        raise refuse(
            400, f"this is not JSON: {error.msg}", where=place, mend="Check quotes and commas there."
        ) from None
    except RecursionError:
        raise refuse(400, "the JSON is nested too deeply", where="body", mend="Nothing here needs that.") from None
    except ValueError as error:
        raise refuse(400, f"this is not JSON: {error}", where="body", mend="Check the numbers in it.") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _faults(error: ValidationError, kind: type[BaseModel]) -> list[Fault]:
    faults = []
    for item in error.errors(include_url=False, include_context=False):
        where = _place(item["loc"])
        if item["type"] == "extra_forbidden":
            known = sorted(kind.model_fields)
            name = str(item["loc"][-1])[:80]
            top = len(item["loc"]) == 1
            mend = (did_you_mean(name, known) or f"Known here: {', '.join(known)}.") if top else "Leave it out."
            faults.append(Fault(f'unknown key "{name}"', where, mend))
        elif item["type"] == "missing":
            faults.append(Fault(f'"{item["loc"][-1]}" is missing', where, "Add it."))
        else:
            text = _DICTIONARY.sub("an object", str(item["msg"]).removeprefix("Value error, "))
            text = text.replace("Input should be", "this should be")
            faults.append(Fault(f"{text[0].lower()}{text[1:]}, not {_shown(item.get('input'))}", where))
    return faults


def _place(location: tuple[int | str, ...]) -> str:
    """Write pydantic's location as a caller would: ``inputs[3].messages[0].content``."""
    place = ""
    for part in location:
        if isinstance(part, int):
            place += f"[{part}]"
        elif part not in _BRANCHES:
            place += f".{str(part)[:80]}" if place else str(part)[:80]
    return place or "body"


def _shown(value: Any) -> str:
    """Name a value briefly; what was sent may be huge, so it is never written out whole."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = json.dumps(value, ensure_ascii=False)
    return f"{text[:40]}…" if len(text) > 41 else text
