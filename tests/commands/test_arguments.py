"""Flags may stand anywhere: in front of the other words, between them and behind them."""

from __future__ import annotations

import argparse

import pytest

from llamaswap_lib.commands.arguments import Parser, UsageError, count_of


def parser() -> Parser:
    made = Parser("llamaswap some", "")
    made.add_argument("one", metavar="ONE")
    made.add_argument("more", metavar="MORE", nargs="*")
    made.add_argument("--switch", "-s", action="store_true")
    made.add_argument("--lines", "-n", type=count_of)
    made.add_argument("--text", type=str)
    made.add_argument("--rest", nargs=argparse.REMAINDER)
    return made


def read(line: str) -> tuple[list[str], bool, int | None, str | None, list[str] | None]:
    found = parser().parse_args(line.split())
    return [found.one, *found.more], found.switch, found.lines, found.text, found.rest


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("a --switch b", (["a", "b"], True, None, None, None)),
        ("a -n 3 b --switch c", (["a", "b", "c"], True, 3, None, None)),
        ("a -n3 b --lines=4 c", (["a", "b", "c"], False, 4, None, None)),
        ("a b --switch=true --text x", (["a", "b"], True, None, "x", None)),
        ("--switch=false a b", (["a", "b"], False, None, None, None)),
        ("a -5 b", (["a", "-5", "b"], False, None, None, None)),
        ("a -s b -- -n c", (["a", "b", "-n", "c"], True, None, None, None)),
        ("a -s b --rest -n c --switch=no", (["a", "b"], True, None, None, ["-n", "c", "--switch=no"])),
        ("a --text --switch=true", "expected one argument"),
        ("a b -n", "expected one argument"),
        ("a -n --switch b", "expected one argument"),
        ("a -n b --switch", "expected a number such as 20, got 'b'"),
        ("a --unknown b", "unrecognized arguments: --unknown b"),
    ],
)
def test_flags_stand_anywhere(line: str, told: object) -> None:
    if isinstance(told, str):
        with pytest.raises(UsageError, match=told):
            read(line)
    else:
        assert read(line) == told
