"""Judges against people: published opinions of two models, and rules as simple as length, on PandaLM's 999 rated pairs.

    python -m bench.judges

Every judge is asked over HTTP as a task file would ask it: a server on this machine gives each model's published opinion
(github.com/WeOpenML/PandaLM, data/gpt-3.5-turbo-testset-v1.json and pandalm-7b-testset-v1.json), whose pairs were each read in
one order only, so nothing is learnt of their bias for a place; and a rule in place of a model. Three people rated each pair.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from bench.common import arguments, conclude, markdown, need_files, workshop

PEOPLE = ("annotator1", "annotator2", "annotator3")
ORIGIN = "Get data/*.json from github.com/WeOpenML/PandaLM into pandalm_preferences"
Say = Callable[[Mapping[str, str]], str]
# What is none of these in the published files ("garbage") is no opinion here either.
_WORDS = {"1": "first", "2": "second", "0": "tie", "Tie": "tie"}
_SWAPPED = {"first": "second", "second": "first", "tie": "tie"}


@contextmanager
def serving(say: Say) -> Iterator[str]:
    """Serve a judge that answers by ``say`` on the loopback address; yield its base URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            better = say(json.loads(body["messages"][1]["content"]))
            choice = {"message": {"role": "assistant", "content": json.dumps({"better": better})}, "finish_reason": "stop"}
            sent = json.dumps({"choices": [choice]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


def rated_rows(pairs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the pairs as rows of a file of ratings. The input stands behind the instruction."""
    return [
        {"prompt": "\n\n".join(str(row[name]).strip() for name in ("instruction", "input") if row[name]), "first": row["response1"],
         "second": row["response2"], **{person: row[person] for person in PEOPLE}}
        for row in pairs
    ]  # fmt: skip


def published(rows: Sequence[Mapping[str, Any]], opinions: Sequence[str]) -> Say:
    """Return a judge that says what a model was published to have said, of the same two answers in whichever order."""
    known: dict[tuple[str, ...], str] = {}
    for row, opinion in zip(rows, opinions, strict=True):
        word = _WORDS.get(opinion, opinion)
        known[_key(row, "first", "second")] = word
        known.setdefault(_key(row, "second", "first"), _SWAPPED.get(word, word))
    return lambda shown: known[_key(shown, "first", "second")]


def _key(row: Mapping[str, Any], *answers: str) -> tuple[str, ...]:
    return tuple(str(row[name]).strip() for name in ("prompt", *answers))


def longer(shown: Mapping[str, str]) -> str:
    """Prefer the longer answer."""
    one, two = len(shown["first"]), len(shown["second"])
    return "tie" if one == two else "first" if one > two else "second"


def measure(rows: Sequence[Mapping[str, Any]], say: Say, folder: Path) -> dict[str, Any]:
    """Return how a judge agrees with people, asked through a server, with its flips and the bias for a place."""
    from luthier.evaluate.judges import agreement, look
    from luthier.evaluate.judges.ask import Asker
    from luthier.evaluate.judges.people import read
    from luthier.spec.judge import Judge

    path = folder / "rated.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    with serving(say) as url:
        settings = Judge(url=url, model="judge", mode="pairwise", criteria="Which answer is better?", human=str(path),
                         human_columns={"choice": list(PEOPLE)}, concurrency=8)  # fmt: skip
        rated = read(settings, base=folder)
        opinions = Asker(settings, folder / "answers").opinions(rated.items)
    agreed = agreement.with_people(rated, "overall", opinions["overall"], least=settings.least_agreement, resamples=1000)
    seen = look.measured(settings, rated.items, opinions, resamples=100)["overall"]
    return {"agreement": agreed, **{key: seen[key] for key in ("flip_rate", "first_place", "wins", "ties", "losses")}}


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the judges as Markdown."""
    rows = []
    for name, one in found.items():
        spans = [one["agreement"][key] for key in ("kappa", "spearman", "exact")]
        shown = ["none" if s["value"] is None else f"{s['value']:.3f} ({s['low']:.3f}-{s['high']:.3f})" for s in spans]
        rows.append([name, one["agreement"]["rows"], *shown, f"{one['flip_rate']:.3f}"])
    return markdown(("judge", "pairs", "kappa with people", "Spearman", "equal", "flipped"), rows)


def main() -> None:
    """Measure every judge and print a table."""
    chosen = arguments("judges", __doc__ or "").parse_args()
    names = ("testset-v1.json", "gpt-3.5-turbo-testset-v1.json", "pandalm-7b-testset-v1.json")
    read = [json.loads(path.read_text("utf-8")) for path in need_files(chosen.data / "pandalm_preferences", names, ORIGIN)]
    pairs, *said = [part[:60] if chosen.quick else part for part in read]
    rows = rated_rows(pairs)
    judges: dict[str, Say] = {
        "gpt-3.5-turbo": published(rows, [str(row["gpt_result"]) for row in said[0]]),
        "PandaLM-7B": published(rows, [str(row["pandalm_result"]) for row in said[1]]),
        "the longer answer": longer,
        "the shorter answer": lambda shown: _SWAPPED[longer(shown)],
        "the first one read": lambda shown: "first",
    }
    found = {}
    for name, judge in judges.items():
        with workshop() as work:
            found[name] = measure(rows, judge, work)
    people = next(iter(found.values()))["agreement"]["people"]
    words = f"{table(found)}\n\nTwo of the three people agree with each other by a kappa of {people:.3f}."
    conclude("judges", {"rows": len(rows), "judges": found}, words, [], quick=chosen.quick, out=chosen.out)


if __name__ == "__main__":
    main()
