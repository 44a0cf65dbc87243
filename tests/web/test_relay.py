"""What passes through a relay, byte for byte, and who notices when the other side is gone."""

from __future__ import annotations

import socket
import threading

import pytest

from llamaswap_lib.errors import BadGateway
from llamaswap_lib.server.limits import Limits
from tests.web.world import (
    CHUNKED_HEAD,
    DEADLINE,
    OK,
    Peer,
    World,
    answers,
    chat,
    get,
    length_of,
    sized,
)

EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
BIG_BODY = b'{"model":"m","x":"' + b"x" * 20_000_000 + b'"}'  # more than the kernel takes at once


def test_short_answer_arrives_with_its_head_and_the_connection_stays() -> None:
    with World(answers(OK, OK)) as world, world.connect() as client:
        for _ in range(2):
            client.send(chat())
            head, body = client.read_message()
            assert head == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
            assert body == b"ok"
        assert world.upstream.accepted == 1


def test_request_reaches_the_upstream_as_it_was_sent() -> None:
    seen: list[bytes] = []

    def script(peer: Peer) -> None:
        seen.append(b"".join(peer.read_message()))
        peer.send(OK)

    with World(script) as world:
        body = b'{ "model" : "m", "x": 1.0e5, "x": [1, 2]}'
        world.ask(chat(body, extra=b"X-Custom: a  b\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\n"))
        assert seen[0] == (
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-Custom: a  b\r\n"
            b"Content-Length: %d\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n%b" % (len(body), body)
        )


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_chunked_body_passes_byte_for_byte_whatever_its_pieces(size: int) -> None:
    body = b"5;ext=1\r\nhello\r\n1000\r\n" + b"x" * 4096 + b"\r\n0\r\nTrailer: t\r\n\r\n"

    def script(peer: Peer) -> None:
        peer.read_message()
        whole = CHUNKED_HEAD + body
        for at in range(0, len(whole), size):
            peer.send(whole[at : at + size])
        peer.read_message()
        peer.send(OK)

    with World(script) as world, world.connect() as client:
        client.send(chat())
        head = client.read_until(b"\r\n\r\n")
        assert b"\r\nTransfer-Encoding: chunked\r\n" in head
        assert b"\r\nX-Accel-Buffering: no\r\n" in head
        assert client.read(len(body)) == body
        client.send(chat())  # both connections are kept
        assert client.read_message()[1] == b"ok"
        assert world.upstream.accepted == 1


def test_chunks_arrive_while_the_answer_goes_on() -> None:
    go_on = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_message()
        peer.send(CHUNKED_HEAD + b"3\r\none\r\n")
        assert go_on.wait(DEADLINE)
        peer.send(b"3\r\ntwo\r\n0\r\n\r\n")

    with World(script) as world, world.connect() as client:
        client.send(chat())
        client.read_until(b"\r\n\r\n")
        assert client.read(8) == b"3\r\none\r\n"
        go_on.set()
        assert client.read(13) == b"3\r\ntwo\r\n0\r\n\r\n"


def test_big_body_of_known_length_arrives_whole() -> None:
    body = bytes(range(256)) * 40_000  # 10 MB: the client holds it up

    with World(answers(sized(body), OK)) as world, world.connect() as client:
        client.send(chat())
        assert client.read_message()[1] == body
        client.send(chat())
        assert client.read_message()[1] == b"ok"


def test_http_1_0_client_gets_chunks_decoded_and_the_connection_closed() -> None:
    with World(answers(CHUNKED_HEAD + b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")) as world, world.connect() as client:
        client.send(chat(version=b"1.0", extra=b"Connection: keep-alive\r\n"))
        answer = client.read_to_end()
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b"chunked" not in head.lower()
        assert b"\r\nConnection: close" in head
        assert body == b"onetwo"


def test_http_1_0_client_that_asks_for_it_keeps_its_connection() -> None:
    with World(answers(OK, OK)) as world, world.connect() as client:
        for _ in range(2):
            client.send(chat(version=b"1.0", extra=b"Connection: keep-alive\r\n"))
            assert b"\r\nConnection: keep-alive\r\n" in client.read_message()[0]


def test_body_until_close_ends_with_the_clients_connection() -> None:
    with World(answers(b"HTTP/1.0 200 OK\r\n\r\nall of it")) as world, world.connect() as client:
        client.send(chat())
        assert client.read_to_end() == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it"


def test_head_of_a_get_keeps_the_length_and_sends_no_body() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    with World(answers(head, head)) as world, world.connect() as client:
        for _ in range(2):
            client.send(get("/upstream/m/x", method="HEAD"))
            assert client.read_until(b"\r\n\r\n") == head


def test_http_1_0_client_that_asks_for_a_head_is_told_of_no_chunks() -> None:
    with World(answers(CHUNKED_HEAD, CHUNKED_HEAD)) as world, world.connect() as client:
        for _ in range(2):  # nothing stands behind the head, so both connections are kept
            client.send(b"HEAD /upstream/m/x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert client.read_until(b"\r\n\r\n") == (
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Accel-Buffering: no\r\n"
                b"Connection: keep-alive\r\n\r\n"
            )
        assert world.upstream.accepted == 1


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_answers_without_a_body_end_with_their_head(status: bytes) -> None:
    head = b"HTTP/1.1 %b\r\nETag: x\r\n\r\n" % status
    with World(answers(head, head)) as world, world.connect() as client:
        for _ in range(2):
            client.send(chat())
            assert client.read_until(b"\r\n\r\n") == head


@pytest.mark.parametrize("is_later", [False, True])
@pytest.mark.parametrize("framing", [b"Transfer-Encoding: chunked", b"Content-Length: 5"])
def test_nothing_follows_an_answer_that_announces_a_body_and_cannot_have_one(framing: bytes, is_later: bool) -> None:
    def script(peer: Peer) -> None:
        if is_later:
            peer.read_message()
            peer.send(OK)
        peer.read_message()
        peer.send(b"HTTP/1.1 204 No Content\r\n%b\r\n\r\n" % framing)
        assert peer.read_to_end() == b""

    with World(script, answers(OK)) as world, world.connect() as client:
        if is_later:
            client.send(chat())
            assert client.read_message()[1] == b"ok"
        client.send(chat())
        assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 204 ")
        client.send(chat())
        assert client.read_message()[1] == b"ok"
        assert world.upstream.accepted == 2


def test_interim_answers_of_the_upstream_are_not_the_answer() -> None:
    with World(answers(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK)) as world:
        assert world.ask(chat())[1] == b"ok"


@pytest.mark.slow
@pytest.mark.parametrize("is_during_the_body", [False, True])
@pytest.mark.parametrize("is_pooled", [False, True])
def test_connection_that_dies_behind_an_interim_answer_is_not_tried_again(
    is_during_the_body: bool, is_pooled: bool
) -> None:
    def script(peer: Peer) -> None:
        if is_pooled:
            peer.read_message()
            peer.send(OK)
        head = peer.read_until(b"\r\n\r\n")
        if is_during_the_body:
            peer.send(EARLY_HINTS)
        peer.read(length_of(head))
        if not is_during_the_body:
            peer.send(EARLY_HINTS)

    with World(script, answers(OK)) as world:
        world.controller.successor = world.upstream.proxy
        if is_pooled:
            world.ask(chat())
        head, body = world.ask(chat(BIG_BODY))
        assert head.startswith(b"HTTP/1.1 502 ")
        assert b"broke off within the head" in body
        assert (world.controller.moved_on, world.upstream.accepted) == (0, 1)


def test_error_of_the_upstream_passes_through_untouched() -> None:
    answer = b"HTTP/1.1 418 I am\r\nContent-Type: x/y\r\nContent-Length: 3\r\n\r\nbad"
    with World(answers(answer)) as world:
        assert world.ask(chat()) == (answer[:-3], b"bad")


def test_upstream_that_closes_its_connection_is_asked_on_a_new_one() -> None:
    with (
        World(answers(sized(b"1", b"Connection: close\r\n")), answers(sized(b"2"))) as world,
        world.connect() as client,
    ):
        client.send(chat())
        assert client.read_message() == (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n", b"1")
        client.send(chat())
        assert client.read_message()[1] == b"2"


def test_pooled_connection_that_was_closed_meanwhile_is_not_used() -> None:
    closed = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_message()
        peer.send(OK)
        peer.close()
        closed.set()

    with World(script, answers(OK)) as world:
        world.ask(chat())
        assert closed.wait(DEADLINE)
        assert world.ask(chat())[1] == b"ok"


def test_pooled_connection_that_dies_without_an_answer_is_tried_again_once() -> None:
    requests: list[bytes] = []

    def dies_at_the_second(peer: Peer) -> None:
        peer.read_message()
        peer.send(OK)
        requests.append(peer.read_message()[1])

    def answers_it(peer: Peer) -> None:
        requests.append(peer.read_message()[1])
        peer.send(OK)

    with World(dies_at_the_second, answers_it) as world:
        world.ask(chat())
        again = b'{"model":"m","n":2}'
        assert world.ask(chat(again))[1] == b"ok"
        assert requests == [again, again]


def test_fresh_connection_that_dies_without_an_answer_is_a_bad_gateway() -> None:
    with World(answers(), answers()) as world:
        head, body = world.ask(chat())
        assert head.startswith(b"HTTP/1.1 502 ")
        assert b'"code":"bad_gateway"' in body
        assert world.upstream.accepted == 1


def test_connection_that_dies_within_a_head_is_not_tried_again() -> None:
    def script(peer: Peer) -> None:
        peer.read_message()
        peer.send(OK)
        peer.read_message()
        peer.send(b"HTTP/1.1 200")

    with World(script, answers(OK)) as world:
        world.ask(chat())
        assert world.ask(chat())[0].startswith(b"HTTP/1.1 502 ")
        assert world.upstream.accepted == 1


def test_connection_with_bytes_behind_an_answer_is_not_used_again() -> None:
    def script(peer: Peer) -> None:
        peer.read_message()
        peer.send(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        assert peer.read_to_end() == b""

    with World(script, answers(OK)) as world:
        for _ in range(2):
            assert world.ask(chat())[1] == b"ok"
        assert world.upstream.accepted == 2


def test_http_1_0_request_without_a_host_is_sent_on_with_the_upstreams() -> None:
    seen: list[bytes] = []

    def script(peer: Peer) -> None:
        seen.append(peer.read_message()[0])
        peer.send(OK)

    with World(script) as world:
        assert world.ask(b"GET /upstream/m/x HTTP/1.0\r\n\r\n")[1] == b"ok"
        host = world.upstream.proxy.removeprefix("http://")
        assert seen[0].startswith(f"GET /x HTTP/1.1\r\nHost: {host}\r\n".encode())


@pytest.mark.parametrize(
    "rubbish",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\0" * 100 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: gzip\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000,
        b"HTTP/1.1 200 OK\nContent-Length: 0\nnonsense\n\n",
    ],
)
def test_answer_that_is_no_http_is_a_bad_gateway(rubbish: bytes) -> None:
    with World(answers(rubbish), answers(OK)) as world, world.connect() as client:
        client.send(chat())
        assert client.read_message()[0].startswith(b"HTTP/1.1 502 ")
        client.send(chat())  # the client's own connection is as good as before
        assert client.read_message()[1] == b"ok"


def test_unreachable_upstream_is_a_bad_gateway_that_says_where() -> None:
    with World(answers()) as world, socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        world.controller.proxy = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        head, body = world.ask(chat())
        assert head.startswith(b"HTTP/1.1 502 ")
        assert world.controller.proxy.encode() in body
        assert b"refused" in body.lower()


@pytest.mark.parametrize(
    "cut",
    [
        CHUNKED_HEAD + b"5\r\nhello\r\n",
        CHUNKED_HEAD + b"5\r\nhel",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nhello",
    ],
)
def test_answer_that_breaks_off_is_cut_and_never_ended_cleanly(cut: bytes) -> None:
    with World(answers(cut)) as world, world.connect() as client:
        client.send(chat())
        body = client.read_to_end().partition(b"\r\n\r\n")[2]
        assert b"hel" in body
        assert not body.endswith(b"0\r\n\r\n")
        world.wait_for_log("broke off")
        world.controller.wait_empty()


@pytest.mark.parametrize("broken", [b"fffffffffffffffff\r\n", b"-1\r\n", b"2\r\nxxx\r\n", b"0x1\nx\n"])
def test_broken_chunks_behind_good_ones_cut_the_answer(broken: bytes) -> None:
    go_on = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_message()
        peer.send(CHUNKED_HEAD + b"5\r\nhello\r\n")
        assert go_on.wait(DEADLINE)
        peer.send(broken)
        peer.wait_for_hang_up()

    with World(script) as world, world.connect() as client:
        client.send(chat())
        client.read_until(b"hello\r\n")
        go_on.set()
        assert client.read_to_end() in (b"", broken[: len(broken) - 2])
        world.wait_for_log("broke off")


def test_decoded_answer_that_breaks_off_resets_the_connection() -> None:
    with World(answers(CHUNKED_HEAD + b"5\r\nhello\r\n")) as world, world.connect() as client:
        client.send(chat(version=b"1.0"))
        with pytest.raises(ConnectionResetError):
            client.read_to_end()


def test_client_that_leaves_while_the_upstream_thinks_ends_its_work() -> None:
    thinking, gone = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.read_message()
        thinking.set()
        peer.wait_for_hang_up()
        gone.set()

    with World(script) as world:
        with world.connect() as client:
            client.send(chat())
            assert thinking.wait(DEADLINE)
        assert gone.wait(DEADLINE)
        world.controller.wait_empty()


@pytest.mark.parametrize("begun", [CHUNKED_HEAD + b"1\r\nx\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"])
def test_client_that_leaves_in_mid_answer_ends_the_upstreams_work(begun: bytes) -> None:
    gone = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_message()
        peer.send(begun)
        peer.sock.recv(1)  # comes to an end only when the relay hangs up
        gone.set()

    with World(script) as world:
        with world.connect() as client:
            client.send(chat())
            client.read_until(b"x")
        assert gone.wait(DEADLINE)
        world.controller.wait_empty()


def test_client_that_leaves_while_its_body_is_sent_on_ends_the_exchange() -> None:
    accepted, gone = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.read_until(b"\r\n\r\n")
        accepted.set()
        assert gone.wait(DEADLINE)
        world.controller.wait_empty()

    body = b'{"model":"m","x":"' + b"x" * 30_000_000 + b'"}'
    with World(script) as world:
        with world.connect() as client:
            client.send(chat(body))
            assert accepted.wait(DEADLINE)
        gone.set()


def test_body_above_the_bound_goes_through_a_file_unchanged() -> None:
    seen: list[bytes] = []

    def script(peer: Peer) -> None:
        seen.append(peer.read_message()[1])
        peer.send(OK)

    body = b'{"model":"m","x":"' + bytes(range(65, 91)) * 20_000 + b'"}'
    with World(script, limits=Limits(memory_body_bytes=1000)) as world:
        assert world.ask(chat(body))[1] == b"ok"
        assert seen == [body]


def test_upstream_that_refuses_before_it_has_the_body_is_heard() -> None:
    refusal = b"HTTP/1.1 413 No\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig"
    done = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_until(b"\r\n\r\n")
        peer.send(refusal)
        assert done.wait(DEADLINE)

    body = b'{"model":"m","x":"' + b"x" * 30_000_000 + b'"}'
    with World(script) as world, world.connect() as client:
        client.send(chat(body))
        assert client.read_message()[1] == b"big"
        done.set()


@pytest.mark.slow
@pytest.mark.parametrize("memory_body_bytes", [1000, 1 << 30])
@pytest.mark.parametrize("size", [1, 1000])
def test_interim_answers_before_it_has_the_body_do_not_keep_the_body_from_it(size: int, memory_body_bytes: int) -> None:
    interim = EARLY_HINTS + b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
    seen: list[bytes] = []

    def script(peer: Peer) -> None:
        head = peer.read_until(b"\r\n\r\n")
        for at in range(0, len(interim), size):
            peer.send(interim[at : at + size])
            peer.rest += peer.sock.recv(65_536)
        seen.append(peer.read(length_of(head)))
        peer.send(OK)
        peer.read_message()
        peer.send(OK)

    with World(script, limits=Limits(memory_body_bytes=memory_body_bytes)) as world:
        assert world.ask(chat(BIG_BODY))[1] == b"ok"
        assert seen == [BIG_BODY]
        assert world.ask(chat())[1] == b"ok"
        assert world.upstream.accepted == 1


@pytest.mark.parametrize("size", [1, 1000])
def test_upstream_that_refuses_the_body_behind_an_interim_answer_is_heard(size: int) -> None:
    said = EARLY_HINTS + b"HTTP/1.1 413 No\r\nContent-Length: 3\r\n\r\nbig"
    done = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_until(b"\r\n\r\n")
        for at in range(0, len(said), size):
            peer.send(said[at : at + size])
        assert done.wait(DEADLINE)

    with World(script, answers(OK)) as world, world.connect() as client:
        client.send(chat(BIG_BODY))
        assert client.read_message()[1] == b"big"
        client.send(chat())  # the upstream's connection cannot be used again: it still waits for the body
        assert client.read_message()[1] == b"ok"
        done.set()


@pytest.mark.parametrize("rubbish", [b"HTTP/1.1 103 Hints\r\nX: " + b"x" * 270_000, EARLY_HINTS + b"rubbish\r\n\r\n"])
def test_rubbish_before_it_has_the_body_is_a_bad_gateway(rubbish: bytes) -> None:
    done = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_until(b"\r\n\r\n")
        peer.send(rubbish)
        assert done.wait(DEADLINE)

    with World(script) as world:
        assert world.ask(chat(BIG_BODY))[0].startswith(b"HTTP/1.1 502 ")
        done.set()


def test_chunked_request_is_sent_on_with_its_length() -> None:
    seen: list[bytes] = []

    def script(peer: Peer) -> None:
        seen.extend(peer.read_message())
        peer.send(OK)

    with World(script) as world, world.connect() as client:
        head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        client.send(head + b'Transfer-Encoding: chunked\r\n\r\n6\r\n{"mode\r\n7\r\nl":"m"}\r\n0\r\n\r\n')
        assert client.read_message()[1] == b"ok"
        assert seen[1] == b'{"model":"m"}'
        assert b"chunked" not in seen[0].lower()


@pytest.mark.slow
def test_slow_reader_holds_up_its_own_upstream_and_nobody_else() -> None:
    body = b"x" * 30_000_000

    def script(peer: Peer) -> None:
        peer.read_message()
        try:
            peer.send(sized(body))
        except ConnectionError:
            pass

    with World(script, answers(CHUNKED_HEAD + b"1\r\nx\r\n0\r\n\r\n")) as world, world.connect() as slow:
        slow.send(chat())
        slow.read_until(b"\r\n\r\n")
        with world.connect() as other:
            other.send(chat())
            other.read_until(b"0\r\n\r\n")
        assert slow.read(len(body)) == body


def test_path_and_query_of_the_proxy_stand_in_front() -> None:
    seen: list[bytes] = []

    def script(peer: Peer) -> None:
        seen.append(peer.read_message()[0].split(b"\r\n")[0])
        peer.send(OK)

    with World(script) as world:
        world.controller.proxy += "/base/?q=1"
        world.ask(get("/upstream/m/a%2Fb//c?x=%20y&x"))
        world.controller.proxy = world.controller.proxy.removesuffix("?q=1")
        world.ask(get("/upstream/m/a?"))
        assert seen == [b"GET /base/a%2Fb//c?q=1&x=%20y&x HTTP/1.1", b"GET /base/a? HTTP/1.1"]


@pytest.mark.slow
def test_answer_that_does_not_begin_in_time_is_a_gateway_timeout() -> None:
    config = "models:\n  m:\n    cmd: server\n    proxy: http://127.0.0.1:1\n    timeouts: {responseHeader: 1}\n"
    done = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_message()
        assert done.wait(DEADLINE)

    with World(script, config=config) as world:
        assert world.ask(chat())[0].startswith(b"HTTP/1.1 504 ")
        done.set()


def test_refusal_of_the_lease_is_told() -> None:
    with World(answers()) as world:
        world.controller.refusal = BadGateway("it will not load")
        head, body = world.ask(chat())
        assert head.startswith(b"HTTP/1.1 502 ")
        assert b"it will not load" in body
