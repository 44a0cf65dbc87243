"""Pages of other origins: which answers they may read, and that each says so once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaswap_lib.endpoints import ENDPOINTS
from llamaswap_lib.errors import BadGateway, ConcurrencyLimit, HttpError, ServiceUnavailable
from llamaswap_lib.routing.cors import PRIVATE, reader_of
from llamaswap_lib.routing.hosts import Hosts
from llamaswap_lib.routing.routes import Endpoint
from llamaswap_lib.server.answers import raw_answer
from llamaswap_lib.wire.cors_headers import allow_once
from llamaswap_lib.wire.heads import RequestHead
from llamaswap_lib.wire.parser import parse_request_head, parse_response_head
from tests.web.test_loading import STREAM, Loading
from tests.web.world import CHUNKED_HEAD, MODELS, OK, Peer, Running, World, answers, chat, get

SITE, LOCAL = "https://chat.example", "http://localhost:5173"
FROM_SITE, FROM_LOCAL = f"Origin: {SITE}\r\n".encode(), f"Origin: {LOCAL}\r\n".encode()
NAME = b"access-control-allow-origin:"
KEYS = "apiKeys: [sesame]\n"
HOSTS = Hosts(("ours.example",), ("box",))


def readers(head: bytes) -> list[str]:
    """Every value of the header, in the order in which it stands there."""
    lines = [line for line in head.split(b"\r\n") if line.lower().startswith(NAME)]
    return [line.partition(b":")[2].strip().decode() for line in lines]


# -- the rule --

CLOSED = {
    *(Endpoint.CONFIG, Endpoint.CONFIG_CHECK, Endpoint.CONFIG_FILES, Endpoint.CONFIG_FILE, Endpoint.CONFIG_SAVE),
    Endpoint.CONFIG_PREVIEW,
    *(Endpoint.UI, Endpoint.PREFLIGHT),
}


def head_of(origin: str, host: str = "gpubox:8080") -> RequestHead:
    return parse_request_head(f"GET / HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\n\r\n".encode())


@pytest.mark.parametrize("has_keys", [False, True])
@pytest.mark.parametrize("endpoint", [*Endpoint], ids=lambda endpoint: str(endpoint.name))
def test_who_may_read_what(endpoint: Endpoint, has_keys: bool) -> None:
    is_closed = endpoint in CLOSED
    is_for_all = not is_closed and (has_keys or endpoint not in PRIVATE)
    assert reader_of(endpoint, head_of(SITE), HOSTS, has_keys=has_keys) == (SITE if is_for_all else "")
    assert reader_of(endpoint, head_of(LOCAL), HOSTS, has_keys=has_keys) == ("" if is_closed else LOCAL)


def is_near(origin: str, hosts: Hosts = HOSTS, host: str = "gpubox:8080") -> bool:
    """Whether a page of `origin` may read what is private."""
    return reader_of(Endpoint.LOGS, head_of(origin, host), hosts, has_keys=False) == origin != ""


@pytest.mark.parametrize(
    "origin",
    [
        *("http://localhost", "https://LOCALHOST:5173", "http://a.localhost:1", "tauri://localhost"),
        *("http://127.0.0.1:3000", "http://[::1]:8080", "http://gpubox", "https://GPUBOX:3000", "http://box:3000"),
        *("https://ours.example", "https://OURS.example:8443"),
    ],
)
def test_pages_of_the_same_host_of_this_machine_and_of_allowed_names_read_what_is_private(origin: str) -> None:
    assert is_near(origin)


@pytest.mark.parametrize(
    "origin",
    [
        *("https://chat.example", "http://localhost.evil.example", "http://127.0.0.1.evil.example", "http://6.6.6.6"),
        *("http://192.168.1.7", "http://other", "http://nas.local", "http://evillocalhost", "http://[fe80::1]"),
        *("null", "", "://", "http://", "http://[", "localhost", "file://", "chrome-extension://abcdef", "http://x@y"),
        *("https://x.ours.example", "http://gpubox.evil.example", "http://gpubox@evil.example"),
    ],
)
def test_pages_of_any_other_origin_do_not(origin: str) -> None:
    assert not is_near(origin)
    assert not is_near(origin, host="")


def test_an_address_that_was_asked_is_a_host_as_any_other() -> None:
    assert is_near("http://192.168.1.7:3000", host="192.168.1.7:8080")
    assert is_near("http://[fe80::1]:3000", host="[fe80::1]:8080")


def test_allowed_hosts_allow_their_pages() -> None:
    allowed = Hosts(("*.home.example",), ())
    assert is_near("https://chat.home.example", allowed)
    assert not is_near("https://home.example", allowed)
    assert is_near("https://chat.example", Hosts(("*",), ()))


# -- what a model's server says of it --


@pytest.mark.parametrize(
    ("said", "adds", "told"),
    [
        ("", "r", ["r"]),
        ("Access-Control-Allow-Origin: *\r\n", "r", ["*"]),
        ("access-control-allow-origin:\thttp://x\t\r\n", "r", ["http://x"]),
        ("Access-Control-Allow-Origin: \r\n", "r", ["r"]),
        ("Access-Control-Allow-Origin:\r\nAccess-Control-Allow-Origin:\r\n", "r", ["r"]),
        ("Access-Control-Allow-Origin: *\r\nX: y\r\nACCESS-control-allow-origin: *\r\n", "r", ["*"]),
        ("Access-Control-Allow-Origin: a\r\nAccess-Control-Allow-Origin: b\r\n", "r", ["a"]),
        ("Access-Control-Allow-Origin:\r\nAccess-Control-Allow-Origin: b\r\n", "r", ["b"]),
        ("X: access-control-allow-origin: z\r\n", "r", ["r"]),
        ("", "", []),
        ("Access-Control-Allow-Origin: *\r\n", "", ["*"]),
        ("Access-Control-Allow-Origin: \r\n", "", []),
    ],
)
def test_the_header_of_a_server_counts_where_it_says_something(said: str, adds: str, told: list[str]) -> None:
    lines = f"HTTP/1.1 200 OK\r\nA: 1\r\n{said}B: 2\r\n"
    head = parse_response_head(f"{lines}\r\n".encode())
    result = allow_once(lines, head.first, adds)
    assert readers(result.encode()) == told
    assert result.startswith("HTTP/1.1 200 OK\r\nA: 1\r\n")
    assert ("\r\nVary: Origin\r\n" in result) == (told == ["r"])
    assert parse_response_head(f"{result}\r\n".encode()).get("b") == "2"


LINES = st.lists(
    st.builds(
        lambda name, value: f"{name}:{value}\r\n",
        st.sampled_from(["Access-Control-Allow-Origin", "access-control-allow-origin", "Vary", "X-A"]),
        st.sampled_from(["", " ", " *", "\thttp://a ", "access-control-allow-origin: *"]),
    ),
    max_size=5,
)


@given(LINES, st.sampled_from(["", SITE]))
def test_whatever_a_server_sends_the_header_is_there_once_at_most(lines: list[str], reader: str) -> None:
    text = f"HTTP/1.1 200 OK\r\n{''.join(lines)}"
    result = allow_once(text, parse_response_head(f"{text}\r\n".encode()).first, reader)
    told = readers(result.encode())
    assert len(told) <= 1
    assert not reader or told[0]
    assert sorted(line for line in result.split("\r\n") if line.startswith("X-A")) == sorted(
        line for line in text.split("\r\n") if line.startswith("X-A")
    )


SAYS = {
    "nothing": (b"", [SITE]),
    "all": (b"Access-Control-Allow-Origin: *\r\n", ["*"]),
    "one": (b"access-control-allow-origin: %b\r\n" % SITE.encode(), [SITE]),
    "empty": (b"Access-Control-Allow-Origin: \r\n", [SITE]),
    "twice": (b"Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Origin: *\r\n", ["*"]),
}
KINDS = {  # a status line, the rest of the head, and the body
    "whole": (b"HTTP/1.1 200 OK\r\n", b"Content-Length: 2\r\n\r\n", b"ok"),
    "chunked": (b"HTTP/1.1 200 OK\r\n", b"Transfer-Encoding: chunked\r\n\r\n", b"2\r\nok\r\n0\r\n\r\n"),
    "error": (b"HTTP/1.1 400 Bad Request\r\n", b"Content-Length: 2\r\n\r\n", b"ok"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("says", SAYS)
def test_the_answer_of_a_model_can_be_read_by_a_page_on_each_request_of_a_connection(says: str, kind: str) -> None:
    said, expected = SAYS[says]
    first, rest, body = KINDS[kind]
    with World(answers(*[first + said + rest + body] * 3)) as world, world.connect() as client:
        for _ in range(3):  # the later ones find a connection to the upstream
            client.send(chat(extra=FROM_SITE))
            head = client.read_until(b"\r\n\r\n")
            assert readers(head) == expected
            assert client.read(len(body)) == body


@pytest.mark.parametrize("says", SAYS)
def test_without_an_origin_the_answer_of_a_model_stays_as_it_is(says: str) -> None:
    said, _ = SAYS[says]
    head = b"HTTP/1.1 200 OK\r\n" + said + b"Content-Length: 2\r\n\r\n"
    with World(answers(*[head + b"ok"] * 3)) as world, world.connect() as client:
        for _ in range(3):
            client.send(chat())
            assert client.read_message() == (head, b"ok")


def test_a_stream_that_comes_piece_by_piece_can_be_read_too() -> None:
    def script(peer: Peer) -> None:
        for _ in range(2):
            peer.read_message()
            peer.send(CHUNKED_HEAD)
            peer.send(b"2\r\nok\r\n")
            peer.send(b"0\r\n\r\n")

    with World(script) as world, world.connect() as client:
        for _ in range(2):
            client.send(chat(extra=FROM_SITE))
            assert readers(client.read_until(b"\r\n\r\n")) == [SITE]
            client.read_until(b"0\r\n\r\n")


@pytest.mark.parametrize("said", [b"", b"Access-Control-Allow-Origin: http://own\r\n"])
def test_nothing_is_said_for_a_server_below_upstream_and_comfyui(said: bytes) -> None:
    config = "models:\n  m: {cmd: server, proxy: PROXY}\n  comfyui_auto: {cmd: server, proxy: PROXY}\n"
    answer = b"HTTP/1.1 200 OK\r\n" + said + b"Content-Length: 2\r\n\r\nok"
    with World(answers(answer), config=config) as world:
        for path in ("/upstream/m/x", "/comfyui/"):
            assert readers(world.ask(get(path, extra=FROM_SITE))[0]) == (["http://own"] if said else [])


# -- our own answers --


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/v1/models/m", "/running", "/api/queue", "/api/version"])
@pytest.mark.parametrize("origin", [SITE, LOCAL, "null"])
def test_what_is_not_private_can_be_read_by_every_page(path: str, origin: str) -> None:
    with World(answers(OK)) as world:
        head, _ = world.ask(get(path, extra=f"Origin: {origin}\r\n".encode()))
        assert readers(head) == [origin]
        assert b"\r\nVary: Origin\r\n" in head
        assert readers(world.ask(get(path))[0]) == []


@pytest.mark.parametrize(
    "path", ["/logs", "/logs/stream", "/logs/stream/m", "/logs/stream/none", "/api/events", "/api/performance"]
)
def test_what_is_private_can_be_read_by_pages_of_this_machine(path: str) -> None:
    with World(answers(OK)) as world:
        for extra, expected in ((FROM_LOCAL, [LOCAL]), (FROM_SITE, []), (b"Origin: null\r\n", []), (b"", [])):
            with world.connect() as client:
                client.send(get(path, extra=extra))
                assert readers(client.read_until(b"\r\n\r\n")) == expected


@pytest.mark.parametrize("path", ["/logs", "/logs/stream/proxy"])
def test_what_is_private_can_be_read_by_every_page_that_brings_a_key(path: str) -> None:
    with World(answers(OK), config=KEYS + MODELS) as world, world.connect() as client:
        client.send(get(path, extra=FROM_SITE + b"x-api-key: sesame\r\n"))
        assert readers(client.read_until(b"\r\n\r\n")) == [SITE]


@pytest.mark.parametrize("keys", ["", KEYS])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", "/api/config"), ("POST", "/api/config/check"), ("GET", "/api/config/files"), ("GET", "/ui/")),
        *(("GET", "/api/config/files/x.yaml"), ("PUT", "/api/config/files/x.yaml")),
        ("POST", "/api/config/files/x.yaml/check"),
    ],
)
def test_the_configuration_can_be_read_by_no_page_of_another_origin(method: str, path: str, keys: str) -> None:
    with World(answers(OK), config=keys + MODELS) as world:
        for extra in (FROM_SITE, FROM_LOCAL):
            request = get(path, extra=extra + b"x-api-key: sesame\r\nContent-Length: 0\r\n", method=method)
            assert readers(world.ask(request)[0]) == []
            assert readers(world.ask(get(path, extra=extra, method=method))[0]) == []


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/running", "/api/config", "/nope"])
def test_a_preflight_says_it_once(path: str) -> None:
    with World(answers(OK)) as world, world.connect() as client:
        client.send(get(path, extra=FROM_SITE, method="OPTIONS"))
        assert readers(client.read_until(b"\r\n\r\n")) == ["*"]


def test_operations_stay_refused_and_only_a_page_of_this_machine_sees_why() -> None:
    with World(answers(OK)) as world:
        for extra, expected in ((FROM_SITE, []), (FROM_LOCAL, [LOCAL])):
            for method, path in (("GET", "/unload"), ("POST", "/api/models/load/m"), ("POST", "/api/config/reload")):
                head, _ = world.ask(get(path, extra=extra, method=method))
                assert head.startswith(b"HTTP/1.1 403 ")
                assert readers(head) == expected
        assert world.controller.unloaded == []


# -- our own errors --

ERRORS = {
    "no such path": (get("/nope", extra=FROM_SITE), 404),
    "no such path of the API": (get("/v1/nope", extra=FROM_SITE), 404),
    "wrong method": (get("/v1/chat/completions", extra=FROM_SITE), 405),
    "unclean path": (get("//v1/models", extra=FROM_SITE), 307),
    "unknown model": (chat(b'{"model":"none"}', extra=FROM_SITE), 404),
    "unknown model below upstream": (get("/upstream/none/x", extra=FROM_SITE), 404),
    "no model": (chat(b"{}", extra=FROM_SITE), 404),
    "no JSON": (chat(b"{", extra=FROM_SITE), 400),
    "a loop": (chat(extra=FROM_SITE + b"Via: " + b"1.1 llamaswap-0123456789abcdef, " * 9 + b"\r\n"), 508),
}


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_of_ours_can_be_read_by_a_page_on_each_request_of_a_connection(error: str) -> None:
    request, status = ERRORS[error]
    with World(answers(OK)) as world, world.connect() as client:
        for _ in range(2):
            client.send(request)
            head, _ = client.read_message()
            assert (int(head[9:12]), readers(head)) == (status, [SITE])
        client.send(chat(extra=FROM_SITE))
        assert readers(client.read_message()[0]) == [SITE]
        client.send(request)
        head, _ = client.read_message()
        assert (int(head[9:12]), readers(head)) == (status, [SITE])


@pytest.mark.parametrize(
    "refusal",
    [ConcurrencyLimit(), BadGateway("x"), ServiceUnavailable("x"), HttpError("x")],
    ids=lambda one: str(one.status),
)
@pytest.mark.parametrize(
    "ask", [chat(extra=FROM_SITE), get("/upstream/m/x", extra=FROM_SITE)], ids=["chat", "upstream"]
)
def test_a_refusal_of_a_model_can_be_read(refusal: HttpError, ask: bytes) -> None:
    with World(answers(OK)) as world, world.connect() as client:
        client.send(chat(extra=FROM_SITE))
        assert client.read_message()[1] == b"ok"
        world.controller.refusal = refusal
        client.send(ask)
        head, _ = client.read_message()
        assert (int(head[9:12]), readers(head)) == (refusal.status, [SITE])


def test_a_missing_key_can_be_read() -> None:
    with World(answers(OK), config=KEYS + MODELS) as world:
        for request in (chat(extra=FROM_SITE), get("/logs", extra=FROM_SITE), get("/running", extra=FROM_SITE)):
            head, _ = world.ask(request)
            assert (head[9:12], readers(head)) == (b"401", [SITE])


def test_what_is_answered_before_the_request_is_read_can_be_read_by_all() -> None:
    assert readers(raw_answer(ServiceUnavailable("too many connections"))) == ["*"]
    with World(answers(OK)) as world, world.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nCookie: " + b"x" * 70_000 + b"\r\n\r\n")
        head = client.read_until(b"\r\n\r\n")
        assert (head[9:12], readers(head)) == (b"431", ["*"])


@pytest.mark.parametrize("says", SAYS)
def test_the_stream_of_the_loading_state_says_it_once_whatever_the_server_says(says: str) -> None:
    answer = CHUNKED_HEAD.replace(b"\r\n\r\n", b"\r\n" + SAYS[says][0] + b"\r\n") + b"2\r\nok\r\n0\r\n\r\n"
    with Loading(answers(answer)) as world, world.connect() as client:
        client.send(chat(STREAM, extra=FROM_SITE))
        head = world.end_wait(client)
        assert readers(head) == [SITE]
        assert NAME not in client.read_until(b"0\r\n\r\n").lower()


def test_a_load_that_fails_at_once_can_be_read_where_its_state_would_be_told() -> None:
    with Loading(answers(OK)) as world:
        world.queue.is_over.set()
        world.controller.refusal = BadGateway("model m could not be loaded")
        head, _ = world.ask(chat(STREAM, extra=FROM_SITE))
        assert (head[9:12], readers(head)) == (b"502", [SITE])


def test_every_endpoint_of_the_configuration_is_closed() -> None:
    """One that is added is not forgotten: it would have to be named so."""
    named = {endpoint for endpoint in ENDPOINTS if endpoint.name.startswith("CONFIG")}
    assert {endpoint for endpoint in named if reader_of(endpoint, head_of(LOCAL), HOSTS, has_keys=True)} == set()


def test_a_server_of_a_model_that_runs_alone_answers_a_page() -> None:
    with World(answers(OK)) as world:
        world.controller.running = [Running("m", 1, "ready")]
        assert readers(world.ask(get("/props", extra=FROM_SITE))[0]) == [SITE]
