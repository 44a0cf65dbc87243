"""Failure is an answer: models that keep failing, and requests whose process dies under them."""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import RunProgram
from tests.e2e.gates import after, in_its_first_life
from tests.e2e.program import ROOT, Program, demo, models, python, upstream, wait_until
from tests.e2e.talk import Cut, Reply
from tests.events import EventReader

THINKS = ("--prompt-seconds", "600")
SHORT = {"max_tokens": 3, "ignore_eos": True}


def kill_model(program: Program) -> None:
    [pid] = program.relatives()
    os.kill(pid, signal.SIGKILL)


def load(program: Program) -> None:
    assert program.post("/api/models/load/a", {}).status == 200


def ask_at_once(pool: ThreadPoolExecutor, program: Program, count: int) -> list[Future[Reply]]:
    """So many requests, of which the model has heard when this returns."""
    futures = [pool.submit(program.chat, "a", **SHORT) for _ in range(count)]
    program.await_stats("a", in_progress=count)
    return futures


# -- dying while serving --


def test_twenty_clients_of_a_model_that_is_killed_are_answered_by_the_next_one(
    run_program: RunProgram, tmp_path: Path
) -> None:
    command = in_its_first_life(tmp_path / "has-lived", *THINKS)
    with run_program(models(a=command)) as program, ThreadPoolExecutor(20) as pool:
        load(program)
        first = program.run_ids()["a"]
        futures = ask_at_once(pool, program, 20)
        kill_model(program)
        assert [future.result().status for future in futures] == [200] * 20
        assert program.run_ids()["a"] > first
        program.await_starts("a", 2)


def test_answers_that_have_had_bytes_break_off_and_those_that_have_not_go_on(
    run_program: RunProgram, tmp_path: Path
) -> None:
    flags = ("--tokens-per-second", "0.001")  # the first token of a stream comes at once, and a whole answer never
    with run_program(models(a=in_its_first_life(tmp_path / "has-lived", *flags))) as program:
        begun = [program.stream("a") for _ in range(3)]
        for wire in begun:
            wire.read_head_and_first_chunk()
        waiting = [program.stream("a", stream=False, max_tokens=5) for _ in range(3)]
        program.await_stats("a", in_progress=6)
        kill_model(program)
        for wire in begun:
            with pytest.raises(Cut):
                list(wire.chunks())
        for wire in waiting:
            status, body = wire.answer()
            assert (status, json.loads(body)["usage"]["completion_tokens"]) == (200, 5)
        for wire in (*begun, *waiting):
            wire.close()
        program.await_starts("a", 2)


def test_no_request_notices_that_the_model_has_just_been_killed(run_program: RunProgram) -> None:
    """Between the kill and the news of it the gate is open, and nobody listens behind it."""
    with run_program(models(a=demo("--quiet"))) as program:
        assert program.chat("a", **SHORT).status == 200
        kill_model(program)
        assert [program.chat("a", **SHORT).status for _ in range(5)] == [200] * 5
        program.await_starts("a", 2)


def test_a_large_body_is_sent_again_whole(run_program: RunProgram, tmp_path: Path) -> None:
    command = in_its_first_life(tmp_path / "has-lived", *THINKS)
    with run_program(models(a=command)) as program, ThreadPoolExecutor() as pool:
        load(program)
        text = "word " * 600_000
        body = {"model": "a", **SHORT, "messages": [{"role": "user", "content": text}]}
        future = pool.submit(program.post, "/v1/chat/completions", body)
        program.await_stats("a", in_progress=1)
        kill_model(program)
        answer = future.result()
        assert answer.status == 200
        assert answer.json()["usage"]["prompt_tokens"] >= 600_000


def test_a_request_that_kills_the_model_is_tried_once_more_and_no_oftener(run_program: RunProgram) -> None:
    with run_program(models(a=demo("--crash-after", "0"), b=demo())) as program:
        refused = program.chat("a")
        assert (refused.status, refused.json()["error"]["code"]) == (502, "bad_gateway")
        assert "the server of a did not answer" in refused.message
        program.await_starts("a", 2)
        assert program.chat("b").status == 200


def test_a_model_that_hangs_up_but_lives_is_left_alone(run_program: RunProgram) -> None:
    with run_program(models(a=upstream())) as program:
        refused = program.get("/upstream/a/odd/nothing")
        assert refused.status == 502
        assert "it closed the connection without an answer" in refused.message
        assert program.get("/upstream/a/echo").status == 200
        program.await_starts("a", 1)


def test_requests_wait_until_the_children_of_a_dead_leader_have_ended(run_program: RunProgram, tmp_path: Path) -> None:
    command = in_its_first_life(tmp_path / "has-lived", "--grandchild-ignores-sigterm", *THINKS)
    with run_program(models(a={"cmd": command, "unloadTimeout": 600})) as program, ThreadPoolExecutor() as pool:
        load(program)
        wait_until(lambda: len(program.relatives()) == 2, "its child is there")
        futures = ask_at_once(pool, program, 5)
        leader = program.stats("a")["pid"]
        [child] = program.relatives().keys() - {leader}
        os.kill(leader, signal.SIGKILL)
        wait_until(lambda: program.states() == {"a": "stopping"}, "it is noticed")
        futures.append(pool.submit(program.chat, "a", **SHORT))
        wait_until(lambda: len(program.queue()) == 6, "all of them wait")
        program.await_starts("a", 1)
        os.kill(child, signal.SIGKILL)
        assert [future.result().status for future in futures] == [200] * 6
        program.await_starts("a", 2)


def test_a_request_that_an_unload_broke_off_does_not_load_the_model_again(run_program: RunProgram) -> None:
    entry = {"cmd": demo("--prompt-seconds", "60", "--quiet"), "unloadTimeout": 1}
    with run_program(models(a=entry)) as program, ThreadPoolExecutor() as pool:
        [future] = ask_at_once(pool, program, 1)
        assert program.get("/unload").status == 200
        assert future.result().status == 502
        assert program.states() == {}
        program.await_starts("a", 1)


# -- keeping on failing --


def test_a_model_that_does_not_load_is_not_tried_again_for_a_while(run_program: RunProgram) -> None:
    with run_program(models(a=demo("--exit-at-start", "3"), b=demo())) as program:
        first = program.chat("a")
        assert (first.status, first.headers["Retry-After"]) == (502, "1")
        assert first.message.startswith("model a could not be loaded: exited with code 3\n")
        wait_until(lambda: program.chat("a").headers["Retry-After"] == "2", "it is tried again")
        program.await_starts("a", 2)
        wait_until(lambda: program.chat("a").json()["error"]["retry_in"] > 3, "it is tried a third time")
        refused = program.chat("a")
        assert refused.headers["Retry-After"] == "2"  # and not 4: many clients would wait for it in silence
        assert refused.headers["x-should-retry"] == "false"
        assert refused.json()["error"]["retry_in"] <= 4
        assert "keeps failing to load: exited with code 3; next try in " in refused.message
        assert "error: told to fail at the start" in refused.message
        assert program.chat("b").status == 200


def test_loading_by_hand_tries_at_once_and_so_does_a_request_after_an_unload(run_program: RunProgram) -> None:
    with run_program(models(a=demo("--exit-at-start", "3"))) as program:
        for starts in range(1, 4):
            refused = program.post("/api/models/load/a", {})
            assert (refused.status, refused.headers["Retry-After"]) == (502, "1")
            program.await_starts("a", starts)
        assert program.post("/api/models/unload/a", {}).status == 200
        assert program.chat("a").status == 502
        program.await_starts("a", 4)


def test_a_model_that_is_mended_is_loaded_when_its_time_has_come(run_program: RunProgram) -> None:
    source = (
        "import os, sys, runpy; os.path.exists('mended') or sys.exit('not yet');"
        " sys.argv[1:1] = ['--port']; runpy.run_path(os.environ['DEMO'], run_name='__main__')"
    )
    entry = {"cmd": python(source), "env": [f"DEMO={ROOT / 'llamaswap_lib' / 'demo'}"]}
    with run_program(models(a=entry)) as program:
        assert "not yet" in program.chat("a").message
        (program.folder / "mended").touch()
        wait_until(lambda: program.chat("a", **SHORT).status == 200, "it is tried again")
        program.await_starts("a", 2)


def test_a_model_that_dies_again_and_again_as_soon_as_it_serves_backs_off(run_program: RunProgram) -> None:
    with run_program(models(a=demo("--crash-after", "0"), b=demo())) as program:
        assert program.chat("a").status == 502  # two lives
        said: list[str] = []

        def is_refused() -> bool:
            refused = program.chat("a")
            assert refused.status == 502
            said.append(refused.message)
            return refused.message.startswith("model a keeps dying: killed by SIGKILL ")

        wait_until(is_refused, "it is not tried")
        # What it said last may be read a moment after it is known to be dead.
        wait_until(lambda: is_refused() and re.search(r"; next try in \d+ s\n", said[-1]) is not None, "its words")
        wait_until(lambda: "[ERROR] a: keeps dying, not tried again for " in program.stdout, "it is told")
        assert program.chat("b").status == 200


def test_a_model_that_dies_while_loading_by_a_signal_says_which_and_what_it_said_last(run_program: RunProgram) -> None:
    source = "import os; print('\\n'.join(f'line {n}' for n in range(40)), flush=True); os.kill(os.getpid(), 6)"
    with run_program(models(a=python(source))) as program:
        refused = program.chat("a")
        assert refused.message.startswith("model a could not be loaded: killed by SIGABRT\nline 20\n")
        assert refused.message.endswith("line 39")
        below = "".join(f"    | line {number}\n" for number in range(20, 40))
        told = '[WARN] "POST /v1/chat/completions" for a: 502, model a could not be loaded: killed by SIGABRT\n'
        wait_until(lambda: told + below in program.stdout, "the log says why")


def test_a_load_that_fails_quotes_its_own_run_only_and_nothing_where_nothing_was_started(
    run_program: RunProgram, tmp_path: Path
) -> None:
    """Also where other requests ask before it is tried again."""
    program_file = tmp_path / "server"
    program_file.write_text(f'#!/bin/sh\necho all is well in run one\nexec {demo()} "$@"\n'.replace("${PORT}", "$1"))
    program_file.chmod(0o755)
    with run_program(models(a=f"{program_file} ${{PORT}}", b=demo())) as program:
        assert program.chat("a", **SHORT).status == 200
        program_file.write_text("#!/bin/sh\necho broken in run two\nexit 3\n")
        program.get("/unload")
        refused = program.chat("a")
        assert refused.message == "model a could not be loaded: exited with code 3\nbroken in run two"
        program.get("/unload")
        program_file.unlink()
        for _ in range(2):
            message = program.chat("a").message
            assert "No such file" in message
            assert "\n" not in message
        assert program.chat("b", **SHORT).status == 200
        refused = program.post("/api/models/load/a", {})  # it would have to go for it, and stays
        assert "\n" not in refused.message
        assert program.states() == {"b": "ready"}


def test_of_many_that_wait_for_a_load_that_fails_each_is_told_and_the_log_quotes_it_once(
    run_program: RunProgram, tmp_path: Path
) -> None:
    says = python("print('x' * 100_000 + '\\nthe end'); raise SystemExit(4)")
    gate = tmp_path / "all-wait"
    with run_program(models(a=after(gate, f"exec {says}"))) as program, ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(program.chat, "a") for _ in range(20)]
        wait_until(lambda: len(program.queue()) == 20, "all of them wait")
        gate.touch()
        for reply in (each.result() for each in asked):
            assert (reply.status, reply.message.splitlines()[-1]) == (502, "the end")
            assert len(reply.text) <= 16_384
            assert reply.message.splitlines()[1].startswith("…x")
        wait_until(lambda: program.stdout.count('" 502 ') == 20, "all are logged")
        wait_until(lambda: program.stdout.count('[WARN] "POST ') == 20, "and why")
        assert program.stdout.count("    | the end\n") == 1


def test_of_a_preload_that_fails_the_log_has_the_last_words(run_program: RunProgram) -> None:
    config = {
        **models(a=python("print('no such file', flush=True); raise SystemExit(4)")),
        "hooks": {"on_startup": {"preload": ["a"]}},
    }
    with run_program(config) as program:
        told = "[ERROR] a: could not be loaded: exited with code 4; not tried again for 1 s\n    | no such file\n"
        wait_until(lambda: told in program.stdout, "it is told")


@pytest.mark.slow
def test_a_models_own_health_timeout_counts_and_its_last_health_answer_is_told(run_program: RunProgram) -> None:
    entry = {"cmd": demo("--health-status", "418"), "healthCheckTimeout": 15}
    with run_program({**models(a=entry), "healthCheckTimeout": 600}) as program:
        refused = program.chat("a")
        assert refused.status == 502
        assert "not ready after 15 s; last health answer: 418" in refused.message
        assert program.states() in ({}, {"a": "stopping"})


def test_a_body_in_a_coding_that_is_not_understood_is_415(run_program: RunProgram) -> None:
    with run_program(models(a=demo())) as program:
        body = gzip.compress(b'{"model": "a", "messages": []}')
        refused = program.ask(
            "POST", "/v1/chat/completions", body, content_type="application/json", content_encoding="br"
        )
        assert (refused.status, refused.json()["error"]["code"]) == (415, "unsupported_media_type")
        assert refused.message.startswith("the Content-Encoding 'br' is not understood; send the body without one, or")
        assert refused.headers["x-should-retry"] == "false"
        assert str(refused.headers["accept-encoding"]).startswith("gzip, deflate")


# -- how it is shown --


def shown(program: Program, model: str) -> tuple[dict[str, Any] | None, ...]:
    """What the list of models, the entry of one, and the queue say of its failing; they agree."""
    [listed] = [entry for entry in program.get("/v1/models").json()["data"] if entry["id"] == model]
    alone = program.get(f"/v1/models/{model}").json()
    rows = {row.pop("model"): row for row in program.get("/api/queue").json()["failures"]}
    return *(entry["meta"]["llamaswap"].get("failure") for entry in (listed, alone)), rows.get(model)


def tries_of(program: Program, model: str) -> int:
    failure = shown(program, model)[0]
    return failure["tries"] if failure else 0


def test_a_model_that_fails_is_shown_to_fail_until_it_is_unloaded(run_program: RunProgram) -> None:
    with run_program(models(a=demo("--exit-at-start", "3"), b=demo())) as program, program.wire() as wire:
        wire.request("GET", "/api/events")
        assert wire.status() == 200
        events = EventReader(wire.chunk)
        assert not any("failure" in row for row in events.next_of("modelStatus"))
        assert shown(program, "a") == (None, None, None)
        for tries in (1, 2):
            assert program.post("/api/models/load/b", {}).status == 200
            wait_until(lambda: program.chat("a").status == 502 and tries_of(program, "a") == tries, "it is tried")  # noqa: B023
            for failure in shown(program, "a"):
                assert failure is not None
                assert failure["message"].endswith("to load: exited with code 3" if tries > 1 else "exited with code 3")
                assert failure["tries"] == tries
                assert 0 <= failure["retry_in"] <= tries
                assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", failure["since"])
            assert shown(program, "b") == (None, None, None)
        told = next(row["failure"] for row in iter_rows(events, "a") if row.get("failure", {}).get("tries") == 2)
        assert told["since"] == shown(program, "a")[0]["since"]  # type: ignore[index]
        assert program.post("/api/models/unload/a", {}).status == 200
        assert shown(program, "a") == (None, None, None)
        assert next(row for row in iter_rows(events, "a") if "failure" not in row)["state"] == "stopped"


def iter_rows(events: EventReader, model: str) -> Iterator[dict[str, Any]]:
    while True:
        yield from (row for row in events.next_of("modelStatus") if row["id"] == model)


def test_a_model_that_was_mended_is_not_shown_to_fail_any_more(run_program: RunProgram, tmp_path: Path) -> None:
    mark = tmp_path / "mended"
    command = f"sh -c {shlex.quote(f'[ -e {mark} ] || exit 7; exec {demo()}')}"
    with run_program(models(a=command)) as program:
        assert program.chat("a").status == 502
        assert all(shown(program, "a"))
        mark.touch()
        wait_until(lambda: program.chat("a").status == 200, "it is tried again")
        assert shown(program, "a") == (None, None, None)
