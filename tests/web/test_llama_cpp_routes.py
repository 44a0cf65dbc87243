"""Routes of llama.cpp's server that carry a model, or none: its clients have one server with one model in mind."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.web.test_routes import LLAMA_CPP_PATHS
from tests.web.world import CHAT_BODY, OK, Peer, Running, World, answers, get, length_of, sized

MODELS = """
models:
  m: {cmd: server, proxy: PROXY}
  other: {cmd: server, proxy: PROXY}
"""
READY, LOADING, LEAVING = "ready", "starting", "stopping"


def says_line(peer: Peer) -> None:
    """A script: each answer is the line of its request."""
    while not peer.has_hung_up():
        line = peer.read_until(b"\r\n")
        peer.read(length_of(peer.read_until(b"\r\n\r\n")))
        peer.send(sized(line))


def running(*states: tuple[str, str]) -> list[Running]:
    return [Running(model, number, state) for number, (model, state) in enumerate(states, 1)]


def post(path: str, content_type: str, body: bytes) -> bytes:
    fields = f"Host: x\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
    return f"POST {path} HTTP/1.1\r\n{fields}\r\n".encode() + body


def error_of(body: bytes) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(body)["error"]
    return told


@pytest.mark.parametrize("path", LLAMA_CPP_PATHS)
def test_a_model_in_the_body_gets_the_request_under_the_path_that_was_asked_for(path: str) -> None:
    request = post(f"{path}?x=%20", "application/json", CHAT_BODY)
    with World(says_line) as world, world.connect() as client:
        for _ in range(3):  # heads that are like the one before are not read anew
            client.send(request)
            assert client.read_message()[1] == f"POST {path}?x=%20 HTTP/1.1\r\n".encode()
        assert world.controller.leased == ["m"] * 3


@pytest.mark.parametrize("path", ["/v1/audio/translations", "/audio/transcriptions", "/v1/images/variations"])
def test_a_model_in_a_form_gets_it_too(path: str) -> None:
    form = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--b--\r\n'
    with World(says_line) as world:
        assert world.ask(post(path, "multipart/form-data; boundary=b", form))[1] == f"POST {path} HTTP/1.1\r\n".encode()


@pytest.mark.parametrize("path", ["/slots", "/props", "/lora-adapters", "/metrics"])
def test_a_model_in_the_query_gets_the_request(path: str) -> None:
    with World(says_line) as world, world.connect() as client:
        for _ in range(2):
            client.send(get(f"{path}?x=1&model=al"))
            assert client.read_message()[1] == f"GET {path}?x=1&model=al HTTP/1.1\r\n".encode()
        assert world.controller.leased == ["m"] * 2


@pytest.mark.parametrize("path", ["/slots", "/props", "/lora-adapters", "/metrics"])
def test_an_unknown_model_in_the_query_is_not_found(path: str) -> None:
    with World(answers(OK)) as world:
        world.controller.running = running(("m", READY))
        head, body = world.ask(get(f"{path}?model=none"))
        assert head.startswith(b"HTTP/1.1 404 ")
        assert error_of(body)["message"].startswith("model not found: 'none'")


@pytest.mark.parametrize("query", ["", "?model="])
def test_metrics_without_a_model_are_our_own(query: str) -> None:
    with World(answers(OK)) as world:
        world.controller.running = running(("m", READY))
        head, body = world.ask(get(f"/metrics{query}"))
        assert head[9:12] == b"200"
        assert b'llamaswap_model_state{model="m",state="ready"} 1' in body
        assert world.controller.leased == []


@pytest.mark.parametrize("query", ["", "?", "?model=", "?x=1"])
@pytest.mark.parametrize("path", ["/slots", "/props"])
@pytest.mark.parametrize(
    "states", [[("m", READY)], [("other", LEAVING), ("m", READY)], [("gone", READY), ("m", READY)]]
)
def test_without_a_model_the_only_one_that_runs_answers(states: list[tuple[str, str]], path: str, query: str) -> None:
    with World(says_line, config=MODELS) as world, world.connect() as client:
        world.controller.running = running(*states)
        for _ in range(2):
            client.send(get(path + query))
            assert client.read_message()[1] == f"GET {path}{query} HTTP/1.1\r\n".encode()
        assert world.controller.leased == []  # so it is not loaded for that, nor kept


def test_without_a_model_head_works_as_get_does() -> None:
    with World(says_line, config=MODELS) as world, world.connect() as client:
        world.controller.running = running(("m", READY))
        client.send(get("/slots", method="HEAD"))
        assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("path", ["/slots", "/props"])
@pytest.mark.parametrize(
    ("states", "which"),
    [
        ([], "no model runs"),
        ([("m", LEAVING)], "no model runs"),
        ([("m", READY), ("other", READY)], "2 models run (m, other)"),
        ([("m", READY), ("other", LOADING)], "2 models run (m, other)"),
    ],
)
def test_without_a_model_and_with_none_or_several_the_error_says_what_to_do(
    states: list[tuple[str, str]], which: str, path: str
) -> None:
    with World(answers(OK), config=MODELS) as world:
        world.controller.running = running(*states)
        head, body = world.ask(get(path))
        assert head.startswith(b"HTTP/1.1 404 ")
        message = f"no model id could be identified: {which}; say which one with ?model=NAME"
        assert error_of(body)["message"] == message


def test_of_many_models_that_run_some_are_named() -> None:
    names = [f"m{number}" for number in range(9)]
    config = "models:\n" + "".join(f"  {name}: {{cmd: server, proxy: PROXY}}\n" for name in names)
    with World(answers(OK), config=config) as world:
        world.controller.running = running(*((name, READY) for name in names))
        assert "9 models run (m0, m1, m2, m3, m4, ...)" in error_of(world.ask(get("/slots"))[1])["message"]


def test_without_a_model_nobody_waits_for_the_one_that_loads() -> None:
    with World(answers(OK), config=MODELS) as world:
        world.controller.running = running(("m", LOADING))
        head, body = world.ask(get("/props"))
        assert head.startswith(b"HTTP/1.1 409 ")
        assert error_of(body)["message"].startswith("model m is not ready")


def test_health_has_a_second_name() -> None:
    with World(answers(OK), config=f"apiKeys: [k]{MODELS}") as world:
        assert world.ask(get("/v1/health"))[1] == b"OK"


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PROPFIND"])
@pytest.mark.parametrize("path", ["/v1/nope", "/v1/", "/v1/models/", "/v1/responses/resp_1", "/v1/files/a%22<b>"])
def test_an_unknown_path_below_v1_is_an_error_as_sdks_read_it(method: str, path: str) -> None:
    with World(answers(OK)) as world:
        head, body = world.ask(get(path, method=method))
        assert head.startswith(b"HTTP/1.1 404 ")
        assert b"\r\nContent-Type: application/json\r\n" in head
        told = error_of(body)
        assert told["message"] == f"there is no such route: {method} {path}"
        assert (told["type"], told["code"], told["param"]) == ("invalid_request_error", "not_found", None)


def test_such_an_error_comes_in_the_form_that_is_accepted_and_is_bounded() -> None:
    with World(answers(OK)) as world:
        path = "/v1/<x>" + "y" * 60_000
        head, body = world.ask(get(path, extra=b"Accept: text/html\r\n"))
        assert b"\r\nContent-Type: text/html" in head
        assert b"/v1/&lt;x&gt;yyy" in body
        assert len(body) < 1000
        assert world.ask(get("/v1/x", extra=b"Accept: text/plain\r\n"))[1].startswith(b"llama-swap: there is no")


@pytest.mark.parametrize("path", ["/v1", "/v2/x", "/nope", "/api/nope", "/x/v1/y"])
def test_any_other_unknown_path_is_told_in_plain_text(path: str) -> None:
    with World(answers(OK)) as world:
        assert world.ask(get(path))[1] == b"404 page not found\n"
