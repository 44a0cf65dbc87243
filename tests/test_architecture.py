"""docs/architecture.md: the files, threads and rooms that it names are the code's, and its graphs are up to date.

Threads are found in the source: what a `Thread` is given for its name, and what a `Looker` is started with. `M` and `N`
on the page stand for what is put into such a name.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.test_layers import MAY_IMPORT, PACKAGE, ROOT, SOURCES, nodes_of
from tools import state_graphs

PAGE = state_graphs.PAGE.read_text()
CODE = set(re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", PAGE, flags=re.MULTILINE | re.DOTALL)))
THREADS = {"Thread": 1, "VitalThread": 1}  # which of the arguments is the name
OF_OTHERS = {"demo"}  # a program of its own
WAY = ("net", "server", "proxy")  # rooms of which each file has its place on the page


def section(title: str) -> str:
    found = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    assert found, f"there is no section {title!r}"
    return found


def first_cells(text: str) -> list[str]:
    """What stands in code font in the first cell of each row of a table."""
    return [name for row in re.findall(r"^\| (`[^|]*)\|", text, re.MULTILINE) for name in re.findall(r"`([^`]+)`", row)]


def test_each_file_that_is_named_exists() -> None:
    files = {name for name in CODE if re.fullmatch(r"[\w/]+\.py", name)}
    assert len(files) > 40
    assert {name for name in files if not (PACKAGE / name).exists() and not (ROOT / name).exists()} == set()


def test_each_name_of_the_code_is_one() -> None:
    names = {name for name in CODE if re.fullmatch(r"[A-Za-z_]+(?:\.[A-Za-z_]+)*", name) and not name.endswith(".py")}
    words = set(re.findall(r"\w+", "\n".join(path.read_text() for path in SOURCES)))
    rooms = set(MAY_IMPORT)
    assert len(names) > 30
    assert {name for name in names if not set(name.split(".")) <= words | rooms} - {"M", "N"} == set()


def test_each_file_of_the_way_of_a_request_has_its_place() -> None:
    files = {path.relative_to(PACKAGE).as_posix() for room in WAY for path in (PACKAGE / room).glob("[!_]*.py")}
    assert len(files) > 20
    assert files - CODE == set()


def test_the_rooms_are_those_of_the_table_of_layers() -> None:
    rooms = first_cells(section("The rooms"))
    assert sorted(rooms) == sorted(room for room in MAY_IMPORT if not room.startswith("__"))


def test_the_threads_are_those_that_the_code_starts() -> None:
    started = {re.sub(r"\0", "N" if name.startswith("http") else "M", name) for name, _ in threads()}
    assert len(started) > 10
    assert sorted(first_cells(section("The threads"))) == sorted(started | {"main"})


def test_the_vital_threads_are_those_that_the_code_starts_as_such() -> None:
    said = re.search(r"^((?:`[\w-]+`(?:, | and ))+`[\w-]+`) are vital", section("The threads"), re.MULTILINE)
    assert said is not None
    assert set(re.findall(r"`([\w-]+)`", said[1])) == {name for name, kind in threads() if kind == "VitalThread"}


def test_the_graphs_are_drawn_from_the_tables_of_moves() -> None:
    assert state_graphs.drawn(PAGE) == PAGE, "python tools/state_graphs.py draws others"


def test_every_state_is_in_its_graph_and_is_explained() -> None:
    for table in state_graphs.TABLES.values():
        drawn = state_graphs.graph(table)
        assert {state.name for state in table.moves} == set(re.findall(r"\b[A-Z_]+\b", drawn))
        assert state_graphs.meanings_of(type(table.begins[0])).keys() == {state.name for state in table.moves}
        for state, targets in table.moves.items():
            arrows = re.findall(rf"^ +{state.name} --> (\w+)$", drawn, re.MULTILINE)
            assert sorted(arrows) == sorted(target.name for target in targets)


# -- the threads of the code --


@cache
def threads() -> list[tuple[str, str]]:
    """The name of each thread that the program starts, \\0 for what is put into it; and its class."""
    ours = [path for path in SOURCES if path.relative_to(PACKAGE).parts[0] not in OF_OTHERS]
    return [thread for path in ours for thread in threads_of(path)]


def threads_of(path: Path) -> Iterator[tuple[str, str]]:
    tree = nodes_of(path)[0]
    assert isinstance(tree, ast.Module)
    constants = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in nodes_of(path):
        if isinstance(node, ast.Call):
            name = name_given(node)
            if isinstance(name, ast.Name):  # a constant, or what `Looker.start` is given
                name = constants.get(name.id)
            if name is not None:
                yield text_of(name), called(node)


def name_given(call: ast.Call) -> ast.expr | None:
    """The name of the thread that a call makes, if it makes one."""
    if called(call) == "start":
        return call.args[0] if call.args and isinstance(call.args[0], ast.JoinedStr) else None
    if called(call) not in THREADS:
        return None
    named = [keyword.value for keyword in call.keywords if keyword.arg == "name"]
    return (named or call.args[THREADS[called(call)] :])[0]


def called(call: ast.Call) -> str:
    function = call.func
    return (
        function.id if isinstance(function, ast.Name) else function.attr if isinstance(function, ast.Attribute) else ""
    )


def text_of(name: ast.expr) -> str:
    if isinstance(name, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in name.values)
    assert isinstance(name, ast.Constant), ast.dump(name)
    return str(name.value)
