"""What is written to the terminal, and what is typed."""

from __future__ import annotations

import pytest

from llamaswap_lib.top.screen import changes, keys_in


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        ("q", ["q"]),
        ("\x1b[A\x1b[Bx", ["up", "down", "x"]),
        ("\x1bOA", ["up"]),
        ("jk", ["down", "up"]),
        ("\x1b[5~\x1b[6~", ["page up", "page down"]),
        ("\x1b", ["escape"]),
        ("\x1b[1;5C", ["\x1b[1;5C"]),
        ("é?", ["é", "?"]),
        ("", []),
    ],
)
def test_keys_are_told_apart(typed: str, keys: list[str]) -> None:
    assert [*keys_in(typed)] == keys


def test_only_lines_that_differ_are_written() -> None:
    assert [*changes(["a", "b", "c"], ["a", "x", "c"])] == ["\x1b[2;1Hx"]
    assert [*changes(["a"], ["a"])] == []


def test_a_screen_of_which_nothing_is_known_is_written_whole() -> None:
    assert [*changes([], ["a", ""])] == ["\x1b[2J", "\x1b[1;1Ha"]
