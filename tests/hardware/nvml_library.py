"""A library that plays NVIDIA's, made of fake_nvml.c; a child process finds it by LD_LIBRARY_PATH."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("fake_nvml.c")
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
needs_compiler = pytest.mark.skipif(
    COMPILER is None, reason="no C compiler: the library that plays NVML cannot be made"
)


def compile_library(folder: Path, kind: str = "V3") -> Path:
    """The folder with the library as a kind of driver brings it: V3, V2, PLAIN."""
    compile_source(SOURCE, folder / "libnvidia-ml.so.1", f"-D{kind}")
    return folder


def compile_source(source: Path, library: Path, *flags: str) -> None:
    argv = (COMPILER or "cc", "-shared", "-fPIC", *flags, "-o", str(library), str(source))
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def environment(library: Path, told: Path) -> dict[str, str]:
    """In which the library is found; it says what the file `told` has."""
    path = os.pathsep.join(filter(None, (str(library), os.environ.get("LD_LIBRARY_PATH"))))
    return {"LD_LIBRARY_PATH": path, "FAKE_NVML": str(told)}
