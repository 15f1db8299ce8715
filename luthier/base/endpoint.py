"""A language model behind an OpenAI-compatible service: asked once, kept on disk, counted.

What is asked goes to the address that the task file names and nowhere else: redirects are not followed.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from luthier.base.errors import DataError, Fault, LuthierError, TaskError
from luthier.base.files import storage
from luthier.base.seeds import stable_hash

CONCURRENT = 4
TRIES = 5
TIMEOUT_S = 60.0
_LONGEST_WAIT_S = 60.0
# So many rows in a row without an answer, and the endpoint is taken to be down: waiting for each would take days.
_DOWN_AFTER = 8
_ANSWER_BYTES = 1 << 20
_FATAL = {401: "the endpoint refuses the key", 403: "the endpoint refuses the key", 404: "the endpoint has no such address or model",
          405: "the endpoint has no such address"}  # fmt: skip
LOOPBACK = ("localhost", "127.0.0.1", "::1")

NO_ANSWER = "no answer"
NOT_UNDERSTOOD = "an answer that is not a chat completion"
NO_TIME = "no time left to ask"

T = TypeVar("T")


class Unanswered(Exception):
    """One request that gave nothing usable, with the reason that is counted."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a model answers: base ``url``, ``model`` name, and the environment variable that holds its key.

    ``url_at``, ``model_at`` and ``key_at`` are the keys of the task file that name them. ``most_s`` are the seconds after which
    nothing more is asked of what was handed over at once.
    """

    url: str
    model: str
    key_env: str | None = None
    url_at: str = "url"
    model_at: str = "model"
    key_at: str = "key_env"
    timeout_s: float = TIMEOUT_S
    concurrency: int = CONCURRENT
    tries: int = TRIES
    most_s: float | None = None

    def faults(self) -> list[Fault]:
        """Return what is missing for asking it."""
        found = []
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            mend = "Give its base URL, such as http://127.0.0.1:8000/v1."
            found.append(Fault(f'"{self.url}" is no base URL', self.url_at, mend))
        elif self.key_env and os.environ.get(self.key_env) and parts.scheme == "http" and parts.hostname not in LOOPBACK:
            found.append(Fault("the key would be sent in the clear", self.url_at, "Use an https address."))
        if not self.model:
            found.append(Fault("no model is named for the endpoint", self.model_at, "Name it."))
        if self.key_env and not os.environ.get(self.key_env):
            what = f"the environment variable {self.key_env} is empty or not set"
            found.append(Fault(what, self.key_at, f"export {self.key_env}=..."))
        return found


class Endpoint:
    """Asks the model; every answer is kept in ``answers.jsonl``, so that nothing is asked, or paid for, twice."""

    def __init__(
        self, address: Address, folder: Path, *, name: str = "endpoint", wait: Callable[[float], object] | None = None
    ) -> None:
        if missing := address.faults():
            raise TaskError.of(missing)
        self.address = address
        self.counts: Counter[str] = Counter()
        self._url = f"{address.url.rstrip('/')}/chat/completions"
        self._name, self._wait, self._halt = name, wait, threading.Event()
        self._opener = urllib.request.build_opener(_NoRedirect)
        self._lock = threading.Lock()
        self._path = folder / "answers.jsonl"
        self._known, self._torn = _read(self._path)
        self._failed = 0
        self._stop: Exception | None = None
        self._until: float | None = None

    @property
    def stopped(self) -> LuthierError | None:
        """Why nothing more is asked: a refused key, an address that is not there, a service that does not answer."""
        return self._stop if isinstance(self._stop, LuthierError) else None

    def ask(self, requests: Sequence[Callable[[], T]]) -> list[T | Unanswered]:
        """Make requests, a few at a time; return what each gives or why there is none, in their order.

        Raises:
            TaskError: the key or the address is refused.
            DataError: the endpoint does not answer at all.
        """
        most_s = self.address.most_s
        self._until = None if most_s is None else time.monotonic() + most_s
        pool = ThreadPoolExecutor(self.address.concurrency, thread_name_prefix=self._name)
        try:
            found = list(pool.map(_one, requests))
        except BaseException as stopped:
            # What still waits gives up.
            self._stop = self._stop or Unanswered(str(stopped))
            self._halt.set()
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return found

    def complete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return an answer's facts: text, finish, refused, tokens; from disk where it was given before.

        Raises:
            Unanswered: there is none, with the reason.
        """
        name = stable_hash([self._url, body])
        with self._lock:
            known = self._known.get(name)
            self.counts["from_disk"] += known is not None
        if known is None:
            known = self._post(body)
            self._keep(name, known)
        return known

    def _post(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Ask, and again where that may help. Raises :class:`Unanswered`."""
        data = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        reason = NO_ANSWER
        for attempt in range(self.address.tries):
            if self._stop:
                raise self._stop
            if self._until is not None and time.monotonic() > self._until:
                raise Unanswered(NO_TIME)
            with self._lock:
                self.counts["requests"] += 1
            # Spread, so that those that failed together do not come back together.
            pause = min(_LONGEST_WAIT_S, 2.0**attempt * (0.5 + random.random()))
            try:
                answer = self._send(data)
            except urllib.error.HTTPError as error:
                self._check_fatal(error.code)
                reason = f"HTTP {error.code} from the endpoint"
                if error.code < 500 and error.code not in (408, 409, 429):
                    break
                pause = max(pause, _retry_after(error))
            except (OSError, HTTPException):
                reason = NO_ANSWER
            except ValueError:
                reason = NOT_UNDERSTOOD
            else:
                with self._lock:
                    self._failed = 0
                    self.counts["tokens"] += answer["tokens"]
                return answer
            if attempt + 1 < self.address.tries:
                (self._wait or self._halt.wait)(pause)
        raise self._given_up(reason)

    def _given_up(self, reason: str) -> Exception:
        """Count a request without an answer; return what to raise: the end, where it was one of many in a row."""
        with self._lock:
            self._failed += 1
            if self._failed >= _DOWN_AFTER and self._stop is None:
                self._stop = DataError(
                    f"the endpoint gave no usable answer to {self._failed} requests in a row ({reason})",
                    where=self.address.url_at,
                    mend="Look at the service; the answers so far are kept, and the same command goes on from there.",
                )
        return self._stop or Unanswered(reason)

    def _send(self, data: bytes) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "User-Agent": "luthier"}
        if self.address.key_env:
            headers["Authorization"] = f"Bearer {os.environ[self.address.key_env]}"
        request = urllib.request.Request(self._url, data=data, headers=headers)
        with self._opener.open(request, timeout=self.address.timeout_s) as response:
            return _facts(json.loads(response.read(_ANSWER_BYTES)))

    def _check_fatal(self, code: int) -> None:
        if code in _FATAL or 300 <= code < 400:
            what = _FATAL.get(code, "the endpoint sends the texts on to another address, which is not done")
            where = self.address.key_at if code in (401, 403) else self.address.url_at
            self._stop = TaskError(
                f"{what} (HTTP {code} from {self._url})", where=where, mend="Check address, model and key."
            )
            raise self._stop

    def _keep(self, name: str, answer: Mapping[str, Any]) -> None:
        with self._lock, storage(self._path):
            self._known[name] = dict(answer)
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8", errors="replace") as handle:
                handle.write("\n" * self._torn + json.dumps({"key": name, **answer}, ensure_ascii=False) + "\n")
            self._torn = False


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def _one(request: Callable[[], T]) -> T | Unanswered:
    try:
        return request()
    except Unanswered as reason:
        return reason


def _facts(answer: Any) -> dict[str, Any]:
    """Return what matters of a chat completion. Raises ValueError where it is none."""
    try:
        choice = answer["choices"][0]
        message = choice["message"]
        usage = answer.get("usage") or {}
        text, refusal = message.get("content"), message.get("refusal")
        if text is not None and not isinstance(text, str):
            raise ValueError("content is no text")
        tokens = int(usage.get("total_tokens") or 0)
        return {"text": text or "", "finish": choice.get("finish_reason"), "refused": bool(refusal), "tokens": tokens}
    except (LookupError, TypeError, AttributeError):
        raise ValueError("not a chat completion") from None


def _retry_after(error: urllib.error.HTTPError) -> float:
    value = str(error.headers.get("Retry-After", "")) if error.headers else ""
    return min(_LONGEST_WAIT_S, float(value)) if value.isdigit() else 0.0


def _read(path: Path) -> tuple[dict[str, dict[str, Any]], bool]:
    """Return the answers on disk, and whether the last line was cut short by a crash: that one is asked again."""
    known: dict[str, dict[str, Any]] = {}
    line = "\n"
    if path.is_file():
        with path.open(encoding="utf-8", errors="replace") as handle:
            for line in handle:
                try:
                    value = json.loads(line)
                    known[value.pop("key")] = {name: value[name] for name in ("text", "finish", "refused", "tokens")}
                except (ValueError, KeyError, AttributeError, TypeError):
                    continue
    return known, not line.endswith("\n")
