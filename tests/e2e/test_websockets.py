"""WebSockets through the real program, between the `websockets` library on both sides."""

from __future__ import annotations

import asyncio
import shlex
import signal
import ssl
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.e2e.conftest import RunProgram
from tests.e2e.program import DEADLINE, Program, demo, models, wait_until

pytest.importorskip("websockets", reason="the websockets library is not installed")

from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus
from websockets.sync.client import ClientConnection, connect

ECHO = shlex.join((sys.executable, str(Path(__file__).with_name("websocket_echo.py")))) + " ${PORT}"


def dial(program: Program, path: str = "/upstream/m/ws", **options: Any) -> AbstractContextManager[ClientConnection]:
    client: AbstractContextManager[ClientConnection] = connect(
        f"ws://127.0.0.1:{program.port}{path}", open_timeout=DEADLINE, proxy=None, **options
    )
    return client


def test_messages_of_every_kind_pass_both_ways(run_program: RunProgram) -> None:
    with run_program(models(m={"cmd": ECHO, "aliases": ["al"]})) as program:
        for path in ("/upstream/m/ws", "/upstream/al/", "/props?model=al"):
            with dial(program, path) as client:
                for message in ("text, ünd", b"\0\xff", "", b"", "x" * 300_000, b"\1" * 700_000):
                    client.send(message)
                    assert client.recv(DEADLINE) == message
                client.send(iter(("in ", "several ", "frames")))
                assert client.recv(DEADLINE) == "in several frames"
                assert client.ping().wait(DEADLINE)
        program.await_starts("m", 1)
        wait_until(lambda: '"GET /upstream/m/ws HTTP/1.1" 101 ' in program.stdout, "it is logged")


def test_a_close_passes_both_ways_with_its_code(run_program: RunProgram) -> None:
    with run_program(models(m=ECHO)) as program:
        with dial(program) as client:
            client.send("close")
            with pytest.raises(ConnectionClosedError):
                client.recv(DEADLINE)
            assert (client.close_code, client.close_reason) == (4001, "as you wish")
        with dial(program) as client:
            client.close(4321, "enough")
        assert client.close_code == 4321  # echoed by the other end
        wait_until(lambda: program.stdout.count('"GET /upstream/m/ws HTTP/1.1" 101 ') == 2, "both have ended")


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Program]:
    """A program that speaks TLS, with the echo behind TLS."""
    authority, pem = trustme.CA(), tmp_path / "localhost.pem"
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(pem)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    config = models(m={"cmd": f"{ECHO} {pem}", "proxy": "https://localhost:${PORT}"})
    flags = ("-tls-cert-file", str(pem), "-tls-key-file", str(pem))
    with Program(tmp_path, config, env=trusting(tmp_path), flags=flags, context=context) as program:
        yield program


def trusting(folder: Path) -> dict[str, str]:
    return {"SSL_CERT_FILE": str(folder / "ca.pem")}


def converse(client: ClientConnection) -> None:
    """Messages both ways, and a close of the other side's."""
    for message in ("text, ünd", b"\0\xff", "", "x" * 300_000, b"\1" * 700_000):
        client.send(message)
        assert client.recv(DEADLINE) == message
    assert client.ping().wait(DEADLINE)
    client.send("close")
    with pytest.raises(ConnectionClosedError):
        client.recv(DEADLINE)
    assert (client.close_code, client.close_reason) == (4001, "as you wish")


def test_messages_pass_with_tls_on_both_sides(secure: Program) -> None:
    context = ssl.create_default_context(cafile=str(secure.folder / "ca.pem"))
    url = f"wss://localhost:{secure.port}/upstream/m/ws"
    for _ in range(2):
        with connect(url, ssl=context, open_timeout=DEADLINE, proxy=None) as client:
            converse(client)
    wait_until(lambda: secure.stdout.count('"GET /upstream/m/ws HTTP/1.1" 101 ') == 2, "both have ended")


def test_messages_pass_to_a_peer_with_an_https_address(secure: Program, tmp_path: Path) -> None:
    peer = {"proxy": f"https://localhost:{secure.port}", "models": ["m"]}
    (tmp_path / "near").mkdir()
    with Program(tmp_path / "near", {"peers": {"far": peer}}, env=trusting(tmp_path)) as program:
        for path in ("/upstream/far/m/upstream/m/ws", "/upstream/m/upstream/m/ws"):
            with dial(program, path) as client:
                converse(client)
        wait_until(lambda: program.stdout.count(" 101 ") == 2, "both have ended")


def test_a_hundred_at_once(run_program: RunProgram) -> None:
    async def talk(program: Program) -> None:
        opened, all_opened = [], asyncio.Event()

        async def one(number: int) -> None:
            url = f"ws://127.0.0.1:{program.port}/upstream/m/ws"
            async with connect_async(url, open_timeout=DEADLINE, proxy=None) as client:
                opened.append(number)
                if len(opened) == 100:
                    all_opened.set()
                await all_opened.wait()
                for turn in range(10):
                    await client.send(f"{number} {turn}")
                    assert await client.recv() == f"{number} {turn}"

        await asyncio.wait_for(asyncio.gather(*(one(number) for number in range(100))), DEADLINE)

    with run_program(models(m=ECHO)) as program:
        threads, descriptors = program.thread_count(), program.descriptor_count()
        asyncio.run(talk(program))
        wait_until(lambda: program.descriptor_count() <= descriptors + 4, "their sockets are closed")
        wait_until(lambda: program.thread_count() <= threads + 4, "their threads have ended")


def test_a_swap_waits_for_a_tunnel(run_program: RunProgram) -> None:
    with run_program(models(m=ECHO, other=demo())) as program, ThreadPoolExecutor() as pool:
        with dial(program) as client:
            answer = pool.submit(program.chat, "other")
            wait_until(lambda: len(program.queue()) == 1, "it waits")
            assert not answer.done()
            client.send("still here")
            assert client.recv(DEADLINE) == "still here"
            assert program.states() == {"m": "ready"}
        assert answer.result(DEADLINE).status == 200
        assert program.states() == {"other": "ready"}


def test_a_tunnel_loads_its_model_and_takes_a_place(run_program: RunProgram) -> None:
    entry = {"cmd": ECHO, "concurrencyLimit": 1}
    with run_program(models(m=entry)) as program:
        with dial(program) as client:
            client.send("in")
            assert client.recv(DEADLINE) == "in"
            with pytest.raises(InvalidStatus) as refused, dial(program):
                pytest.fail("it was let in")
            assert refused.value.response.status_code == 429
        wait_until(lambda: program.get("/upstream/m/x").status == 200, "its place is free")


def test_an_ignored_websocket_does_not_keep_the_ttl_from_running(run_program: RunProgram) -> None:
    entry = {"cmd": ECHO, "compat": {"ignoreWebsockets": True}}
    with run_program(models(m=entry)) as program:
        with pytest.raises(InvalidStatus) as refused, dial(program):
            pytest.fail("it was let in")
        assert refused.value.response.status_code == 409
        assert program.states() == {}
        assert program.get("/upstream/m/x").status == 200
        with dial(program) as client:
            client.send("in")
            assert client.recv(DEADLINE) == "in"
            program.reload(models(m={**entry, "ttl": 1}))  # not before there is the WebSocket
            with pytest.raises(ConnectionClosed):
                client.recv(DEADLINE)
        wait_until(lambda: program.states() == {}, "it is unloaded")
        program.await_starts("m", 1)


def test_unloading_cuts_a_tunnel_when_its_time_is_over(run_program: RunProgram) -> None:
    with run_program(models(m={"cmd": ECHO, "unloadTimeout": 1})) as program, dial(program) as client:
        assert program.post("/api/models/unload/m", None).status == 200
        with pytest.raises(ConnectionClosed):
            client.recv(DEADLINE)


def test_at_the_end_of_the_program_a_tunnel_has_the_time_of_a_request(run_program: RunProgram) -> None:
    with run_program({**models(m=ECHO), "shutdownTimeout": 1}) as program, dial(program) as client:
        client.send("in")
        assert client.recv(DEADLINE) == "in"
        program.signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed):
            client.recv(DEADLINE)
        assert program.wait() == 0


def test_the_program_ends_as_soon_as_its_last_tunnel(run_program: RunProgram) -> None:
    with run_program({**models(m=ECHO), "shutdownTimeout": 600}) as program:
        with dial(program) as client:
            client.send("in")
            assert client.recv(DEADLINE) == "in"
            program.signal(signal.SIGTERM)
            wait_until(lambda: "SIGTERM: stopping" in program.stdout, "the end begins")
            client.send("still here")
            assert client.recv(DEADLINE) == "still here"
        assert program.wait() == 0
