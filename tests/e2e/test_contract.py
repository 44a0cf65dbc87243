"""What clients rely on, row by row: each answer of the server's own, and what is said of every request.

What goes to an upstream is in `test_relaying`, log streams in `test_log_streams`, the queue in `test_queue`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.e2e.conftest import RunProgram
from tests.e2e.program import HELLO, Program, demo, models, upstream, wait_until
from tests.e2e.talk import Reply, ask

CONFIG: dict[str, Any] = {
    "models": {
        "org/big:Q4": {"cmd": demo(), "aliases": ["big"], "name": " Big ", "description": "It is big.", "ttl": 500},
        "echo": {"cmd": upstream(), "aliases": ["also/echo"], "metadata": {"tier": 1}},
        "hidden": {"cmd": demo(), "unlisted": True},
        "seeing": {
            "cmd": upstream(),
            "capabilities": {"in": ["text", "image"], "out": ["text"], "tools": True, "context": 4096},
        },
    },
    "groups": {"all": {"swap": False, "members": ["org/big:Q4", "echo", "hidden", "seeing"]}},
    "includeAliasesInList": True,
    "profiles": {
        "quick": {"description": "Small ones", "pins": {"gpt-x": "echo", "big": "echo"}},
        "calm": {"pins": {"gpt-x": "hidden", "big": None}},
    },
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with Program(tmp_path_factory.mktemp("contract"), CONFIG) as running:
        yield running


@dataclass(frozen=True)
class Row:
    """One request and what is promised of its answer; the names of headers are those of `Reply`."""

    request: str
    status: int = 200
    body: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body_sent: bytes | None = None
    headers_sent: dict[str, str] = field(default_factory=dict)

    def check(self, program: Program) -> Reply:
        method, path = self.request.split(" ")
        reply = program.ask(method, path, self.body_sent, **self.headers_sent)
        assert reply.status == self.status, reply.body
        assert self.body is None or reply.text == self.body
        assert self.headers.items() <= dict(reply.headers.items()).items()
        return reply


ALL_ORIGINS = {"Access-Control-Allow-Origin": "*", "Access-Control-Max-Age": "86400"}
USUAL = {"Access-Control-Allow-Headers": "Content-Type, Authorization, Accept, X-Requested-With"}
METHODS = {"Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE, OPTIONS"}
OTHER_SITE = {"origin": "https://evil.example", "sec_fetch_site": "cross-site"}

ROWS = (
    Row("GET /health", body="OK"),
    Row("GET /wol-health", body="OK"),
    Row("HEAD /health", body="", headers={"Content-Length": "2"}),
    Row("GET /", 302, headers={"Location": "/ui"}),
    Row("HEAD /", 302, headers={"Location": "/ui"}),
    Row("GET /ui", 301, headers={"Location": "/ui/"}),
    Row("GET /upstream", 302, headers={"Location": "/ui/models"}),
    Row("GET /comfyui", 301, headers={"Location": "/comfyui/"}),
    Row("GET /upstream/echo?a=%2F", 301, headers={"Location": "/upstream/echo/?a=%2F"}),
    Row("POST /upstream/also%2Fecho", 308, headers={"Location": "/upstream/also%2Fecho/"}),
    Row("GET /v1/models/", 404),
    Row("GET /nothing", 404),
    Row("DELETE /v1/models", 405, headers={"Allow": "GET, HEAD"}),
    Row("GET /v1/rerank", 405, headers={"Allow": "POST"}),
    Row("GET /api/models/unload", 405, headers={"Allow": "POST"}),
    Row("PUT /v1/audio/voices?model=echo", 405, headers={"Allow": "GET, HEAD, POST"}),
    Row("OPTIONS /anything", 204, "", {**ALL_ORIGINS, **METHODS, **USUAL}),
    Row("OPTIONS /v1/models", 204, "", {"Access-Control-Allow-Headers": "x-a"},
        headers_sent={"access_control_request_headers": "x-a, b(c"}),
    Row("GET /v1/models", headers={"Access-Control-Allow-Origin": "https://app.example"},
        headers_sent={"origin": "https://app.example"}),
    Row("POST /api/models/unload/none", 404),
    Row("POST /api/models/load/none", 404),
    Row("PUT /api/profiles/active", 404, body_sent=b'{"name":"none"}'),
    Row("PUT /api/profiles/active", 400, body_sent=b"{}"),
    Row("PUT /api/profiles/active", 400, body_sent=b'{"name":1}'),
    Row("PUT /api/profiles/active", 400, body_sent=b"no json"),
    Row("GET /logs", 302, headers={"Location": "/ui/"}, headers_sent={"accept": "text/html,*/*"}),
    Row("GET /logs/stream/none", 400),
    Row("GET /upstream/none/x", 404),
    Row("GET /sdapi/v1/loras", 404),
    Row("POST /v1/embeddings", 404, body_sent=b"{}", headers_sent={"content_type": "application/json"}),
    Row("POST /v1/embeddings", 400, body_sent=b"{", headers_sent={"content_type": "application/json"}),
    Row("POST /api/models/unload", 403, headers_sent=OTHER_SITE),
    Row("GET /unload", 403, headers_sent=OTHER_SITE),
    Row("POST /api/models/load/echo", 403, headers_sent=OTHER_SITE),
    Row("PUT /api/profiles/active", 403, body_sent=b'{"name":null}', headers_sent=OTHER_SITE),
    Row("GET /unload", 403, headers_sent={"origin": "https://evil.example"}),
    Row("GET /upstream/echo/x", 200, headers_sent=OTHER_SITE),
)  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.request}-{row.status}")
def test_a_row(program: Program, row: Row) -> None:
    row.check(program)


def test_errors_are_of_one_shape(program: Program) -> None:
    kinds = {400: "bad_request", 404: "not_found", 403: "forbidden"}
    for row in ROWS:
        if row.status in kinds and row.request not in ("GET /nothing", "GET /v1/models/"):
            error = row.check(program).json()
            assert (error["src"], error["error"]["code"]) == ("llama-swap", kinds[row.status]), row
            assert error["error"]["message"]
            assert error["error"]["param"] is None


def test_the_list_of_models(program: Program) -> None:
    listed, again = (program.get(path).json() for path in ("/v1/models", "/models"))
    for entry in (*listed["data"], *again["data"]):
        assert entry.pop("status")["value"]  # a model of the test before may just be loading or ending
    assert (listed["object"], again) == ("list", listed)
    entries = {entry["id"]: entry for entry in listed["data"]}
    assert list(entries) == ["also/echo", "big", "echo", "org/big:Q4", "seeing"]
    assert len({entry["created"] for entry in listed["data"]}) == 1
    big = entries["org/big:Q4"]
    assert (big["object"], big["owned_by"], big["name"]) == ("model", "llama-swap", "Big")
    assert (big["description"], "architecture" in big) == ("It is big.", False)
    assert big["meta"]["llamaswap"] == {"type": "model", "aliases": ["big"]}
    assert entries["big"]["meta"]["llamaswap"] == {"type": "alias", "modelID": "org/big:Q4"}
    assert entries["echo"]["meta"]["llamaswap"]["tier"] == 1
    seeing = entries["seeing"]
    assert seeing["capabilities"] == {"vision": True, "function_calling": True}
    assert seeing["architecture"]["modality"] == "text+image->text"
    assert seeing["supported_parameters"] == ["tools", "tool_choice"]
    assert (seeing["context_length"], seeing["meta"]["n_ctx"]) == (4096, 4096)


def test_a_name_with_a_slash_and_a_colon_is_loaded_shown_and_unloaded(program: Program) -> None:
    for name in ("org/big:Q4", "org%2Fbig%3AQ4", "big"):
        assert program.post(f"/api/models/load/{name}", {}).status == 200
        row = program.running("org/big:Q4")
        assert (row["state"], row["ttl"], row["name"].strip()) == ("ready", 500, "Big")
        assert row["description"] == "It is big."
        assert row["proxy"].startswith("http://localhost:")
        assert "llamaswap_lib/demo" in row["cmd"]
        assert program.get(f"/upstream/{name}/props").json()["model_alias"] == "org/big:Q4"
        entries = {entry["id"]: entry["status"]["value"] for entry in program.get("/v1/models").json()["data"]}
        assert (entries["org/big:Q4"], entries["big"]) == ("loaded", "loaded")
        unloaded = program.ask("POST", f"/api/models/unload/{name}")
        assert (unloaded.status, unloaded.text) == (200, "OK")
        assert "org/big:Q4" not in program.states()


@pytest.mark.parametrize(
    ("method", "path", "body"), [("GET", "/unload", b"OK"), ("POST", "/api/models/unload", b'{"msg":"ok"}')]
)
def test_everything_is_unloaded(program: Program, method: str, path: str, body: bytes) -> None:
    assert program.chat("big").status == program.get("/upstream/echo/health").status == 200
    assert len(program.states()) > 1
    reply = program.ask(method, path)
    assert (reply.status, reply.body.replace(b" ", b"").strip()) == (200, body)
    assert program.states() == {}


def test_the_version(program: Program) -> None:
    version = program.get("/api/version").json()
    assert all(isinstance(version[key], str) and version[key] for key in ("version", "commit", "build_date"))


def test_a_profile_leads_names_elsewhere_while_it_is_active(program: Program) -> None:
    told = program.get("/api/profiles").json()
    assert told["active"] is None
    assert [profile["id"] for profile in told["profiles"]] == ["calm", "quick"]
    assert told["profiles"][0]["pins"]["big"] == ""
    assert activate(program, "quick") == {"active": "quick"}
    assert "gpt-x" in [entry["id"] for entry in program.get("/v1/models").json()["data"]]
    asked = {"model": "big", **HELLO}
    assert json.loads(program.post("/v1/chat/completions", asked).json()["body"])["model"] == "echo"
    assert program.get("/upstream/gpt-x/y").json()["target"] == "/y"
    assert activate(program, "calm") == {"active": "calm"}
    assert program.post("/v1/chat/completions", asked).status == 404
    for name in ("", None):
        assert activate(program, name) == {"active": None}
    assert program.chat("gpt-x").status == 404
    assert program.chat("big").json()["model"] == "org/big:Q4"


def activate(program: Program, name: str | None) -> Any:
    reply = program.ask("PUT", "/api/profiles/active", json.dumps({"name": name}).encode())
    assert reply.status == 200
    return reply.json()


def test_running_is_an_empty_list_and_loads_no_model(run_program: RunProgram) -> None:
    with run_program(models(m={"cmd": demo("--tokens-per-second", "100"), "ttl": 1})) as program:
        assert program.get("/running").json() == {"running": []}
        with program.stream("m") as busy:  # its time does not begin as long as it works
            busy.read_head_and_first_chunk()
            assert program.running("m")["ttl"] == 1
        wait_until(lambda: program.states() == {}, "it is unloaded however often one looks")


def test_a_refusal_for_want_of_a_place_is_json_whatever_is_accepted(run_program: RunProgram) -> None:
    with run_program(models(m={"cmd": upstream(), "concurrencyLimit": 1})) as program, program.wire() as wire:
        assert program.post("/api/models/load/m", {}).status == 200
        wire.request("GET", "/upstream/m/silent")
        wait_until(lambda: program.running("m")["in_flight"] == 1, "its only place is taken")
        for accepted in ("text/plain", "text/html", "application/json"):
            refused = program.get("/upstream/m/x", accept=accepted)
            assert (refused.status, refused.headers["Retry-After"]) == (429, "1")
            error = refused.json()["error"]
            assert (error["type"], error["code"]) == ("rate_limit_error", "concurrency_limit")


# -- keys --

OPEN = ("/health", "/wol-health", "/", "/upstream", "/nothing")
LOCKED = ("/v1/models", "/running", "/unload", "/logs", "/logs/stream", "/api/version", "/api/profiles", "/api/queue",
          "/api/events", "/upstream/m/x", "/props?model=m", "/ui/")  # fmt: skip


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"user:{password}".encode()).decode()


def test_a_key_opens_what_is_locked_and_nothing_else_does(run_program: RunProgram) -> None:
    with run_program({**models(m=upstream()), "apiKeys": ["secret"]}) as program:
        for path in OPEN:
            assert program.get(path).status in (200, 302, 404), path
        assert program.ask("OPTIONS", "/running").status == 204
        assert program.get("/v1/embeddings").status == 405
        for method in ("GET", "HEAD"):
            for path in (path for path in LOCKED if (method, path) != ("HEAD", "/unload")):
                refused = program.ask(method, path)
                assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, 'Basic realm="llama-swap"'), path
        assert program.post("/v1/embeddings", {"model": "m"}).json()["error"]["type"] == "authentication_error"
        assert program.post("/api/models/unload", {}).status == 401
        ways = ({"authorization": "bearer secret"}, {"authorization": basic("secret")}, {"x_api_key": "secret"})
        for headers in (*ways, {"authorization": "Bearer ", "x_api_key": "secret"}):
            assert program.get("/running", **headers).status == 200, headers
        for headers in ({"authorization": "Bearer x", "x_api_key": "secret"}, {"x_api_key": "Secret"}):
            assert program.get("/running", **headers).status == 401, headers
        page = {**OTHER_SITE, "authorization": "Bearer secret"}
        assert program.get("/unload", **page).status == 200
        assert program.get("/unload", **{**page, "authorization": basic("secret")}).status == 403
        assert ask(program.port, "GET", "/upstream/m/x", None, None, x_api_key="secret").status == 200
