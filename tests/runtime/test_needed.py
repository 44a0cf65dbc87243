"""What only some configurations need is imported where one does; where that cannot be, nothing has changed."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from llamaswap_lib.config.schema import Config
from llamaswap_lib.config.sections import Peer
from llamaswap_lib.errors import ConfigError
from llamaswap_lib.needed import PARTS, Files, Needed, Part, files_of_program

NAME = "needed_by_some_configurations"
NOBODY = Config()
SOMEBODY = replace(Config(), peers={"p": Peer(proxy="http://127.0.0.1:9")})


@pytest.fixture
def package(tmp_path: Path) -> Iterator[Path]:
    """A package of two modules, of which the last one imports the other."""
    folder = tmp_path / NAME
    folder.mkdir()
    for name, text in (("__init__", ""), ("under", "x = 1\n"), ("above", f"from {NAME} import under\n")):
        (folder / f"{name}.py").write_text(text)
    sys.path.insert(0, str(tmp_path))
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode  # a file that is written twice within a second
    yield folder
    sys.dont_write_bytecode = before
    sys.path.remove(str(tmp_path))
    for name in loaded():
        del sys.modules[name]


def loaded() -> set[str]:
    return {name for name in sys.modules if name.partition(".")[0] == NAME}


def needed(folder: Path) -> Needed:
    def look() -> Files:
        stats = [(path, path.stat()) for path in folder.glob("*.py")]
        return frozenset((str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns) for path, stat in stats)

    part = Part("peers", (f"{NAME}.above",), lambda config: bool(config.peers))
    return Needed([part], look)


def test_what_a_configuration_needs_is_imported_and_for_no_other(package: Path) -> None:
    one = needed(package)
    one.bring(NOBODY)
    assert loaded() == set()
    one.bring(SOMEBODY)
    assert loaded() == {NAME, f"{NAME}.under", f"{NAME}.above"}
    (package / "above.py").unlink()
    one.bring(SOMEBODY)  # what is there needs no file


def test_a_file_that_has_changed_since_the_start_is_not_imported(package: Path) -> None:
    one = needed(package)
    (package / "under.py").write_text("x = 2222\n")
    with pytest.raises(ConfigError) as refused:
        one.bring(SOMEBODY)
    assert str(refused.value) == (
        "the configuration needs a part of llamaswap that is not loaded yet (peers), "
        "and the program's files have changed since it was started: "
        "upgrade llamaswap (`llamaswap upgrade`), or restart it"
    )
    assert loaded() == set()
    one.bring(NOBODY)


def test_a_file_that_changes_while_it_is_imported_is_forgotten(package: Path) -> None:
    (package / "above.py").write_text(
        f"from {NAME} import under\nwith open(under.__file__, 'a') as file:\n    file.write('#')\n"
    )
    one = needed(package)
    with pytest.raises(ConfigError, match="have changed since it was started"):
        one.bring(SOMEBODY)
    assert loaded() == set()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"raise OSError({errno.EMFILE}, '{os.strerror(errno.EMFILE)}')", os.strerror(errno.EMFILE)),
        ("raise MemoryError", "not enough memory"),
        ("import no_such_module_anywhere", "No module named 'no_such_module_anywhere'"),
        ("half a", "invalid syntax"),
        ("1 / 0", "division by zero"),
    ],
)
def test_what_cannot_be_imported_leaves_nothing_behind_and_may_be_tried_again(
    package: Path, text: str, why: str
) -> None:
    body = package / "body"
    (package / "above.py").write_text(
        f"import pathlib\nfrom {NAME} import under\nexec(pathlib.Path({str(body)!r}).read_text())\n"
    )
    one = needed(package)
    body.write_text(text)
    with pytest.raises(ConfigError) as refused:
        one.bring(SOMEBODY)
    begin, end = "it cannot be loaded: ", "; try again, or restart llamaswap"
    assert f"(peers), and {begin}{why}" in str(refused.value)
    assert str(refused.value).endswith(end)
    assert loaded() == set()
    body.write_text("x = 3\n")
    one.bring(SOMEBODY)
    assert loaded() == {NAME, f"{NAME}.under", f"{NAME}.above"}


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, os.strerror(errno.EMFILE)), MemoryError()])
def test_where_the_files_cannot_be_looked_at_nothing_is_imported(package: Path, error: Exception) -> None:
    looks: list[Exception] = []

    def look() -> Files:
        if looks:
            raise looks.pop()
        return frozenset()

    one = Needed([Part("peers", (f"{NAME}.above",), lambda config: bool(config.peers))], look)
    looks.append(error)
    with pytest.raises(ConfigError, match=r"cannot be loaded: (Too many open files|not enough memory); try again"):
        one.bring(SOMEBODY)
    assert loaded() == set()
    one.bring(SOMEBODY)
    assert f"{NAME}.above" in loaded()


def test_the_files_of_the_program_are_all_its_modules() -> None:
    root = Path(__file__).resolve().parents[2]
    found = {Path(path) for path, *_ in files_of_program()}
    assert found == set((root / "llamaswap_lib").rglob("*.py"))
    assert files_of_program() == files_of_program()


def test_each_part_has_modules_that_exist() -> None:
    root = Path(__file__).resolve().parents[2]
    names = [name for part in PARTS for name in part.modules]
    assert names
    assert [name for name in names if not root.joinpath(*name.split(".")).with_suffix(".py").exists()] == []
