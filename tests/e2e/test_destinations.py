"""Where a named request goes: selectors and filters, a second llamaswap as peer, and servers behind TLS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.e2e.conftest import RunProgram
from tests.e2e.program import HELLO, Program, demo, models, upstream, wait_until
from tests.e2e.talk import events

NEAR, FAR = {"authorization": "Bearer near-key"}, "far-key"
SIDE_BY_SIDE = {"swap": False}


# -- selectors --


def test_warm_prefers_what_runs_and_spillover_starts_more(run_program: RunProgram) -> None:
    config = {
        **models(a=demo(), b={"cmd": demo(), "aliases": ["second"]}),
        "groups": {"g": {**SIDE_BY_SIDE, "members": ["a", "b"]}},
        "selectors": {
            "warm": {"strategy": "warm", "targets": ["a", "second"]},
            "spill": {"strategy": "spillover", "targets": ["a", "second"]},
        },
    }
    with run_program(config) as program:
        assert program.chat("b").status == 200
        assert program.chat("warm").status == 200
        assert program.states() == {"b": "ready"}
        with program.stream("spill") as first, program.stream("spill") as second:
            first.read_head_and_first_chunk()
            second.read_head_and_first_chunk()
            assert program.states() == {"a": "ready", "b": "ready"}
            assert (program.stats("a")["in_progress"], program.stats("b")["in_progress"]) == (1, 1)
        for model in ("a", "b"):
            program.await_stats(model, in_progress=0)
        assert program.chat("spill").status == 200


# -- a second llamaswap as peer --


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    config = {**models(chat=demo("--tokens-per-second", "300"), echo=upstream()), "apiKeys": [FAR]}
    config["groups"] = {"g": {**SIDE_BY_SIDE, "members": ["chat", "echo"]}}
    with Program(tmp_path_factory.mktemp("far"), config) as running:
        yield running


@pytest.fixture(scope="module")
def near(tmp_path_factory: pytest.TempPathFactory, far: Program) -> Iterator[Program]:
    peer = {"proxy": f"http://127.0.0.1:{far.port}", "models": ["chat", "echo"]}
    config = {
        "apiKeys": ["near-key"],
        "peers": {
            "far": {**peer, "apiKey": FAR, "filters": {"setParams": {"top_k": 5}}},
            "open": {**peer, "models": ["chat"]},
            "gone": {"proxy": "http://127.0.0.1:9", "models": ["x"]},
        },
        "selectors": {"sel": {"strategy": "pin", "targets": ["far/chat"]}},
        "profiles": {"p": {"pins": {"pinned": "echo"}}},
    }
    with Program(tmp_path_factory.mktemp("near"), config) as running:
        yield running


def ask_echo(near: Program, name: str, **headers: str) -> dict[str, Any]:
    """The request as the far upstream got it; header names in lower case."""
    reply = near.post("/v1/chat/completions", {"model": name, "seed": 1.0}, **{**NEAR, **headers})
    assert reply.status == 200, reply.body
    told: dict[str, Any] = reply.json()
    told["headers"] = {header.lower(): value for header, value in told["headers"]}
    return told


def test_a_chat_with_a_peer(near: Program) -> None:
    for name in ("far/chat", "sel"):
        answer = near.post("/v1/chat/completions", {"model": name, **HELLO}, **NEAR)
        assert answer.status == 200
        assert answer.json()["model"] == "chat"


def test_a_stream_of_a_peer_whose_client_leaves(near: Program, far: Program) -> None:
    body = {"model": "far/chat", **HELLO, "stream": True, "max_tokens": 8}
    with near.wire() as wire:
        wire.request("POST", "/v1/chat/completions", body, "Authorization: Bearer near-key\r\n")
        told = events(b"".join(wire.chunks_of_answer()))
    assert told[-1] == "[DONE]"
    before = far.ask("GET", "/upstream/chat/stats", x_api_key=FAR).json()["cancelled"]
    with near.wire() as wire:
        wire.request("POST", "/v1/chat/completions", {**body, "max_tokens": 90_000, "ignore_eos": True},
                     "Authorization: Bearer near-key\r\n")  # fmt: skip
        wire.read_head_and_first_chunk()
    wait_until(
        lambda: far.ask("GET", "/upstream/chat/stats", x_api_key=FAR).json()["cancelled"] == before + 1, "cancelled"
    )


def test_a_peer_sees_its_own_key_and_name_and_no_client(near: Program) -> None:
    told = ask_echo(near, "far/echo", x_forwarded_for="9.9.9.9", forwarded="for=9.9.9.9", x_custom="1")
    assert told["body"] == '{"model": "echo", "seed": 1.0,"top_k":5}'
    assert told["headers"]["x-custom"] == "1"
    assert told["headers"]["authorization"] == f"Bearer {FAR}"
    assert told["headers"]["x-forwarded-for"] == "127.0.0.1"  # which the far llamaswap says of the near one


def test_our_key_does_not_reach_a_peer_but_the_clients_own_does(near: Program) -> None:
    refused = near.post("/v1/chat/completions", {"model": "open/chat", **HELLO}, **NEAR)
    assert (refused.status, refused.message) == (
        502,
        "the peer open refuses our key: it answered 401; see its apiKey",
    )
    assert near.post("/v1/chat/completions", {"model": "open/chat", **HELLO}, **NEAR, x_api_key=FAR).status == 200
    assert near.post("/v1/chat/completions", {"model": "open/chat", **HELLO}, x_api_key=FAR).status == 401


def test_pins_and_paths_lead_to_peers(near: Program) -> None:
    assert near.ask("PUT", "/api/profiles/active", b'{"name": "p"}', **NEAR).status == 200
    assert json.loads(ask_echo(near, "pinned")["body"])["model"] == "echo"
    assert near.ask("PUT", "/api/profiles/active", b'{"name": null}', **NEAR).status == 200
    assert near.get("/upstream/far/echo/upstream/echo/a%2Fb?c", **NEAR).json()["target"] == "/a%2Fb?c"
    assert near.get("/upstream/echo/upstream/echo/", **NEAR).json()["target"] == "/"


def test_a_peer_that_is_not_there_is_named(near: Program) -> None:
    refused = near.post("/v1/chat/completions", {"model": "gone/x"}, **NEAR)
    assert refused.status == 502
    assert refused.message == "cannot connect to gone/x at http://127.0.0.1:9: Connection refused"


# -- TLS --


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """Local models behind TLS, and the same servers once more as peers of the program."""
    folder: Path = tmp_path_factory.mktemp("secure")
    trusted, stranger = trustme.CA(), trustme.CA()
    trusted.cert_pem.write_to_path(folder / "ca.pem")
    for name, authority in (("good", trusted), ("bad", stranger)):
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(folder / f"{name}.pem")
    entries = {
        name: {"cmd": upstream(str(folder / f"{name}.pem")), "proxy": "https://localhost:${PORT}"}
        for name in ("good", "bad")
    }
    config = {"models": entries, "groups": {"g": {**SIDE_BY_SIDE, "members": ["good", "bad"]}}}
    (folder / "program").mkdir()
    with Program(folder / "program", config, env={"SSL_CERT_FILE": str(folder / "ca.pem")}) as running:
        yield running


@pytest.fixture(scope="module")
def peered(tmp_path_factory: pytest.TempPathFactory, secure: Program) -> Iterator[Program]:
    """Another program whose peers are those servers."""
    for name in ("good", "bad"):
        assert secure.post(f"/api/models/load/{name}", {}).status == 200
    ports = {name: secure.upstream_port(name) for name in ("good", "bad")}
    peers = {
        "good": f"https://localhost:{ports['good']}",
        "bad": f"https://localhost:{ports['bad']}",
        "misnamed": f"https://127.0.0.1:{ports['good']}",
        "plain": f"https://127.0.0.1:{secure.port}",
    }
    config = {"peers": {name: {"proxy": proxy, "models": ["m"]} for name, proxy in peers.items()}}
    folder = tmp_path_factory.mktemp("peered")
    env = {"SSL_CERT_FILE": str(secure.folder.parent / "ca.pem")}
    with Program(folder, config, env=env) as running:
        yield running


def test_a_local_model_with_an_https_address(secure: Program) -> None:
    told = secure.chat("good").json()
    assert told["target"] == "/v1/chat/completions"
    refused = secure.chat("bad")
    assert refused.status == 502
    assert "certificate is not trusted: unable to get local issuer certificate" in refused.message


def test_a_peer_with_an_https_address(peered: Program) -> None:
    for _ in range(3):
        told = peered.chat("good/m").json()
        assert json.loads(told["body"])["model"] == "m"
        assert dict(told["headers"])["Host"].startswith("localhost:")


@pytest.mark.parametrize(
    ("peer", "reason"),
    [
        ("bad", "its certificate is not trusted: unable to get local issuer certificate"),
        ("misnamed", "its certificate is not trusted: IP address mismatch, certificate is not valid for '127.0.0.1'."),
        ("plain", "no TLS connection: "),
    ],
)
def test_a_peer_that_cannot_be_trusted_is_502_and_says_why(peered: Program, peer: str, reason: str) -> None:
    refused = peered.chat(f"{peer}/m")
    assert (refused.status, refused.json()["error"]["code"]) == (502, "bad_gateway")
    assert refused.message.startswith(f"cannot connect to {peer}/m at https://")
    assert reason in refused.message


def test_large_bodies_pass_both_ways_with_tls(peered: Program) -> None:
    body = json.dumps({"model": "good/m", "x": "y" * 5_000_000}).encode()
    told = peered.ask("POST", "/v1/completions", body, content_type="application/json").json()
    assert told["body"] == body.decode().replace("good/m", "m")
    assert peered.get("/upstream/good/m/large?5000000").body == b"x" * 5_000_000


def test_a_stream_with_tls_comes_chunk_by_chunk_and_ends_with_its_client(peered: Program) -> None:
    before = int(peered.get("/upstream/good/m/left").body)
    with peered.wire() as wire:
        wire.request("GET", "/upstream/good/m/ticks")
        assert wire.read_head_and_first_chunk() == b"tick"
        assert wire.chunk() == b"tick"
    wait_until(lambda: int(peered.get("/upstream/good/m/left").body) == before + 1, "the peer saw the client leave")


def test_what_came_of_a_tls_record_is_passed_on_at_once(peered: Program) -> None:
    with peered.wire() as wire:
        wire.request("GET", "/upstream/good/m/burst")
        assert wire.read_head_and_first_chunk() == b"x" * 8000


def test_a_body_that_ends_with_tls_is_whole_and_one_that_only_stops_is_not(peered: Program) -> None:
    before = peered.stdout.count("the answer broke off")
    with peered.wire() as wire:
        wire.request("GET", "/upstream/good/m/goodbye")
        assert wire.status() == 200
        assert wire.rest() == b"all of it"
    wait_until(lambda: 'GET /upstream/good/m/goodbye HTTP/1.1" 200' in peered.stdout, "it is over")
    assert peered.stdout.count("the answer broke off") == before
    with peered.wire() as wire:
        wire.request("GET", "/upstream/good/m/odd/until-close")
        assert wire.status() == 200
        wire.rest()
    wait_until(lambda: "good/m: the answer broke off after 9 bytes" in peered.stdout, "it is told")


@pytest.mark.parametrize("odd", ["short-body", "no-last-chunk", "cut-chunks"])
def test_an_answer_with_tls_that_breaks_off_is_never_ended_as_if_it_were_whole(peered: Program, odd: str) -> None:
    with peered.wire() as wire:
        wire.request("GET", f"/upstream/good/m/odd/{odd}")
        assert wire.status() == 200
        assert not wire.rest().endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("odd", ["nothing", "no-http", "half-a-head"])
def test_a_peer_with_tls_that_cannot_be_understood_is_502(peered: Program, odd: str) -> None:
    refused = peered.get(f"/upstream/good/m/odd/{odd}")
    assert refused.status == 502
    assert "the server of good/m " in refused.message
