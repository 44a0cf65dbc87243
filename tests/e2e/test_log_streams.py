"""The logs as a client reads them, and a stdout that nobody reads."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

import pytest

from tests.e2e.conftest import RunProgram
from tests.e2e.program import Program, demo, models, python, wait_until
from tests.e2e.talk import Wire

READY = "checkEndpoint"  # `none`: these upstreams serve nothing
SAY = "import os, sys, time\ndef say(data): os.write(1, data)\n"
WAIT = "\nimport signal\nsignal.pause()\n"
RING_BYTES = 100 * 1024


def talker(source: str) -> dict[str, str]:
    """A model that only prints."""
    return {"cmd": python(SAY + source + WAIT), READY: "none"}


def load(program: Program, model: str) -> None:
    assert program.post(f"/api/models/load/{model}", {}).status == 200


def follow(program: Program, path: str) -> Wire:
    wire = program.wire()
    wire.request("GET", path)
    assert wire.status() == 200
    return wire


def test_history_and_what_comes_arrive_once_and_in_order(run_program: RunProgram) -> None:
    with run_program(models(m=demo())) as program:
        program.chat("m")
        with follow(program, "/logs/stream") as everything:
            text = everything.read_to(b"POST /v1/chat/completions")  # which is told a moment after the answer
            assert text.startswith(b"[INFO] llamaswap ")
            with follow(program, "/logs/stream?no-history") as new:
                program.get("/marker")
                assert b"POST" not in new.read_to(b"GET /marker")
            program.get("/second")
            text += everything.read_to(b"GET /second")
        assert text.count(b"GET /marker") == 1
        assert text.index(b"m: starting") < text.index(b"m: ready") < text.index(b"GET /marker")


def test_each_stream_holds_its_own_source(run_program: RunProgram) -> None:
    groups = {"all": {"swap": False, "members": ["a", "b/c"]}}
    entries = {"a": talker("say(b'this is a\\n')"), "b/c": {**talker("say(b'this is b\\n')"), "aliases": ["bee"]}}
    with run_program({"models": entries, "groups": groups}) as program:
        load(program, "a")
        load(program, "b/c")
        for path, own, others in (
            ("/logs/stream/a", b"this is a\n", b"this is b"),
            ("/logs/stream/b/c", b"this is b\n", b"this is a"),
            ("/logs/stream/b%2Fc", b"this is b\n", b"this is a"),
            ("/logs/stream/bee", b"this is b\n", b"this is a"),
            ("/logs/stream/proxy", b"b/c: ready", b"this is"),
            ("/logs/stream/upstream", b"this is b\n", b"[INFO]"),
        ):
            with follow(program, path) as wire:
                assert others not in wire.read_to(own)
        refused = program.get("/logs/stream/none")
        assert (refused.status, refused.message) == (400, "invalid logger. Use 'proxy', 'upstream' or a model's ID")


def test_the_head_of_a_silent_stream_comes_at_once(run_program: RunProgram) -> None:
    with run_program(models(m=demo())) as program, program.wire() as wire:
        wire.request("GET", "/logs/stream/m")
        head = wire.head().lower()
        assert head.startswith("http/1.1 200 ")
        for line in ("content-type: text/plain", "transfer-encoding: chunked", "x-accel-buffering: no", "nosniff"):
            assert line in head
        assert program.states() == {}  # reading a log loads nothing


def test_logs_is_the_history_for_programs_and_a_page_for_people(run_program: RunProgram) -> None:
    with run_program(models(m=demo())) as program:
        reply = program.get("/logs")
        assert reply.headers.get_content_type() == "text/plain"
        assert "listening on" in reply.text
        assert program.get("/logs", accept="text/html").headers["Location"] == "/ui/"


@pytest.mark.parametrize(
    ("shown", "has_proxy", "has_upstream"),
    [("proxy", True, False), ("upstream", False, True), ("both", True, True), ("none", False, False)],
)
def test_log_to_stdout_decides_what_is_shown(
    run_program: RunProgram, shown: str, has_proxy: bool, has_upstream: bool
) -> None:
    with run_program({**models(m=talker("say(b'from the model\\n')")), "logToStdout": shown}) as program:
        load(program, "m")
        with follow(program, "/logs/stream/m") as wire:
            wire.read_to(b"from the model\n")

        def has() -> tuple[bool, bool]:
            history = program.get("/logs").text
            return "m: starting" in history, "from the model" in history

        wait_until(lambda: has() == (has_proxy, has_upstream), "what is shown is kept")
        program.signal(15)
        assert program.wait() == 0
        assert ("m: starting" in program.stdout, "from the model" in program.stdout) == (has_proxy, has_upstream)
        assert bool(program.stdout) == (has_proxy or has_upstream)


HALVES = """
import threading
pause = threading.Event()
for number in range(30):
    say(b'half %d' % number)
    pause.wait(0.01)
    say(b' line %d\\n' % number)
"""


def whole_lines(name: str) -> list[str]:
    return [f"{name}half {number} line {number}" for number in range(30)]


def test_on_stdout_lines_of_several_models_stay_whole_and_say_whose_they_are(run_program: RunProgram) -> None:
    entries = {name: {**talker(f"{HALVES}say(b'no end')"), "unloadTimeout": 1} for name in ("a", "b")}
    groups = {"g": {"swap": False, "members": ["a", "b"]}}
    with run_program({"models": entries, "groups": groups, "logToStdout": "both"}) as program:
        load(program, "a")
        load(program, "b")
        for _ in range(20):
            program.get("/nothing")
        for name in ("a", "b"):
            with follow(program, f"/logs/stream/{name}") as wire:
                assert b"[" not in wire.read_to(b"no end")
        assert program.get("/unload").status == 200
        wait_until(lambda: program.stdout.count("] no end\n") == 2, "the last words of both are shown")
        lines = program.stdout.splitlines()
        for name in ("a", "b"):
            own = [line for line in lines if line.startswith(f"[{name}] ")]
            assert own == [*whole_lines(f"[{name}] "), f"[{name}] no end"]
        others = [line for line in lines if not line.startswith(("[a] ", "[b] "))]
        assert all(line.startswith(("[INFO] ", "[WARN] ")) for line in others)


def test_a_model_is_named_on_stdout_once_a_reload_has_brought_another_one(run_program: RunProgram) -> None:
    source = (
        "import signal\nsignal.signal(signal.SIGUSR1, lambda *_: say(b'again\\n'))\n"
        "say(b'begun\\n')\nwhile True: signal.pause()"
    )
    config = {**models(a=talker(source)), "logToStdout": "both"}
    with run_program(config) as program:
        load(program, "a")
        wait_until(lambda: "\nbegun\n" in program.stdout, "its line is shown without a name")
        config["models"] = {**config["models"], "b": talker("")}
        assert program.reload(config)["models"]["added"] == ["b"]
        [pid] = program.relatives()
        os.kill(pid, signal.SIGUSR1)
        wait_until(lambda: "\n[a] again\n" in program.stdout, "its line is shown with its name")


@pytest.mark.parametrize(
    ("shown", "has_proxy", "has_upstream"),
    [("proxy", True, False), ("upstream", False, True), ("both", True, True), ("none", False, False)],
)
def test_the_stream_without_a_name_is_of_what_is_shown_and_ends_with_the_server(
    run_program: RunProgram, shown: str, has_proxy: bool, has_upstream: bool
) -> None:
    with run_program({**models(m=talker("say(b'from the model\\n')")), "logToStdout": shown}) as program:
        with follow(program, "/logs/stream") as wire:
            load(program, "m")
            with follow(program, "/logs/stream/m") as own:
                own.read_to(b"from the model\n")
            program.signal(15)
            text = b"".join(wire.chunks())  # up to the last chunk, or it is an error
        assert program.wait() == 0
        assert (b"m: starting" in text, b"from the model" in text) == (has_proxy, has_upstream)
        assert bool(text) == (has_proxy or has_upstream)


def test_partial_lines_progress_bars_and_bytes_that_are_no_text_pass_as_they_are(run_program: RunProgram) -> None:
    source = "say(b'half')\ntime.sleep(0.05)\nsay(b' line\\r 10 %\\r 20 %\\xff\\xfe\\0\\x1b[31m')\nsay(b'\\nend')"
    with run_program({**models(m=talker(source)), "logToStdout": "both"}) as program:
        with follow(program, "/logs/stream/m") as wire:
            load(program, "m")
            assert wire.read_to(b"end") == b"half line\r 10 %\r 20 %\xff\xfe\0\x1b[31m\nend"
        wait_until(lambda: b"\xff\xfe\0\x1b[31m" in program.get("/logs").body, "it is kept among what is shown")


def test_a_reader_that_stops_reading_loses_output_and_is_told_but_the_model_never_waits(
    run_program: RunProgram,
) -> None:
    source = "for number in range(1000): say(b'%099d\\n' % number * 1000)\nsay(b'printed all of it\\n')"
    with run_program(models(m=talker(source))) as program:
        with follow(program, "/logs/stream/m") as stuck:
            before = program.resident_bytes()
            load(program, "m")
            with follow(program, "/logs/stream/m") as wire:
                wire.read_to(b"printed all of it\n")  # 100 MB
            assert program.get("/health").status == 200
            assert program.resident_bytes() - before < 20_000_000
            text = stuck.read_to(b"printed all of it\n")
        assert "bytes dropped —\n" in text.decode()
        dropped = sum(int(part.rpartition("— ")[2]) for part in text.decode().split(" bytes dropped —\n")[:-1])
        kept = sum(len(line) + 1 for line in text.decode().splitlines() if "dropped" not in line)
        assert 100_000_000 < dropped + kept < 100_100_000  # nothing is lost that was not told
        assert len(program.get("/logs/stream/none").body) < 1000


def test_a_model_that_floods_its_log_still_answers(run_program: RunProgram) -> None:
    with run_program({**models(m=demo("--log-spam", "5")), "logToStdout": "both"}) as program:
        assert all(program.post("/v1/embeddings", {"model": "m", "input": "x"}).status == 200 for _ in range(20))
        assert len(program.get("/logs").body) <= RING_BYTES


@pytest.mark.parametrize("shown", ["proxy", "both"])
def test_a_stdout_that_nobody_reads_does_not_stop_it(run_program: RunProgram, shown: str) -> None:
    read_end, write_end = os.pipe()
    config = {**models(m=demo("--log-spam", "5")), "logToStdout": shown}
    try:
        with run_program(config, stdout=write_end) as program:
            os.close(write_end)
            for _ in range(1200):  # more than a pipe holds
                assert program.get("/nothing").status == 404
            assert program.chat("m").status == 200
            assert program.states() == {"m": "ready"}
    finally:
        os.close(read_end)


def test_a_stdout_that_is_closed_does_not_stop_it(run_program: RunProgram) -> None:
    read_end, write_end = os.pipe()
    with run_program(models(m=demo()), stdout=write_end) as program:
        os.close(write_end)
        os.close(read_end)
        for _ in range(20):
            assert program.get("/nothing").status == 404
        assert program.chat("m").status == 200
        wait_until(lambda: "m: ready" in program.get("/logs").text, "it goes on logging")


def test_a_reader_that_reads_late_is_told_what_stdout_dropped(run_program: RunProgram) -> None:
    read_end, write_end = os.pipe()
    source = "for number in range(10): say(b'%099d\\n' % number * 1000)\nsay(b'printed all of it\\n')"
    with run_program({**models(m=talker(source)), "logToStdout": "upstream"}, stdout=write_end) as program:
        os.close(write_end)
        load(program, "m")
        with follow(program, "/logs/stream/m") as wire:
            wire.read_to(b"printed all of it\n")
        text = b""
        while b"printed all of it\n" not in text:
            text += os.read(read_end, 65536)
        assert "bytes dropped —\n" in text.decode()
    os.close(read_end)


def test_fifty_readers_come_and_go(run_program: RunProgram) -> None:
    with run_program(models(m=demo())) as program:
        threads, descriptors = program.thread_count(), program.descriptor_count()
        leave: list[Callable[[Wire], None]] = [Wire.close, Wire.reset]
        wires = [follow(program, "/logs/stream") for _ in range(50)]
        assert program.thread_count() >= 50
        for number, wire in enumerate(wires):
            leave[number % 2](wire)
        wait_until(lambda: program.thread_count() <= threads, "their threads have ended")
        wait_until(lambda: program.descriptor_count() <= descriptors, "their descriptors are closed")


def test_a_stream_for_http_1_0_and_head(run_program: RunProgram) -> None:
    with run_program(models(m=demo())) as program:
        with program.wire() as wire:
            wire.send(b"GET /logs/stream/proxy HTTP/1.0\r\n\r\n")
            assert "transfer-encoding" not in wire.head().lower()
            assert wire.exactly(17) == b"[INFO] llamaswap "
        head = program.ask("HEAD", "/logs/stream")
        assert (head.status, head.body) == (200, b"")


def test_a_time_stamp_stands_before_each_line(run_program: RunProgram) -> None:
    with run_program({**models(m=demo()), "logTimeFormat": "RFC3339"}) as program:
        line = program.get("/logs").text.splitlines()[0]
        stamp, _, rest = line.partition(" ")
        assert rest.startswith("[INFO] llamaswap ")
        assert stamp[10] == "T"


def test_warnings_about_the_configuration_are_told(run_program: RunProgram) -> None:
    with run_program({**models(m=demo()), "loglevel": "debug"}) as program:
        wait_until(lambda: "[WARN]" in program.stdout, "it warns")
        assert "logLevel" in program.stdout


def test_nobody_prints_the_traceback_of_a_thread(run_program: RunProgram) -> None:
    with run_program(models(m=demo())) as program:
        for _ in range(20):
            with program.wire() as wire:
                wire.request("GET", "/logs/stream")
        assert threading.active_count() < 10
        assert program.get("/health").status == 200
