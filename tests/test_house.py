"""How large the program may be: what has to be read to follow a request, and how deep its packages go.

The numbers are ceilings that can only fall: what makes something smaller lowers its number here.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from tests.test_layers import PACKAGE, SOURCES, arrows, nodes_of, room

# The rooms that a request goes through. Goal: 7,500 lines.
WAY = ("core", "wire", "net", "server", "routing", "proxy")
MOST_LINES = 17_511
MOST_CODE_LINES = 11_925  # without docstrings, comments and empty lines
MOST_AIR = 250  # lines that one of these may be above what is there

# Package -> modules in its longest chain of imports, those of its sub-packages included. Goal: 5.
LONGEST_CHAIN = {
    "activity": 5,
    "agents": 3,
    "benchmark": 2,
    "chat": 3,
    "client": 3,  # what answers are made of stands below the connection, and has nothing to do with it
    "commands": 4,
    "config": 5,
    "core": 5,
    "demo": 5,
    "endpoints": 4,
    "estimates": 3,
    "fleet": 5,
    "hardware": 5,
    "init": 2,
    "memory": 3,
    "model_files": 2,
    "net": 4,
    "proxy": 5,
    "routing": 3,
    "runtime": 6,  # `control/succession.py` above the controller; `processes/adopted.py` above a process
    "server": 5,
    "service": 2,
    "ui": 1,
    "top": 4,
    "typed_yaml": 5,
    "upgrade": 2,
    "wire": 5,
    "workers": 4,
}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def code_lines(path: Path) -> int:
    """How many lines of a file are not empty, and no comment or docstring."""
    lines = {
        number for number, line in enumerate(path.read_text().splitlines(), 1) if line.lstrip()[:1] not in ("", "#")
    }
    for node in nodes_of(path):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node) is not None:
            docstring = node.body[0]
            lines.difference_update(range(docstring.lineno, (docstring.end_lineno or 0) + 1))
    return len(lines)


def longest_chain(package: str, imported: Mapping[str, set[str]]) -> list[str]:
    """The longest chain of its modules of which each imports the next; `imported`: by each module of ours."""
    own = {module: targets for module, targets in imported.items() if is_in(module, package)}

    @cache
    def chain(module: str) -> tuple[str, ...]:
        return (module, *max(map(chain, sorted(own[module] & own.keys())), key=len, default=()))

    longest = max(map(chain, sorted(own)), key=len)
    return [module.partition(f".{package}.")[2] or package for module in longest]


def is_in(module: str, package: str) -> bool:
    return f"{module}.".startswith(f"{PACKAGE.name}.{package}.")


def test_code_lines_are_those_that_do_something(tmp_path: Path) -> None:
    text = '"""Says\nsomething."""\n\nX = """two\nlines"""  # said\n# a comment\n\n\n'
    text += 'def f(a,\n      b):\n    """Nothing."""\n    return a\n'
    (tmp_path / "x.py").write_text(text)
    assert code_lines(tmp_path / "x.py") == 5


def test_the_way_of_a_request_gets_no_longer() -> None:
    way = [path for path in SOURCES if room(path) in WAY]
    lines, code = sum(len(path.read_text().splitlines()) for path in way), sum(map(code_lines, way))
    assert MOST_LINES - MOST_AIR < lines <= MOST_LINES, f"{lines} lines: less is better, then lower MOST_LINES"
    assert MOST_CODE_LINES - MOST_AIR < code <= MOST_CODE_LINES, f"{code} lines of code: the same of MOST_CODE_LINES"


def test_no_chain_of_imports_within_a_package_gets_longer() -> None:
    imported = arrows()
    packages = sorted({room(path) for path in SOURCES if len(path.relative_to(PACKAGE).parts) > 1})
    chains = {package: longest_chain(package, imported) for package in packages}
    told = [f"{package} {len(chain)}: {' -> '.join(chain)}" for package, chain in chains.items()]
    assert {package: len(chain) for package, chain in chains.items()} == LONGEST_CHAIN, "\n".join(told)
