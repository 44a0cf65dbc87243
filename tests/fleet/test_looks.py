"""What a look asks, and what it makes of the answers."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import closing

import pytest

from llamaswap_lib.config.sections import Peer
from llamaswap_lib.errors import BadGateway
from llamaswap_lib.fleet.looks import LookFailed, Seen, fields_of, look_at
from llamaswap_lib.fleet.states import LLAMASWAP, OTHER, ModelThere
from llamaswap_lib.proxy.asking import Answer, BadAnswer, ask
from llamaswap_lib.runtime.forward_proxies import NO_PROXIES
from tests.fleet.boxes import Box
from tests.web.world import DEADLINE, Upstream, sized

RUNNING = {
    "running": [
        {"model": "a", "state": "ready", "in_flight": 3, "waiting": 1, "cmd": "x"},
        {"model": "b", "state": "starting", "ttl": 60},
        {"model": "asleep", "state": "stopped"},
        {"model": "elsewhere", "state": "ready", "peer": "its own"},
        {"model": 7, "state": "ready"},
        {"state": "ready"},
        {"model": "odd", "state": "ready", "in_flight": "many", "waiting": -1},
        "no row",
    ]
}


class Server:
    """Answers by path; 404 otherwise. What was asked is remembered."""

    def __init__(self, answers: Mapping[str, Answer | Exception]) -> None:
        self._answers = answers
        self.asked: list[str] = []

    def __call__(self, path: str) -> Answer:
        self.asked.append(path)
        answer = self._answers.get(path, Answer(404, b"404 page not found"))
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_a_llamaswap_says_what_runs_there_but_not_at_its_peers() -> None:
    server = Server({"/running": Answer(200, json.dumps(RUNNING).encode())})
    there = {"a": ModelThere("ready", 3, 1), "b": ModelThere("starting", 0, 0, 60), "odd": ModelThere("ready", 0, 0)}
    assert look_at("", server) == Seen(LLAMASWAP, there)
    assert server.asked == ["/running"]


@pytest.mark.parametrize(
    ("answers", "asked"),
    [
        ({"/health": Answer(200, b"")}, ["/running", "/health"]),
        ({"/v1/models": Answer(200, b"{}")}, ["/running", "/health", "/v1/models"]),
        ({"/running": Answer(200, b"<html>"), "/health": Answer(204, b"")}, ["/running", "/health"]),
        ({"/running": Answer(200, b"[" * 100_000), "/health": Answer(200, b"")}, ["/running", "/health"]),
        ({"/running": Answer(200, b'{"running": 3}'), "/health": Answer(429, b"")}, ["/running", "/health"]),
    ],
)
def test_another_server_is_asked_whether_it_is_well(answers: dict[str, Answer], asked: list[str]) -> None:
    server = Server(answers)
    assert look_at("", server) == Seen(OTHER, {})
    assert server.asked == asked


def test_what_is_known_to_be_no_llamaswap_is_not_asked_what_runs() -> None:
    server = Server({"/health": Answer(200, b"")})
    look_at(OTHER, server)
    assert server.asked == ["/health"]


@pytest.mark.parametrize(
    ("kind", "answers", "why"),
    [
        ("", {"/running": ConnectionRefusedError(111, "Connection refused")}, "connection refused"),
        ("", {"/running": TimeoutError()}, "it did not answer within 5 s"),
        ("", {"/running": BadAnswer("its answer broke off")}, "its answer broke off"),
        ("", {"/running": BadGateway("no address")}, "no address"),
        ("", {"/running": Answer(401, b"")}, "it refuses our key: /running is answered with 401"),
        (OTHER, {"/health": Answer(403, b"")}, "it refuses our key: /health is answered with 403"),
        (OTHER, {"/health": Answer(503, b"")}, "/health is answered with 503"),
        (
            OTHER,
            {"/health": Answer(508, b"")},
            "its address leads back to this llamaswap: /health is answered with 508",
        ),
        (OTHER, {}, "/v1/models is answered with 404"),
        (LLAMASWAP, {"/running": Answer(502, b"")}, "/running is answered with 502"),
        (LLAMASWAP, {"/running": Answer(200, b"{}")}, "/running is not answered as a llamaswap does"),
        (LLAMASWAP, {"/running": Answer(404, b""), "/health": Answer(200, b"")}, "/running is answered with 404"),
    ],
)
def test_a_look_that_fails_says_why(kind: str, answers: dict[str, Answer | Exception], why: str) -> None:
    with pytest.raises(LookFailed) as failed:
        look_at(kind, Server(answers))
    assert str(failed.value) == why


def test_a_peer_is_shown_its_key_and_who_asks() -> None:
    assert fields_of(Peer(proxy="http://h", models=("m",))) == ""
    key = "Authorization: Bearer s\xc3\xa9k\r\nx-api-key: s\xc3\xa9k\r\n"
    assert fields_of(Peer("http://h", ("m",), " sék ")) == key
    assert fields_of(Peer("http://h", ("m",), " sék "), "1.1 us") == f"Via: 1.1 us\r\n{key}"


def test_an_answer_may_come_behind_others_that_are_none_yet() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    upstream = Upstream(Box(running=early + early + sized(b'{"running": []}')))
    with closing(upstream):
        answer = ask(upstream.proxy, "/running", NO_PROXIES, time.monotonic() + DEADLINE)
    assert answer == Answer(200, b'{"running": []}')
