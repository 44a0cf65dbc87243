"""The whole program behind a proxy: who is asked through it, and what the log says of that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.conftest import RunProgram
from tests.e2e.program import demo, models, wait_until
from tests.web.world import Peer, Upstream, length_of, sized

FAR = "http://box.invalid:9000"
CONFIG = {
    **models(here=demo(), far={"cmd": "sleep 300", "proxy": FAR}),
    "peers": {"p": {"proxy": "http://api.invalid", "models": ["x"]}},
}


@contextmanager
def proxy(asked: list[str], looks: list[str]) -> Iterator[str]:
    """The address of a proxy that answers everything itself, from the second health check on."""

    def script(peer: Peer) -> None:
        while not peer.has_hung_up():
            head = peer.read_until(b"\r\n\r\n")
            peer.read(length_of(head))
            line = head.split(b"\r\n")[0].decode()
            if line.startswith("GET http://api.invalid/"):  # a look at the peer
                looks.append(line)
                peer.send(sized(b"no llamaswap"))
                return
            asked.append(line)
            answer = sized(b'{"via":"proxy"}', b"Content-Type: application/json\r\n")
            peer.send(answer if len(asked) > 1 else answer.replace(b"200 OK", b"503 No"))

    upstream = Upstream(script)
    try:
        yield upstream.proxy
    finally:
        upstream.close()


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY"])
def test_peers_and_models_elsewhere_are_asked_through_the_proxy_and_those_here_are_not(
    run_program: RunProgram, variable: str
) -> None:
    asked: list[str] = []
    looks: list[str] = []
    with proxy(asked, looks) as address:
        shown = address.removeprefix("http://")
        env = {variable: f"http://me:hush@{shown}", "no_proxy": ""}
        with run_program(CONFIG, env=env) as program:
            assert program.chat("here", max_tokens=1).status == 200
            assert asked == []
            assert program.chat("far").json() == {"via": "proxy"}
            assert program.chat("p/x").json() == {"via": "proxy"}
            told = f"asked through the proxy {address}, for no_proxy does not name them: peer p, far"
            wait_until(lambda: told in program.stdout, "the log says so")
            assert "hush" not in program.stdout
            wait_until(lambda: program.get("/api/peers").json()["peers"][0]["up"] is True, "the looks go that way too")
    assert set(asked[:-2]) == {f"GET {FAR}/health HTTP/1.1"}
    assert asked[-2:] == [
        f"POST {FAR}/v1/chat/completions HTTP/1.1",
        "POST http://api.invalid/v1/chat/completions HTTP/1.1",
    ]


def test_a_variable_that_names_no_proxy_is_told_and_lets_nothing_past(run_program: RunProgram) -> None:
    with run_program(CONFIG, env={"http_proxy": "socks5://me:hush@127.0.0.1:1"}) as program:
        fault = "http_proxy names a proxy with socks5://, and only http:// can be used"
        told = f"[WARN] {fault}: requests to other machines through it are refused"
        wait_until(lambda: told in program.stdout, "the log says so")
        assert program.chat("p/x").message == f"cannot connect to p/x at http://api.invalid: {fault}"
        assert program.chat("here", max_tokens=1).status == 200
