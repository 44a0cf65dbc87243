"""How a command asks the server, and what it says of all that can go wrong with that: a message and an exit code."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import pytest

from llamaswap_lib.client.connection import NoRoute, Refused, Server, ServerError, Unreachable, in_path, lines_of
from llamaswap_lib.errors import LlamaswapError
from tests.client.answers import answering, reply


def test_the_key_is_sent_and_the_path_of_the_address_is_kept() -> None:
    with answering(reply('{"a": 1}')) as it:
        assert Server(f"{it.url}/behind", "secret").get("/elsewhere", {"model": "a b"}) == {"a": 1}
        assert it.server.get("/x") == {"a": 1}
    with_key, without = it.heads
    assert with_key.startswith("GET /behind/elsewhere?model=a+b HTTP/1.1\r\n")
    assert "\r\nAuthorization: Bearer secret\r\n" in with_key
    assert "Authorization" not in without


def test_a_body_goes_as_json() -> None:
    with answering(reply("OK", kind="text/plain")) as it:
        assert it.server.ask("PUT", "/x", {"name": None}) == "OK"
    assert "Content-Type: application/json" in it.heads[0]


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there, and nobody else can
        port = taken.getsockname()[1]
        with pytest.raises(Unreachable, match=f"no server at http://127.0.0.1:{port}: is llamaswap running there"):
            Server(f"http://127.0.0.1:{port}").get("/running")


def test_a_name_that_leads_nowhere() -> None:
    with pytest.raises(Unreachable, match=r"http://no-such-host\.invalid cannot be reached: "):
        Server("http://no-such-host.invalid").get("/running")


def test_a_server_that_is_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = Server(f"http://127.0.0.1:{silent.getsockname()[1]}", patience=0.05)
        with pytest.raises(Unreachable, match=r"does not answer$"):
            server.get("/running")


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", b"HTTP/1.1 20"])
@pytest.mark.parametrize("is_cut", [False, True])
def test_a_connection_that_breaks_off(answer: bytes, is_cut: bool) -> None:
    with answering(answer, is_cut=is_cut) as it, pytest.raises(Unreachable) as told:
        it.server.get("/running")
    assert told.value.exit_code == 3
    assert "broke off" in str(told.value) or answer.endswith(b"20")


def test_a_stream_that_breaks_off_gives_its_lines_and_then_says_so() -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\none\ntw\r\n"
    with answering(answer) as it:
        lines = it.server.lines("GET", "/logs/stream")
        assert next(lines) == b"one\n"
        with pytest.raises(Unreachable, match="broke off"):
            list(lines)


def test_a_stream_that_ends() -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\none\ntw\r\n1\r\no\r\n0\r\n\r\n"
    with answering(answer) as it:
        assert list(it.server.lines("GET", "/logs/stream")) == [b"one\n", b"two"]


def test_something_else_listens_there() -> None:
    with answering(b"SSH-2.0-OpenSSH_9.9\r\n") as it, pytest.raises(Unreachable, match="as an HTTP server does: SSH-2"):
        it.server.get("/running")


@pytest.mark.parametrize(
    "body", ["<html>hello</html>", "[1]", "{", "[" * 100_000, '"text"'], ids=["page", "list", "cut", "deep", "text"]
)
@pytest.mark.parametrize("kind", ["application/json", "text/html"])
def test_an_answer_that_is_no_json_object(body: str, kind: str) -> None:
    with answering(reply(body, kind=kind)) as it, pytest.raises(ServerError, match="is it a llamaswap"):
        it.server.get("/running")


def test_an_answer_that_lacks_what_belongs_into_it() -> None:
    with answering(reply('{"rows": [{}]}')) as it:
        answer = it.server.get("/elsewhere")
        with pytest.raises(ServerError, match="there is no 'running' in the server's answer to /running"):
            it.server.get("/running")
    with pytest.raises(ServerError, match="there is no 'running' in the server's answer"):
        answer["running"]
    with pytest.raises(ServerError, match="no 'model'"):
        answer["rows"][0]["model"]
    assert answer.get("running") is None


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        (reply('{"error": {"message": "no m", "code": "not_found"}}', "404 Not Found"), 4, "no m"),
        (reply('{"error": "no m"}', "404 Not Found"), 4, "no m"),
        (reply('{"error": {"message": "wrong key"}}', "401 Unauthorized"), 5, "wrong key; --api-key or LLAMASWAP_API"),
        (reply("", "403 Forbidden"), 5, "403 Forbidden"),
        (reply('{"error": {"message": "busy"}}', "429 Too Many Requests"), 6, "busy"),
        (reply("it failed", "500 X", "text/plain"), 6, "it failed"),
        (reply("<html>much</html>", "502 Bad Gateway", "text/html"), 6, "502 Bad Gateway"),
        (reply('{"error": {"code": 3}}', "500 X"), 6, '"code": 3'),
        (reply('{"error": {"message": null}}', "500 X"), 6, '{"error": {"message": null}}'),
        (reply('{"error": null}', "500 X"), 6, '{"error": null}'),
        (reply('["no"]', "400 Bad Request"), 6, '["no"]'),
        (reply("null", "503 X"), 6, "null"),
        (reply('{"error": {"message": "a\x1b[2J\x9b2Jb\\nc"}}', "500 X"), 6, "a\\x1b[2J\\x9b2Jb\nc"),
    ],
)
def test_a_refusal_is_told_in_the_words_of_the_server(answer: bytes, code: int, message: str) -> None:
    with answering(answer) as it, pytest.raises(Refused) as told:
        it.server.get("/x")
    assert told.value.exit_code == code
    assert message in str(told.value)


@pytest.mark.parametrize("status", ["404 Not Found", "405 Method Not Allowed", "501 Not Implemented"])
def test_a_route_that_is_not_there(status: str) -> None:
    with answering(reply("404 page not found", status, "text/plain")) as it:
        assert it.server.find("/api/queue") is None
        with pytest.raises(NoRoute, match="the server has no such route") as told:
            it.server.get("/api/queue")
    assert told.value.exit_code == 6


def test_a_model_that_is_not_there_is_no_route_that_is_not_there() -> None:
    with answering(reply('{"error": {"message": "no m"}}', "404 Not Found")) as it, pytest.raises(Refused) as told:
        it.server.find("/api/models/m/plan")
    assert told.value.exit_code == 4


def test_tls_where_there_is_none_and_certificates_that_are_no_file(tmp_path: Path) -> None:
    with answering(reply("{}")) as it:
        with pytest.raises(Unreachable, match="does not answer with TLS"):
            Server(it.url.replace("http", "https")).get("/running")
        (tmp_path / "empty.pem").write_text("no certificate")
        for name, wanted in (("no.pem", "No such file"), ("empty.pem", "no certificate in PEM")):
            server = Server(it.url.replace("http", "https"), ca_file=str(tmp_path / name))
            with pytest.raises(LlamaswapError, match=wanted) as told:
                server.get("/running")
            assert not isinstance(told.value, ServerError)


def test_lines_are_put_together_of_pieces() -> None:
    assert list(lines_of([b"a", b"b\n", b"", b"\nc\n\n", b"d", b"e"])) == [b"ab\n", b"\n", b"c\n", b"\n", b"de"]


def test_a_server_with_tls(tmp_path: Path) -> None:
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with answering(reply('{"a": 1}'), context=context) as it:
        with pytest.raises(Unreachable, match=r"its certificate is not trusted: .*; see --ca-file"):
            it.server.get("/x")
        assert Server(it.url, ca_file=str(tmp_path / "ca.pem")).get("/x") == {"a": 1}


def test_names_in_paths() -> None:
    assert in_path("org/a model?#%:é") == "org/a%20model%3F%23%25%3A%C3%A9"
