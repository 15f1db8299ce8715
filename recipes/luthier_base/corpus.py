"""Write the text that the generator learns from: ``python -m recipes.luthier_base.corpus OUT [--data DIR]``.

``text/train.jsonl`` and ``text/held.jsonl`` hold plain documents (``text``, ``source``) for ``objective: text``;
``chat/train.jsonl`` and ``chat/held.jsonl`` hold conversations (``messages``, ``source``) for ``objective: generate``, and those
of ``copy/`` mostly repeat what was said.

Whole works are held out, never parts of one: three novels of authors who have no other book here, one file in fifty of the
medical answers, the official dev dialogues, the last stories, and of the prompted data sets all rows whose longest input is
the same. What Luthier's examples are tested on (legal texts, DialogSum, gsm8k's test rows) is in none of it; templates of
data sets that share sources with those are left out by name.
"""

from __future__ import annotations

import argparse
import collections
import gzip
import io
import itertools
import json
import random
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from bench.common import DATA
from recipes.luthier_base.reading import Document, asked_about, repeats
from recipes.luthier_base.telling import summaries

# Not free in every country that counts seventy years from an author's death.
LEFT_OUT_NOVELS = ("Forster",)
# DialogSum took dialogues of DREAM (Chen et al. 2021, section 2), and Luthier's summaries are tested on it. WikiHop asks fifteen hundred
# tokens of facts for one word, which a small model learns by its form.
LEFT_OUT_TEMPLATES = ("dream_", "wiki_hop_")
# Authors with one style each, of three times; their books are held out whole.
HELD_NOVELS = ("Anon_Clara_1864", "Stevenson_Treasure_1883", "Woolf_Lighthouse_1927")
PIECE = 3800  # characters: what nearly always fits in 1,024 tokens
HELD_STORIES, ONE_IN = 500, 50
# A million held-out characters tell bits per byte to a hundredth; more of them only take time at each end of a run.
MEASURED_ONE_IN = 4
# Longest conversation, in characters, that a model with 1,024 positions can read and answer.
CHAT = 3200
# Conversations that repeat what was said, and as many characters of it among the plain text as one in ten.
COPIES, REPEATED = 18_000, 20_000
_END = "<|endoftext|>"


def members(path: Path, ending: str) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the files of a .tar.gz, in the order of their names."""
    with tarfile.open(path) as archive:
        for member in sorted(archive.getmembers(), key=lambda m: m.name):
            if member.isfile() and member.name.endswith(ending):
                handle = archive.extractfile(member)
                assert handle is not None
                yield member.name, handle.read()


def pieces(paragraphs: list[str], size: int = PIECE) -> Iterator[str]:
    """Yield paragraphs joined to pieces of about ``size`` characters; a longer paragraph is cut after a sentence."""
    held: list[str] = []
    for paragraph in paragraphs:
        for part in _sentences(paragraph, size):
            if held and sum(map(len, held)) + len(part) > size:
                yield "\n".join(held)
                held = []
            held.append(part)
    if held:
        yield "\n".join(held)


def _sentences(paragraph: str, size: int) -> Iterator[str]:
    while len(paragraph) > size:
        at = max(paragraph.rfind(mark, 0, size) for mark in (". ", "? ", "! ", "; ", " "))
        at = size if at <= 0 else at + 1
        yield paragraph[:at].strip()
        paragraph = paragraph[at:].strip()
    if paragraph:
        yield paragraph


def novels(data: Path) -> Iterator[tuple[bool, Document]]:
    """Yield (held out, document) for pieces of the novels."""
    for name, raw in members(data / "english_novels_100" / "100_english_novels_corpus.tar.gz", ".txt"):
        title = Path(name).stem
        if title.startswith(LEFT_OUT_NOVELS):
            continue
        lines = [line.strip() for line in raw.decode("utf-8-sig").splitlines()]
        for text in pieces([line for line in lines if line]):
            yield title in HELD_NOVELS, {"text": text, "source": title}


def medical(data: Path) -> Iterator[tuple[bool, str, str]]:
    """Yield (held out, question, answer) of the medical answers of public bodies."""
    for name, raw in members(data / "medquad" / "medquad_with_answers.tar.gz", ".xml"):
        held = zlib.crc32(name.encode()) % ONE_IN == 0
        for pair in ElementTree.parse(io.BytesIO(raw)).getroot().iter("QAPair"):
            question, answer = (re.sub(r"\s+", " ", pair.findtext(tag) or "").strip() for tag in ("Question", "Answer"))
            if question and answer:
                yield held, question.replace(" ?", "?"), answer


def services(data: Path) -> Iterator[tuple[bool, dict[str, Any]]]:
    """Yield (held out, dialogue as published) of service dialogues: train's, and dev's as held out."""
    for held, side in ((False, "train"), (True, "dev")):
        for name, raw in members(data / "sgd_dialogues" / f"sgd_{side}.tar.gz", ".json"):
            if "schema" in name:
                continue
            for dialogue in json.loads(raw):
                yield held, dialogue


def dialogues(data: Path) -> Iterator[tuple[bool, list[tuple[str, str]]]]:
    """Yield (held out, turns) of the service dialogues."""
    for held, dialogue in services(data):
        yield held, [(turn["speaker"], turn["utterance"].strip()) for turn in dialogue["turns"]]


def stories(data: Path) -> Iterator[tuple[bool, Document]]:
    """Yield (held out, document) for small children's stories; the last ones are those that an example is tested on."""
    from bench.local.tiny_llama import stories_in

    with gzip.open(data / "tinystories_sample" / "tinystories.txt.gz", "rt", encoding="utf-8") as handle:
        found = [story for story in stories_in(handle.read()) if story]
    for number, story in enumerate(found):
        yield number >= len(found) - HELD_STORIES, {"text": story, "source": "stories"}


def prompted(data: Path) -> Iterator[tuple[bool, str, str, str]]:
    """Yield (held out, prompt, completion, template) of T0's prompted data sets, divided by the item they were made of."""
    for name, raw in members(data / "t0_train_50k" / "t0_train_50k_per_template.tar.gz", ".jsonl"):
        template = Path(name).stem
        if template.startswith(LEFT_OUT_TEMPLATES):
            continue
        for line in raw.decode("utf-8").splitlines():
            row = json.loads(line)
            prompt, completion = (str(row[k]).replace(_END, "").replace("\r\n", "\n").strip() for k in ("prompt", "completion"))
            if prompt and completion:
                yield item_of(f"{prompt}\n{completion}") % ONE_IN == 0, prompt, completion, template


def item_of(text: str) -> int:
    """Return a number for the item that a prompt was made of: its longest line tells items apart, whatever the template."""
    longest = max((line.strip().lower() for line in text.split("\n")), key=len)
    return zlib.crc32(re.sub(r"\W+", " ", longest)[-200:].encode())


def instructions(data: Path) -> Iterator[tuple[bool, str, str, str]]:
    """Yield (held out, instruction, answer, source) of small sets that people wrote."""
    folder = data / "self_instruct_human"
    for file in ("seed_tasks.jsonl", "user_oriented_instructions.jsonl"):
        for number, line in enumerate((folder / file).read_text(encoding="utf-8").splitlines()):
            row = json.loads(line)
            for instance in row["instances"]:
                asked = "\n\n".join(part for part in (row["instruction"].strip(), instance["input"].strip()) if part)
                yield number % ONE_IN == 0, asked, instance["output"].strip(), file
    rows = json.loads((data / "instruction_1100" / "instruction-data.json").read_text(encoding="utf-8"))
    for number, row in enumerate(rows):
        asked = "\n\n".join(part for part in (row["instruction"].strip(), row["input"].strip()) if part)
        yield number >= 0.85 * len(rows), asked, row["output"].strip(), "instruction-data.json"


def filled(found: Iterator[tuple[bool, Document]], size: int = PIECE) -> Iterator[tuple[bool, Document]]:
    """Yield documents of about ``size`` characters, made of short ones of one source that follow each other.

    Each step then learns from about as many tokens as the next, and rows need no packing.
    """
    held: tuple[bool, Document] | None = None
    for aside, document in found:
        if held is not None:
            same = held[0] == aside and held[1]["source"] == document["source"]
            if same and len(held[1]["text"]) + len(document["text"]) <= size:
                held[1]["text"] += "\n\n" + document["text"]
                continue
            yield held
        held = (aside, dict(document))
    if held is not None:
        yield held


def texts(data: Path) -> Iterator[tuple[bool, Document]]:
    """Yield all plain documents."""
    yield from novels(data)
    yield from stories(data)
    for held, question, answer in medical(data):
        for text in pieces([question, answer]):
            yield held, {"text": text, "source": "medical"}
    for held, turns in dialogues(data):
        yield held, {"text": "\n".join(f"{'Customer' if who == 'USER' else 'Agent'}: {said}" for who, said in turns), "source": "dialogues"}
    seen: set[int] = set()
    for held, prompt, completion, _ in prompted(data):
        # Templates tell the same item again and again: read once it is text, read nine times it is learnt by heart.
        if (item := item_of(f"{prompt}\n{completion}")) in seen:
            continue
        seen.add(item)
        for text in pieces([*prompt.split("\n"), completion]):
            yield held, {"text": text, "source": "prompted"}
    for held, asked, answer, source in instructions(data):
        yield held, {"text": f"{asked}\n\n{answer}", "source": source}
    for document in _repeated(data, REPEATED):
        yield False, {"text": f"{document['messages'][0]['content']}\n{document['answer']}", "source": "repeats"}


def chats(data: Path) -> Iterator[tuple[bool, Document]]:
    """Yield conversations with the answer that is to be learnt: short enough to be read whole."""
    rng = random.Random("which turn of a dialogue is learnt")
    for held, turns in dialogues(data):
        answers = [i for i, (who, _) in enumerate(turns) if who != "USER" and i]
        for place in rng.sample(answers, min(2, len(answers))):
            told = [{"role": "user" if who == "USER" else "assistant", "content": said} for who, said in turns[:place]]
            yield held, {"messages": told, "answer": turns[place][1], "source": "dialogues"}
    for held, question, answer in medical(data):
        first = " ".join(re.split(r"(?<=[.?!]) ", answer)[:3])
        yield held, {"messages": [{"role": "user", "content": question}], "answer": first, "source": "medical"}
    for held, prompt, completion, _ in prompted(data):
        yield held, {"messages": [{"role": "user", "content": prompt}], "answer": completion, "source": "prompted"}
    for held, asked, answer, source in instructions(data):
        yield held, {"messages": [{"role": "user", "content": asked}], "answer": answer, "source": source}
    yield from reading(data)
    yield from summaries(services(data))


def reading(data: Path) -> Iterator[tuple[bool, Document]]:
    """Yield conversations about texts of all kinds, whose answers stand in the question."""
    yield from asked_about(itertools.chain(novels(data), stories(data), _paragraphs(data)))


def _paragraphs(data: Path) -> Iterator[tuple[bool, Document]]:
    for held, _, answer in medical(data):
        yield held, {"text": answer, "source": "medical"}


def copies(data: Path) -> Iterator[tuple[bool, Document]]:
    """Yield conversations of which six in seven are :func:`repeats`, and the others short ones of :func:`chats`."""
    rng = random.Random("what stands between them")
    short = [(held, row) for held, row in chats(data) if sum(len(t["content"]) for t in row["messages"]) + len(row["answer"]) < 800]
    repeated = _repeated(data, COPIES)
    for held, row in rng.sample(short, COPIES // 6):
        yield held, row
        for document in itertools.islice(repeated, 6):
            yield held, document


def _repeated(data: Path, count: int) -> Iterator[Document]:
    rng = random.Random("words without sense")
    texts = [document["text"] for held, document in itertools.chain(stories(data), _paragraphs(data)) if not held]
    counts = collections.Counter(word for text in texts for word in text.split())
    words = [word for word, _ in counts.most_common(6000)]
    for _ in range(count):
        yield repeats(rng, words, texts)


def _answered(document: Document) -> Document:
    """Return a conversation with its answer as the last turn, which is how Luthier reads one."""
    if "answer" not in document:
        return document
    said = [*document["messages"], {"role": "assistant", "content": document["answer"]}]
    return {"messages": said, "source": document["source"]}


def _short(document: Document) -> bool:
    said = document.get("messages")
    return said is None or sum(len(turn["content"]) for turn in said) + len(document["answer"]) <= CHAT


def write(data: Path, out: Path) -> dict[str, dict[str, int]]:
    """Write the files; return characters by file and source."""
    sizes: dict[str, dict[str, int]] = {}
    for kind, made in (("text", filled(texts(data))), ("copy", copies(data)), ("chat", chats(data))):
        (out / kind).mkdir(parents=True, exist_ok=True)
        with (out / kind / "train.jsonl").open("w", encoding="utf-8") as train, \
                (out / kind / "held.jsonl").open("w", encoding="utf-8") as kept:  # fmt: skip
            seen = 0
            for held, document in made:
                if not _short(document):
                    continue
                seen += held
                if held and seen % MEASURED_ONE_IN:
                    continue
                line = json.dumps(_answered(document), ensure_ascii=False)
                (kept if held else train).write(line + "\n")
                told = sizes.setdefault(f"{kind}/{'held' if held else 'train'}", {})
                told[document["source"]] = told.get(document["source"], 0) + len(line)
    return sizes


def main() -> None:
    """Write the files and say how large they are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, default=DATA, help="the folder that holds the public datasets")
    asked = parser.parse_args()
    for file, told in write(asked.data, asked.out).items():
        total = sum(told.values())
        kinds: dict[str, int] = {}
        for source, size in told.items():
            kind = source if source in ("stories", "medical", "dialogues", "prompted", "reading", "repeats", "told") or "." in source else "novels"
            kinds[kind] = kinds.get(kind, 0) + size
        print(f"{file}.jsonl: {total / 1e6:.1f} M characters; " + ", ".join(f"{k} {v / 1e6:.1f}" for k, v in kinds.items()))


if __name__ == "__main__":
    main()
