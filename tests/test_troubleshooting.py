"""docs/troubleshooting.md has every error and warning that the program can show, found in its own source.

A message that is made of parts is a pattern here: `{...}` of an f-string stands for any text. The page has to have an
example of each, in backquotes.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from llamaswap_lib import errors
from tests.test_layers import nodes_of
from tools.error_reference import known_errors

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "llamaswap_lib"
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
# Calls whose text a user reads: errors, problems of a configuration, lines of a log.
TELLING = {
    *(name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)),
    *(
        "error",
        "warn",
        "_warn",
        "_on_warning",
        "UnusableStore",
        "fail",
        "UsageError",
        "ServerError",
        "Unreachable",
        "NoRoute",
        "fatal",
        "DslError",
        "WriteLog",
        "_broken",
        "_note",
        "note",
    ),
    *(
        "NoRoom",
        "refuse_all",
        "fail_load",
        "on_error",
        "_on_slow",
        "hint",
        "Habit",
        "Mistake",
        "Cure",
        "_misindented",
    ),
    *("Fault", "complain", "_not_closed"),
}
# Functions whose result is such a text, and variables that hold one.
MADE_BY = {
    *("_fault", "_unresolved", "_missing_program", "_wrong_name", "why_not", "_remedy", "_wrong_store"),
    *("_explain", "_explain_pin", "_explain_peers", "_targets_of", "_not_replaced", "_not_home", "_no_command"),
    "unknown_model",
}
HELD_BY = {"message", "wrong", "said", "why", "_CLOSING", "NO_STREAM"}
# Words of the scheduler for itself, which no user sees; news at level info; help for a slip in our own code.
NOT_SHOWN = {
    *("loading", "busy", "stopping", "after", "loading for others", "resident", "no room"),
    *("the client left", "the run lives on", "the run was stopped"),
}
LEAST_WORDS = 6  # characters of fixed text; less is no message but a frame around one


def test_every_kind_of_error_has_a_section() -> None:
    sections = re.findall(r"^### (\d{3}) `(\w+)`$", PAGE, re.MULTILINE)
    assert len(sections) == len(set(sections))
    assert {(str(error.status), error.code) for error in known_errors()} - set(sections) == set()


def test_the_list_of_messages_is_not_empty() -> None:
    found = {template for _, template in messages()}
    assert len(found) > 150
    for known in ("too many connections", "no model id could be identified", "expected at least one set"):
        assert known in found


def test_every_message_is_explained() -> None:
    missing = [
        f"{path.relative_to(PACKAGE)}:{line}: {shown(template)}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for line, template in messages_of(path)
        if not is_explained(template)
    ]
    assert not missing, "docs/troubleshooting.md lacks\n" + "\n".join(missing)


def test_every_row_says_what_to_do() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith(("| `", "| ``"))]
    assert rows
    for row in rows:
        assert re.fullmatch(r"\| (`.+`|``.+``) \| \S.{3,} \|", row), row


# -- what the page has --

SPANS = [
    (double or single).strip().replace("\\|", "|")
    for double, single in re.findall(r"``(.+?)``(?!`)|(?<!`)`([^`\n]+)`(?!`)", PAGE)
]


def is_explained(template: str) -> bool:
    pattern = ".+".join(re.escape(part) for part in template.split("\0"))
    return any(re.search(pattern, span) for span in SPANS)  # it may be a part of a longer one


# -- what the program has --


def messages() -> Iterator[tuple[int, str]]:
    for path in PACKAGE.rglob("*.py"):
        yield from messages_of(path)


@cache
def messages_of(path: Path) -> list[tuple[int, str]]:
    """(line, message) of what the file shows; \\0 stands for what is put in."""
    found = []
    for node in nodes_of(path):
        for text in filter(None, map(text_of, told_by(node))):
            first_line = text.strip("\n").partition("\n")[0]
            if len(first_line.replace("\0", "")) >= LEAST_WORDS and first_line not in NOT_SHOWN:
                found.append((getattr(node, "lineno", 0), first_line))
    return found


def told_by(node: ast.AST) -> Iterator[ast.AST]:
    """The expressions of a node that a user reads."""
    if isinstance(node, ast.Call) and name_of(node.func) in TELLING:
        is_news = name_of(node.func) == "WriteLog" and text_of(node.args[0]) == "info"
        yield from () if is_news else node.args
    elif isinstance(node, ast.FunctionDef) and node.name in MADE_BY:
        yield from (inner.value for inner in ast.walk(node) if isinstance(inner, ast.Return) and inner.value)
    elif isinstance(node, ast.Assign) and any(name_of(target) in HELD_BY for target in node.targets):
        yield node.value


def name_of(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def text_of(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values)
    return None


def shown(template: str) -> str:
    return template.replace("\0", "{...}")
