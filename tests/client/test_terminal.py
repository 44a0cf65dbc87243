"""What is printed on a terminal and into a pipe: nothing of others moves the cursor, tables fit as far as they can."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import pty
import select
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaswap_lib.client.terminal import (
    GAP,
    Cell,
    Column,
    Style,
    Terminal,
    display_width,
    harmless,
    shortened,
)
from llamaswap_lib.errors import CannotPrint

TIMEOUT = 30.0
COLUMNS = (Column("NAME", may_shrink=True), Column("SIZE", is_number=True), Column("WHERE", goes=1), Column("END"))


@contextmanager
def terminal_file(columns: int = 80) -> Iterator[tuple[TextIO, int]]:
    """The file of a terminal, and the descriptor from which can be read what was written to it."""
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as file:
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        try:
            yield file, master
        finally:
            os.close(master)


def shown(file: TextIO, master: int) -> str:
    """All that was written since the last time: the system passes it on a moment later."""
    file.write("\0")
    file.flush()
    data = b""
    while not data.endswith(b"\0"):
        assert select.select([master], [], [], TIMEOUT)[0], f"only {data!r} came"
        data += os.read(master, 1000)
    return data[:-1].decode()


def piped() -> tuple[io.StringIO, Terminal]:
    file = io.StringIO()
    return file, Terminal(file, {})


def test_a_pipe_gets_words_alone() -> None:
    file, terminal = piped()
    terminal.line("said", Style.BAD)
    terminal.status("on its way")
    terminal.clear()
    terminal.table(COLUMNS, [["a" * 300, Cell("1 GB", Style.GOOD), "x", ""]])
    assert file.getvalue().splitlines() == [
        "said", f"NAME{' ' * 296}  SIZE  WHERE  END", f"{'a' * 300}  1 GB  x",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("env", "has_colours"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_colours_are_for_terminals_that_want_them(env: dict[str, str], has_colours: bool) -> None:
    with terminal_file() as (file, master):
        Terminal(file, env).line("said", Style.BAD)
        assert ("\x1b[31m" in shown(file, master)) == has_colours


def test_a_status_is_taken_away_before_the_next_line() -> None:
    with terminal_file(20) as (file, master):
        terminal = Terminal(file, {})
        terminal.status("loading \x1b]0;title\x07 and very much more")
        assert shown(file, master) == "\r\x1b[Kloading \\x1b]0;tit…"
        terminal.line("done")
        assert shown(file, master) == "\r\x1b[Kdone\r\n"
        terminal.status("again")
        terminal.clear()
        terminal.clear()
        assert shown(file, master) == "\r\x1b[Kagain\r\x1b[K"


class Interrupted(io.StringIO):
    """The file of a terminal; Ctrl-C comes when the first thing has been written."""

    def isatty(self) -> bool:
        return True

    def flush(self) -> None:
        if self.getvalue().count("\r") == 1:
            raise KeyboardInterrupt


def test_a_status_that_ctrl_c_comes_behind_is_taken_away_at_the_end() -> None:
    file = Interrupted()
    terminal = Terminal(file, {})
    with pytest.raises(KeyboardInterrupt):
        terminal.status("1 in progress")
    terminal.clear()
    assert file.getvalue() == "\r\x1b[K1 in progress\r\x1b[K"


def test_a_full_disk_is_an_error_that_can_be_told_and_a_reader_that_has_left_is_none() -> None:
    class Failing(io.StringIO):
        def flush(self) -> None:
            raise failure

    failure = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(CannotPrint, match="cannot be written: No space left"):
        Terminal(Failing(), {}).line("said")
    failure = BrokenPipeError()
    with pytest.raises(BrokenPipeError):
        Terminal(Failing(), {}).line("said")


def test_a_dumb_terminal_has_no_status() -> None:
    with terminal_file() as (file, master):
        terminal = Terminal(file, {"TERM": "dumb"})
        terminal.status("loading")
        terminal.line("done")
        assert shown(file, master) == "done\r\n"


def test_a_terminal_that_does_not_say_how_wide_it_is() -> None:
    with terminal_file(0) as (file, _):
        assert Terminal(file, {}).width == 80
    with terminal_file(132) as (file, _):
        assert Terminal(file, {}).width == 132


@pytest.mark.parametrize(
    ("width", "wanted"),
    [
        (80, "a-rather-long-name  1 GB  gpu    soon"),
        (33, "a-rather-long…  1 GB  gpu    soon"),
        (24, "a-rather-lo…  1 GB  soon"),
        (10, "a-rathe…  1 GB  soon"),
    ],
)
def test_a_narrow_terminal_cuts_names_and_then_leaves_columns_out(width: int, wanted: str) -> None:
    with terminal_file(width) as (file, _):
        [_, line] = Terminal(file, {"NO_COLOR": "1"}).table_lines(
            COLUMNS, [["a-rather-long-name", "1 GB", "gpu", "soon"]]
        )
    assert line == wanted


@given(
    st.lists(st.lists(st.text(max_size=30), min_size=4, max_size=4), max_size=5),
    st.integers(28, 100),
)
def test_a_table_fits_where_its_columns_may_give_way(rows: list[list[str]], width: int) -> None:
    columns = tuple(Column(name, may_shrink=True, goes=number // 2) for number, name in enumerate("ABCD"))
    with terminal_file(width) as (file, _):
        for line in Terminal(file, {"NO_COLOR": "1"}).table_lines(columns, rows):
            assert display_width(line) <= width
            assert line.isprintable()


@pytest.mark.parametrize(("text", "width"), [("abc", 3), ("你好", 4), ("e\u0301", 1), ("ก็", 1), ("👍", 2), ("", 0)])
def test_how_wide_text_is(text: str, width: int) -> None:
    assert display_width(text) == width


def test_text_is_cut_between_characters() -> None:
    assert shortened("你好吗", 6) == "你好吗"
    assert shortened("你好吗", 5) == "你好…"
    assert shortened("你好吗", 4) == "你…"
    assert shortened("abc", 0) == ""
    assert shortened("abc", 1) == "…"


@given(st.text(), st.integers(0, 20))
def test_what_is_cut_is_never_wider(text: str, width: int) -> None:
    assert display_width(shortened(text, width)) <= width


def test_lines_of_others_are_harmless() -> None:
    text = "\x1b[31mred\x1b[0m\x1b]0;title\x07\x1b[2J\x9b2J\ttab\r\n 10 %\r 20 %\n"
    plain = "red\\x1b]0;title\\x07\\x1b[2J\\x9b2J\ttab\n 10 %\n 20 %\n"
    assert harmless(text, colours=False) == plain
    assert harmless(text, colours=True) == "\x1b[31mred\x1b[0m" + plain[3:] + "\x1b[0m"
    assert harmless("plain", colours=True) == "plain"


@given(st.text())
def test_nothing_but_colours_is_left_in_text_of_others(text: str) -> None:
    assert all(char.isprintable() or char in "\n\t" for char in harmless(text, colours=False))


@given(st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_is_the_same_value_on_one_line_of_what_can_be_seen(value: object) -> None:
    file, terminal = piped()
    terminal.json(value)
    assert json.loads(file.getvalue()) == value
    assert file.getvalue().removesuffix("\n").isprintable()


def test_json_is_json_where_the_encoding_lacks_a_character() -> None:
    data = io.BytesIO()
    file = io.TextIOWrapper(data, "ascii")
    Terminal(file, {}).json({"é": "日本"})
    assert json.loads(data.getvalue().decode("ascii")) == {"é": "日本"}


def test_a_column_of_figures_ends_at_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal(environ={}).table(COLUMNS[:2], [["a", "1"], ["b", "100 GB"]])
    assert capsys.readouterr().out == f"NAME{GAP}  SIZE\na   {GAP}     1\nb   {GAP}100 GB\n"
