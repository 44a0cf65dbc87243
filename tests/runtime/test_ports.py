"""Whether a port is taken, by whom, and which one is given instead: with real sockets."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress

import pytest

from llamaswap_lib.core.events import ProcessExited, ProcessReady
from llamaswap_lib.runtime.ports import (
    LAST_PORT,
    AutomaticPorts,
    describe_holders,
    find_obstacle,
    is_free,
    is_told_to_listen,
    listeners,
)
from tests.runtime.runs import Run


@contextmanager
def listening(host: str = "127.0.0.1", port: int = 0, *, reuse_port: bool = False) -> Iterator[int]:
    """Somebody who listens; his port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, reuse_port=reuse_port) as server:
        taken: int = server.getsockname()[1]
        yield taken


def unused() -> int:
    with listening() as port:
        return port


# -- whether --


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "::", "127.0.0.9"])
@pytest.mark.parametrize("reuse_port", [False, True])
def test_a_port_on_which_somebody_listens_is_not_free(host: str, reuse_port: bool) -> None:
    with listening(host, reuse_port=reuse_port) as port:
        assert not is_free(port)
    assert is_free(port)


@pytest.mark.parametrize("option", [socket.SO_REUSEADDR, socket.SO_REUSEPORT])
def test_a_port_whose_last_connection_waits_out_its_time_is_free(option: int) -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, option, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        address = server.getsockname()
        with socket.create_connection(address) as client:
            accepted, _ = server.accept()
            accepted.close()  # who closes first has to wait
            assert client.recv(1) == b""
    with socket.socket() as naive, suppress(OSError):
        naive.bind(address)
        pytest.fail("nobody waits here, so this shows nothing")
    assert is_free(address[1])
    assert find_obstacle(f"http://127.0.0.1:{address[1]}") is None


def test_a_port_that_is_bound_but_not_listened_on_is_not_free() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        assert not is_free(sock.getsockname()[1])


# -- who --


@pytest.mark.parametrize(
    ("host", "proxy"),
    [
        ("127.0.0.1", "http://localhost:%d"),
        ("127.0.0.1", "http://127.0.0.1:%d/path"),
        ("127.0.0.1", "https://127.0.0.1:%d"),
        ("0.0.0.0", "http://localhost:%d"),
        ("::1", "http://localhost:%d"),  # where requests would go first
        ("::1", "http://[::1]:%d"),
        ("::", "http://[::1]:%d"),
        ("127.0.0.1", "http://0.0.0.0:%d"),
    ],
)
def test_somebody_where_the_proxy_leads_is_an_obstacle(host: str, proxy: str) -> None:
    with listening(host) as port:
        assert str(find_obstacle(proxy % port)) == f"port {port} is taken by llamaswap itself"
    assert find_obstacle(proxy % port) is None


@pytest.mark.parametrize(
    "proxy", ["http://192.0.2.1:%d", "http://no.such.host.invalid:%d", "http://[2001:db8::1]:%d", "http://127.0.0.2:%d"]
)
def test_nobody_is_asked_about_other_hosts_and_addresses(proxy: str) -> None:
    with listening() as port:
        assert find_obstacle(proxy % port) is None


def test_the_port_of_a_scheme_counts_where_there_is_none() -> None:
    assert find_obstacle("http://192.0.2.1") is None
    with pytest.raises(ValueError, match="Port"):
        find_obstacle("http://localhost:70000")


TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2328 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0000 100 0 0 10 0
   1: 0100007F:2328 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1001        0 4712 1 0000 20 4 30 10 -1
   2: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0000 100 0 0 10 0
   3: broken
"""


def test_listeners_are_read_from_the_table_of_the_system() -> None:
    assert list(listeners(TABLE, 9000)) == [(1000, "4711")]
    assert list(listeners(TABLE, 80)) == [(0, "4713")]
    assert list(listeners(TABLE, 50_000)) == []
    assert list(listeners("", 80)) == []


def test_a_holder_whom_nobody_knows_is_another_process() -> None:
    assert describe_holders([], []) == "another process"


@pytest.mark.parametrize(
    ("word", "is_it"),
    [("9000", True), ("--port=9000", True), ("H=0.0.0.0:9000", True), ("9000:8080", True), ("[::]:9000", True),
     ("127.0.0.1:9000:80/tcp", True), ("19000", False), ("90001", False), ("", False),
     ("curl -s localhost:9000/load; sleep infinity", False), ("cd /m && exec server --port 9000 -m x", True),
     ("server '--port=9000'", True), ("server --port 9000;", True),
     ("wget -q http://box:9000; sleep 9", False), ("http://localhost:9000/", False)],
)  # fmt: skip
def test_a_command_is_told_to_listen_at_a_port_or_not(word: str, is_it: bool) -> None:
    assert is_told_to_listen(9000, ("server", word)) is is_it


# -- which instead --


def nobody() -> Collection[int]:
    """There are no leftovers."""
    return ()


class Chooser:
    """Three models with neighbouring ports, and the warnings about them."""

    def __init__(self, first: int, *fixed: int, leftovers: Callable[[], Collection[int]] = nobody) -> None:
        self.lines: list[str] = []
        given = {"a": first, "b": first + 1, "c": first + 2}
        self.ports = AutomaticPorts(given, fixed, self.lines.append, leftovers)


def block() -> int:
    """The first of a few free ports in a row, below the range from which the system gives out its own.

    Processes that run these tests side by side have pids in a row, and so begin at ports that are far apart.
    """
    begin = os.getpid() * 97 % 1500
    firsts = (20_000 + number % 1500 * 8 for number in range(begin, begin + 1500))
    return next(port for port in firsts if all(map(is_free, range(port, port + 8))))


def test_a_port_that_is_free_is_the_one_that_was_given() -> None:
    first = block()
    chooser = Chooser(first)
    assert [chooser.ports.choose(name) for name in "abc"] == [first, first + 1, first + 2]
    assert chooser.ports.choose("has none") is None
    assert chooser.lines == []


def test_the_next_free_port_is_none_of_another_model_and_none_that_is_taken() -> None:
    first = block()
    chooser = Chooser(first, first + 3)
    with listening(port=first), listening(port=first + 4), listening(port=first + 1):
        assert chooser.ports.choose("a") == first + 5
        assert chooser.ports.choose("b") == first + 6  # a may still be on its way to its own
        assert chooser.ports.choose("a") == first + 5
    assert chooser.ports.choose("a") == first
    assert chooser.lines[:2] == [
        f"a: port {first} is taken, using {first + 5}",
        f"b: port {first + 1} is taken, using {first + 6}",
    ]


def test_a_port_that_only_leftovers_hold_is_the_models_own() -> None:
    first = block()
    chooser = Chooser(first, leftovers=lambda: (1, os.getpid()))
    with listening(port=first), listening("::1", port=first):
        assert chooser.ports.choose("a") == first
    assert chooser.lines == []


def test_a_port_that_somebody_else_holds_is_taken_also_while_leftovers_end() -> None:
    first = block()
    chooser = Chooser(first, leftovers=lambda: (1 << 30, 1 + (1 << 30)))
    with listening(port=first):
        assert chooser.ports.choose("a") == first + 3


@pytest.mark.parametrize("left", [(), (1,)], ids=["the last", "one of several"])
def test_a_port_that_a_leftover_gives_up_at_that_moment_is_the_models_own(left: tuple[int, ...]) -> None:
    first = block()
    with socket.create_server(("127.0.0.1", first)) as server:

        def leftovers() -> Collection[int]:
            server.close()
            return left

        chooser = Chooser(first, leftovers=leftovers)
        assert chooser.ports.choose("a") == first
    assert chooser.lines == []


def test_where_there_is_no_port_left_the_given_one_is_tried() -> None:
    ports = AutomaticPorts({"a": LAST_PORT, "b": LAST_PORT + 1}, (), print, nobody)
    with suppress(OSError), listening(port=LAST_PORT):
        assert ports.choose("a") == LAST_PORT
    assert ports.choose("b") == LAST_PORT + 1


# -- in a process --


def test_a_command_that_names_a_port_of_somebody_else_is_not_started() -> None:
    with listening() as port, Run("sleep", "60", str(port), proxy=f"http://127.0.0.1:{port}") as run:
        detail = run.expect(ProcessExited).detail
        assert detail == (
            f"could not start: port {port} is taken by llamaswap itself at http://127.0.0.1:{port}; "
            "use another port or host in `proxy` and `cmd`, or stop what listens there"
        )


def test_one_that_does_not_name_it_is_started_and_told() -> None:
    with (
        listening() as port,  # its environment may say where it finds the other server, as for `ollama run`
        Run("sleep", "60", env=(f"HOST=127.0.0.1:{port}",), proxy=f"http://127.0.0.1:{port}") as run,
    ):
        run.expect(ProcessReady)
        run.await_output(f"llamaswap: port {port} is taken by llamaswap itself at http://127.0.0.1:{port} already\n")
