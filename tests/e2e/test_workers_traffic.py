"""What clients do besides short chats, over TLS and through a front of two workers; and its figures are one whole."""

from __future__ import annotations

import http.client
import json
import re
import shlex
import ssl
import sys
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trustme
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.e2e.program import DEADLINE, ENDLESS, Program, models, upstream, wait_until
from tests.e2e.workers import SLOW, await_workers, in_flight, kill, pid_of_worker, worker_of, workers

COUNT = 2  # workers
TRIES = 4 * COUNT
MIB = 1 << 20
PIECE = bytes(range(256)) * 4096  # 1 MiB
UPLOAD, LARGE = 48, 20_000_000
AT_BOX = "/upstream/{0}/upstream/{0}"  # the front's path to the box, and the box's to its model
ECHO = shlex.join((sys.executable, str(Path(__file__).with_name("websocket_echo.py")))) + " ${PORT}"
REQUESTS = re.compile(r'^llamaswap_requests_total\{.*,ended="(\w+)"\} (\d+)$', re.MULTILINE)
CONNECTIONS = re.compile(r"^llamaswap_connections (\d+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def context() -> ssl.SSLContext:
    return ssl.create_default_context()


@pytest.fixture(scope="module")
def front(context: ssl.SSLContext, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    authority, folder = trustme.CA(), tmp_path_factory.mktemp("traffic")
    authority.configure_trust(context)
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "certificate.pem")
    tls = ("-tls-cert-file", str(folder / "certificate.pem"), "-tls-key-file", str(folder / "key.pem"))
    box = models(m=SLOW, up=upstream(), echo={"cmd": ECHO, "checkEndpoint": "/health"})
    groups = {"groups": {"all": {"swap": False, "members": [*box["models"]]}}}
    (folder / "box").mkdir()
    with Program(folder / "box", {**box, **groups}) as running:
        peers = {"box1": {"proxy": f"http://127.0.0.1:{running.port}", "models": "auto"}}
        with Program(folder, {"peers": peers}, flags=("-workers", str(COUNT), *tls), context=context) as program:
            await_workers(program, COUNT)
            yield program


def websocket(front: Program, context: ssl.SSLContext) -> ClientConnection:
    url = f"wss://127.0.0.1:{front.port}{AT_BOX.format('echo')}/"
    return connect(url, ssl=context, compression=None, max_size=None)


def https(front: Program, context: ssl.SSLContext) -> http.client.HTTPSConnection:
    return http.client.HTTPSConnection("127.0.0.1", front.port, context=context, timeout=DEADLINE)


def test_websockets_carry_messages_of_any_size_and_why_they_were_closed(
    front: Program, context: ssl.SSLContext
) -> None:
    with websocket(front, context) as one, websocket(front, context) as other:
        for size in (1, 1_000, MIB):
            for socket in (one, other):
                socket.send(PIECE[:size])
                assert socket.recv(DEADLINE) == PIECE[:size]
        one.send("close")
        with pytest.raises(ConnectionClosed) as closed:
            one.recv(DEADLINE)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "as you wish")
        other.send("goes on")
        assert other.recv(DEADLINE) == "goes on"


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_large_upload_comes_whole(front: Program, context: ssl.SSLContext, is_chunked: bool) -> None:
    checksum = 0
    for _ in range(UPLOAD):
        checksum = zlib.crc32(PIECE, checksum)
    headers = {"X-Count": "1", **({} if is_chunked else {"Content-Length": str(UPLOAD * MIB)})}
    with closing(https(front, context)) as connection:
        pieces = (PIECE for _ in range(UPLOAD))
        connection.request("POST", f"{AT_BOX.format('up')}/", pieces, headers, encode_chunked=is_chunked)
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())) == (200, {"size": UPLOAD * MIB, "crc32": checksum})


def test_a_client_that_reads_nothing_for_a_while_holds_up_nobody_and_misses_nothing(
    front: Program, context: ssl.SSLContext
) -> None:
    with closing(https(front, context)) as slow, closing(https(front, context)) as other:
        for connection in (slow, other):
            connection.request("GET", f"{AT_BOX.format('up')}/large?{LARGE}")
        answer, same = slow.getresponse(), other.getresponse()
        assert [front.chat("m", max_tokens=1).status for _ in range(TRIES)] == [200] * TRIES
        assert len(same.read()) == LARGE
        assert answer.read() == b"x" * LARGE


def total(front: Program) -> int:
    """Requests that have ended."""
    return int(front.get("/api/metrics/stats").json()["total_requests"])


def figures(front: Program) -> tuple[int, ...]:
    """The same, by whichever worker answers: of the rows, and of the metrics, there those that failed as well."""
    page, metrics = front.get("/api/metrics/activity?limit=1").json(), REQUESTS.findall(front.get("/metrics").text)
    counts = [int(count) for _, count in metrics]
    return total(front), page["total"], sum(counts), sum(int(count) for ended, count in metrics if ended == "failed")


def test_figures_are_those_of_all_workers_after_one_was_killed_too(front: Program, context: ssl.SSLContext) -> None:
    wanted = total(front) + TRIES
    assert [front.chat("m", max_tokens=2).status for _ in range(TRIES)] == [200] * TRIES
    wait_until(lambda: total(front) == wanted, "all have rows")
    failed = figures(front)[-1]
    assert {figures(front) for _ in range(TRIES)} == {(wanted, wanted, wanted, failed)}
    with closing(https(front, context)) as connection:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/v1/chat/completions", json.dumps({"model": "m", **ENDLESS}), headers)
        answer = connection.getresponse()
        assert answer.read(1) == b"d"
        wait_until(lambda: len(in_flight(front)) == 1, "it alone is in progress")
        [row] = in_flight(front)
        wait_until(lambda: CONNECTIONS.findall(front.get("/metrics").text) == ["2"], "this one, and the one that asks")
        kill(pid_of_worker(front, worker_of(row)))
        with pytest.raises((http.client.HTTPException, OSError)):
            answer.read()
    wait_until(lambda: total(front) == wanted + 1, "it has a row")
    assert {figures(front) for _ in range(TRIES)} == {(wanted + 1, wanted + 1, wanted + 1, failed + 1)}
    wait_until(lambda: len(workers(front)) == COUNT, "another one is started")
    assert [front.chat("m", max_tokens=2).status for _ in range(TRIES)] == [200] * TRIES
