"""curl: every way of sending and receiving that it knows."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.program import DEADLINE, HELLO, Program, demo, models, upstream

MESSAGES = HELLO["messages"]
CONNECTS = ("-w", "%{stderr}%{num_connects}")  # of each transfer, how often it had to connect
JSON_HEADER = ("-H", "Content-Type: application/json")
# It would send its body uninvited only when its time is over.
PATIENT = ("--expect100-timeout", str(2 * DEADLINE), "--max-time", str(DEADLINE))
STREAM = json.dumps({"model": "small", "messages": MESSAGES, "stream": True})

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    config = models(small=demo("--tokens-per-second", "300"), large=demo(), echo=upstream())
    groups = {"all": {"swap": False, "members": ["small", "echo"]}}
    with Program(tmp_path_factory.mktemp("curl"), {**config, "groups": groups}) as running:
        yield running


def spoken(program: Program, path: str, *arguments: str, body: bytes | None = None) -> tuple[str, bytes]:
    """What it says on stderr, and its output; it must succeed. `body` is its stdin."""
    argv = ("curl", "-sS", *arguments, f"http://127.0.0.1:{program.port}{path}")
    ended = subprocess.run(argv, input=body, capture_output=True, timeout=DEADLINE, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stderr.decode(), ended.stdout


def curl(program: Program, path: str, *arguments: str, body: bytes | None = None) -> bytes:
    """Its output."""
    return spoken(program, path, *arguments, body=body)[1]


def test_as_the_readme_says(program: Program) -> None:
    body = json.dumps({"model": "small", "messages": MESSAGES})
    assert json.loads(curl(program, "/v1/chat/completions", *JSON_HEADER, "-d", body))["object"] == "chat.completion"
    body = json.dumps({"model": "large", "messages": MESSAGES, "stream": True})
    assert curl(program, "/v1/chat/completions", "-N", *JSON_HEADER, "-d", body).endswith(b"data: [DONE]\n\n")
    assert json.loads(curl(program, "/running"))["running"][0]["model"] == "large"
    form = ("-F", "model=small", "-F", "file=@/etc/hostname")
    assert b"small heard " in curl(program, "/v1/audio/transcriptions", *form)


@pytest.mark.parametrize("size", [2_000_000, 20_000_000])
def test_a_body_so_large_that_it_asks_first_is_let_come_at_once(program: Program, size: int) -> None:
    body = json.dumps({"model": "echo", "input": "x" * size}).encode()
    asking = ("-H", "Expect: 100-continue", *PATIENT)
    trace, output = spoken(
        program, "/v1/embeddings", "-v", *JSON_HEADER, *asking, "-H", "X-Count: 1", "--data-binary", "@-", body=body
    )
    assert json.loads(output)["size"] == len(body)
    assert trace.index("HTTP/1.1 100 Continue") < trace.index("HTTP/1.1 200 OK")


def test_a_client_that_asks_before_it_sends_its_body_is_refused_without_it(program: Program) -> None:
    arguments = (*PATIENT, "-H", "Expect: 100-continue", "--data-binary", "@-")
    trace, output = spoken(program, "/no/such/path", "-v", *arguments, body=b"x" * 5_000_000)
    assert "100 Continue" not in trace
    assert output == b"404 page not found\n"


def test_an_upload_of_unknown_length_comes_in_chunks(program: Program) -> None:
    body = json.dumps({"model": "echo", "input": "y" * 300_000}).encode()
    chunked = ("-X", "POST", "-T", "-", *JSON_HEADER)
    trace, output = spoken(program, "/v1/embeddings", "-v", *chunked, body=body)
    assert "> Transfer-Encoding: chunked" in trace
    request = json.loads(output)
    assert request["body"].encode() == body
    names = {name.lower(): value for name, value in request["headers"]}
    assert (names["content-length"], "transfer-encoding" in names) == (str(len(body)), False)
    request = json.loads(curl(program, "/upstream/echo/put/here", "-T", "-", body=b"abc"))
    assert (request["method"], request["target"], request["body"]) == ("PUT", "/put/here", "abc")


def test_http_1_0_gets_everything_without_chunks_and_then_the_end(program: Program) -> None:
    trace, output = spoken(program, "/v1/chat/completions", "-v", "--http1.0", "-N", *JSON_HEADER, "-d", STREAM)
    assert output.endswith(b"data: [DONE]\n\n")
    assert "transfer-encoding" not in trace.lower()
    assert json.loads(curl(program, "/v1/models", "--http1.0"))["object"] == "list"
    assert curl(program, "/health", "--http1.0", "-I").startswith(b"HTTP/1.1 200 OK\r\n")


def test_what_the_upstream_compressed_arrives_compressed(program: Program, tmp_path: Path) -> None:
    request = json.loads(curl(program, "/upstream/echo/x", "--compressed"))
    assert "gzip" in {name.lower(): value for name, value in request["headers"]}["accept-encoding"]
    asked = ("/upstream/echo/odd/gzip", "-H", "Accept-Encoding: gzip")
    assert gzip.decompress(curl(program, *asked)) == b"it was compressed"
    assert curl(program, "/upstream/echo/odd/gzip", "--compressed") == b"it was compressed"


def test_head_and_options(program: Program) -> None:
    for path in ("/v1/models", "/running", "/health", "/props?model=echo", "/logs", "/upstream/echo/x"):
        assert curl(program, path, "-I").startswith(b"HTTP/1.1 200 OK\r\n")
    assert curl(program, "/v1/chat/completions", "-i", "-X", "OPTIONS").startswith(b"HTTP/1.1 204 ")


@pytest.mark.parametrize("head", [(), ("-I",)])
def test_many_requests_on_one_connection(program: Program, head: tuple[str, ...]) -> None:
    told, output = spoken(program, "/{health,props?model=echo,v1/models,nothing,health}", *CONNECTS, *head)
    assert told == "10000"
    assert head or (output[:2], output[-2:]) == (b"OK", b"OK")


def test_a_stream_leaves_the_connection_to_the_next_request(program: Program) -> None:
    url = f"http://127.0.0.1:{program.port}/v1/chat/completions"
    stream = (*JSON_HEADER, *CONNECTS, "-d", STREAM, url, "--next")
    told, output = spoken(program, "/health", *stream, *stream, *CONNECTS)
    assert output.count(b"data: [DONE]") == 2
    assert told == "100"
