"""Writes the program as one file: dist/llamaswap.pyz and, of the same bytes, dist/llamaswap.py.

`python tools/build_pyz.py`. The file is a zip that Python runs under any name, with PyYAML's pure part and its licence
inside: nothing but a `python3` (3.10 or later) is needed to run it. Two builds of the same sources with the same PyYAML
are the same bytes: the entries are sorted, have one date and one mode, and are stored, since not every zlib deflates
alike.

PyYAML is taken from the installation that runs this.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import io
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("llamaswap.pyz", "llamaswap.py")
SHEBANG = b"#!/usr/bin/env python3\n"
DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can hold
MODE = 0o100644 << 16
SUFFIXES = (".py", ".typed", ".css", ".html", ".js", ".svg")  # of the package's own files
COMPILED = {"yaml/cyaml.py"}  # needs the C library that stays outside


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Writes llamaswap.pyz and llamaswap.py, the program as one file.")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", metavar="DIR", help="where to (default: dist)")
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    data = archive()
    for name in NAMES:
        path = folder / name
        path.write_bytes(data)
        path.chmod(0o755)
        print(f"{path}: {len(data):,} bytes")  # noqa: T201 - what the user asked for


def archive() -> bytes:
    """The bytes of the file. Raises SystemExit where PyYAML is not installed, or without its licence."""
    entries = dict([*own_entries(), *yaml_entries()])
    out = io.BytesIO(SHEBANG)
    out.seek(0, io.SEEK_END)
    with zipfile.ZipFile(out, "a", zipfile.ZIP_STORED) as archived:
        for name in sorted(entries):
            info = zipfile.ZipInfo(name, DATE)
            info.external_attr = MODE
            info.create_system = 3  # Unix, whatever builds it
            archived.writestr(info, entries[name])
    return out.getvalue()


def own_entries() -> Iterator[tuple[str, bytes]]:
    """Name and content of each file of ours: the entry script, the package and the licence."""
    yield "__main__.py", (ROOT / "llamaswap.py").read_bytes()
    yield "LICENSE", (ROOT / "LICENSE").read_bytes()
    for path in (ROOT / "llamaswap_lib").rglob("*"):
        if path.is_file() and path.suffix in SUFFIXES:
            yield path.relative_to(ROOT).as_posix(), path.read_bytes()


def yaml_entries() -> Iterator[tuple[str, bytes]]:
    """The same for PyYAML: its pure modules, and its licence under the name of its version."""
    try:
        found = importlib.metadata.distribution("pyyaml")
    except importlib.metadata.PackageNotFoundError:
        sys.exit("PyYAML is missing; install it with: python -m pip install pyyaml")
    licences = 0
    for path in found.files or ():
        name = PurePosixPath(path).as_posix()
        if path.name.startswith("LICENSE"):
            licences += 1
            yield f"PyYAML-{found.version}-{path.name}", Path(str(path.locate())).read_bytes()
        elif name.startswith("yaml/") and path.suffix == ".py" and name not in COMPILED:
            yield name, Path(str(path.locate())).read_bytes()
    if not licences:
        sys.exit(f"PyYAML {found.version} is installed without its licence, which has to go with it")


if __name__ == "__main__":
    main()
