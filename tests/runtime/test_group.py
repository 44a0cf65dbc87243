"""Groups whose members outlive the leader, leave, or are nobody's to collect; what a program is given."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from llamaswap_lib.core.events import ProcessReady
from llamaswap_lib.runtime.guard.table import read_stat
from llamaswap_lib.runtime.processes.group import ProcessGroup
from tests.children import python, shell, stubborn_orphan
from tests.runtime.runs import Run, Unguarded, await_condition, await_death, end, is_alive

SLEEP = ("sleep", "60")


def test_a_program_that_cannot_be_guarded_is_ended() -> None:
    pids: list[int] = []

    def fail(pid: int) -> str:
        pids.append(pid)
        raise MemoryError

    with Path(os.devnull).open("w") as nowhere, pytest.raises(MemoryError):
        ProcessGroup.start(SLEEP, os.environ, nowhere.fileno(), Unguarded(), fail)
    assert not is_alive(pids[0])


# -- grandchildren --


def test_a_program_that_a_signal_has_stopped_goes_on_and_ends_politely() -> None:
    with Run(*shell("trap 'echo bye; exit 4' TERM; echo pid $$; while :; do sleep 0.05; done")) as run:
        pid = run.printed_pid("pid")
        os.kill(pid, signal.SIGSTOP)
        assert await_condition(lambda: (found := read_stat(pid)) is not None and found.is_stopped)
        run.process.stop()
        assert run.exit_detail() == "exited with code 4"
        run.await_output("bye")


def test_a_member_that_outlives_the_leader_is_ended_before_the_exit_is_told() -> None:
    with Run(*shell("sleep 60 & echo member $!; exit 3")) as run:
        pid = run.printed_pid("member")
        assert run.exit_detail() == "exited with code 3"
        assert not is_alive(pid)


def test_a_member_that_ignores_sigterm_is_killed_after_the_unload_timeout() -> None:
    now = [100.0]
    with Run(*stubborn_orphan(), unload_timeout=600.0, clock=lambda: now[0]) as run:
        pid = run.printed_pid("member")
        run.await_output("asked")
        now[0] += 599.0
        assert is_alive(pid)
        now[0] += 1.0
        assert run.exit_detail() == "exited with code 0"
        assert not is_alive(pid)


def test_kill_reaches_members_that_outlive_the_leader() -> None:
    with Run(*stubborn_orphan(), unload_timeout=60.0) as run:
        pid = run.printed_pid("member")
        run.await_output("asked")  # the leader is gone
        run.process.kill()
        assert run.exit_detail() == "exited with code 0"
        assert not is_alive(pid)


def test_kill_takes_the_whole_group() -> None:
    with Run(*shell("trap '' TERM; sleep 60 & echo member $!; wait; wait")) as run:
        pid = run.printed_pid("member")
        run.process.kill()
        assert run.exit_detail() == "killed by SIGKILL"
        assert not is_alive(pid)


@pytest.mark.parametrize("does", ["signal.pause()", "os.write(1, b'x' * 4096)"], ids=["silent", "flooding"])
def test_a_grandchild_that_left_the_group_with_the_pipe_does_not_delay_the_exit(does: str) -> None:
    leave = f"""
import os, signal
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    print("gone", os.getpid(), flush=True)
    os.write(write, b"x")
    while True:
        {does}
os.read(read, 1)
"""
    with Run(*python(leave), unload_timeout=600.0) as run:
        pid = run.printed_pid("gone")
        assert run.exit_detail() == "exited with code 0"
        assert is_alive(pid) or does != "signal.pause()"
        if does == "signal.pause()":
            end(pid)
        else:
            assert await_death(pid)  # nobody reads its pipe any more


def test_a_zombie_that_its_parent_does_not_collect_does_not_delay_the_exit() -> None:
    # P leaves the group; its child, a member, exits, and P never looks.
    zombie = """
import os, signal
read, write = os.pipe()
if os.fork() == 0:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.setsid()
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    print("parent", os.getpid(), flush=True)
    os.write(write, b"x")
    while True:
        signal.pause()
os.read(read, 1)
"""
    with Run(*python(zombie), unload_timeout=600.0) as run:
        parent = run.printed_pid("parent")
        assert run.exit_detail() == "exited with code 0"
        assert is_alive(parent)
        end(parent)


def test_a_member_whose_first_thread_has_ended_counts_as_living() -> None:
    headless = """
import ctypes, os, select, threading
member = os.fork()
if member == 0:
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=signal.pause).start()
    print("member", os.getpid(), flush=True)
    ctypes.CDLL(None).syscall(60 if os.uname().machine == "x86_64" else 93, 0)  # exit of this thread alone
while True:
    with open(f"/proc/{member}/stat") as stat:
        if stat.read().rpartition(")")[2].split()[0] == "Z":
            break
    select.select([], [], [], 0.005)
"""
    with Run(*python(headless), unload_timeout=0.3) as run:
        pid = run.printed_pid("member")
        assert run.exit_detail() == "exited with code 0"
        assert not is_alive(pid)


def in_a_program_of_its_own(source: str, *arguments: str, pass_fds: tuple[int, ...] = ()) -> str:
    """What a Python program prints that runs in this repository."""
    words = [sys.executable, "-c", source, *arguments]
    root = Path(__file__).parents[2]
    done = subprocess.run(words, cwd=root, pass_fds=pass_fds, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_orphans_of_the_group_that_come_to_us_are_collected() -> None:
    # As PID 1 of a container; PR_SET_CHILD_SUBREAPER is the same in this respect.
    source = """
import ctypes, os
assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0
from tests.runtime.runs import Run
with Run("sh", "-c", "sleep 60 & sleep 60 & sleep 0.05; exit 4") as run:
    print(run.exit_detail())
try:
    print(os.waitpid(-1, os.WNOHANG))
except ChildProcessError:
    print("no children")
"""
    assert in_a_program_of_its_own(source) == "exited with code 4\nno children\n"


def test_a_program_that_ignores_sigchld_still_learns_of_the_exit() -> None:
    source = """
import signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
from tests.runtime.runs import Run
with Run("sh", "-c", "exit 4") as run:
    print(run.exit_detail())
"""
    assert in_a_program_of_its_own(source) == "exited\n"


# -- what it is given --


def test_stdin_is_empty() -> None:
    with Run("cat") as run:
        assert run.exit_detail() == "exited with code 0"


def test_env_is_added_to_our_own_and_the_later_wins() -> None:
    with Run(*shell('echo "$A-$B-${HOME:+home}"'), env=("A=1", "B=x=y", "A=2")) as run:
        run.exit_detail()
        assert run.output == b"2-x=y-home\n"


def test_it_leads_a_session_of_its_own() -> None:
    with Run(*python("import os; print(os.getpid() == os.getpgid(0) == os.getsid(0))")) as run:
        run.exit_detail()
        assert run.output == b"True\n"


def test_signals_that_we_block_or_ignore_reach_it() -> None:
    show = "import signal; print(len(signal.pthread_sigmask(signal.SIG_BLOCK, [])), signal.getsignal(signal.SIGXFSZ))"
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
    try:
        with Run(*SLEEP) as run, Run(*shell("kill -PIPE $$")) as broken, Run(*python(show)) as shown:
            assert broken.exit_detail() == "killed by SIGPIPE"
            shown.exit_detail()
            assert shown.output.startswith(b"0 ")
            run.expect(ProcessReady)
            run.process.stop()
            assert run.exit_detail() == "killed by SIGTERM"
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_descriptors_that_we_inherited_are_not_handed_down() -> None:
    source = """
import sys
from tests.runtime.runs import Run
with Run("sh", "-c", f"test -e /dev/fd/{sys.argv[1]} && echo there || echo not there") as run:
    run.exit_detail()
    print(run.output.decode())
"""
    read_end, write_end = os.pipe()
    try:
        assert in_a_program_of_its_own(source, str(write_end), pass_fds=(write_end,)) == "not there\n\n"
    finally:
        os.close(read_end)
        os.close(write_end)
