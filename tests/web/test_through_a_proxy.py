"""Peers and models on other machines that are reached through a proxy: an upstream of the test plays that proxy."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable, Mapping

import pytest

from tests.web.certificates import TlsEnd, trusted_upstream
from tests.web.test_upgrade import ASKED, SWITCH
from tests.web.world import OK, Peer, Running, World, answers, chat, get, length_of, sized

HTTP = {"http_proxy": "PROXY"}
HTTPS = {"https_proxy": "PROXY"}
CONFIG = """
models:
  m: {cmd: "server ${PORT}", proxy: "http://box.invalid:9000"}
  here: {cmd: "server ${PORT}", proxy: PROXY}
peers:
  p: {proxy: "http://far.invalid:81/base", models: [x]}
  s: {proxy: "https://far.invalid", models: [x], timeouts: {connect: 60}}
"""
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


class Far(World):
    """A world whose model `m` is on another machine."""

    def __init__(self, *scripts: Callable[[Peer], None], environment: Mapping[str, str], config: str = CONFIG) -> None:
        super().__init__(*scripts, config=config, environment=environment)
        self.controller.proxy = "http://box.invalid:9000"
        self.controller.running = [Running("m", 1, "ready")]

    def __enter__(self) -> Far:
        return self

    @property
    def shown_proxy(self) -> str:
        return self.upstream.proxy


class Seen:
    """A script that remembers the heads of the requests it answers."""

    def __init__(self, answer: bytes = OK) -> None:
        self.heads: list[str] = []
        self._answer = answer

    def __call__(self, peer: Peer) -> None:
        while not peer.has_hung_up():
            head = peer.read_until(b"\r\n\r\n")
            peer.read(length_of(head))
            self.heads.append(head.decode())
            peer.send(self._answer)


def ask_peer(world: World, model: str = "p/x") -> tuple[bytes, bytes]:
    return world.ask(chat(json.dumps({"model": model}).encode()))


def message_of(answer: tuple[bytes, bytes]) -> str:
    assert answer[0].startswith(b"HTTP/1.1 502 "), answer
    return str(json.loads(answer[1])["error"]["message"])


def test_a_peer_is_asked_for_the_whole_url_on_a_connection_that_is_kept() -> None:
    seen = Seen()
    with Far(seen, environment=HTTP) as world:
        for _ in range(2):
            assert ask_peer(world)[1] == b"ok"
        assert [head.split("\r\n")[:2] for head in seen.heads] == [
            ["POST http://far.invalid:81/base/v1/chat/completions HTTP/1.1", "Host: far.invalid:81"]
        ] * 2
        assert "proxy-auth" not in seen.heads[0].lower()
        assert world.upstream.accepted == 1


def test_the_login_of_the_proxy_is_sent_to_it_and_the_clients_is_not() -> None:
    seen = Seen()
    with Far(seen, environment={}) as plain:
        port = plain.upstream.proxy.rpartition(":")[2]
        with World(environment={"http_proxy": f"me:p%20w@127.0.0.1:{port}"}, config=CONFIG) as world:
            world.ask(chat(b'{"model":"p/x"}', extra=b"Proxy-Authorization: Basic Y2xpZW50\r\n"))
    lines = seen.heads[0].split("\r\n")
    assert [line for line in lines if "proxy-auth" in line.lower()] == ["Proxy-Authorization: Basic bWU6cCB3"]


def test_a_model_on_another_machine_is_too_both_ways_and_gets_the_host_of_its_url() -> None:
    seen = Seen()
    with Far(seen, environment=HTTP) as world, world.connect() as client:
        for _ in range(3):
            client.send(chat())
            assert client.read_message()[1] == b"ok"
        expected = ["POST http://box.invalid:9000/v1/chat/completions HTTP/1.1", "Host: box.invalid:9000"]
        assert [head.split("\r\n")[:2] for head in seen.heads] == [expected] * 3
        assert [head.lower().count("\r\nhost:") for head in seen.heads] == [1, 1, 1]
        assert world.upstream.accepted == 1


def test_a_model_on_this_machine_and_what_no_proxy_names_are_asked_directly() -> None:
    seen = Seen()
    with Far(seen, environment={**HTTP, "no_proxy": "far.invalid"}) as world:
        world.controller.proxy = world.upstream.proxy
        assert world.ask(chat(b'{"model":"here"}'))[1] == b"ok"
        assert seen.heads[0].startswith("POST /v1/chat/completions HTTP/1.1\r\n")
        assert message_of(ask_peer(world)).startswith("cannot connect to p/x at http://far.invalid:81: ")
        assert len(seen.heads) == 1


def test_https_goes_through_a_tunnel_with_the_name_of_the_peer_and_is_kept() -> None:
    context = trusted_upstream("far.invalid")
    asked: list[bytes] = []

    def script(peer: Peer) -> None:
        asked.append(peer.read_until(b"\r\n\r\n"))
        peer.send(ESTABLISHED)
        peer.sock = TlsEnd(peer.sock, context)
        for _ in range(2):
            asked.append(peer.read_message()[0])
            peer.send(OK)

    with Far(script, environment={"https_proxy": "PROXY"}) as world:
        for _ in range(2):
            assert ask_peer(world, "s/x")[1] == b"ok"
        assert world.upstream.accepted == 1
    assert asked[0] == b"CONNECT far.invalid:443 HTTP/1.1\r\nHost: far.invalid:443\r\n\r\n"
    assert asked[1].startswith(b"POST /v1/chat/completions HTTP/1.1\r\nHost: far.invalid\r\n")


def test_the_certificate_in_the_tunnel_has_to_be_the_peers() -> None:
    context = trusted_upstream("proxy.invalid")

    def script(peer: Peer) -> None:
        peer.read_until(b"\r\n\r\n")
        peer.send(ESTABLISHED)
        with pytest.raises(ssl.SSLError):
            context.wrap_socket(peer.sock, server_side=True)

    with Far(script, environment=HTTPS) as world:
        assert "its certificate is not trusted" in message_of(ask_peer(world, "s/x"))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "the proxy answered 407 Proxy Authentication Required"),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nno no", "the proxy answered 403 Forbidden"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "the proxy answered 502 Bad Gateway"),
        (b"HTTP/1.1 200 OK\r\n\r\nsurprise", "the proxy sent more than its answer"),
        (b"SSH-2.0-x\r\n", "the proxy does not speak HTTP"),
        (b"", "the proxy closed the connection"),
    ],
)
def test_a_tunnel_that_is_refused_is_a_bad_gateway_with_the_reason(answer: bytes, reason: str) -> None:
    with Far(answers(answer), environment=HTTPS) as world:
        where = f"cannot connect to s/x at https://far.invalid through the proxy {world.shown_proxy}"
        assert message_of(ask_peer(world, "s/x")) == f"{where}: {reason}"


@pytest.mark.slow
def test_a_proxy_that_does_not_answer_is_given_up() -> None:
    def silent(peer: Peer) -> None:
        peer.wait_for_hang_up()

    config = CONFIG.replace("connect: 60", "connect: 1")
    with Far(silent, environment=HTTPS, config=config) as world:
        assert message_of(ask_peer(world, "s/x")).endswith(": the proxy took too long to open the tunnel")


def test_a_proxy_that_cannot_be_reached_is_named() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        proxy = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with Far(environment={"http_proxy": proxy.replace("//", "//me:hush@")}) as world:
            where = f"cannot connect to p/x at http://far.invalid:81 through the proxy {proxy}"
            assert message_of(ask_peer(world)) == f"{where}: Connection refused"
            assert "hush" not in world.log


def test_a_variable_that_names_no_proxy_lets_nothing_past() -> None:
    with Far(environment={"HTTP_PROXY": "socks5://127.0.0.1:1"}) as world:
        assert message_of(ask_peer(world)) == (
            "cannot connect to p/x at http://far.invalid:81: "
            "HTTP_PROXY names a proxy with socks5://, and only http:// can be used"
        )


def test_a_login_that_the_proxy_wants_is_not_asked_of_the_client() -> None:
    refusal = sized(b"no", b"Proxy-Authenticate: Basic\r\n").replace(b"200 OK", b"407 Proxy Authentication Required")
    with Far(answers(OK, refusal), answers(refusal), environment=HTTP) as world, world.connect() as client:
        client.send(chat())
        assert client.read_message()[1] == b"ok"
        for _ in range(2):
            client.send(chat())
            message = message_of(client.read_message())
            assert message == (
                f"cannot ask m at http://box.invalid:9000: the proxy {world.shown_proxy} wants a login (407)"
            )


def test_other_errors_of_the_proxy_pass_like_those_of_the_server() -> None:
    with Far(answers(sized(b"no").replace(b"200 OK", b"503 No")), environment=HTTP) as world:
        assert ask_peer(world)[0].startswith(b"HTTP/1.1 503 No\r\n")


@pytest.mark.parametrize("path", ["/upstream/m/ws", "/upstream/p/x/ws"])
def test_an_upgrade_goes_through_a_tunnel_of_its_own(path: str) -> None:
    asked: list[bytes] = []

    def script(peer: Peer) -> None:
        asked.append(peer.read_until(b"\r\n\r\n"))
        peer.send(ESTABLISHED)
        asked.append(peer.read_until(b"\r\n\r\n"))
        peer.send(SWITCH)
        peer.send(peer.read(4)[::-1])
        peer.end()
        peer.wait_for_hang_up()

    with Far(answers(OK), script, environment=HTTP) as world:
        world.ask(chat(b'{"model":"%b"}' % (b"m" if "/m/" in path else b"p/x")))  # so that there is an idle connection
        with world.connect() as client:
            client.send(get(path, extra=ASKED))
            assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
            client.send(b"ping")
            assert client.read_to_end() == b"gnip"
    host = b"box.invalid:9000" if "/m/" in path else b"far.invalid:81"
    assert asked[0] == b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (host, host)
    assert asked[1].startswith(b"GET /ws HTTP/1.1\r\n" if "/m/" in path else b"GET /base/ws HTTP/1.1\r\n")


def test_the_connection_of_an_upgrade_that_was_refused_is_not_used_for_other_requests() -> None:
    seen = Seen()

    def script(peer: Peer) -> None:
        peer.read_until(b"\r\n\r\n")
        peer.send(ESTABLISHED)
        peer.read_until(b"\r\n\r\n")
        peer.send(OK)
        assert peer.read_to_end() == b""

    with Far(script, seen, environment=HTTP) as world, world.connect() as client:
        client.send(get("/upstream/m/ws", extra=ASKED))
        assert client.read_message()[1] == b"ok"
        client.send(chat())
        assert client.read_message()[1] == b"ok"
        assert seen.heads[0].startswith("POST http://box.invalid:9000/")
