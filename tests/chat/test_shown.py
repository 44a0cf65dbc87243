"""How an answer is shown: words wrapped, code left alone, nothing that moves the cursor."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaswap_lib.chat.shown import Wrapped, clean
from llamaswap_lib.client.terminal import Style, Terminal, display_width


class Screen(io.StringIO):
    """A terminal that does not say how wide it is: it is taken to have 80 columns."""

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise OSError


def shown(*pieces: str) -> str:
    screen = Screen()
    text = Wrapped(Terminal(screen, {}), is_on=True)
    for piece in pieces:
        text.add(piece)
    text.end()
    return screen.getvalue()


WORD = st.text("abcé漢", min_size=1, max_size=12)


@given(st.lists(st.lists(WORD, min_size=1, max_size=40).map(" ".join), min_size=1, max_size=4), st.data())
def test_lines_fit_and_no_word_is_lost(lines: list[str], data: st.DataObject) -> None:
    text = "\n".join(lines)
    cut = data.draw(st.integers(0, len(text)))
    out = shown(text[:cut], text[cut:])
    assert all(display_width(line) <= 80 for line in out.splitlines())
    assert "".join(out.split()) == "".join(text.split())
    assert out == shown(text)


def test_code_tables_and_short_lines_are_left_as_they_are() -> None:
    long = "word " * 30
    for text in (f"```\n{long}\n```", f"| {long}|", f"    {long}", "short\n\nlines"):
        assert shown(text) == f"{text}\n"
    assert shown(f"```\n{long}\n```\n{long}").count("\n") == 5


def test_the_last_word_has_the_style_of_the_others() -> None:
    screen = Screen()
    text = Wrapped(Terminal(screen, {"TERM": "xterm"}), is_on=True)
    text.add("it thinks", Style.QUIET)
    text.end()
    assert screen.getvalue() == "\x1b[2mit \x1b[0m\x1b[2mthinks\x1b[0m\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[2Jup\x08\r\n", r"\x1b[2Jup\x08" + "\n"),
        ("a\rb", r"a\rb"),
        ("\u202eevil\u2066", r"\u202eevil\u2066"),
        ("caf\xe9\xa0!\t\U0001f468\u200d\U0001f469", "caf\xe9\xa0!\t\U0001f468\u200d\U0001f469"),
        ("\x9b2J\x85", r"\x9b2J\x85"),
    ],
)
def test_what_would_move_a_cursor_is_written_out(text: str, expected: str) -> None:
    assert clean(text) == expected
