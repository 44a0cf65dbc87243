"""What a look finds: the real one in /proc, and the other one in what `ps` prints, here and on macOS."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaswap_lib.runtime.guard import table
from llamaswap_lib.runtime.guard.table import (
    GUARDIAN_MARKER,
    MARKER,
    ProcessEntry,
    command_of,
    from_ps,
    look,
    look_at,
    look_at_others,
    run_ps,
    who_is_there,
)

SLEEPER = "import signal; print(flush=True); signal.pause()"
MACOS = """\
    1     0     1     0 Ss   Sat Nov 22 08:00:00 2025     /sbin/launchd
  501     1   501   501 S    Sat Nov 22 09:15:01 2025     /opt/homebrew/bin/llama-server --port 5800 HOME=/Users/me \
LLAMASWAP_RUN=0.400.Sat_Nov_22_09:00:00_2025.c0ffee/3 TMPDIR=/tmp/
  502   501   501   501 Z    Sat Nov 22 09:15:02 2025     (sh)
  503     1   503   501 S    Sat Nov 22 09:15:03 2025     python -I -S guard x LLAMASWAP_GUARDIAN=x A=b
  504     1   504   501 S    Sat Nov 22 09:15:03 2025
rubbish
  505     1
"""


@contextmanager
def sleeper(**env: str) -> Iterator[int]:
    """A program that does nothing, leads its session and has `env` added to its environment; its pid."""
    words = (sys.executable, "-S", "-c", SLEEPER)
    with subprocess.Popen(words, env={**os.environ, **env}, stdout=subprocess.PIPE, start_new_session=True) as child:
        try:
            assert child.stdout
            child.stdout.readline()
            yield child.pid
        finally:
            child.send_signal(signal.SIGKILL)


def found(pid: int, entries: list[ProcessEntry]) -> ProcessEntry:
    [entry] = [entry for entry in entries if entry.pid == pid]
    return entry


def facts(entry: ProcessEntry) -> dict[str, object]:
    names = ("pid", "parent", "group", "session", "token", "run", "is_guardian", "is_dead", "uid")
    return {name: getattr(entry, name) for name in names}


@pytest.mark.skipif(not table.HAS_PROC, reason="there is no /proc")
def test_proc_and_ps_say_the_same_of_a_process() -> None:
    with sleeper(**{MARKER: "w.1.s.x/12"}) as pid:
        entry, other = found(pid, look()), found(pid, list(from_ps(run_ps())))
        expected = {"pid": pid, "parent": os.getpid(), "group": pid, "session": pid, "token": "w.1.s.x", "run": "12"}
        assert facts(entry) == {**expected, "is_guardian": False, "is_dead": False, "uid": os.geteuid()}
        assert facts(other) == facts(entry)
        assert (alone := look_at(pid)) is not None
        assert alone.start == entry.start


def test_a_guardian_is_known_by_its_marker() -> None:
    with sleeper(**{GUARDIAN_MARKER: "x"}) as pid:
        assert found(pid, look()).is_guardian


def test_a_mark_without_a_run_is_that_of_an_earlier_version() -> None:
    with sleeper(**{MARKER: "w.1.s.x"}) as pid:
        entry = found(pid, look())
        assert (entry.token, entry.run) == ("w.1.s.x", "")


@pytest.mark.skipif(not table.HAS_PROC, reason="there is no /proc")
def test_a_look_at_the_others_finds_who_has_come_since() -> None:
    with sleeper() as old:
        before = who_is_there()
        assert old in before
        with sleeper() as new:
            pids = {entry.pid for entry in look_at_others(before)}
            assert new in pids
            assert old not in pids
            another = {**before, old: before[old] + 1}  # as if the pid had been given away again
            assert old in {entry.pid for entry in look_at_others(another)}


def test_the_value_of_a_variable_that_only_ends_like_ours_is_none() -> None:
    with sleeper(**{f"NO_{MARKER}": "x"}) as pid:
        assert found(pid, look()).token == ""


def test_a_zombie_is_dead_and_one_that_is_collected_is_not_there() -> None:
    child = subprocess.Popen(("true",))
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    entry = look_at(child.pid)
    assert entry is not None
    assert entry.is_dead
    child.wait()
    assert look_at(child.pid) is None
    assert command_of(child.pid) == ""


def test_commands_are_told() -> None:
    with sleeper() as pid:
        assert command_of(pid) == f"{sys.executable} -S -c {SLEEPER}"


def test_what_ps_prints_on_macos_is_understood() -> None:
    init, server, zombie, guardian, bare = from_ps(MACOS)
    assert (init.pid, init.parent, init.token) == (1, 0, "")
    assert facts(server) == {
        "pid": 501,
        "parent": 1,
        "group": 501,
        "session": 501,
        "uid": 501,
        "is_dead": False,
        "is_guardian": False,
        "token": "0.400.Sat_Nov_22_09:00:00_2025.c0ffee",
        "run": "3",
    }
    assert server.start == "Sat_Nov_22_09:15:01_2025"
    assert zombie.is_dead
    assert guardian.is_guardian
    assert (bare.pid, bare.token) == (504, "")


@pytest.mark.parametrize("end", ["", " ", "\n"])
def test_a_line_of_ps_that_ends_in_an_empty_mark_has_no_mark(end: str) -> None:
    line = "  505     1   505   501 Ss   Sat Nov 22 09:15:01 2025     server --port 1 LLAMASWAP_RUN="
    [entry] = from_ps(line + end)
    assert (entry.pid, entry.token, entry.run) == (505, "", "")


@given(st.text(max_size=20), st.integers(0, len(MACOS)), st.integers(0, 40))
def test_rubbish_from_ps_is_no_error(text: str, start: int, length: int) -> None:
    list(from_ps(text))
    list(from_ps(MACOS[:start] + text + MACOS[start + length :]))
