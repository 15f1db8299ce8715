"""Write a local copy of a dataset: ``python -m bench.local NAME OUT [--data DIR]``."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
from pathlib import Path

from bench import local
from bench.common import DATA


def main() -> None:
    """Write one dataset and print the files."""
    names = sorted(m.name for m in pkgutil.iter_modules(local.__path__) if m.name != "__main__")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=names)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, default=DATA, help="the folder that holds the datasets")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    for path in importlib.import_module(f"bench.local.{asked.name}").write(asked.data, asked.out):
        print(path)


if __name__ == "__main__":
    main()
