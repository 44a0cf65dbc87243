"""Starting, stopping and killing real programs; the probe has its own file."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from llamaswap_lib.core.events import LeaderExited, LoadTimedOut, ProcessExited, ProcessReady
from tests.children import health_server, python, shell, stubborn, stubborn_orphan
from tests.runtime.runs import Run, await_condition, is_alive, no_thread_to_be_had

SLEEP = ("sleep", "60")


# -- how it ends --


@pytest.mark.parametrize(
    ("command", "detail"),
    [
        ("exit 0", "exited with code 0"),
        ("exit 3", "exited with code 3"),
        ("kill -9 $$", "killed by SIGKILL"),
        ("kill -SEGV $$", "killed by SIGSEGV"),
        ("kill -40 $$", "killed by signal 40"),
    ],
)
def test_exit_says_how(command: str, detail: str) -> None:
    with Run(*shell(command)) as run:
        assert run.exit_detail() == detail


@pytest.mark.parametrize(
    ("argv", "overrides", "detail"),
    [
        (("/no/such/program",), {}, "could not start: No such file or directory: '/no/such/program'"),
        (("no-such-program-in-path",), {}, "could not start: No such file or directory: 'no-such-program-in-path'"),
        (("/",), {}, "could not start: Permission denied: '/'"),
        ((), {}, "could not start: the command is empty"),
        (("",), {}, "could not start: the command is empty"),
        (("true", "a\0b"), {}, "could not start: embedded null byte"),
        (SLEEP, {"env": ("=x",)}, "could not start: illegal environment variable name"),
        (SLEEP, {"check_endpoint": "/", "proxy": "ftp://h"}, "could not start: proxy 'ftp://h' is no http:// or"),
        (SLEEP, {"check_endpoint": "/", "proxy": "http://h:99999"}, "could not start: Port out of range 0-65535"),
    ],
)
def test_a_start_that_fails_says_why(argv: tuple[str, ...], overrides: dict[str, object], detail: str) -> None:
    with Run(*argv, **overrides) as run:
        assert run.expect(ProcessExited).detail.startswith(detail)
        assert run.process.pid is None


def test_stop_is_sigterm_to_the_group() -> None:
    with Run(*SLEEP) as run:
        run.expect(ProcessReady)
        run.process.stop()
        run.process.stop()
        assert run.exit_detail() == "killed by SIGTERM"


def test_a_server_may_end_on_sigterm_with_a_code_of_its_own() -> None:
    with Run(*shell("trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.01; done")) as run:
        run.await_output("up")
        run.process.stop()
        assert run.exit_detail() == "exited with code 5"
        assert b"bye" in run.output


def test_ignored_sigterm_is_followed_by_the_kill_that_is_ordered() -> None:
    with Run(*stubborn()) as run:
        pid = run.printed_pid("stubborn")
        assert run.process.pid == pid
        run.process.stop()
        run.await_output("stubborn")
        assert is_alive(pid)
        run.process.kill()
        run.process.kill()
        assert run.exit_detail() == "killed by SIGKILL"
        assert run.process.pid is None
        run.process.kill()
        run.process.stop()


def test_one_sigterm_is_all_a_member_gets() -> None:
    count = """
import os, select, signal
terms = []
signal.signal(signal.SIGTERM, lambda *_: terms.append(1))
if os.fork() == 0:
    print("member", os.getpid(), flush=True)
    while not terms:
        select.select([], [], [], 0.005)
    select.select([], [], [], 0.2)
    print("terms", len(terms), flush=True)
    os._exit(0)
while not terms:
    select.select([], [], [], 0.005)
"""
    with Run(*python(count)) as run:
        run.printed_pid("member")
        run.process.stop()
        assert run.exit_detail() == "exited with code 0"
        assert b"terms 1\n" in run.output


# -- orders that come early, late or together --


def test_stop_before_the_start_starts_nothing(tmp_path: Path) -> None:
    run = Run(*shell(f"echo x > {tmp_path}/started"))
    run.process.stop()
    with run:
        assert run.expect(ProcessExited).detail == "stopped before it was started"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("order", ["stop", "kill"])
def test_an_order_right_after_the_start_is_not_lost(order: str) -> None:
    for _ in range(20):
        with Run(*SLEEP) as run:
            getattr(run.process, order)()
            assert run.exit_detail() in ("stopped before it was started", "killed by SIGTERM", "killed by SIGKILL")


def test_stop_and_kill_at_once_from_two_threads_end_it_once() -> None:
    for _ in range(20):
        with Run(*shell("trap '' TERM; sleep 60 & sleep 60")) as run:
            run.expect(ProcessReady)
            barrier = threading.Barrier(2)

            def give(order: str, run: Run = run, barrier: threading.Barrier = barrier) -> None:
                barrier.wait()
                getattr(run.process, order)()

            threads = [threading.Thread(target=give, args=(order,)) for order in ("stop", "kill")]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert run.exit_detail() == "killed by SIGKILL"


def test_fifty_runs_leave_no_process_thread_or_descriptor(port: int) -> None:
    for number in range(50):
        with Run(*SLEEP, check_endpoint="/health", proxy=f"http://127.0.0.1:{port}") as run:
            if number % 2:
                run.process.stop()


def test_a_process_for_which_there_is_no_thread_has_ended_for_want_of_resources() -> None:
    with no_thread_to_be_had(), Run(*SLEEP) as run:
        exited = run.expect(ProcessExited)
    assert exited == ProcessExited(7, "could not start: can't start new thread", is_shortage=True)


def test_without_a_thread_for_the_stop_command_a_process_gets_sigterm() -> None:
    with Run(*SLEEP, stop_argv=("false",)) as run:
        run.expect(ProcessReady)
        with no_thread_to_be_had():
            run.process.stop()
        assert run.exit_detail() == "killed by SIGTERM"


# -- output --


def test_ten_megabytes_of_any_bytes_are_handed_on_before_the_exit() -> None:
    write = "import sys\nfor _ in range(10):\n    sys.stdout.buffer.write(bytes(range(256)) * 4096)"
    with Run(*python(write)) as run:
        assert run.exit_detail() == "exited with code 0"
        assert run.output == bytes(range(256)) * 4096 * 10


def test_what_is_in_the_pipe_at_the_exit_is_handed_on_before_it_is_told() -> None:
    with Run(*shell("echo first; sleep 0.05; echo last")) as run:
        with run.held_output():
            run.expect(ProcessReady)
            run.expect(LeaderExited)
            assert await_condition(lambda: run.process.pid is None)
            assert run.events.empty()
        run.exit_detail()
        assert run.output_at_exit == b"first\nlast\n"


def test_stderr_and_stdout_are_one_stream_in_order() -> None:
    with Run(*shell("for i in 1 2 3; do echo out $i; echo err $i >&2; done; printf '\\377half'")) as run:
        run.exit_detail()
        assert run.output == b"out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\n\xffhalf"


# -- ready --


def test_ready_is_told_before_the_exit_and_never_after(port: int) -> None:
    for _ in range(5):
        with Run(*health_server(port), check_endpoint="/health", proxy=f"http://localhost:{port}") as run:
            assert run.expect(ProcessReady).run_id == 7
            run.process.stop()
            run.expect(ProcessExited)


def test_a_process_without_a_check_is_ready_at_once() -> None:
    with Run(*SLEEP) as run:
        assert run.expect(ProcessReady).run_id == 7


def test_a_process_that_dies_while_loading_was_never_ready(port: int) -> None:
    with Run(*shell("sleep 0.1; exit 1"), check_endpoint="/health", proxy=f"http://127.0.0.1:{port}") as run:
        assert run.expect(LeaderExited).detail == "exited with code 1"
        assert run.expect(ProcessExited).detail == "exited with code 1"


def test_a_leader_that_ends_by_itself_is_told_before_the_rest_of_its_group_has_ended() -> None:
    with Run(*stubborn_orphan()) as run:
        run.expect(ProcessReady)
        member = run.printed_pid("member")
        assert run.expect(LeaderExited) == LeaderExited(7, "exited with code 0")
        assert is_alive(member)
        run.process.kill()
        assert run.exit_detail() == "exited with code 0"
        assert not is_alive(member)


def test_a_leader_that_was_told_to_end_is_not_told_apart_from_its_group() -> None:
    with Run(*SLEEP) as run:
        run.expect(ProcessReady)
        run.process.stop()
        run.expect(ProcessExited)


def test_a_load_that_timed_out_leaves_the_process_to_the_scheduler(port: int) -> None:
    with Run(*SLEEP, check_endpoint="/health", proxy=f"http://127.0.0.1:{port}", health_timeout=0.2) as run:
        assert run.expect(LoadTimedOut).run_id == 7
        pid = run.process.pid
        assert pid
        assert is_alive(pid)


def test_no_ready_comes_after_a_stop() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with Run(*stubborn(), check_endpoint="/", proxy=url) as run:
            client, _ = server.accept()
            run.await_output("stubborn")
            run.process.stop()
            with client:
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            assert await_condition(lambda: "probe-m" not in {thread.name for thread in threading.enumerate()})
            run.process.kill()
            run.expect(ProcessExited)
