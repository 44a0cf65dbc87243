"""Slips made on purpose in a configuration as people have it, each with the whole message that they get.

They stand in mistakes.txt, to be read as somebody who has never seen the program: does a message say where, what, and
what to do? The errors are told, or else the warnings.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from llamaswap_lib.config.load import inspect_text
from llamaswap_lib.config.problems import in_order


class Slip(NamedTuple):
    """`wrong` stands in the place of `right`, and `said` is what comes of it."""

    name: str
    right: str
    wrong: str
    said: str


def read() -> tuple[str, list[Slip]]:
    """The configuration, and the slips."""
    whole = Path(__file__).with_name("mistakes.txt").read_text(encoding="utf-8")
    first, *others = whole.removeprefix("== the configuration\n").split("\n\n== ")
    found = []
    for text in others:
        name, _, text = text.partition("\n-- instead of --\n")
        right, _, text = text.partition("\n-- is written --\n")
        wrong, _, said = text.partition("\n-- and it says --\n")
        found.append(Slip(name, right, wrong, said.strip("\n")))
    return first + "\n", found


CONFIG, SLIPS = read()


def said_of(text: str) -> str:
    problems = inspect_text(text, "config.yaml", {"HOME": "/home/me"}).problems
    return "\n".join(problem.text() for problem in in_order(problems.errors) or in_order(problems.warnings))


def test_there_are_slips_and_the_configuration_without_them_is_in_order() -> None:
    assert len(SLIPS) > 40
    assert said_of(CONFIG) == ""


@pytest.mark.parametrize("slip", SLIPS, ids=lambda slip: slip.name)
def test_slip_is_told_in_these_words(slip: Slip) -> None:
    assert slip.right in CONFIG
    assert said_of(CONFIG.replace(slip.right, slip.wrong, 1)) == slip.said
