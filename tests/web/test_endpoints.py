"""Answers of the server's own, and the way to a model."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone
from typing import Any

import pytest

from llamaswap_lib.core.snapshot import TicketView
from llamaswap_lib.runtime.control.board import RunDetail
from tests.web.world import MODELS, OK, Peer, Running, World, answers, chat, get, length_of

CONFIG = """
includeAliasesInList: true
models:
  b:
    cmd: |
      # a comment
      server --flag
    proxy: http://127.0.0.1:1
    ttl: 60
    capabilities: {in: [text, audio], out: [audio, text], reranker: true}
  a/x:
    cmd: server
    proxy: http://127.0.0.1:1
    name: ' A '
    description: first
    aliases: [x]
    useModelName: real
    capabilities: {in: [text, image], out: [text], tools: true, context: 4096}
    metadata: {k: v, capabilities: no, n: [1, {z: 2}]}
  hidden:
    cmd: server
    proxy: http://127.0.0.1:1
    unlisted: true
"""


def ask_json(world: World, request: bytes) -> Any:
    return json.loads(world.ask(request)[1])


@pytest.mark.parametrize("path", ["/health", "/wol-health"])
def test_health_is_ok(path: str) -> None:
    with World(answers(OK)) as world:
        head, body = world.ask(get(path))
        assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n")
        assert body == b"OK"


def test_head_of_an_answer_of_ours_has_its_length_and_no_body() -> None:
    with World(answers(OK)) as world, world.connect() as client:
        client.send(get("/health", method="HEAD") + get("/health"))
        assert length_of(client.read_until(b"\r\n\r\n")) == 2
        assert client.read_message()[1] == b"OK"


@pytest.mark.parametrize(("path", "place"), [("/", "/ui"), ("/upstream", "/ui/models"), ("/ui", "/ui/")])
def test_pages_are_found_by_redirect(path: str, place: str) -> None:
    with World(answers(OK)) as world:
        head, body = world.ask(get(path))
        assert head.startswith((b"HTTP/1.1 302 ", b"HTTP/1.1 301 "))
        assert f"\r\nLocation: {place}\r\n".encode() in head
        assert f'<a href="{place}">'.encode() in body


@pytest.mark.parametrize("path", ["/nope", "/models/", "/api/captures/", "/ui/nothing"])
def test_unknown_path_is_not_found(path: str) -> None:
    with World(answers(OK)) as world:
        head, body = world.ask(get(path))
        assert head.startswith(b"HTTP/1.1 404 ")
        assert b"\r\nX-Content-Type-Options: nosniff\r\n" in head
        assert body == b"404 page not found\n"


@pytest.mark.parametrize("path", ["/nope", "/api/captures/1/2", "/api/inflight/1"])
def test_unknown_path_is_not_found_whatever_the_method_but_for_options(path: str) -> None:
    with World(answers(OK), config=f"{CONFIG}apiKeys: [secret]\n") as world:  # nor does it ask for a key
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"):
            head, _ = world.ask(get(path, method=method, extra=b"Content-Length: 0\r\n"))
            assert head.startswith(b"HTTP/1.1 404 "), method
            assert b"\r\nAllow:" not in head
        assert world.ask(get(path, method="OPTIONS"))[0].startswith(b"HTTP/1.1 204 ")


def test_wrong_method_says_which_are_right() -> None:
    with World(answers(OK)) as world:
        head, body = world.ask(get("/v1/chat/completions"))
        assert head.startswith(b"HTTP/1.1 405 ")
        assert b"\r\nAllow: POST\r\n" in head
        assert body == b"Method Not Allowed\n"


def test_preflight_allows_the_headers_that_are_tokens() -> None:
    asked = b"Access-Control-Request-Headers: X-One, bad header, X-Two\r\n"
    with World(answers(OK)) as world:
        head, body = world.ask(get("/zzz", method="OPTIONS", extra=asked))
        assert head.startswith(b"HTTP/1.1 204 ")
        assert b"\r\nAccess-Control-Allow-Headers: X-One, X-Two\r\n" in head
        assert b"\r\nAccess-Control-Allow-Origin: *\r\n" in head
        assert b"\r\nAccess-Control-Max-Age: 86400\r\n" in head
        assert b"content-length" not in head.lower()
        assert body == b""
        plain, _ = world.ask(get("/zzz", method="OPTIONS"))
        assert b"\r\nAccess-Control-Allow-Headers: Content-Type, Authorization, Accept, X-Requested-With\r\n" in plain


def test_list_of_models_tells_what_they_can_and_nothing_false() -> None:
    with World(answers(OK), config=CONFIG) as world:
        world.controller.running = [Running("b", 1, "starting")]
        data = ask_json(world, get("/v1/models"))["data"]
        assert data == ask_json(world, get("/models"))["data"]
        created = data[0]["created"]
        assert created > 1_700_000_000
        shared = {"object": "model", "created": created, "owned_by": "llama-swap"}
        able = {
            "name": "A",
            "description": "first",
            "status": {"value": "unloaded"},
            "architecture": {
                "input_modalities": ["text", "image"],
                "output_modalities": ["text"],
                "modality": "text+image->text",
            },
            "capabilities": {"vision": True, "function_calling": True},
            "supported_parameters": ["tools", "tool_choice"],
            "context_length": 4096,
        }
        own = {"k": "v", "n": [1, {"z": 2}]}
        model = {**own, "type": "model", "aliases": ["x"]}
        alias = {**own, "type": "alias", "modelID": "a/x"}
        assert data[0] == {"id": "a/x", **shared, **able, "meta": {"n_ctx": 4096, "llamaswap": model}}
        assert data[1]["status"] == {"value": "loaded"}
        assert data[1]["capabilities"] == {"audio_transcriptions": True, "audio_speech": True, "reranker": True}
        assert "name" not in data[1]
        assert data[2] == {"id": "x", **shared, **able, "meta": {"n_ctx": 4096, "llamaswap": alias}}
        assert len(data) == 3


def test_one_entry_of_the_list_and_of_what_it_leaves_out() -> None:
    config = CONFIG.replace("includeAliasesInList: true", "includeAliasesInList: false")
    with World(answers(OK), config=config) as world:
        listed = {entry["id"]: entry for entry in ask_json(world, get("/v1/models"))["data"]}
        assert set(listed) == {"a/x", "b"}
        for name, entry in listed.items():
            assert ask_json(world, get(f"/v1/models/{name}")) == entry
        assert ask_json(world, get("/v1/models/a%2Fx")) == listed["a/x"]
        assert ask_json(world, get("/v1/models/x"))["meta"]["llamaswap"]["modelID"] == "a/x"
        assert ask_json(world, get("/v1/models/hidden"))["id"] == "hidden"
        head, body = world.ask(get("/v1/models/bb", extra=b"Accept: application/json\r\n"))
        assert head.startswith(b"HTTP/1.1 404 ")
        assert b"did you mean" in body
        head, _ = world.ask(get("/v1/models/b", extra=b"Origin: http://x.example\r\n"))
        assert b"\r\nAccess-Control-Allow-Origin: http://x.example\r\n" in head
        head, body = world.ask(get("/v1/models/"))
        assert (head[:12], b"there is no such route" in body) == (b"HTTP/1.1 404", True)
        assert world.controller.leased == []


def test_an_alias_that_does_nothing_has_no_entry() -> None:
    """The id of a model wins over an alias, and blanks are no name."""
    config = CONFIG.replace("aliases: [x]", "aliases: [x, b, a/x, '', ' ']")
    with World(answers(OK), config=config) as world:
        listed = ask_json(world, get("/v1/models"))["data"]
        assert [entry["id"] for entry in listed] == ["a/x", "b", "x"]
        assert ask_json(world, get("/v1/models/b")) == listed[1]
        assert ask_json(world, get("/v1/models/a/x")) == listed[0]
        assert listed[1]["meta"]["llamaswap"]["type"] == "model"


def test_list_of_models_echoes_the_origin() -> None:
    with World(answers(OK)) as world:
        head, _ = world.ask(get("/v1/models", extra=b"Origin: http://x.example\r\n"))
        assert b"\r\nAccess-Control-Allow-Origin: http://x.example\r\n" in head


def test_running_tells_what_runs() -> None:
    with World(answers(OK), config=CONFIG) as world:
        assert ask_json(world, get("/running")) == {"running": []}
        world.controller.running = [Running("b", 7, "stopping"), Running("a/x", 3, "ready")]
        rows = ask_json(world, get("/running"))["running"]
        assert [row["model"] for row in rows] == ["a/x", "b"]
        assert rows[1] == {
            "model": "b",
            "state": "stopping",
            "phase": None,
            "gpus": [],
            "cmd": rows[1]["cmd"],
            "proxy": "http://127.0.0.1:1",
            "ttl": 60,
            "name": "",
            "description": "",
            "run_id": 7,
            "pid": None,
            "port": 1,
            "reason": None,
            "started": rows[1]["started"],
            "ready": None,
            "load_seconds": None,
            "in_flight": 0,
            "concurrency_limit": None,
            "idle_seconds": 0.0,
            "ttl_remaining": None,
            "waiting": 0,
            "memory": None,
            "memory_need": {"source": "unknown", "devices": None},
        }
        assert "server --flag" in rows[1]["cmd"]
        assert '"ttl":60,' in world.ask(get("/running"))[1].decode()


def is_moment(text: str, moment: float) -> bool:
    """Whether this is how the wall clock shows a moment of the monotonic one; clocks are not read at one instant."""
    before, wall, after = time.monotonic(), time.time(), time.monotonic()
    told = datetime.fromisoformat(text[:-1]).replace(tzinfo=timezone.utc).timestamp()
    return wall - after - 0.5 <= told - moment <= wall - before + 0.5


def ask_running(world: World, doing: RunDetail) -> dict[str, Any]:
    world.controller.running, world.controller.doing = [doing.run], {doing.run.model: doing}
    [row] = ask_json(world, get("/running"))["running"]
    assert isinstance(row, dict)
    return row


def test_running_tells_how_a_run_is_doing() -> None:
    with World(answers(OK), config=CONFIG) as world:
        now = time.monotonic()
        run = Running("b", 7, "ready", now - 100.0, now - 96.5)
        row = ask_running(world, RunDetail(run, 4711, None, 0, 12.5, 3))
        assert (row["pid"], row["port"], row["load_seconds"], row["waiting"]) == (4711, 1, 3.5, 3)
        assert (row["in_flight"], row["idle_seconds"], row["ttl_remaining"]) == (0, 12.5, 47.5)
        started, ready = datetime.fromisoformat(row["started"][:-1]), datetime.fromisoformat(row["ready"][:-1])
        assert row["started"][-1] == row["ready"][-1] == "Z"
        assert abs((ready - started).total_seconds() - 3.5) < 0.002
        assert is_moment(row["started"], now - 100.0)


@pytest.mark.parametrize(
    ("model", "state", "in_flight", "idle", "remaining"),
    [
        ("b", "ready", 2, 0.0, None),  # busy
        ("b", "starting", 0, 0.0, None),
        ("b", "stopping", 0, 5.0, None),
        ("b", "ready", 0, 61.0, 0.0),  # about to go
        ("hidden", "ready", 0, 5.0, None),  # no ttl
    ],
)
def test_what_is_left_of_the_ttl_is_told_of_an_idle_model(
    model: str, state: str, in_flight: int, idle: float, remaining: float | None
) -> None:
    with World(answers(OK), config=CONFIG) as world:
        row = ask_running(world, RunDetail(Running(model, 1, state, 0.0, 1.0), 1, None, in_flight, idle))
        assert (row["in_flight"], row["idle_seconds"], row["ttl_remaining"]) == (in_flight, idle, remaining)


@pytest.mark.parametrize(
    ("proxy", "port"),
    [("https://box", 443), ("http://box/x", 80), ("http://[::1]:5800", 5800)],
)
def test_the_port_of_a_run_is_that_of_its_address(proxy: str, port: int) -> None:
    config = f"models:\n  b:\n    cmd: x\n    proxy: {proxy}\n"
    with World(answers(OK), config=config) as world:
        assert ask_running(world, RunDetail(Running("b", 1, "ready"), 1))["port"] == port


def test_a_run_shows_the_automatic_port_it_was_given() -> None:
    with World(answers(OK), config="models:\n  b:\n    cmd: x --port ${PORT}\n") as world:
        row = ask_running(world, RunDetail(Running("b", 1, "ready"), 1, port=5999))
        assert (row["port"], row["cmd"], row["proxy"]) == (5999, "x --port 5999", "http://localhost:5999")


def test_a_concurrency_limit_is_told() -> None:
    config = CONFIG.replace("    ttl: 60\n", "    concurrencyLimit: 4\n")
    with World(answers(OK), config=config) as world:
        assert ask_running(world, RunDetail(Running("b", 1, "ready"), in_flight=3))["concurrency_limit"] == 4


def test_the_queue_tells_who_waits_for_what() -> None:
    with World(answers(OK), config=CONFIG) as world:
        assert ask_json(world, get("/api/queue")) == {"queue": [], "failures": []}
        now = time.monotonic()
        world.controller.queue = [
            TicketView(12, "b", 1, now - 3.0, "loading", 1.23456),
            TicketView(13, "a/x", 2, now + 1000.0, "waiting for b: 2 requests in progress"),
        ]
        rows = ask_json(world, get("/api/queue"))["queue"]
        assert [(row["ticket"], row["model"], row["place"]) for row in rows] == [(12, "b", 1), (13, "a/x", 2)]
        assert [row["reason"] for row in rows] == ["loading", "waiting for b: 2 requests in progress"]
        assert [row["estimate_seconds"] for row in rows] == [1.235, None]
        assert 3.0 <= rows[0]["waiting_seconds"] <= time.monotonic() - now + 3.001
        assert rows[1]["waiting_seconds"] == 0.0
        assert is_moment(rows[0]["since"], now - 3.0)
        keys = {"ticket", "request", "model", "place", "since", "waiting_seconds", "reason", "estimate_seconds"}
        assert set(rows[0]) == keys
        assert rows[0]["request"] is None  # nobody asks: it is a load by hand
        assert world.controller.leased == []


def test_unloading_names_the_models() -> None:
    with World(answers(OK), config=CONFIG) as world:
        assert world.ask(get("/unload"))[1] == b"OK"
        assert ask_json(world, get("/api/models/unload", method="POST")) == {"msg": "ok"}
        for name in ("x", "a/x", "a%2Fx"):
            assert world.ask(get(f"/api/models/unload/{name}", method="POST"))[1] == b"OK"
        assert world.controller.unloaded == [None, None, ("a/x",), ("a/x",), ("a/x",)]
        head, body = world.ask(get("/api/models/unload/zzz", method="POST"))
        assert head.startswith(b"HTTP/1.1 404 ")
        assert json.loads(body)["error"]["message"] == "model not found: 'zzz'"


def test_loading_by_hand_takes_no_place() -> None:
    with World(answers(OK), config=CONFIG) as world:
        assert world.ask(get("/api/models/load/x", method="POST"))[0].startswith(b"HTTP/1.1 200 ")
        assert (world.controller.loaded, world.controller.leased) == (["a/x"], [])
        world.controller.wait_empty()
        assert world.ask(get("/api/models/load/zzz", method="POST"))[0].startswith(b"HTTP/1.1 404 ")


def test_version_is_told() -> None:
    with World(answers(OK)) as world:
        version = ask_json(world, get("/api/version"))
        assert version == {"version": "1.2", "commit": "unknown", "build_date": "unknown"}


def echo(peer: Peer) -> None:
    """Answer each request with what it was."""
    while True:
        head, body = peer.read_message()
        line = head.split(b"\r\n")[0]
        answer = line + b"|" + body
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))
        if b"x=last" in line:
            return


@pytest.mark.parametrize(
    ("path", "place"),
    [("/upstream/m", "/upstream/m/"), ("/upstream/al?x=1", "/upstream/al/?x=1")],
)
def test_upstream_without_a_slash_is_sent_to_the_one_with_it(path: str, place: str) -> None:
    with World(answers(OK)) as world:
        assert (
            f"301 Moved Permanently\r\nContent-Type: text/html; charset=utf-8\r\nLocation: {place}\r\n".encode()
            in (world.ask(get(path))[0])
        )
        head, body = world.ask(get(path, method="POST"))
        assert head.startswith(b"HTTP/1.1 308 ")
        assert f"\r\nLocation: {place}\r\n".encode() in head
        assert body == b""


def test_upstream_passes_any_method_and_path() -> None:
    with World(echo) as world:
        ask = get("/upstream/al/v1/x%2Fy?a=%20", method="DELETE")
        assert world.ask(ask)[1] == b"DELETE /v1/x%2Fy?a=%20 HTTP/1.1|"
        assert world.ask(get("/upstream/m/?x=last"))[1] == b"GET /?x=last HTTP/1.1|"
        assert world.controller.leased == ["m", "m"]


def test_upstream_of_an_unknown_model_is_not_found() -> None:
    with World(answers(OK)) as world:
        head, body = world.ask(get("/upstream/zzz/x"))
        assert head.startswith(b"HTTP/1.1 404 ")
        assert b"model not found" in body


COMFYUI = """
profiles:
  p:
    pins:
      comfyui_auto: ""
models:
  comfyui_auto:
    cmd: server
    proxy: PROXY
    useModelName: other
    filters:
      stripParams: a
"""


def test_comfyui_is_loaded_by_its_page_alone() -> None:
    with World(echo, config=COMFYUI) as world:
        head, _ = world.ask(get("/comfyui"))
        assert head.startswith(b"HTTP/1.1 301 ")
        assert b"\r\nLocation: /comfyui/\r\n" in head
        assert world.ask(get("/comfyui", method="POST"))[0].startswith(b"HTTP/1.1 308 ")
        for path in ("/comfyui/app", "/comfyui//", "/comfyui/index?x=1"):
            head, body = world.ask(get(path))
            assert head.startswith(b"HTTP/1.1 409 ")
            assert b"only /comfyui/ can start it" in body
        assert world.controller.leased == []
        assert world.ask(get("/comfyui/?x=1"))[1] == b"GET /?x=1 HTTP/1.1|"
        world.controller.running = [Running("comfyui_auto", 1, "ready")]
        assert world.ask(get("/comfyui/a%2Fb/app.js?x=last"))[1] == b"GET /a%2Fb/app.js?x=last HTTP/1.1|"
        assert world.controller.leased == ["comfyui_auto"] * 2


def test_comfyui_knows_no_pin_and_no_filter() -> None:
    with World(echo, config=COMFYUI) as world:
        world.app.profiles.activate("p")
        world.controller.running = [Running("comfyui_auto", 1, "ready")]
        body = b'{"model":"m", "a": 1}'
        asked = b"POST /comfyui/api?x=last HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        assert world.ask(asked + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))[1].endswith(b"|" + body)


def test_without_such_a_model_comfyui_is_not_found() -> None:
    with World(echo) as world:
        head, body = world.ask(get("/comfyui/"))
        assert head.startswith(b"HTTP/1.1 404 ")
        assert b"comfyui_auto not found" in body


def test_ignored_path_never_loads_a_model() -> None:
    with World(answers(OK)) as world:
        head, body = world.ask(get("/upstream/m/app.js?v=1"))
        assert head.startswith(b"HTTP/1.1 409 ")
        assert b'"code":"conflict"' in body
        assert world.controller.leased == []
        world.controller.running = [Running("m", 1, "ready")]
        assert world.ask(get("/upstream/m/app.js"))[1] == b"ok"


IGNORING = MODELS + "upstream: {ignorePaths: ['^/(a+)+$', '\\.js$', '^/assets/', '(x+x+)+y']}\n"


@pytest.mark.parametrize(
    ("path", "is_ignored"),
    [
        ("a" * 60_000, True),
        ("a" * 60_000 + "!", False),
        ("x" * 60_000, False),
        ("b" * 60_000 + ".js", True),
        ("b.js" * 15_000 + "!", False),
        ("assets/" + "b" * 60_000, True),
        ("%C3%A9" * 10_000 + "%2Ejs", True),
        ("b" * 30_000 + "xy" + "b" * 30_000, False),  # the middle of a long path is not looked at
        ("b" * 4_000 + "xxy", True),
    ],
)
def test_long_path_is_ignored_by_its_beginning_and_its_end(path: str, is_ignored: bool) -> None:
    with World(answers(OK), config=IGNORING) as world:
        head, _ = world.ask(get(f"/upstream/m/{path}"))
        assert head.startswith(b"HTTP/1.1 409 " if is_ignored else b"HTTP/1.1 200 ")
        assert world.controller.leased == ([] if is_ignored else ["m"])


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{}", 404),
        (b'{"model":""}', 404),
        (b'{"model":"zzz"}', 404),
        (b'{"model":3}', 400),
        (b'{"model":', 400),
        (b"[]", 400),
        (b"", 404),
        (b"\xff\xfe", 400),
    ],
)
def test_request_that_names_no_model_is_refused(body: bytes, status: int) -> None:
    with World(answers(OK)) as world:
        head, answer = world.ask(chat(body))
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert json.loads(answer)["error"]["message"]
        assert world.controller.leased == []


def test_name_of_the_model_is_replaced_where_it_stands() -> None:
    config = CONFIG.replace("proxy: http://127.0.0.1:1\n    name", "proxy: PROXY\n    name")
    with World(echo, config=config) as world:
        body = b'{"a":1.50, "model" : "x", "b":[ ]}'
        assert world.ask(chat(body))[1] == b'POST /v1/chat/completions HTTP/1.1|{"a":1.50, "model" : "real", "b":[ ]}'
        assert world.ask(get("/props?x=last&model=x"))[1] == b"GET /props?x=last&model=real HTTP/1.1|"
