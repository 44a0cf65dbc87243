"""What stdout shows where more than one writes to it: whole lines, and whose they are."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from llamaswap_lib.runtime.logs.server_logs import Logs


@contextmanager
def showing(to_stdout: str, *models: str) -> Iterator[tuple[Logs, Callable[[], bytes]]]:
    """The logs of a server with these models, and what ends them and tells all that was shown."""
    read_end, write_end = os.pipe()
    logs = Logs(to_stdout=to_stdout, stdout=write_end)
    logs.keep_only(models)

    def all_shown() -> bytes:
        logs.close()
        os.close(write_end)
        with os.fdopen(os.dup(read_end), "rb") as file:
            return file.read()

    try:
        yield logs, all_shown
    finally:
        os.close(read_end)


def test_halves_of_lines_are_never_mixed_and_each_says_whose_it_is() -> None:
    with showing("both", "qwen", "gemma") as (logs, all_shown):
        qwen, gemma = logs.model_output("qwen"), logs.model_output("gemma")
        qwen(b"load")
        logs.log.info("a request")
        gemma(b"hel")
        qwen(b"ed\nand ")
        gemma(b"lo\n")
        qwen(b"ready\n")
        kept = b"load[INFO] a request\nheled\nand lo\nready\n"
        assert logs.combined.history() == kept
        assert logs.upstream.history() == b"loadheled\nand lo\nready\n"
        assert logs.model("qwen").history() == b"loaded\nand ready\n"
        assert all_shown() == b"[INFO] a request\n[qwen] loaded\n[gemma] hello\n[qwen] and ready\n"


def test_one_model_is_not_named_and_its_lines_are_whole_too() -> None:
    with showing("both", "qwen") as (logs, all_shown):
        qwen = logs.model_output("qwen")
        qwen(b"load")
        logs.log.info("a request")
        qwen(b"ed\n")
        assert all_shown() == b"[INFO] a request\nloaded\n"


def test_of_several_models_each_is_named_without_lines_of_ours_as_well() -> None:
    with showing("upstream", "qwen", "gemma") as (logs, all_shown):
        logs.model_output("qwen")(b"load")
        logs.model_output("gemma")(b"hello\n")
        logs.log.info("not shown")
        assert all_shown() == b"[gemma] hello\n"


def test_a_model_that_alone_writes_to_stdout_is_shown_byte_for_byte() -> None:
    written = [b"load", b"ing ...\r10 %\r", b"\xff\x1b[A", b"no end"]
    with showing("upstream", "qwen") as (logs, all_shown):
        for data in written:
            logs.model_output("qwen")(data)
        assert all_shown() == b"".join(written)


@pytest.mark.parametrize("to_stdout", ["upstream", "both"])
def test_another_model_may_come_and_go_while_one_writes(to_stdout: str) -> None:
    with showing(to_stdout, "qwen") as (logs, all_shown):
        qwen = logs.model_output("qwen")
        qwen(b"alone\n")
        logs.keep_only(["qwen", "gemma"])
        qwen(b"one of two\nhalf")
        logs.model_output("gemma")(b"the other\n")
        logs.keep_only(["qwen"])
        qwen(b" line\n" if to_stdout == "both" else b"\nalone again\n")
        last = b"half line\n" if to_stdout == "both" else b"half\n\nalone again\n"
        assert all_shown() == b"alone\n[qwen] one of two\n[gemma] the other\n" + last


def test_what_had_no_end_is_shown_at_the_end_of_its_run_and_not_with_the_next() -> None:
    with showing("both", "qwen", "gemma") as (logs, all_shown):
        first = logs.model_output("qwen")
        first(b"Segmentation fault")
        first(b"")
        logs.model_output("qwen")(b"loading\n")
        assert all_shown() == b"[qwen] Segmentation fault\n[qwen] loading\n"


def test_a_line_of_ours_about_a_run_does_not_get_into_one_of_its_own() -> None:
    with showing("both", "qwen", "gemma") as (logs, all_shown):
        qwen = logs.model_output("qwen")
        qwen(b"half a ")
        qwen.note(b"llamaswap: killing it\n")
        qwen(b"line\n")
        assert logs.model("qwen").history() == b"half a llamaswap: killing it\nline\n"
        assert all_shown() == b"[qwen] llamaswap: killing it\n[qwen] half a line\n"


def test_a_name_that_cannot_be_shown_is_escaped() -> None:
    with showing("both", "a\nb", "c") as (logs, all_shown):
        logs.model_output("a\nb")(b"hello\n")
        assert all_shown() == b"[a\\nb] hello\n"


def test_many_lines_of_many_models_in_pieces_of_any_size_come_out_whole() -> None:
    rng = random.Random(14)
    names = [f"m{number}" for number in range(5)]
    texts = {name: b"".join(b"%s line %d\n" % (name.encode(), line) for line in range(200)) for name in names}
    with showing("both", *names) as (logs, all_shown):
        outputs = {name: logs.model_output(name) for name in names}
        left = dict(texts)
        while any(left.values()):
            name, size = rng.choice(names), rng.randrange(1, 40)
            outputs[name](left[name][:size])
            left[name] = left[name][size:]
            logs.log.info("ours")
        got = all_shown().splitlines(keepends=True)
    for name in names:
        prefix = f"[{name}] ".encode()
        own = [line.removeprefix(prefix) for line in got if line.startswith(prefix)]
        assert b"".join(own) == texts[name]
    assert {line for line in got if not line.startswith(b"[m")} == {b"[INFO] ours\n"}
