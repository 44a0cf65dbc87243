"""`sendLoadingState` with the real program: what the `openai` SDK and curl make of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import RunProgram
from tests.e2e.gates import loads_until
from tests.e2e.program import DEADLINE, HELLO, Program, demo, models, python, wait_until

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    openai = pytest.importorskip("openai", reason="the openai SDK is not installed")

ON = {"sendLoadingState": True}
MESSAGES = HELLO["messages"]
SLOW = demo("--load-seconds", "2.2", "--tokens-per-second", "200")


def stream(program: Program, model: str, **more: Any) -> Iterator[Any]:
    """The deltas of a streamed chat."""
    url = f"http://127.0.0.1:{program.port}/v1"
    with (
        openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=DEADLINE) as client,
        client.chat.completions.create(model=model, messages=MESSAGES, stream=True, **more) as chunks,
    ):
        for chunk in chunks:
            assert chunk.object == "chat.completion.chunk"
            if chunk.choices:
                yield chunk.choices[0].delta


def reasoning(deltas: list[Any]) -> list[str]:
    return "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas).splitlines()


def content(deltas: list[Any]) -> str:
    return "".join(delta.content or "" for delta in deltas)


def test_the_sdk_reads_the_loading_and_then_the_answer(run_program: RunProgram) -> None:
    with run_program({**ON, **models(m=SLOW)}) as program:
        deltas = list(stream(program, "m"))
        told = reasoning(deltas)
        assert told[0] == "Loading m"
        assert told[-2].startswith("m is ready after ")
        assert 2 < float(told[-2].split()[-2]) < DEADLINE
        assert "Hello, this is m." in content(deltas)
        assert reasoning(list(stream(program, "m"))) == []  # it is ready now
        program.await_starts("m", 1)


def test_the_sdk_helper_that_adds_up_a_stream_can_do_so(run_program: RunProgram) -> None:
    url_config = {**ON, **models(m=demo("--load-seconds", "0.5"))}
    with run_program(url_config) as program:
        url = f"http://127.0.0.1:{program.port}/v1"
        with (
            openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=DEADLINE) as client,
            client.chat.completions.stream(model="m", messages=MESSAGES) as events,
        ):
            message = events.get_final_completion().choices[0].message
        assert message.role == "assistant"
        assert "Hello, this is m." in message.content


def test_what_the_process_prints_is_told(run_program: RunProgram) -> None:
    with run_program({**ON, **models(m=demo("--load-seconds", "3.5", "--progress-bar"))}) as program:
        told = reasoning(list(stream(program, "m")))
        assert len(told) > 3
        assert len(told) < 10  # calm


def test_the_place_in_the_queue_is_told(run_program: RunProgram) -> None:
    with run_program({**ON, **models(a=demo("--tokens-per-second", "200"), b=demo())}) as program:
        assert program.chat("a").status == 200
        with program.stream("a") as busy:
            assert busy.status() == 200
            waiting = stream(program, "b")
            first = next(waiting).reasoning_content
            assert first == "Place 1 in the queue for b: waiting for a: 1 request in progress\n"
            with program.stream("b") as second:
                assert second.status() == 200
                second.read_to(b"Place 2 in the queue for b")
        deltas = list(waiting)
        assert "Loading b" in reasoning(deltas) or "b is ready after" in reasoning(deltas)[-2]
        assert "Hello, this is b." in content(deltas)


def test_a_load_that_fails_is_an_error_of_the_sdk_with_its_cause(run_program: RunProgram) -> None:
    with run_program({**ON, **models(m=demo("--load-seconds", "1", "--exit-at-start", "7"), n=demo())}) as program:
        with pytest.raises(openai.APIError, match="exited with code 7") as caught:
            list(stream(program, "m"))
        assert caught.value.code == "bad_gateway"
        assert "Hello, this is n." in content(list(stream(program, "n")))


def test_a_program_that_is_not_there_is_an_ordinary_error(run_program: RunProgram) -> None:
    """Or one in the stream, where a busy machine takes longer to find that out than a client is left in silence."""
    with run_program({**ON, **models(m="/no/such/program --port ${PORT}")}) as program, program.stream("m") as wire:
        if wire.status() != 502:
            said = b"".join(wire.chunks())
            assert b"event: error" in said
            assert b"No such file or directory: '/no/such/program'" in said


def test_an_error_of_the_upstream_is_an_error_event(run_program: RunProgram) -> None:
    refusal = pytest.raises(openai.APIError, match="'max_tokens' must be an integer")
    with run_program({**ON, **models(m=demo("--load-seconds", "0.3"))}) as program, refusal:
        list(stream(program, "m", max_tokens="many"))


def test_a_client_that_hangs_up_while_it_waits_causes_no_request_to_the_model(
    run_program: RunProgram, tmp_path: Path
) -> None:
    gate = tmp_path / "loaded"
    with run_program({**ON, **models(m=loads_until(gate))}) as program:
        with program.stream("m") as wire:
            assert wire.status() == 200
            wire.read_to(b"Loading m")
        wait_until(lambda: '"POST /v1/chat/completions HTTP/1.1" 200' in program.stdout, "it is noticed")
        assert program.states() == {"m": "starting"}
        gate.touch()
        wait_until(lambda: program.states() == {"m": "ready"}, "the load ends")
        assert program.stats("m")["requests"] == 0


def test_the_end_of_the_program_ends_the_stream_properly(run_program: RunProgram) -> None:
    with (
        run_program({**ON, **models(m=python("import threading; threading.Event().wait(60)"))}) as program,
        program.stream("m") as wire,
    ):
        assert wire.status() == 200
        wire.read_to(b"Loading m")
        program.process.terminate()
        assert b"event: error\n" in b"".join(wire.chunks())
        assert program.wait() == 0


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("version", ["--http1.0", "--http1.1"])
def test_curl_shows_the_whole_of_it(run_program: RunProgram, tmp_path: Path, version: str) -> None:
    gate = tmp_path / "loaded"
    with run_program({**ON, **models(m=loads_until(gate))}) as program:
        body = json.dumps({"model": "m", "stream": True, **HELLO})
        url = f"http://127.0.0.1:{program.port}/v1/chat/completions"
        argv = ("curl", "-sSN", version, "-H", "Content-Type: application/json", "-d", body, url)
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as curl:
            assert curl.stdout is not None
            first = curl.stdout.readline()
            gate.touch()
            rest = curl.stdout.read()
            assert curl.wait(DEADLINE) == 0
        assert first.startswith(b'data: {"id":"chatcmpl-loading-')
        assert rest.endswith(b"data: [DONE]\n\n")
        assert b"m is ready after" in rest
