"""A process that the kernel ended since memory was used up: what its counters tell, and what the run says then."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from llamaswap_lib.core.events import LeaderExited, ProcessExited, ProcessReady
from llamaswap_lib.runtime.processes.oom_killer import WORDS, oom_kills, words_of_kill
from tests.children import shell
from tests.runtime.runs import Run

VMSTAT = "nr_free_pages 100\npgfault 1\noom_kill 7\ndrop_pagecache 0\n"


def machine(root: Path, files: Mapping[str, str]) -> Path:
    """A root with these files, by their paths."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_cgroup_is_asked_first(tmp_path: Path) -> None:
    files = {
        "proc/vmstat": VMSTAT,
        "proc/self/cgroup": "0::/system.slice/llamaswap.service\n",
        "sys/fs/cgroup/system.slice/llamaswap.service/memory.events": "low 0\nmax 3\noom 2\noom_kill 2\n",
    }
    assert oom_kills(machine(tmp_path, files)) == 2


def test_older_cgroups_tell_it_too(tmp_path: Path) -> None:
    files = {
        "proc/vmstat": VMSTAT,
        "proc/self/cgroup": "5:devices:/\n4:cpu,memory:/box\n0::/\n",
        "sys/fs/cgroup/memory/box/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n",
    }
    assert oom_kills(machine(tmp_path, files)) == 4


@pytest.mark.parametrize("cgroup", ["0::/\n", "0::/gone\n", "", "rubbish\n"])
def test_else_the_machine_is_asked(tmp_path: Path, cgroup: str) -> None:
    assert oom_kills(machine(tmp_path, {"proc/vmstat": VMSTAT, "proc/self/cgroup": cgroup})) == 7


@pytest.mark.parametrize("text", [None, "", "pgfault 1\n", "oom_kill many\n", "oom_kill\n"])
def test_where_nothing_tells_nothing_is_known(tmp_path: Path, text: str | None) -> None:
    assert oom_kills(machine(tmp_path, {} if text is None else {"proc/vmstat": text})) is None


@pytest.mark.parametrize(
    ("status", "before", "after", "words"),
    [
        (-9, 0, 1, WORDS),
        (137, 3, 4, WORDS),
        (-9, 1, 1, ""),
        (-9, None, 1, ""),
        (-9, 1, None, ""),
        (-15, 0, 1, ""),
        (1, 0, 1, ""),
        (None, 0, 1, ""),
    ],
)
def test_a_kill_that_was_counted_is_one_for_want_of_memory(
    status: int | None, before: int | None, after: int | None, words: str
) -> None:
    assert words_of_kill(status, before, after) == words


@pytest.mark.parametrize(("command", "after", "words"), [("kill -9 $$", 1, WORDS), ("kill -9 $$", 0, "")])
def test_the_exit_of_a_run_says_so(command: str, after: int, words: str) -> None:
    with Run(*shell(command), kills=iter([0, after]).__next__) as run:
        run.expect(ProcessReady)
        run.expect(LeaderExited)
        assert run.expect(ProcessExited).out_of_memory == words


def test_a_run_that_was_told_to_stop_did_not_run_out_of_memory() -> None:
    with Run(
        *shell("trap 'kill -9 $$' TERM; echo up; while :; do sleep 0.01; done"), kills=iter([0, 1]).__next__
    ) as run:
        run.expect(ProcessReady)
        run.await_output("up")
        run.process.stop()
        ended = run.expect(ProcessExited)
        assert (ended.detail, ended.out_of_memory) == ("killed by SIGKILL", "")
