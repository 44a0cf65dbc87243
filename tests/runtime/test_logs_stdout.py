"""Stdout, as pipes of our own: nobody waits for it, and it is told what it lost."""

from __future__ import annotations

import errno
import os
import re
import resource
import select
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from llamaswap_lib.runtime.logs.monitor import LogMonitor, Subscription
from llamaswap_lib.runtime.logs.server_logs import Logs, StdoutSink


@dataclass
class Pipe:
    """A pipe whose ends are closed in the end, if they were not before."""

    read: int
    write: int

    def close_read(self) -> None:
        os.close(self.read)
        self.read = -1

    def close_write(self) -> None:
        os.close(self.write)
        self.write = -1

    def read_until(self, end: bytes) -> bytes:
        got = b""
        while not got.endswith(end):
            assert select.select([self.read], [], [], 30)[0], f"only {got[-200:]!r} came"
            got += os.read(self.read, 65536)
        return got


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    read, write = os.pipe()
    pipe = Pipe(read, write)
    yield pipe
    for fd in (pipe.read, pipe.write):
        if fd >= 0:
            os.close(fd)


def sink_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "log-stdout"]


@pytest.mark.parametrize(
    ("to_stdout", "expected"),
    [
        ("proxy", b"[INFO] said\n"),
        ("upstream", b"output\n"),
        ("both", b"output\n"),
        ("", b"[INFO] said\n"),
        ("unknown", b"[INFO] said\n"),
    ],
)
def test_what_is_shown_comes_out(pipe: Pipe, to_stdout: str, expected: bytes) -> None:
    logs = Logs(to_stdout=to_stdout, stdout=pipe.write)
    logs.log.info("said")
    logs.model_output("m")(b"output\n")
    got = pipe.read_until(expected)
    assert got == (b"[INFO] said\noutput\n" if to_stdout == "both" else expected)
    logs.close()
    assert not sink_threads()


def test_none_shows_nothing_and_has_no_thread(pipe: Pipe) -> None:
    logs = Logs(to_stdout="none", stdout=pipe.write)
    assert not sink_threads()
    logs.log.info("said")
    logs.close()
    pipe.close_write()
    assert os.read(pipe.read, 100) == b""


def test_a_lone_line_comes_out_without_another_one_or_a_close(pipe: Pipe) -> None:
    logs = Logs(stdout=pipe.write)
    logs.log.info("first")
    assert pipe.read_until(b"first\n") == b"[INFO] first\n"
    logs.log.info("second")
    assert pipe.read_until(b"second\n") == b"[INFO] second\n"
    logs.close()


def test_every_line_said_before_the_close_comes_out(pipe: Pipe) -> None:
    logs = Logs(stdout=pipe.write)
    for number in range(500):
        logs.log.info(f"line {number}")
    logs.close()
    logs.log.info("too late")
    pipe.close_write()
    assert pipe.read_until(b"line 499\n") == b"".join(b"[INFO] line %d\n" % number for number in range(500))
    assert os.read(pipe.read, 100) == b""


def test_ending_the_streams_does_not_end_stdout(pipe: Pipe) -> None:
    logs = Logs(stdout=pipe.write)
    logs.close_streams()
    logs.log.info("stopping")
    assert pipe.read_until(b"stopping\n") == b"[INFO] stopping\n"
    logs.close()


def test_a_stdout_nobody_reads_delays_no_writer_and_is_told_what_it_lost(pipe: Pipe) -> None:
    logs = Logs(to_stdout="upstream", stdout=pipe.write)
    write = logs.model_output("m")
    for number in range(20_000):
        write(b"%099d\n" % number)
    assert logs.upstream.history().endswith(b"19999\n")
    got = pipe.read_until(b"%099d\n" % 19_999)
    logs.close()
    notes = re.findall("(?<![^\n])(— (\\d+) bytes dropped —\n)".encode(), got)  # the first may begin the output
    assert notes
    shown_bytes = len(got) - sum(len(note) for note, _ in notes)
    assert shown_bytes + sum(int(dropped_bytes) for _, dropped_bytes in notes) == 2_000_000


def test_close_gives_a_stdout_that_nobody_reads_up_in_time(pipe: Pipe) -> None:
    logs = Logs(to_stdout="upstream", stdout=pipe.write)
    logs.model_output("m")(b"x" * 200_000)
    logs.close(flush_timeout=0.05)
    assert not sink_threads()


def test_a_closed_stdout_is_given_up_and_logging_goes_on(pipe: Pipe) -> None:
    logs = Logs(stdout=pipe.write)
    pipe.close_read()
    (sink,) = sink_threads()
    logs.log.info("into nothing")
    sink.join(30)
    assert not sink.is_alive()
    logs.log.info("still kept")
    assert logs.proxy.history().endswith(b"still kept\n")
    logs.close()


def test_a_stdout_that_was_never_open_is_given_up() -> None:
    logs = Logs(stdout=99_999)
    logs.log.info("into nothing")
    for sink in sink_threads():
        sink.join(30)
    assert not sink_threads()
    logs.close()


def test_a_non_blocking_stdout_loses_nothing_that_fits_the_buffer(pipe: Pipe) -> None:
    os.set_blocking(pipe.write, False)
    logs = Logs(to_stdout="upstream", stdout=pipe.write)
    data = os.urandom(250_000).replace(b"\n", b" ") + b"\n"
    logs.model_output("m")(data)
    assert pipe.read_until(b"\n") == data
    logs.close()


@dataclass
class FullDisk:
    """A file that takes no more than it is allowed to, which a limit of the system stands in for: EFBIG for ENOSPC."""

    path: Path
    fd: int
    limit: tuple[int, int]

    def allow(self, size_bytes: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, self.limit[1]))

    def wait_for(self, end: bytes) -> bytes:
        pause = threading.Event()
        for _ in range(3000):
            shown = self.path.read_bytes()
            if shown.endswith(end):
                return shown
            pause.wait(0.01)
        raise AssertionError(f"{end!r} was not shown: {shown[-200:]!r}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[FullDisk]:
    path = tmp_path / "log"
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield FullDisk(path, fd, limit)
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    os.close(fd)


def test_a_disk_that_is_full_for_a_while_costs_no_line_that_can_be_kept(disk: FullDisk) -> None:
    disk.allow(10)
    logs = Logs(stdout=disk.fd)
    for number in range(100):
        logs.log.info(f"line {number}")
    assert disk.wait_for(b"[INFO] lin") == b"[INFO] lin"
    disk.allow(1_000_000)
    assert disk.wait_for(b"line 99\n") == b"".join(b"[INFO] line %d\n" % number for number in range(100))
    logs.close()


class CountedLines(Subscription):
    """What a monitor's reader gets, and how often it has been asked for: once when woken, and at each refusal."""

    def __init__(self, monitor: LogMonitor) -> None:
        self._reader = monitor.subscribe(history=False, goes_on_at_line=True)
        self.wakeup = self._reader.wakeup
        self.asked = 0
        self._changed = threading.Condition()

    def __enter__(self) -> CountedLines:
        self._reader.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.__exit__(None, None, None)

    def take(self, most_bytes: int | None = None) -> bytes:
        with self._changed:
            self.asked += 1
            self._changed.notify_all()
        return self._reader.take(most_bytes)

    def await_asked(self, times: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.asked >= times, 30)


def test_a_disk_that_was_full_for_long_is_told_how_much_was_lost_and_why(disk: FullDisk) -> None:
    disk.allow(1050)
    monitor = LogMonitor()
    lines = CountedLines(monitor)
    sink = StdoutSink(lines, disk.fd, retry_pause_ms=5)
    for number in range(2000):
        monitor.write(b"%099d\n" % number)
    disk.wait_for(b"0" * 50)
    lines.await_asked(lines.asked + 3)  # refused again, and again
    monitor.write(b"the newest\n")
    disk.allow(1_000_000)
    shown = disk.wait_for(b"the newest\n")
    sink.close(flush_timeout=30)
    assert b"\0" not in shown
    notes = [int(lost) for lost in re.findall("— (\\d+) bytes dropped".encode(), shown)]
    assert f"bytes dropped: {os.strerror(errno.EFBIG)} —\n".encode() in shown
    kept = [line for line in shown.splitlines(keepends=True) if b"dropped" not in line]
    assert sum(map(len, kept)) + sum(notes) - 200_011 in (0, 1)  # a line that was shown in part gets an end
    assert len(shown) < 50_000  # what was full has little room


def test_a_disk_that_stays_full_does_not_hold_the_end_up(disk: FullDisk) -> None:
    disk.allow(10)
    logs = Logs(stdout=disk.fd)
    logs.log.info("much too long")
    disk.wait_for(b"[INFO] muc")
    logs.close(flush_timeout=0.05)
    assert not sink_threads()


def test_a_device_that_is_always_full_is_not_tried_without_a_pause() -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    monitor = LogMonitor()
    lines = CountedLines(monitor)
    sink = StdoutSink(lines, fd, retry_pause_ms=60_000)
    monitor.write(b"into nothing\n")
    lines.await_asked(1)
    sink.close(flush_timeout=0.05)
    assert not sink_threads()
    assert lines.asked < 5  # without a pause it would be thousands
    os.close(fd)
