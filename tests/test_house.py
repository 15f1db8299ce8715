"""The house: floors, doors, circles and module length, checked by parsing imports. Seen to fail on planted faults below."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "luthier"
MAX_LINES = 350

# Lower number: lower floor. Rooms on one floor do not know each other. docs/architecture.md draws the same.
FLOORS: dict[str, int] = {
    name: number
    for number, names in enumerate(
        [
            ["base"],
            ["spec"],
            ["prompts", "models"],
            ["objectives", "data", "ledger"],
            ["release"],
            ["train", "evaluate", "retrieve"],
            ["search", "decide", "watch", "cluster", "labelling", "track"],
            ["serve"],
            ["studio"],
            ["lifecycle", "show"],
            ["cli"],
        ]
    )
    for name in names
}

# One library, one door.
DOORS: dict[str, tuple[str, ...]] = {
    "transformers": ("models/",),
    "peft": ("models/",),
    "huggingface_hub": ("models/",),
    "tokenizers": ("models/",),
    "optuna": ("search/study.py",),
    "fastapi": ("serve/", "studio/"),
    "starlette": ("serve/", "studio/"),
    "uvicorn": ("serve/",),
    "sqlite3": ("ledger/",),
    "pyarrow": ("data/",),
    "sqlalchemy": ("data/sources/sql.py",),
    "datasets": ("data/sources/hub.py",),
    "cleanlab": ("data/labels/suspects.py",),
    "fasttext": ("data/cleaning/languages.py",),
    "ftfy": ("data/cleaning/clean.py",),
    "phonenumbers": ("data/personal/",),
    "stdnum": ("data/personal/",),
    "pydantic": ("spec/", "serve/", "studio/"),
    "rich": ("show.py",),
    "click": ("cli/",),
    "plotly": ("evaluate/report",),
    "ray": ("cluster/",),
    "jsonschema": ("evaluate/written/schema.py",),
    "referencing": ("evaluate/written/schema.py",),
    "tensorboard": ("track/to_tensorboard.py",),
    "mlflow": ("track/to_mlflow.py",),
    "wandb": ("track/to_wandb.py",),
    "trackio": ("track/to_trackio.py",),
}
# Asking a library for its version is no use of it.
VERSION_ONLY = {("lifecycle/steps.py", "transformers")}
NO_TORCH = ("base/", "spec/", "data/", "ledger/", "track/", "cli/", "show.py", "__init__.py")
FORBIDDEN = ("pickle", "dill", "joblib", "shelve", "marshal")


def modules(package: Path) -> dict[str, ast.Module]:
    return {p.relative_to(package).as_posix(): ast.parse(p.read_text("utf-8")) for p in sorted(package.rglob("*.py"))}


def imports(tree: ast.Module, *, late: bool = True) -> Iterator[tuple[str, list[str]]]:
    """Yield (module, names) for each import; with ``late`` False only those that run when the module is imported."""
    nodes = ast.walk(tree) if late else _at_import(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, [alias.name for alias in node.names]


def _at_import(tree: ast.Module) -> Iterator[ast.AST]:
    stack: list[ast.AST] = list(tree.body)
    while stack:
        node = stack.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        stack += list(ast.iter_child_nodes(node))


def room(path: str) -> str:
    head = path.split("/")[0]
    return head.removesuffix(".py")


def floor_faults(trees: dict[str, ast.Module]) -> list[str]:
    faults = []
    for path, tree in trees.items():
        if path == "__init__.py":
            continue
        here = room(path)
        if here not in FLOORS:
            faults.append(f"{path}: the room {here} has no floor")
            continue
        for module, names in imports(tree):
            if module != "luthier" and not module.startswith("luthier."):
                continue
            targets = [module.split(".")[1]] if "." in module else [n for n in names if n in FLOORS]
            for there in targets:
                if there != here and (there not in FLOORS or FLOORS[there] >= FLOORS[here]):
                    faults.append(f"{path}: {here} may not import {there}")
    return faults


def door_faults(trees: dict[str, ast.Module]) -> list[str]:
    faults = []
    for path, tree in trees.items():
        for module, _ in imports(tree):
            top = module.split(".")[0]
            if top in FORBIDDEN:
                faults.append(f"{path}: {top} is never used")
            elif top in DOORS and not path.startswith(DOORS[top]) and (path, top) not in VERSION_ONLY:
                faults.append(f"{path}: {top} has its door in {' and '.join(DOORS[top])}")
        for module, _ in imports(tree, late=False):
            if module.split(".")[0] == "torch" and path.startswith(NO_TORCH):
                faults.append(f"{path}: no torch here")
    return faults


def circles(trees: dict[str, ast.Module]) -> list[str]:
    """Return circles of modules that import each other when they are imported."""
    graph: dict[str, set[str]] = {}
    names = {path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in trees}
    for path, tree in trees.items():
        graph[path] = set()
        for module, parts in imports(tree, late=False):
            stem = module.removeprefix("luthier.").removeprefix("luthier")
            candidates = [f"{stem}.{p}".lstrip(".") for p in parts] + [stem]
            graph[path] |= {names[c] for c in candidates if c in names and names[c] != path}
    faults, done = [], set()

    def visit(path: str, trail: tuple[str, ...]) -> None:
        if path in trail:
            faults.append(" -> ".join((*trail[trail.index(path) :], path)))
            return
        if path in done:
            return
        for there in sorted(graph[path]):
            visit(there, (*trail, path))
        done.add(path)

    for path in graph:
        visit(path, ())
    return faults


def printing_faults(trees: dict[str, ast.Module]) -> list[str]:
    return [
        f"{path}:{node.lineno}: only show.py prints"
        for path, tree in trees.items()
        if path != "show.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]


def length_faults(package: Path) -> list[str]:
    return [
        f"{p.relative_to(package)}: {n} lines, at most {MAX_LINES}"
        for p in sorted(package.rglob("*.py"))
        if (n := len(p.read_text("utf-8").splitlines())) > MAX_LINES
    ]


def unsafe_faults(trees: dict[str, ast.Module]) -> list[str]:
    """Find pickles and remote code: torch.load, weights that are not safetensors, trust_remote_code."""
    faults = []
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in ("torch.load", "torch.save"):
                faults.append(f"{path}:{node.lineno}: {ast.unparse(node)} is pickle")
            if isinstance(node, ast.keyword) and node.arg == "trust_remote_code" and ast.unparse(node.value) != "False":
                faults.append(f"{path}:{node.value.lineno}: trust_remote_code is never on")
    return faults


def test_floors() -> None:
    assert floor_faults(modules(PACKAGE)) == []


def test_doors() -> None:
    assert door_faults(modules(PACKAGE)) == []


def test_no_circles() -> None:
    assert circles(modules(PACKAGE)) == []


def test_only_show_prints() -> None:
    assert printing_faults(modules(PACKAGE)) == []


def test_modules_fit_on_a_few_screens() -> None:
    assert length_faults(PACKAGE) == []


def test_no_pickle_and_no_remote_code() -> None:
    assert unsafe_faults(modules(PACKAGE)) == []


@pytest.mark.parametrize(
    ("path", "text", "check", "expected"),
    [
        ("train/loop.py", "from luthier.evaluate import metrics", floor_faults, "train may not import evaluate"),
        ("base/files.py", "from luthier.data import split", floor_faults, "base may not import data"),
        ("helpers/x.py", "import json", floor_faults, "the room helpers has no floor"),
        ("cli/making.py", "def run():\n    import transformers", door_faults, "transformers has its door in models/"),
        ("data/split.py", "import torch", door_faults, "no torch here"),
        ("train/checkpoint.py", "import pickle", door_faults, "pickle is never used"),
        ("train/run.py", "print('x')", printing_faults, "only show.py prints"),
        ("train/run.py", "import torch\ntorch.load('x')", unsafe_faults, "torch.load is pickle"),
        ("models/load.py", "f(trust_remote_code=True)", unsafe_faults, "trust_remote_code is never on"),
    ],
)
def test_a_planted_fault_is_seen(path: str, text: str, check, expected: str) -> None:
    assert any(expected in fault for fault in check({path: ast.parse(text)}))


def test_a_planted_circle_is_seen() -> None:
    trees = {
        "data/a.py": ast.parse("from luthier.data.b import x"),
        "data/b.py": ast.parse("from luthier.data import a"),
    }
    assert circles(trees) == ["data/a.py -> data/b.py -> data/a.py"]


def test_a_planted_long_module_is_seen(tmp_path: Path) -> None:
    (tmp_path / "long.py").write_text("x = 1\n" * (MAX_LINES + 1))
    assert length_faults(tmp_path) == [f"long.py: {MAX_LINES + 1} lines, at most {MAX_LINES}"]
