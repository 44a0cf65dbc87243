"""What the SDKs make of refusals: the right exception, another try where it helps, and keys the way each sends them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e.conftest import RunProgram
from tests.e2e.program import ENDLESS, Program, demo, models, wait_until
from tests.e2e.sdks import MESSAGES, anthropic, anthropic_client, openai, openai_client


def ask(client: Any, model: str, **more: Any) -> str:
    """A short chat; what it says."""
    if isinstance(client, openai.OpenAI):
        completion = client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=5, **more)
        return str(completion.choices[0].message.content)
    return str(client.messages.create(model=model, messages=MESSAGES, max_tokens=5, **more).content[0].text)


@contextmanager
def both(program: Program, **options: Any) -> Iterator[list[tuple[Any, Any]]]:
    """Each SDK with a client of its."""
    with openai_client(program.port, **options) as one, anthropic_client(program.port, **options) as other:
        yield [(openai, one), (anthropic, other)]


def test_a_client_without_a_place_is_told_and_gets_one_by_trying_again(run_program: RunProgram) -> None:
    entry = {"cmd": demo("--tokens-per-second", "200"), "concurrencyLimit": 1}
    with run_program(models(m=entry)) as program, program.stream("m") as stream, ThreadPoolExecutor() as pool:
        stream.read_head_and_first_chunk()
        with both(program) as clients:
            for sdk, client in clients:
                with pytest.raises(sdk.RateLimitError) as caught:
                    ask(client, "m")
                assert caught.value.response.headers["Retry-After"] == "1"
        with both(program, retries=9) as clients:
            begun = time.monotonic()
            answers = [pool.submit(ask, client, "m") for _, client in clients]
            wait_until(lambda: program.stdout.count('" 429 ') >= 4, "both were refused")
            stream.close()
            assert all(answer.result() for answer in answers)
        tries = 1 + int(time.monotonic() - begun)  # of each: it waits as long as it is told, which is a second
        assert program.stdout.count('" 429 ') <= 2 + 2 * tries


def test_a_load_that_fails_is_shown_at_once_though_the_client_would_try_again(run_program: RunProgram) -> None:
    with run_program(models(openai=demo("--exit-at-start", "7"), anthropic="/no/such/program ${PORT}")) as program:
        with both(program, retries=9) as clients:
            for sdk, client in clients:
                with pytest.raises(sdk.InternalServerError, match="could not be loaded") as caught:
                    ask(client, sdk.__name__)
                assert caught.value.response.headers["x-should-retry"] == "false"
        wait_until(lambda: program.stdout.count('" 502 ') >= 2, "both are logged")
        assert program.stdout.count('" 502 ') == 2


def test_a_model_that_does_not_load_is_a_server_error_that_says_why(run_program: RunProgram) -> None:
    with run_program(models(m=demo("--exit-at-start", "7"))) as program, both(program) as clients:
        for sdk, client in clients:
            with pytest.raises(sdk.InternalServerError, match="told to fail at the start") as caught:
                ask(client, "m")
            assert caught.value.status_code == 502


def test_a_stream_whose_model_dies_is_an_error_and_never_a_short_answer(run_program: RunProgram) -> None:
    config = models(m=demo("--cut-stream-after", "3"))
    with run_program(config) as program, both(program) as ((_, one), (_, other)):
        stream = one.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        with pytest.raises(Exception, match=r"Connection error|peer closed connection"):
            list(stream)
        stream = other.messages.create(model="m", messages=MESSAGES, max_tokens=50, stream=True)
        with pytest.raises(Exception, match=r"Connection error|peer closed connection"):
            list(stream)


def test_a_client_whose_time_is_over_leaves_and_asks_once_more(run_program: RunProgram) -> None:
    with run_program(models(m=demo("--prompt-seconds", "60"))) as program, ThreadPoolExecutor() as pool:
        assert program.post("/api/models/load/m", {}).status == 200
        with both(program, retries=1, timeout=0.3) as clients:
            answers = [pool.submit(ask, client, "m") for _, client in clients]
            for (sdk, _), answer in zip(clients, answers, strict=True):
                with pytest.raises(sdk.APITimeoutError):
                    answer.result()
        wait_until(lambda: program.stdout.count('Request 127.0.0.1 "POST /v1/') == 4, "each has asked twice")
        program.await_stats("m", in_progress=0)


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    config = {**models(m=demo(), echo=demo()), "apiKeys": ["sk-first", "sk-second"]}
    groups = {"all": {"swap": False, "members": ["m", "echo"]}}
    with Program(tmp_path_factory.mktemp("keys"), {**config, "groups": groups}) as running:
        yield running


def test_the_key_is_known_however_the_sdk_sends_it(locked: Program) -> None:
    for key in ("sk-first", "sk-second"):
        with both(locked, key=key) as clients:
            assert all(ask(client, "m") for _, client in clients)


def test_a_wrong_key_is_an_authentication_error_and_not_tried_again(locked: Program) -> None:
    before = locked.stdout.count('" 401 ')
    with both(locked, key="sk-firs", retries=2) as clients:
        for sdk, client in clients:
            with pytest.raises(sdk.AuthenticationError) as caught:
                ask(client, "m")
            assert caught.value.response.headers["WWW-Authenticate"] == 'Basic realm="llama-swap"'
    wait_until(lambda: locked.stdout.count('" 401 ') == before + 2, "each is told once")


def test_the_anthropic_sdk_may_bring_its_key_as_a_token(locked: Program) -> None:
    url = f"http://127.0.0.1:{locked.port}"
    with anthropic.Anthropic(base_url=url, auth_token="sk-second", api_key=None, max_retries=0) as client:
        assert ask(client, "m")


def test_lists_need_the_key_too(locked: Program) -> None:
    with openai_client(locked.port, key="sk-first") as client:
        assert [model.id for model in client.models.list()] == ["echo", "m"]
    with openai_client(locked.port) as client, pytest.raises(openai.AuthenticationError):
        client.models.list()


def test_an_endless_stream_without_a_key_never_reaches_the_model(locked: Program) -> None:
    assert locked.post("/v1/chat/completions", {"model": "echo", **ENDLESS}).status == 401
    assert "echo" not in locked.get("/running", authorization="Bearer sk-first").text
