"""What goes to an upstream and what comes back, against one that echoes and one that answers oddly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.conftest import RunProgram
from tests.e2e.program import Program, demo, models, upstream, wait_until
from tests.e2e.talk import Cut, Reply

JSON_ROUTES = (
    "/v1/chat/completions", "/v1/responses", "/v1/completions", "/v1/messages", "/v1/messages/count_tokens",
    "/v1/embeddings", "/reranking", "/rerank", "/v1/rerank", "/v1/reranking", "/infill", "/completion",
    "/v1/audio/speech", "/v1/audio/voices", "/v1/images/generations", "/sdapi/v1/txt2img", "/sdapi/v1/img2img",
)  # fmt: skip
SENT_ON_WITHOUT_PREFIX = (
    "/audioapi/v1/tasks/run", "/v/chat/completions", "/v/responses", "/v/completions", "/v/messages",
    "/v/messages/count_tokens", "/v/embeddings", "/v/rerank", "/v/reranking",
)  # fmt: skip
FORM_ROUTES = ("/v1/audio/transcriptions", "/v1/images/edits")
QUERY_ROUTES = ("/v1/audio/voices", "/sdapi/v1/loras", "/props")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """One program for all tests here that leave nothing behind."""
    entries: dict[str, Any] = {
        "echo": {"cmd": upstream(), "aliases": ["also/echo"]},
        "renamed": {"cmd": upstream(), "useModelName": "real-name", "aliases": ["ren"]},
        "based": {"cmd": upstream(), "proxy": "http://localhost:${PORT}/base/?key=1", "checkEndpoint": "/ok"},
    }
    groups = {"all": {"swap": False, "members": list(entries)}}
    with Program(tmp_path_factory.mktemp("relaying"), {"models": entries, "groups": groups}) as running:
        yield running


def told(reply: Reply) -> dict[str, Any]:
    """The request as the upstream got it; header names in lower case."""
    assert reply.status == 200, reply.body
    request = reply.json()
    assert isinstance(request, dict)
    request["headers"] = {name.lower(): value for name, value in request["headers"]}
    return request


@pytest.mark.parametrize("path", JSON_ROUTES)
def test_a_json_route_goes_on_byte_for_byte(program: Program, path: str) -> None:
    body = b'{ "x": 1.50, "model" : "echo",\n"y": "\xc3\xa9\\u00e9", "z": [1,2,{"model":"no"}], "x2":1e400 }'
    request = told(program.ask("POST", f"{path}?a=%2F&b", body, content_type="application/json; charset=utf-8"))
    assert (request["method"], request["target"]) == ("POST", f"{path}?a=%2F&b")
    assert request["body"].encode("latin-1") == body


@pytest.mark.parametrize("path", SENT_ON_WITHOUT_PREFIX)
def test_a_prefix_of_ours_is_not_sent_on(program: Program, path: str) -> None:
    request = told(program.post(path, {"model": "echo"}))
    assert request["target"] == path.removeprefix("/audioapi" if path.startswith("/audioapi") else "/v")


def multipart(*fields: tuple[str, bytes]) -> bytes:
    parts = [b'--BB\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (n.encode(), v) for n, v in fields]
    return b"".join(parts) + b"--BB--\r\n"


@pytest.mark.parametrize("path", FORM_ROUTES)
def test_a_multipart_form_goes_on_byte_for_byte(program: Program, path: str) -> None:
    body = multipart(("file", bytes(range(256)) * 10), ("model", b"echo"), ("prompt", b"\xff\r\n--B"))
    request = told(program.ask("POST", path, body, content_type="multipart/form-data; boundary=BB"))
    assert request["target"] == path
    assert request["body"].encode("latin-1") == body


@pytest.mark.parametrize("path", FORM_ROUTES)
def test_a_form_may_name_its_model_in_the_query_or_urlencoded(program: Program, path: str) -> None:
    form = multipart(("file", b"x"))
    request = told(program.ask("POST", f"{path}?model=echo", form, content_type="multipart/form-data; boundary=BB"))
    assert request["target"] == f"{path}?model=echo"
    form = b"a=%20&model=also%2Fecho"
    request = told(program.ask("POST", path, form, content_type="application/x-www-form-urlencoded"))
    assert request["body"].encode() == form


@pytest.mark.parametrize("path", QUERY_ROUTES)
def test_a_get_route_names_its_model_in_the_query(program: Program, path: str) -> None:
    request = told(program.get(f"{path}?x=%41&model=also%2Fecho"))
    assert (request["method"], request["target"]) == ("GET", f"{path}?x=%41&model=also%2Fecho")
    head = program.ask("HEAD", f"{path}?model=echo")
    assert (head.status, head.body) == (200, b"")
    assert int(head.headers["Content-Length"]) > 0


def test_use_model_name_rewrites_json_forms_and_queries_and_nothing_else(program: Program) -> None:
    body = b'{"a":1.0,"model":"ren" ,"b":{"model":"ren"}}'
    request = told(program.ask("POST", "/v1/embeddings", body, content_type="application/json"))
    assert request["body"].encode() == body.replace(b'"model":"ren" ,', b'"model":"real-name" ,')
    form = multipart(("file", b"model\r\nrenamed"), ("model", b"renamed"))
    request = told(program.ask("POST", FORM_ROUTES[0], form, content_type="multipart/form-data; boundary=BB"))
    expected = multipart(("file", b"model\r\nrenamed"), ("model", b"real-name"))
    assert request["body"].encode("latin-1") == expected
    assert int(request["headers"]["content-length"]) == len(expected)
    assert told(program.get("/props?model=renamed&x"))["target"] == "/props?model=real-name&x"
    plain = told(program.post("/upstream/renamed/v1/embeddings", {"model": "renamed"}))
    assert json.loads(plain["body"]) == {"model": "renamed"}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "PROPFIND"])
def test_upstream_passes_any_method_and_path(program: Program, method: str) -> None:
    for name in ("echo", "also/echo", "also%2Fecho"):
        request = told(program.ask(method, f"/upstream/{name}/a%20b//c/../d?q=%3F", b"{"))
        assert (request["method"], request["target"]) == (method, "/a%20b//c/../d?q=%3F")
        assert request["body"] == "{"


def test_upstream_without_a_path_leads_to_its_slash(program: Program) -> None:
    for method, status in (("GET", 301), ("POST", 308)):
        reply = program.ask(method, "/upstream/echo?x=1")
        assert (reply.status, reply.headers["Location"]) == (status, "/upstream/echo/?x=1")
    assert told(program.get("/upstream/echo/"))["target"] == "/"


def test_a_proxy_with_a_path_and_a_query_is_joined_in_front(program: Program) -> None:
    assert told(program.get("/props?model=based"))["target"] == "/base/props?key=1&model=based"
    assert told(program.get("/upstream/based/x"))["target"] == "/base/x?key=1"


def test_headers_go_on_but_those_of_one_hop(program: Program) -> None:
    reply = program.get(
        "/upstream/echo/x", host="llm.example", x_forwarded_for="1.2.3.4", authorization="Bearer k", te="trailers",
        connection="X-Private, keep-alive", x_private="1", accept_encoding="br", cookie="c=1",
    )  # fmt: skip
    headers = told(reply)["headers"]
    assert headers == {
        "host": "llm.example",
        "authorization": "Bearer k",
        "accept-encoding": "br",
        "cookie": "c=1",
        "x-forwarded-for": "1.2.3.4, 127.0.0.1",
    }


def test_a_body_in_chunks_or_after_100_continue_arrives_whole(program: Program) -> None:
    with program.wire() as wire:
        head = b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        wire.send(head + b"Transfer-Encoding: chunked\r\n\r\n")
        for piece in (b'{"mod', b'el":"ec', b'ho"}'):
            wire.send(b"%x;ext=1\r\n%b\r\n" % (len(piece), piece))
        wire.send(b"0\r\nTrailer: x\r\n\r\n")
        assert json.loads(wire.answer()[1])["body"] == '{"model":"echo"}'
        wire.send(head + b"Expect: 100-continue\r\nContent-Length: 16\r\n\r\n")
        assert wire.status() == 100
        wire.send(b'{"model":"echo"}')
        assert json.loads(wire.answer()[1])["body"] == '{"model":"echo"}'


def test_large_bodies_pass_both_ways(program: Program) -> None:
    body = json.dumps({"model": "echo", "input": "x" * 5_000_000}).encode()
    request = told(program.ask("POST", "/v1/embeddings", body, content_type="application/json"))
    assert len(request["body"]) == len(body)
    assert len(program.get("/upstream/echo/large?30000000").body) == 30_000_000


@pytest.mark.parametrize(
    ("name", "status", "body"),
    [
        ("until-close", 200, b"all of it"),
        ("http-1.0", 200, b"hi"),
        ("continue-first", 200, b"hi"),
        ("no-content", 204, b""),
        ("surplus", 200, b"hi"),
        ("teapot", 418, b"short"),
        ("length-and-chunked", 200, b"hi"),
        ("same-lengths", 200, b"hi"),
        ("line-feeds", 200, b"hi"),
    ],
)
def test_an_unusual_answer_is_understood(program: Program, name: str, status: int, body: bytes) -> None:
    reply = program.get(f"/upstream/echo/odd/{name}")
    assert (reply.status, reply.body) == (status, body)
    assert told(program.get("/upstream/echo/next"))["target"] == "/next"  # never the surplus


@pytest.mark.parametrize("name", ["nothing", "no-http", "half-a-head", "two-lengths", "large-head", "unasked-upgrade"])
def test_an_answer_that_is_no_http_is_502(program: Program, name: str) -> None:
    reply = program.get(f"/upstream/echo/odd/{name}")
    assert (reply.status, reply.json()["error"]["code"]) == (502, "bad_gateway")
    assert told(program.get("/upstream/echo/next"))["target"] == "/next"


@pytest.mark.parametrize("name", ["short-body", "bad-chunk", "huge-chunk", "cut-chunks", "no-last-chunk"])
def test_an_answer_that_breaks_off_is_never_ended_as_if_it_were_whole(program: Program, name: str) -> None:
    with program.wire() as wire:
        wire.request("GET", f"/upstream/echo/odd/{name}")
        status = wire.status()
        if status == 502:  # what is wrong came with the head
            return
        assert status == 200
        with pytest.raises(Cut):
            wire.exactly(100) if name == "short-body" else list(wire.chunks())
    assert told(program.get("/upstream/echo/next"))["target"] == "/next"


def test_a_reader_that_pauses_gets_all_of_a_large_answer(program: Program) -> None:
    with program.wire() as wire:
        wire.request("GET", "/upstream/echo/large?20000000")
        assert wire.status() == 200
        for _ in range(20):  # others are served while its socket is full
            assert told(program.get("/upstream/echo/x"))["target"] == "/x"
        assert len(wire.exactly(20_000_000)) == 20_000_000


def test_pipelined_requests_are_answered_in_order(program: Program) -> None:
    with program.wire() as wire:
        wire.send(b"".join(b"GET /upstream/echo/%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(20)))
        assert [json.loads(wire.answer()[1])["target"] for _ in range(20)] == [f"/{n}" for n in range(20)]


def test_an_http_1_0_client_gets_a_stream_without_chunks(run_program: RunProgram) -> None:
    with run_program(models(m=demo("--tokens-per-second", "100"))) as program, program.wire() as wire:
        body = b'{"model":"m","stream":true,"max_tokens":3,"messages":[]}'
        head = b"POST /v1/chat/completions HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        wire.send(head % len(body) + body)
        answer = wire.rest().decode()
        head_text, _, text = answer.partition("\r\n\r\n")
        assert "transfer-encoding" not in head_text.lower()
        assert text.startswith("data: {")
        assert text.endswith("data: [DONE]\n\n")


def test_errors_say_what_is_wrong_in_the_form_the_client_accepts(program: Program) -> None:
    unknown = program.post("/v1/chat/completions", {"model": "eco"})
    assert (unknown.status, unknown.json()["src"], unknown.json()["error"]["type"]) == (
        404, "llama-swap", "invalid_request_error",
    )  # fmt: skip
    assert "eco" in unknown.message
    assert "echo" in unknown.message  # the nearest name
    assert program.post("/v1/chat/completions", {}).message == "no model id could be identified"
    assert program.get("/upstream/none/x").status == 404
    text = program.post("/v1/chat/completions", {"model": "<none>"}, accept="text/plain")
    assert text.text.startswith("llama-swap: ")
    page = program.post("/v1/chat/completions", {"model": "<none>"}, accept="text/html")
    assert "&lt;none&gt;" in page.text
    assert "<none>" not in page.text


def test_other_paths_and_methods(program: Program) -> None:
    assert (program.get("/health").text, program.get("/wol-health").text) == ("OK", "OK")
    assert program.get("/nothing").status == 404
    assert program.get("/v1/models/").status == 404
    wrong = program.get("/v1/chat/completions")
    assert (wrong.status, wrong.headers["Allow"]) == (405, "POST")
    assert program.get("/").headers["Location"] == "/ui"
    preflight = program.ask("OPTIONS", "/v1/chat/completions", access_control_request_headers="X-A, bad name, x-b")
    assert preflight.status == 204
    assert preflight.headers["Access-Control-Allow-Origin"] == "*"
    assert preflight.headers["Access-Control-Allow-Headers"] == "X-A, x-b"


def test_a_path_that_is_ignored_never_loads_a_model(run_program: RunProgram) -> None:
    with run_program(models(m=upstream())) as program:
        refused = program.get("/upstream/m/favicon.ico")
        assert (refused.status, program.states()) == (409, {})
        assert program.get("/upstream/m/health").status == 200
        assert told(program.get("/upstream/m/favicon.ico"))["target"] == "/favicon.ico"


def test_each_request_is_a_line_in_the_access_log(run_program: RunProgram) -> None:
    with run_program(models(m=upstream())) as program:
        program.get("/upstream/m/a%20b?secret=1", user_agent='agent "x"', x_forwarded_for="9.9.9.9, 8.8.8.8")
        program.post("/v1/chat/completions", {"model": "none"})
        program.get("/wol-health")
        program.get("/x%0a[INFO]%20forged")
        wait_until(lambda: program.stdout.count("Request ") == 4, "all are told")  # and the harness's own
        lines = program.stdout.splitlines()
        [one] = [line for line in lines if "a b" in line]
        assert one.startswith('[INFO] Request 9.9.9.9 "GET /upstream/m/a b HTTP/1.1" 200 ')
        assert r' "agent \"x\"" ' in one
        assert any('127.0.0.1 "POST /v1/chat/completions HTTP/1.1" 404 ' in line for line in lines)
        assert "secret" not in program.stdout
        assert not any(line.startswith("[INFO] forged") for line in lines)
