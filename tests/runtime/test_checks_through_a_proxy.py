"""Health checks of servers on other machines that are reached through a proxy."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

from llamaswap_lib.core.events import LoadTimedOut, ProcessReady
from llamaswap_lib.runtime.forward_proxies import ForwardProxies, ForwardProxy
from llamaswap_lib.runtime.processes.obstacles import Occupant
from tests.runtime.probing import OK, Pauses, Probing, Server, answers, waking

REFUSED = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"


def proxy_at(server: Server, login: str = "") -> ForwardProxy:
    return ForwardProxy("127.0.0.1", server.port, login)


def test_the_proxy_is_asked_for_the_whole_url() -> None:
    with Server(answers(OK)) as server:
        through = proxy_at(server, "Proxy-Authorization: Basic eDp5\r\n")
        with Probing("http://far.invalid:9/base", through=through) as probing:
            assert isinstance(probing.event(), ProcessReady)
        lines = server.questions[0].decode().split("\r\n")
        assert lines[:2] == ["GET http://far.invalid:9/base/health HTTP/1.1", "Host: far.invalid:9"]
        assert lines[-3:] == ["Proxy-Authorization: Basic eDp5", "", ""]


def test_https_goes_through_a_tunnel() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Path(__file__).with_name("self_signed.pem"))
    asked: list[bytes] = []

    def serve(client: socket.socket, _number: int) -> None:
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with context.wrap_socket(client, server_side=True) as secured:
            asked.append(secured.recv(65_536))
            secured.sendall(OK)

    with Server(serve) as server, Probing("https://far.invalid", through=proxy_at(server)) as probing:
        assert isinstance(probing.event(), ProcessReady)
        assert server.questions[0].startswith(b"CONNECT far.invalid:443 HTTP/1.1\r\n")
        assert asked[0].startswith(b"GET /health HTTP/1.1\r\nHost: far.invalid\r\n")


def last_answer(url: str, through: ForwardProxy | None) -> str:
    pauses = Pauses(3)
    with Probing(url, through=through, clock=pauses.clock, pause=pauses.take) as probing:
        event = probing.event()
    assert isinstance(event, LoadTimedOut)
    return event.detail.partition("last health answer: ")[2]


def test_a_proxy_that_refuses_is_named() -> None:
    with Server(answers(REFUSED)) as server:
        where = f"through the proxy http://127.0.0.1:{server.port}"
        refusal = "the proxy answered 407 proxy authentication required"
        assert last_answer("https://far.invalid", proxy_at(server)) == f"{refusal} {where}"
        assert last_answer("http://far.invalid", proxy_at(server)) == "407"
    with Server(answers(b"")) as server:
        where = f"through the proxy http://127.0.0.1:{server.port}"
        assert last_answer("https://far.invalid", proxy_at(server)) == f"the proxy closed the connection {where}"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    through = ForwardProxy("127.0.0.1", port)
    assert last_answer("http://far.invalid", through) == f"connection refused through the proxy http://127.0.0.1:{port}"


def test_a_variable_that_names_no_proxy_is_the_answer() -> None:
    through = ForwardProxies({"http_proxy": "socks5://me:hush@p:1"}).way_to_url("http://far.invalid")
    expected = "http_proxy names a proxy with socks5://, and only http:// can be used"
    assert last_answer("http://far.invalid", through) == expected


def test_a_server_that_is_there_already_is_found_through_the_proxy() -> None:
    with waking() as ending, Server(answers(OK)) as server:
        occupant = Occupant("http://far.invalid:9", "/health", proxy_at(server))
        assert occupant.look(ending) == "another server answers"
        assert server.questions[0].startswith(b"GET http://far.invalid:9/health HTTP/1.1\r\n")


def test_a_proxy_that_answers_for_a_model_without_a_check_is_not_its_server() -> None:
    with waking() as ending, Server(answers(REFUSED)) as server:
        assert Occupant("http://far.invalid:9", "none", proxy_at(server)).look(ending) == ""
