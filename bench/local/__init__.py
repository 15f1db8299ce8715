"""Local copies of public datasets, written in the columns of the hub dataset that an example names.

``python -m bench.local NAME OUT [--data DIR]`` reads ``DIR/NAME`` (default: ``shared/data`` beside the project) and writes
files that the example's task file takes with ``--set data.source=OUT/train.csv``. One module a dataset, each with a
``write(folder, out)`` that returns the files it wrote.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import IO

from bench.common import refuse


def opened(folder: Path, name: str, origin: str) -> IO[str]:
    """Open a file of the authors, plain as they give it or gzipped with ``.gz`` after its name; UTF-8, line ends as they are.

    The plain file is read where both are there. Where neither is, the program ends with code 2 and with ``origin``, which says where to get it.
    """
    plain, packed = folder / name, folder / f"{name}.gz"
    if plain.is_file():
        return plain.open(encoding="utf-8", newline="")
    if not packed.is_file():
        refuse(f"{folder}: neither {name} nor {name}.gz is there. {origin}, and name the folder above it with --data.")
    return gzip.open(packed, "rt", encoding="utf-8", newline="")
