"""Another server where a run is to listen: what counts as one, for how long, and what ends the wait."""

from __future__ import annotations

import socket
import threading

import pytest

from llamaswap_lib.core.events import ProcessExited
from llamaswap_lib.runtime.health.look import LookCancelled
from llamaswap_lib.runtime.processes.obstacles import await_free_address
from tests.runtime.probing import LOADING, OK, Server, answers, until_it_hangs_up, waking
from tests.runtime.runs import Run

CURE = "use another port or host in `proxy` and `cmd`, or stop what listens there"
GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
UNKNOWN = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def elsewhere(server: Server) -> str:
    """Its URL with a host that is not plainly this machine."""
    return f"http://127.1:{server.port}"


def look(
    proxy: str, check: str = "/health", argv: tuple[str, ...] | None = None, notes: list[str] | None = None
) -> str:
    """For a command that is told to listen there, unless another one is given."""
    told = ("ssh", "box", f"server --port {proxy.rpartition(':')[2]}")
    with waking() as ending:
        return await_free_address(
            proxy, check, told if argv is None else argv, ending, ([] if notes is None else notes).append
        )


def asked(server: Server) -> list[str]:
    return [question.decode().split()[1] for question in server.questions]


@pytest.mark.slow
def test_a_server_that_goes_on_answering_the_check_is_in_the_way() -> None:
    with Server(answers(OK)) as server:
        assert look(elsewhere(server)) == f"another server answers at {elsewhere(server)}; {CURE}"
        assert set(asked(server)) == {"/health"}
        assert len(server.questions) > 10


@pytest.mark.slow
def test_credentials_in_the_url_are_not_told() -> None:
    with Server(answers(OK)) as server:
        assert "secret" not in look(f"http://me:secret@127.1:{server.port}")


@pytest.mark.parametrize("reply", [GATEWAY, LOADING, UNKNOWN, b"SSH-2.0-x\r\n", b""])
def test_one_that_does_not_answer_the_check_with_200_is_not(reply: bytes) -> None:
    with Server(answers(reply)) as server:
        assert look(elsewhere(server)) == ""
        assert len(server.questions) == 1


def test_an_address_where_no_server_answers_is_free() -> None:
    with Server(answers(OK)) as server:
        url = elsewhere(server)
    assert look(url) == ""
    assert look("http://no.such.host.invalid:1") == ""


@pytest.mark.parametrize("last", [LOADING, b""], ids=["503", "closed"])
def test_one_that_ceases_to_answer_is_not_any_more_at_once(last: bytes) -> None:
    with Server(answers(OK, OK, last)) as server:
        assert look(elsewhere(server)) == ""
        assert len(server.questions) == 3


@pytest.mark.slow
def test_one_that_is_busy_for_a_while_is_still_there() -> None:
    def serve(client: socket.socket, number: int) -> None:
        if number == 2:
            until_it_hangs_up(client)
        client.sendall(OK)

    with Server(serve) as server:
        assert look(elsewhere(server)).startswith("another server answers")


@pytest.mark.slow
def test_one_that_never_answers_is_not_waited_for() -> None:
    with Server(lambda client, _: until_it_hangs_up(client)) as server:
        assert look(elsewhere(server)) == ""
        assert len(server.questions) == 1


def test_where_the_command_is_not_told_to_listen_it_is_only_noted() -> None:
    notes: list[str] = []
    with Server(answers(OK)) as server:
        assert look(elsewhere(server), argv=("sleep", "infinity"), notes=notes) == ""
        assert notes == [f"another server answers at {elsewhere(server)} already"]
        assert len(server.questions) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("reply", "is_there"), [(OK, True), (UNKNOWN, True), (GATEWAY, False), (LOADING, False)])
def test_without_a_check_any_answer_but_that_of_a_gateway_shows_a_server(reply: bytes, is_there: bool) -> None:
    with Server(answers(reply)) as server:
        assert bool(look(elsewhere(server), "none")) is is_there
        assert set(asked(server)) == {"/"}


def test_a_plain_address_of_this_machine_is_refused_at_once_by_the_look_at_the_port() -> None:
    with Server(answers(OK)) as server:
        url = f"http://127.0.0.1:{server.port}"
        assert look(url) == f"port {server.port} is taken by llamaswap itself at {url}; {CURE}"
        assert server.questions == []


@pytest.mark.slow
def test_another_address_of_this_machine_may_be_a_nodes_whose_server_ends_a_little_later() -> None:
    with socket.create_server(("127.0.0.13", 0)) as server:
        url = f"http://127.0.0.13:{server.getsockname()[1]}"
        closing = threading.Timer(0.3, server.close)
        closing.start()
        assert look(url) == ""
        closing.join()
    with socket.create_server(("127.0.0.13", 0)) as server:
        port = server.getsockname()[1]
        refused = look(f"http://127.0.0.13:{port}")
        assert refused == f"port {port} is taken by llamaswap itself at http://127.0.0.13:{port}; {CURE}"


def test_the_wait_is_called_off() -> None:
    with waking() as ending:

        def serve(client: socket.socket, number: int) -> None:
            if number == 2:
                ending.set()
            client.sendall(OK)

        with Server(serve) as server, pytest.raises(LookCancelled):
            await_free_address(elsewhere(server), "/health", (str(server.port),), ending, print)
        assert len(server.questions) == 2


@pytest.mark.parametrize("order", ["stop", "kill"])
def test_an_order_during_the_wait_is_followed_at_once(order: str) -> None:
    has_asked = threading.Event()

    def serve(client: socket.socket, _: int) -> None:
        has_asked.set()
        client.sendall(OK)

    with (
        Server(serve) as server,
        Run("sleep", "60", str(server.port), proxy=elsewhere(server), check_endpoint="/health") as run,
    ):
        assert has_asked.wait(30)
        getattr(run.process, order)()
        assert run.expect(ProcessExited).detail == "stopped before it was started"


@pytest.mark.slow
def test_a_run_whose_address_another_server_has_is_not_started() -> None:
    with (
        Server(answers(OK)) as server,
        Run("sleep", "60", str(server.port), proxy=elsewhere(server), check_endpoint="/health") as run,
    ):
        detail = run.expect(ProcessExited).detail
        assert detail == f"could not start: another server answers at {elsewhere(server)}; {CURE}"
