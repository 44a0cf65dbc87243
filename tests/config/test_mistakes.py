"""Mistakes made on purpose, each with everything that `llamaswap check` tells of it.

They stand in mistakes.txt, to be read as somebody who has never seen the program: does a message say where, what, and
what to do? Each changes the configuration at the top of it, or is a file of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from llamaswap_lib.config.check import report
from llamaswap_lib.config.load import inspect_text
from llamaswap_lib.config.render import text_of
from tests.config.samples import HERE, programs_in


class Case(NamedTuple):
    """A file with a mistake, and what is said of it."""

    name: str
    text: str
    said: str


def read() -> tuple[str, list[Case]]:
    """The configuration without a mistake, and the cases."""
    whole = (HERE / "mistakes.txt").read_text(encoding="utf-8")
    first, *others = whole.removeprefix("== the configuration\n").split("\n\n== ")
    return first + "\n", [case_of(text, first + "\n") for text in others]


def case_of(text: str, configuration: str) -> Case:
    how, _, said = text.partition("\n-- and it says --\n")
    name, _, file = how.partition("\n-- the file --\n")
    if not file:
        name, _, change = how.partition("\n-- instead of --\n")
        right, _, wrong = change.partition("\n-- is written --\n")
        assert right in configuration, name
        file = configuration.replace(right, wrong, 1)
    return Case(name, file.rstrip("\n") + "\n", said.strip("\n"))


CONFIGURATION, CASES = read()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return programs_in(tmp_path)


def said_of(text: str, path: str) -> str:
    return text_of(report(inspect_text(text, "config.yaml", {"HOME": "/home/me"}), {"PATH": path})).strip("\n")


def test_there_are_cases_and_the_configuration_without_a_mistake_is_in_order(path: str) -> None:
    assert len(CASES) > 100
    assert said_of(CONFIGURATION, path) == "ok: 2 models"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_person_reads_what_is_wrong_where_and_what_to_do(path: str, case: Case) -> None:
    assert said_of(case.text, path) == case.said
