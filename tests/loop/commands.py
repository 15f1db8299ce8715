"""Run the real command in a process of its own.

Most are forked from one process that has the heavy libraries imported already: importing them anew takes longer than most
commands here. ``apart`` starts a new interpreter, as a user does, with another order of sets and hashes.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "passive"}
COMMAND = [sys.executable, "-m", "luthier.cli"]
# Imported once. Nothing here may compute: threads that were started do not come along into a fork.
_HEAVY = ["luthier.cli.making", "luthier.lifecycle.circle", "luthier.lifecycle.bundles", "luthier.lifecycle.answering", "sklearn.linear_model",
          "transformers.models.bert.modeling_bert", "transformers.models.llama.modeling_llama"]  # fmt: skip
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(_HEAVY)


def luthier(
    *args: object, cwd: Path, text: str | None = None, timeout: float = 300, apart: bool = False
) -> subprocess.CompletedProcess[str]:
    words = [str(arg) for arg in args]
    if apart:
        return subprocess.run([*COMMAND, *words], cwd=cwd, input=text, capture_output=True, text=True, timeout=timeout,
                              env=ENVIRONMENT)  # fmt: skip
    return _forked(_command, words, cwd, text, timeout)


def python(source: str, *args: object, cwd: Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own that has the libraries already."""
    return _forked(_script, [source, *map(str, args)], cwd, None, timeout)


def _forked(target: Callable[..., None], words: Sequence[str], cwd: Path, text: str | None, timeout: float) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as folder:
        streams = [str(Path(folder) / name) for name in ("in", "out", "err")]
        Path(streams[0]).write_text(text or "")
        process = _FORKS.Process(target=target, args=(words, str(cwd), streams, dict(ENVIRONMENT)))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(words, timeout)
        out, err = (Path(stream).read_text() for stream in streams[1:])
    return subprocess.CompletedProcess(list(words), process.exitcode, out, err)


def _command(words: Sequence[str], cwd: str, streams: Sequence[str], environment: Mapping[str, str]) -> None:
    """Be the command, in the forked process."""
    _settle(cwd, streams, environment)
    sys.argv = ["luthier", *words]
    from luthier.cli import main

    main()


def _script(words: Sequence[str], cwd: str, streams: Sequence[str], environment: Mapping[str, str]) -> None:
    """Be a script, in the forked process."""
    _settle(cwd, streams, environment)
    sys.argv = ["-c", *words[1:]]
    exec(compile(words[0], "<script>", "exec"), {"__name__": "__main__"})


def _settle(cwd: str, streams: Sequence[str], environment: Mapping[str, str]) -> None:
    """Take the folder, the environment and the three streams."""
    assert "torch" in sys.modules, "the process that commands are forked from could not import the libraries"
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    for number, (path, mode) in enumerate(zip(streams, ("r", "w", "w"), strict=True)):
        with open(path, mode) as file:
            os.dup2(file.fileno(), number)
    sys.stdin, sys.stdout, sys.stderr = (open(n, m, closefd=False) for n, m in enumerate("rww"))  # noqa: SIM115  they are open for as long as the process is


def start(*args: object, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([*COMMAND, *map(str, args)], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env=ENVIRONMENT)  # fmt: skip


def only_object(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return the one JSON object that standard output must hold."""
    assert done.stdout.count("\n") == 1, done.stdout + done.stderr
    return json.loads(done.stdout)


def refused(done: subprocess.CompletedProcess[str], *words: str) -> str:
    """Assert a user's fault: exit code 2, words that help, no traceback."""
    assert done.returncode == 2, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr + done.stdout
    for word in words:
        assert word in done.stderr, f"{word!r} is not in: {done.stderr}"
    return done.stderr
