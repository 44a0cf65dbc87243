"""TLS records that arrive in halves: a socket is readable and yet has nothing to read, on either side of the server."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

from tests.web.certificates import TlsEnd, issue, trusted_upstream, trusting
from tests.web.world import CHUNKED_HEAD, DEADLINE, OK, Peer, World, chat, get

PEERS = "peers: {p: {proxy: PROXY, models: [far]}}\n"
BODY = b'{"model":"far","messages":"' + b"x" * 10_000 + b'"}'


def test_the_head_and_body_of_a_client_may_come_in_halves_of_records(tmp_path: Path) -> None:
    bodies = []

    def script(peer: Peer) -> None:
        for _ in range(2):
            bodies.append(peer.read_message()[1])
            peer.send(OK)

    body = BODY.replace(b"far", b"m")
    with World(script, certificate=issue(tmp_path)) as world:

        def others_are_served() -> None:
            with socket.create_connection(world.server.address, DEADLINE) as plain:
                other = Peer(TlsEnd(plain, trusting(), "localhost"))
                other.send(get("/health"))
                assert other.read_message()[1] == b"OK"
                other.close()

        sock = TlsEnd(socket.create_connection(world.server.address, DEADLINE), trusting(), "localhost")
        with Peer(sock) as client:
            for _ in range(2):  # the second one on a connection that was idle
                request = chat(body)
                for start in range(0, len(request), 6_000):
                    sock.send_cut(request[start : start + 6_000], others_are_served)
                assert client.read_message()[1] == b"ok"
    assert bodies == [body, body]


def test_the_answer_of_a_peer_may_come_in_halves_of_records() -> None:
    has_begun = threading.Event()

    def script(peer: Peer) -> None:
        assert isinstance(peer.sock, TlsEnd)
        peer.read_message()
        for piece in (CHUNKED_HEAD, b"5\r\nfirst\r\n"):
            peer.sock.send_cut(piece, others_are_served)
        assert has_begun.wait(DEADLINE)
        for piece in (b"6\r\nsecond\r\n", b"2710\r\n" + b"y" * 10_000 + b"\r\n", b"0\r\n\r\n"):
            peer.sock.send_cut(piece, others_are_served)

    with World(script, config=PEERS, upstream_context=trusted_upstream()) as world:

        def others_are_served() -> None:
            assert world.ask(get("/health"))[1] == b"OK"

        with world.connect() as client:
            client.send(chat(BODY))
            assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
            assert client.read(10) == b"5\r\nfirst\r\n"
            has_begun.set()
            assert client.read(11) == b"6\r\nsecond\r\n"
            assert client.read(10_008) == b"2710\r\n" + b"y" * 10_000 + b"\r\n"
            assert client.read(5) == b"0\r\n\r\n"
