"""Hundreds of runs of a module with a mistake in it, by one process that has imported what takes long.

It forks for each run. What it had imported of ours the fork imports anew, and in place of the text of some modules what
it is told: nothing is written to the disk, and what is compiled of the others is used as it is.
"""

from __future__ import annotations

import gc
import importlib.abc
import importlib.machinery
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, ModuleType, TracebackType
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[1]
OURS = ("llamaswap_lib", "tests")
MOST_SAID = 3000  # characters of what a run said at its end
DEADLINE = 60.0  # seconds, for the process to end when it has nothing more to do


@dataclass(frozen=True, slots=True)
class Ended:
    """A run: its exit code, None if it was killed because it took too long, and the last of what it said."""

    code: int | None
    said: str


class Trials:
    """The process that forks, to be used in a `with` and by one thread."""

    def __init__(self, *warm_up: str) -> None:
        """It runs `warm_up` once by itself, a module and its arguments, and keeps what that has imported of others."""
        self._process: subprocess.Popen[str] = subprocess.Popen(
            (sys.executable, __file__, *warm_up), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )

    def run(self, argv: Sequence[str], changed: Mapping[str, str], timeout: float) -> Ended:
        """`python -m` of the words of `argv`, with these texts of modules, for at most `timeout` seconds."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([*argv]), json.dumps(dict(changed)), timeout, sep="\t", file=self._process.stdin, flush=True)
        return Ended(*json.loads(self._process.stdout.readline()))

    def __enter__(self) -> Trials:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=DEADLINE)


class _Changed(importlib.abc.MetaPathFinder):
    """Finds modules whose text is another one than that of their file."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        text = self._texts.get(name)
        found = None if text is None else importlib.machinery.PathFinder.find_spec(name, path, target)
        if text is None or found is None or found.origin is None:
            return None
        found.loader = _Text(name, found.origin, text)
        return found


class _Text(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, text: str) -> None:
        super().__init__(name, path)
        self._text = text

    def get_code(self, fullname: str) -> CodeType | None:
        code: CodeType = compile(self._text, self.path, "exec", dont_inherit=True)
        return code


def _forget_ours() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
        del sys.modules[name]


def _be(argv: Sequence[str]) -> int:
    """The exit code of a module that is run as the program, in this process."""
    sys.argv = [*argv]
    try:
        runpy.run_module(argv[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return int(end.code or 0) if isinstance(end.code, int | None) else 1
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
        return 1
    return 0


def _fork(argv: Sequence[str], changed: Mapping[str, str], timeout: float) -> Ended:
    with tempfile.TemporaryFile() as said:
        is_over, ends = os.pipe()
        pid = os.fork()
        if not pid:
            os.setsid()
            _speak_to(said)
            sys.meta_path.insert(0, _Changed(changed))
            code = _be(argv)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        os.close(ends)
        is_in_time = bool(select.select([is_over], [], [], timeout)[0])
        os.close(is_over)
        if not is_in_time:
            os.killpg(pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        said.seek(0)
        return Ended(code if is_in_time else None, said.read().decode(errors="replace")[-MOST_SAID:])


def _speak_to(file: IO[bytes]) -> None:
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - no path of a file
        os.dup2(nothing.fileno(), 0)
    os.dup2(file.fileno(), 1)
    os.dup2(file.fileno(), 2)


def _warm_up(argv: Sequence[str]) -> None:
    """What it says is of no interest unless it fails."""
    shown = os.dup(1)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 1)
        code = _be(argv)
        sys.stdout.flush()
        os.dup2(shown, 1)
        os.close(shown)
        said.seek(0)
        assert code == 0, said.read().decode(errors="replace")
    _forget_ours()


def main() -> None:
    """Each line of stdin is a run: argv, changed texts and seconds. Each of stdout tells how one ended."""
    sys.path[0] = str(ROOT)
    _warm_up(sys.argv[1:])
    gc.freeze()  # what is there is not looked through, and so not copied, by a fork
    for line in sys.stdin:
        argv, changed, timeout = line.split("\t")
        ended = _fork(json.loads(argv), json.loads(changed), float(timeout))
        told: list[Any] = [ended.code, ended.said]
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
