"""Monitors, subscriptions and the logger; stdout has its own file."""

from __future__ import annotations

import re
import select
import threading
import tracemalloc
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaswap_lib.runtime.logs.logger import Logger
from llamaswap_lib.runtime.logs.monitor import LogMonitor, Subscription
from llamaswap_lib.runtime.logs.server_logs import Logs
from llamaswap_lib.runtime.wakeup import CallingWakeup, Wakeup

NOTE = re.compile("— (\\d+) bytes dropped —\n".encode())


def is_readable(reader: Subscription, timeout: float = 0) -> bool:
    return bool(select.select([reader.wakeup], [], [], timeout)[0])


def quiet_logs(to_stdout: str = "none", level: str = "info") -> Logs:
    return Logs(to_stdout=to_stdout, level=level, stdout=None)


# -- the ring --


def test_what_a_reader_has_taken_can_be_read_again_as_far_as_it_is_still_there() -> None:
    monitor = LogMonitor(capacity_bytes=10)
    with monitor.subscribe(capacity_bytes=10) as reader:
        monitor.write(b"0123456789")
        assert reader.take(6) == b"012345"
        position = reader.position
        assert reader.taken(position, 4) == b"2345"
        monitor.write(b"abcdef")
        monitor.history()
        assert reader.taken(position, 4) == b""
        assert reader.taken(position + 2, 4) == b"67"


def test_a_reader_may_be_woken_by_a_call() -> None:
    calls: list[None] = []
    monitor = LogMonitor()
    reader = monitor.subscribe(wakeup=CallingWakeup(lambda: calls.append(None)))
    reader.take()
    monitor.write(b"a")
    monitor.write(b"b")
    assert len(calls) == 1
    assert reader.take() == b"ab"
    monitor.write(b"c")
    assert len(calls) == 2
    reader.close()
    monitor.write(b"d")
    assert len(calls) == 2


def test_history_is_the_newest_bytes() -> None:
    monitor = LogMonitor(capacity_bytes=10)
    assert monitor.history() == b""
    monitor.write(b"0123")
    assert monitor.history() == b"0123"
    monitor.write(b"456789abc")
    assert monitor.history() == b"3456789abc"
    monitor.write(b"a write larger than the ring")
    assert monitor.history() == b"n the ring"


def test_ring_holds_100_kb() -> None:
    monitor = LogMonitor()
    monitor.write(b"x" * 300_000)
    assert len(monitor.history()) == 100 * 1024


@given(st.lists(st.binary(max_size=40), max_size=40), st.integers(1, 50))
def test_history_is_the_tail_of_everything_written(writes: list[bytes], capacity_bytes: int) -> None:
    monitor = LogMonitor(capacity_bytes)
    for data in writes:
        monitor.write(data)
    assert monitor.history() == b"".join(writes)[-capacity_bytes:]


def test_bytes_that_are_no_text_go_through_untouched() -> None:
    logs = quiet_logs("both")
    write = logs.model_output("m")
    rubbish = [b"\xff\xfe\x00", b"10%\r", b"20%\r", "ü".encode()[:1], "ü".encode()[1:], b"no newline"]
    for data in rubbish:
        write(data)
    for monitor in (logs.model("m"), logs.upstream, logs.combined):
        assert monitor.history() == b"".join(rubbish)


# -- reading along --


def test_subscription_brings_the_history_then_what_follows() -> None:
    monitor = LogMonitor()
    monitor.write(b"before\n")
    with monitor.subscribe() as reader:
        monitor.write(b"after\n")
        assert is_readable(reader)
        assert reader.take() == b"before\nafter\n"
        assert reader.take() == b""
        assert not is_readable(reader)
        monitor.write(b"later\n")
        assert is_readable(reader)
        assert reader.take() == b"later\n"


def test_subscription_without_history_brings_only_what_follows() -> None:
    monitor = LogMonitor()
    monitor.write(b"before\n")
    with monitor.subscribe(history=False) as reader:
        assert not is_readable(reader)
        monitor.write(b"after\n")
        assert reader.take() == b"after\n"


def test_an_empty_write_wakes_nobody() -> None:
    monitor = LogMonitor()
    with monitor.subscribe() as reader:
        monitor.write(b"")
        assert not is_readable(reader)


def test_reader_that_stopped_reading_keeps_the_newest_and_is_told_of_the_loss_in_its_place() -> None:
    monitor = LogMonitor()
    with monitor.subscribe(capacity_bytes=10) as reader:
        monitor.write(b"seen\n")
        assert reader.take() == b"seen\n"
        monitor.write(b"0123456789")
        monitor.write(b"abc\n")
        assert reader.take() == "— 4 bytes dropped —\n456789abc\n".encode()
        monitor.write(b"next\n")
        assert reader.take() == b"next\n"


def test_note_of_a_loss_stands_on_its_own_line_after_a_partial_one() -> None:
    monitor = LogMonitor()
    with monitor.subscribe(capacity_bytes=4) as reader:
        monitor.write(b"par")
        assert reader.take() == b"par"
        monitor.write(b"0123456")
        assert reader.take() == "\n— 3 bytes dropped —\n3456".encode()


def test_a_reader_of_lines_goes_on_with_a_whole_one_after_a_loss() -> None:
    monitor = LogMonitor()
    with monitor.subscribe(capacity_bytes=10, goes_on_at_line=True) as reader:
        monitor.write(b"first\nsecond\n3rd\n")
        assert reader.take() == "— 13 bytes dropped —\n3rd\n".encode()
        monitor.write(b"one that has no end")
        assert reader.take() == "— 9 bytes dropped —\nhas no end".encode()


def test_history_larger_than_the_readers_buffer_is_a_loss_that_is_told() -> None:
    monitor = LogMonitor()
    monitor.write(b"0123456789")
    with monitor.subscribe(capacity_bytes=4) as reader:
        assert reader.take() == "— 6 bytes dropped —\n6789".encode()


@given(st.lists(st.one_of(st.none(), st.binary(max_size=30)), max_size=50), st.integers(1, 40))
def test_what_is_read_and_what_is_told_lost_add_up_to_what_was_written(
    steps: list[bytes | None], capacity_bytes: int
) -> None:
    """None is a look of the reader; a note inside what was written cannot be told from ours, so bytes are letters."""
    monitor = LogMonitor()
    written = bytearray()
    position = 0
    with monitor.subscribe(capacity_bytes=capacity_bytes) as reader:
        for step in [*steps, None]:
            if step is not None:
                data = bytes(97 + byte % 26 for byte in step)
                written += data
                monitor.write(data)
                continue
            got = reader.take()
            if told := NOTE.search(got):
                assert not got[: told.start()].strip(b"\n")
                position += int(told[1])
                got = got[told.end() :]
            assert written[position : position + len(got)] == got
            position += len(got)
            assert position == len(written)
            assert not is_readable(reader)


def test_a_stuck_reader_neither_slows_the_writer_nor_grows_and_others_lose_nothing() -> None:
    monitor = LogMonitor()
    with monitor.subscribe(capacity_bytes=1000) as stuck, monitor.subscribe() as attentive:
        for number in range(10_000):
            monitor.write(b"%06d\n" % number)
            assert attentive.take() == b"%06d\n" % number
        got = stuck.take()
        note = NOTE.match(got)
        assert note is not None
        assert int(note[1]) == 70_000 - 1000
        assert got[note.end() :].endswith(b"009999\n")
        assert len(got) - note.end() == 1000


def test_lines_of_many_threads_stay_whole_and_none_is_lost_or_doubled_for_a_late_reader() -> None:
    monitor = LogMonitor(capacity_bytes=1_000_000)
    start = threading.Barrier(5, timeout=30)

    def write(name: str) -> None:
        start.wait()
        for number in range(1500):
            monitor.write(f"{name}{number:06d}\n".encode() * 2)

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    start.wait()
    with monitor.subscribe(capacity_bytes=1_000_000) as reader:
        got = reader.take()
        while any(thread.is_alive() for thread in threads):
            is_readable(reader, 0.01)
            got += reader.take()
        for thread in threads:
            thread.join(30)
        got += reader.take()
    lines = got.decode().splitlines()
    assert got == monitor.history()
    assert lines[::2] == lines[1::2]
    for name in "abcd":
        assert [line for line in lines[::2] if line[0] == name] == [f"{name}{number:06d}" for number in range(1500)]


def test_a_reader_that_waits_in_poll_is_woken_by_a_write_of_another_thread() -> None:
    monitor = LogMonitor()
    with monitor.subscribe() as reader:
        thread = threading.Timer(0.02, monitor.write, [b"hello"])
        thread.start()
        assert is_readable(reader, 30)
        assert reader.take() == b"hello"
        thread.join(30)


def test_a_reader_that_only_looks_when_it_is_woken_misses_nothing() -> None:
    monitor = LogMonitor()
    count, line = 6000, b"a line of the log\n"

    def write() -> None:
        for _ in range(count):
            monitor.write(line)

    threads = [threading.Thread(target=write) for _ in range(3)]
    with monitor.subscribe(capacity_bytes=10_000_000) as reader:
        for thread in threads:
            thread.start()
        left_bytes = 3 * count * len(line)
        while left_bytes:
            assert is_readable(reader, 30), left_bytes
            left_bytes -= len(reader.take())
        for thread in threads:
            thread.join(30)
        assert not is_readable(reader, 0) or reader.take() == b""  # woken for nothing, at most


def test_what_nobody_reads_is_bounded_however_it_is_written() -> None:
    monitor = LogMonitor(capacity_bytes=1000)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(4000):
            monitor.write(b"%500d" % number)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 200_000
    assert monitor.history() == b"%500d%500d" % (3998, 3999)


def test_readers_that_are_behind_share_what_they_have_not_read() -> None:
    monitor = LogMonitor()
    with ExitStack() as stack:
        readers = [stack.enter_context(monitor.subscribe()) for _ in range(100)]
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(3000):
                monitor.write(b"x" * 99 + b"\n")
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert after - before < 2_000_000
        for reader in readers:
            note = NOTE.match(got := reader.take())
            assert note is not None
            assert int(note[1]) + len(got) - note.end() == 300_000


class Counting(Wakeup):
    """Knows how often it was set."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def set(self) -> None:
        self.count += 1
        super().set()


def test_a_reader_that_has_something_to_take_is_not_woken_again() -> None:
    monitor = LogMonitor()
    with monitor.subscribe() as reader:
        reader.wakeup.close()
        reader.wakeup = counting = Counting()
        for count in (1, 2):
            for _ in range(100):
                monitor.write(b"line\n")
            assert counting.count == count
            assert reader.take() == b"line\n" * 100


def test_what_is_taken_in_pieces_is_the_same_and_the_reader_stays_awake_until_it_has_all() -> None:
    monitor = LogMonitor()
    with monitor.subscribe() as reader:
        monitor.write(b"0123456789")
        assert reader.take(4) == b"0123"
        monitor.write(b"abc")
        assert is_readable(reader)
        assert [reader.take(8), is_readable(reader)] == [b"456789ab", True]
        monitor.close()
        assert not reader.closed
        assert [reader.take(8), reader.closed] == [b"c", True]


class Interrupting(Wakeup):
    """Something happens right behind its clearing."""

    def __init__(self, act: Callable[[], None]) -> None:
        super().__init__()
        self._act = act

    def clear(self) -> None:
        super().clear()
        self._act()


def test_what_is_written_while_a_reader_takes_is_taken_or_wakes_it_again() -> None:
    monitor = LogMonitor()
    with monitor.subscribe() as reader:
        reader.wakeup.close()
        reader.wakeup = Interrupting(lambda: monitor.write(b"late"))
        monitor.write(b"early ")
        assert is_readable(reader, 30)
        assert reader.take() == b"early late"


def test_a_left_subscription_is_forgotten_by_its_monitor() -> None:
    monitor = LogMonitor()
    with monitor.subscribe():
        assert len(monitor._readers) == 1
    assert not monitor._readers
    monitor.write(b"nobody reads this")


# -- the end --


def test_closing_ends_readers_after_what_they_have_not_read_yet() -> None:
    monitor = LogMonitor()
    with monitor.subscribe() as reader:
        assert not reader.closed
        monitor.write(b"last")
        monitor.close()
        assert is_readable(reader)
        assert not reader.closed, "something is left to take"
        monitor.write(b"too late for this reader")
        assert reader.take() == b"last"
        assert reader.closed
        assert is_readable(reader), "a thread that polls must see the end at any time"


def test_a_reader_that_comes_after_the_close_gets_the_history_and_the_end() -> None:
    monitor = LogMonitor()
    monitor.write(b"history")
    monitor.close()
    with monitor.subscribe() as reader:
        assert is_readable(reader)
        assert reader.take() == b"history"
        assert reader.closed
    with monitor.subscribe(history=False) as reader:
        assert is_readable(reader)
        assert reader.closed


def test_ending_the_streams_reaches_every_monitor_also_one_made_later() -> None:
    logs = quiet_logs("both")
    early = logs.model("early")
    logs.close_streams()
    for monitor in (logs.proxy, logs.upstream, logs.combined, early, logs.model("late")):
        with monitor.subscribe() as reader:
            assert reader.closed
    logs.log.info("still kept")
    assert logs.proxy.history() == b"[INFO] still kept\n"
    logs.close()
    logs.close()


# -- the wiring --


@pytest.mark.parametrize(
    ("to_stdout", "combined"),
    [
        ("proxy", b"[INFO] said\n"),
        ("upstream", b"output"),
        ("both", b"[INFO] said\noutput"),
        ("none", b""),
        ("", b"[INFO] said\n"),  # the configuration refuses it; as the seed does, it counts as proxy here
        ("Both", b"[INFO] said\n"),
    ],
)
def test_combined_history_is_what_is_shown(to_stdout: str, combined: bytes) -> None:
    logs = quiet_logs(to_stdout)
    logs.log.info("said")
    logs.model_output("m")(b"output")
    assert logs.combined.history() == combined
    assert logs.proxy.history() == b"[INFO] said\n"
    assert logs.upstream.history() == b"output"
    assert logs.model("m").history() == b"output"


def test_models_share_the_upstream_monitor_and_have_one_of_their_own() -> None:
    logs = quiet_logs()
    logs.model_output("a")(b"from a\n")
    logs.model_output("b")(b"from b\n")
    assert logs.upstream.history() == b"from a\nfrom b\n"
    assert logs.model("a").history() == b"from a\n"
    assert logs.model("a") is logs.model("a")
    assert logs.model("never ran").history() == b""


# -- the logger --


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", "DEBUG INFO WARN ERROR"),
        ("info", "INFO WARN ERROR"),
        ("Warn", "WARN ERROR"),
        ("ERROR", "ERROR"),
        ("no such level", "INFO WARN ERROR"),
    ],
)
def test_level_hides_what_is_below_it(level: str, shown: str) -> None:
    logs = quiet_logs(level=level)
    says: list[Callable[[str], None]] = [logs.log.debug, logs.log.info, logs.log.warn, logs.log.error]
    for say in says:
        say("words")
    assert logs.proxy.history().decode() == "".join(f"[{name}] words\n" for name in shown.split())


def test_line_begins_with_the_time_where_a_format_is_set() -> None:
    lines: list[bytes] = []
    Logger(lines.append, time_format="rfc3339", clock=lambda: 1_700_000_000 * 10**9).info("words")
    assert re.fullmatch(rb"2023-11-1\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d) \[INFO\] words\n", lines[0])


def test_text_that_utf_8_cannot_say_is_escaped_not_an_error() -> None:
    logs = quiet_logs()
    logs.log.error("caf\u00e9 \ud800 \udcff")
    assert logs.proxy.history() == "[ERROR] café \\ud800 \\udcff\n".encode()


def test_the_monitors_of_models_that_have_gone_are_forgotten_and_their_readers_told() -> None:
    logs = Logs(stdout=None)
    logs.model("stays").write(b"one")
    logs.model("goes").write(b"two")
    with logs.model("goes").subscribe() as reader:
        logs.keep_only(["stays"])
        assert reader.take() == b"two"
        assert reader.closed
    assert logs.model("stays").history() == b"one"
    assert logs.model("goes").history() == b""


# -- of another process --


def test_what_was_written_before_is_history_and_no_news() -> None:
    monitor = LogMonitor(capacity_bytes=10)
    monitor.write(b"ours\n")
    with monitor.subscribe() as reader:
        monitor.put_before(b"before it\n")
        assert monitor.history() == b"e it\nours\n"
        assert reader.take() == b"ours\n"
        monitor.write(b"more")
        assert reader.take() == b"more"
    assert monitor.history() == b"\nours\nmore"


def test_there_is_no_room_for_what_was_before_where_there_is_enough_of_ours() -> None:
    monitor = LogMonitor(capacity_bytes=4)
    monitor.write(b"ours!")
    monitor.put_before(b"before")
    assert monitor.history() == b"urs!"


@pytest.mark.parametrize("shown", ["proxy", "upstream", "both", "none"])
def test_the_histories_of_one_server_are_those_of_another_one(shown: str) -> None:
    old, new = quiet_logs(shown), quiet_logs(shown)
    old.log.info("a line")
    old.model_output("m")(b"of m\n")
    old.model_output("gone")(b"of one that is not configured any more\n")
    new.put_before(old.histories(), {"m", "n"})
    new.log.info("another line")
    assert new.proxy.history() == b"[INFO] a line\n[INFO] another line\n"
    assert new.upstream.history() == old.upstream.history()
    assert new.model("m").history() == b"of m\n"
    assert new.model("gone").history() == b""
    assert new.combined.history().startswith(old.combined.history())
    old.close()
    new.close()
