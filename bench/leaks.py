"""Leaks: planted duplicates found across BANKING77's official split, false pairs, T0's shared items, time and memory.

1,000 test rows are copied into the train rows in each of five ways: exactly, reordered, with one or two words changed
(swapped for a word of the vocabulary, dropped, doubled or inserted). A pair counts as false when it violates the
definition as recomputed here, word by word, by code that shares nothing with Luthier's but the definition.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import random
import re
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.common import (
    SEED,
    Goal,
    Part,
    answer_part,
    arguments,
    conclude,
    machine,
    markdown,
    need_files,
    run_part,
    say,
    threads_for,
    workshop,
)
from bench.throughput import ORIGIN

PLANTED = 1000
TEST_SHARE = 0.2
# Data sets of T0 whose rows at different positions never share a text; in others, several questions ask about one passage.
ITEM_EACH = ("ag", "amazon", "imdb", "rotten", "samsum", "sciq", "xsum", "yelp")
KINDS = ("exact", "reordered", "one word", "two words")
_WORD = re.compile(r"\w+")


def plain(text: str) -> Counter[str]:
    """Return the bag of words: BANKING77 has no script written without spaces."""
    return Counter(_WORD.findall(text.casefold().replace("'", "").replace("\u2019", "")))


def is_near(one: Counter[str], two: Counter[str]) -> tuple[bool, float]:
    """Return whether two bags are near, and their similarity: the definition again, on its own."""
    longer = max(one.total(), two.total())
    changes = longer - sum(min(n, two[word]) for word, n in one.items())
    most = 0 if longer <= 2 else 1 if longer <= 4 else 2
    return (changes <= most or (longer > 16 and 5 * changes <= longer)), 1 - changes / max(1, longer)


def changed(text: str, count: int, vocabulary: Sequence[str], rng: random.Random) -> str:
    """Return the text with so many words swapped, dropped, doubled or inserted."""
    words = text.split()
    for at in sorted(rng.sample(range(len(words)), count), reverse=True):
        how = rng.choice(("swap", "drop", "double", "insert"))
        if how == "swap":
            words[at] = rng.choice(vocabulary)
        elif how == "drop":
            del words[at]
        else:
            words.insert(at, words[at] if how == "double" else rng.choice(vocabulary))
    return " ".join(words)


def plant(test: Sequence[str], kind: str, vocabulary: Sequence[str], rng: random.Random) -> tuple[list[int], list[str]]:
    """Return which test rows were copied and their copies; only texts of five words or more can lose two."""
    chosen = rng.sample([k for k, text in enumerate(test) if len(text.split()) >= 5], PLANTED)
    if kind == "exact":
        return chosen, [test[k] for k in chosen]
    if kind == "reordered":
        return chosen, [" ".join(rng.sample(test[k].split(), len(test[k].split()))) for k in chosen]
    return chosen, [changed(test[k], 1 if kind == "one word" else 2, vocabulary, rng) for k in chosen]


def search(texts: Sequence[str], sides: np.ndarray) -> tuple[Any, float]:
    """Return near pairs and the seconds from texts to pairs."""
    from luthier.data.likeness.near import Marker, near_pairs

    began = time.perf_counter()
    marker = Marker()
    for text in texts:
        marker.add(text)
    pairs = near_pairs(marker.finish(), sides=sides, text_of=texts.__getitem__)
    return pairs, time.perf_counter() - began


def read(path: str) -> tuple[list[str], list[str]]:
    with Path(path).open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    return [row["text"] for row in rows], [row["category"] for row in rows]


def planted_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Plant duplicates and count those found; a copy counts when it is linked to a test row it is near to."""
    train, _ = read(settings["train"])
    test, _ = read(settings["test"])
    rng = random.Random(SEED)
    vocabulary = sorted({word for text in train for word in text.split()})
    found: dict[str, Any] = {}
    for kind in KINDS:
        chosen, copies = plant(test, kind, vocabulary, rng)
        texts = train + copies + test
        sides = np.array([0] * (len(train) + len(copies)) + [2] * len(test), dtype=np.int8)
        pairs, _ = search(texts, sides)
        partner = dict(zip(pairs.i.tolist(), pairs.j.tolist(), strict=True))
        hits = sum(len(train) + k in partner for k in range(len(copies)))
        same = sum(partner.get(len(train) + k) == len(texts) - len(test) + at for k, at in enumerate(chosen))
        # A word doubled and a word inserted in a text of four makes what the definition does not call near.
        beyond = sum(not is_near(plain(copy), plain(test[at]))[0] for copy, at in zip(copies, chosen, strict=True))
        found[kind] = {"planted": len(copies), "found": hits, "its own source": same, "beyond the definition": beyond}
    return {"found": found, "peer": peer(train, test, vocabulary)}


def peer(train: Sequence[str], test: Sequence[str], vocabulary: Sequence[str]) -> dict[str, Any] | None:
    """Return recall and time of datasketch's MinHashLSH on two changed words, where it is installed."""
    if importlib.util.find_spec("datasketch") is None:
        say("  datasketch is not installed: no peer is measured")
        return None
    from datasketch import MinHash, MinHashLSH

    chosen, copies = plant(test, "two words", vocabulary, random.Random(SEED + 1))

    def sketch(text: str) -> Any:
        made = MinHash(num_perm=128, seed=1)
        made.update_batch([word.encode() for word in plain(text)])
        return made

    began = time.perf_counter()
    index = MinHashLSH(threshold=0.5, num_perm=128)
    for k, text in enumerate(test):
        index.insert(k, sketch(text))
    answers = [index.query(sketch(text)) for text in [*train, *copies]]
    theirs_s = time.perf_counter() - began
    sides = np.array([0] * (len(train) + len(copies)) + [2] * len(test), dtype=np.int8)
    _, ours_s = search([*train, *copies, *test], sides)
    hits = sum(at in answer for at, answer in zip(chosen, answers[len(train) :], strict=True))
    return {"recall": hits / len(chosen), "seconds": theirs_s, "luthier_seconds": ours_s}


def clean_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Judge the pairs of the official split one by one, and count every near pair of it by brute force."""
    train, train_labels = read(settings["train"])
    test, test_labels = read(settings["test"])
    if settings["quick"]:
        train, test = train[:1500], test[:500]
    texts = train + test
    pairs, seconds = search(texts, np.array([0] * len(train) + [2] * len(test), dtype=np.int8))
    bags = [plain(text) for text in texts]
    judged = [is_near(bags[i], bags[j]) for i, j in zip(pairs.i.tolist(), pairs.j.tolist(), strict=True)]
    false = sum(not near for near, _ in judged)
    wrong = sum(abs(s - t) > 1e-6 for (_, s), t in zip(judged, pairs.similarity.tolist(), strict=True))
    rows = set(pairs.i.tolist())
    sample = random.Random(SEED).sample(range(len(train)), min(len(train), 100 if settings["quick"] else 1000))
    missed = sum(
        i not in rows and any(is_near(bags[i], bags[len(train) + j])[0] for j in range(len(test))) for i in sample
    )
    agree = [
        train_labels[i] == test_labels[j - len(train)] for i, j in zip(pairs.i.tolist(), pairs.j.tolist(), strict=True)
    ]
    levels = {}
    for least in (1.0, 0.9, 0.8, 0.0):
        inside = pairs.similarity >= least - 1e-6
        levels[str(least)] = {"rows": int(inside.sum()), "same label": int(np.array(agree)[inside].sum())}
    return {
        "train": len(train), "test": len(test), "seconds": seconds, "rows": levels,
        "exact": len({" ".join(t.casefold().split()) for t in train} & {" ".join(t.casefold().split()) for t in test}),
        "false": false, "wrong similarity": wrong, "share of all pairs": len(pairs) / (len(train) * len(test)),
        "brute force rows": len(sample), "brute force missed": missed,
    }  # fmt: skip


def items_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Split T0 by row and by item; in a template's file the position is the item's number within its data set."""
    from luthier.data.likeness.items import shared_passages
    from luthier.data.likeness.near import Marker

    texts: list[str] = []
    truth: list[tuple[str, int]] = []
    with tarfile.open(settings["t0"]) as archive:
        for member in sorted((m for m in archive.getmembers() if m.isfile()), key=lambda m: m.name):
            handle = archive.extractfile(member)
            # Data sets of several names ("ropes_plain", "ropes_prompt") start with the same word.
            name = Path(member.name).name.split("_")[0]
            lines = handle.read().decode("utf-8").splitlines() if handle else []
            texts += [json.loads(line)["prompt"] for line in lines]
            truth += [(f"{name}-{len(lines)}", number) for number in range(len(lines))]
    if settings["quick"]:
        texts, truth = texts[:4000], truth[:4000]
    began = time.perf_counter()
    marker = Marker(items=True)
    for text in texts:
        marker.add(text)
    marks = marker.finish()
    marked_s = time.perf_counter() - began
    rng = random.Random(SEED)
    by_row = np.array([2 if rng.random() < TEST_SHARE else 0 for _ in texts], dtype=np.int8)
    in_test = {item: rng.random() < TEST_SHARE for item in sorted(set(truth))}
    by_item = np.array([2 if in_test[item] else 0 for item in truth], dtype=np.int8)
    result: dict[str, Any] = {"rows": len(texts), "marked_s": marked_s}
    for name, sides in (("by row", by_row), ("by item", by_item)):
        began = time.perf_counter()
        shared = shared_passages(marks, sides=sides, text_of=texts.__getitem__)
        seconds = time.perf_counter() - began
        test = np.flatnonzero(sides == 2)
        trained = np.zeros(int(shared.units.max()) + 1, dtype=bool)
        trained[shared.units[sides == 0]] = True
        told = trained[shared.units[test]]
        items = {truth[k] for k in np.flatnonzero(sides == 0)}
        true = np.array([truth[k] in items for k in test])
        plainly = np.array([truth[k][0].split("-")[0] in ITEM_EACH for k in test])
        right = [truth[i] == truth[j] for i, j in zip(shared.i.tolist(), shared.j.tolist(), strict=True)]
        result[name] = {
            "seconds": seconds, "pairs": len(shared), "complete": shared.complete, "test rows told": float(told.mean()),
            "test rows by position": float(true.mean()), "found of those": float(told[true].mean()) if true.any() else None,
            "told where a position is an item": float(told[plainly].mean()) if plainly.any() else 0.0,
            "pairs of one position": float(np.mean(right)) if right else None,
        }  # fmt: skip
    return result


def size_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Time so many made-up rows of 5 to 19 words, drawn as words of a language are, without sides and with."""
    from bench.common import peak_memory_mb
    from luthier.data.likeness.near import Marker, near_pairs

    count, rng = settings["count"], np.random.default_rng(SEED)
    vocabulary = np.array([f"word{k}" for k in range(30_000)])
    shares = np.cumsum(1 / (np.arange(30_000) + 5.0))
    marker, spent = Marker(), 0.0
    for _ in range(0, count, 10_000):
        lengths = rng.integers(5, 20, 10_000)
        words = vocabulary[np.searchsorted(shares, rng.random(lengths.sum()) * shares[-1])].tolist()
        ends = np.cumsum(lengths)
        texts = [" ".join(words[end - n : end]) for n, end in zip(lengths.tolist(), ends.tolist(), strict=True)]
        began = time.perf_counter()
        for text in texts:
            marker.add(text)
        spent += time.perf_counter() - began
    marks = marker.finish()
    measured: dict[str, Any] = {"rows": count, "us_a_row": spent / count * 1e6, "marks_mb": marks.nbytes / 2**20}
    measured["marked_peak_mb"] = peak_memory_mb()
    for name, sides in (("within", None), ("across", rng.choice(np.array([0, 0, 0, 0, 2], dtype=np.int8), count))):
        began = time.perf_counter()
        pairs = near_pairs(marks, sides=sides, text_of=lambda row: "")
        measured[name] = {"seconds": time.perf_counter() - began, "pairs": len(pairs), "complete": pairs.complete}
    return measured


PARTS: dict[str, Part] = {"planted": planted_part, "clean": clean_part, "items": items_part, "size": size_part}


def table(record: Mapping[str, Any]) -> str:
    """Return the result as Markdown tables."""
    planted = [[kind, f["planted"], f["found"], f["its own source"]] for kind, f in record["planted"]["found"].items()]
    clean = record["clean"]
    alike = [[least, row["rows"], row["same label"]] for least, row in clean["rows"].items()]
    items = record["items"]
    columns = ("test rows by position", "test rows told", "told where a position is an item")
    shared = [
        [name, *(f"{items[name][c]:.1%}" for c in columns), items[name]["pairs"], f"{items[name]['seconds']:.0f}"]
        for name in ("by row", "by item")
    ]
    sizes = [[f"{s['rows']:,}", f"{s['us_a_row']:.1f}", f"{s['within']['seconds']:.1f}", f"{s['across']['seconds']:.1f}",
              s["peak_memory_mb"]] for s in record["sizes"]]  # fmt: skip
    return "\n\n".join([
        markdown(("planted across BANKING77's split", "rows", "found", "linked to its source"), planted),
        markdown(("train rows near a test row, at similarity", "rows", "same label"), alike),
        markdown(("T0 split", "test rows with their position in train", "told", "told of 8 sets", "pairs", "seconds"), shared),
        markdown(("rows", "marking, us a row", "near within, s", "near across, s", "peak MB"), sizes),
    ])  # fmt: skip


def goals_of(record: Mapping[str, Any]) -> list[Goal]:
    found, clean, items = record["planted"]["found"], record["clean"], record["items"]
    shares = {kind: f["found"] / f["planted"] for kind, f in found.items()}
    return [
        Goal("exact duplicates found", 1.0, shares["exact"]),
        Goal("reordered duplicates found", 1.0, shares["reordered"]),
        Goal("duplicates with one word changed found", 0.98, shares["one word"]),
        Goal("duplicates with two words changed found", 0.98, shares["two words"]),
        Goal("share of pairs that fulfil the definition", 1.0, 1 - clean["false"] / max(1, clean["rows"]["0.0"]["rows"])),
        Goal("train x test pairs not called near", 0.999, 1 - clean["share of all pairs"]),
        Goal("T0 by row, 8 sets: test rows told to share an item", 0.9, items["by row"]["told where a position is an item"]),
        Goal("T0 by item, 8 sets: test rows not told so", 0.99, 1 - items["by item"]["told where a position is an item"]),
        Goal("near rows not missed, of a brute-force sample", 1.0, 1 - clean["brute force missed"] / clean["brute force rows"]),
    ]  # fmt: skip


def main() -> None:
    """Run the bench, or one of its parts."""
    parser = arguments("leaks", __doc__ or "")
    parser.add_argument("--million", action="store_true", help="time 1,000,000 rows too")
    chosen = parser.parse_args()
    if chosen.part:
        return answer_part(PARTS, chosen.part, chosen.settings)
    train, test = need_files(chosen.data / "banking77", ["train.csv", "test.csv"], ORIGIN)
    (t0,) = need_files(chosen.data / "t0_train_50k", ["t0_train_50k_per_template.tar.gz"],
                       "The T0 sample of github.com/yizhongw/self-instruct (data/finetuning/t0_train_50k) as one tar.gz")  # fmt: skip
    threads = threads_for(chosen)
    record: dict[str, Any] = {"machine": machine(threads), "planted_rows": PLANTED}
    given = {
        "train": str(train.absolute()),
        "test": str(test.absolute()),
        "t0": str(t0.absolute()),
        "quick": chosen.quick,
    }
    sizes = [10_000] if chosen.quick else [100_000, 1_000_000] if chosen.million else [100_000]
    with workshop() as work:
        for part in ("planted", "clean", "items"):
            record[part] = run_part("bench.leaks", part, given, threads=threads, work=work)
        record["sizes"] = [
            run_part("bench.leaks", "size", {"count": count}, threads=threads, work=work, called=f"{count:,} rows")
            for count in sizes
        ]
    conclude("leaks", record, table(record), goals_of(record), quick=chosen.quick, out=chosen.out)
    return None


if __name__ == "__main__":
    sys.exit(main())
