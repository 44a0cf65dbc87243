"""The rows of a real llama.cpp say what that server counts itself, for each kind of answer."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from llamaswap_lib.activity.exposition import read
from llamaswap_lib.activity.meter import row_of
from llamaswap_lib.activity.record import Ended, Record, Sample
from llamaswap_lib.activity.row import Row
from tests.e2e.ports import PortBlock
from tests.e2e.program import wait_until

missing = [name for name in ("xllamacpp", "gguf", "numpy") if find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}: pip install -e '.[llama]'")

CHAT = {"messages": [{"role": "user", "content": "Hello there"}], "max_tokens": 9, "ignore_eos": True, "seed": 1}
TEXT = {"prompt": "The server loads", "max_tokens": 9, "n_predict": 9, "ignore_eos": True, "seed": 1}
MESSAGES = {"messages": CHAT["messages"], "max_tokens": 9}
RESPONSES = {"input": "Hello there", "max_output_tokens": 9}
KINDS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", CHAT),
    ("/v1/chat/completions", {**CHAT, "stream": True}),
    ("/v1/chat/completions", {**CHAT, "stream": True, "stream_options": {"include_usage": True}}),
    ("/v1/chat/completions", {**CHAT, "stream": True, "timings_per_token": True}),
    ("/v1/completions", TEXT),
    ("/v1/completions", {**TEXT, "stream": True}),
    ("/completion", TEXT),
    ("/completion", {**TEXT, "stream": True}),
    ("/v1/responses", RESPONSES),
    ("/v1/responses", {**RESPONSES, "stream": True}),
    ("/v1/messages", MESSAGES),
    ("/v1/messages", {**MESSAGES, "stream": True}),
]


class Counted(NamedTuple):
    """What the server has counted since it was started."""

    prompt: int
    generated: int


class Server:
    """A llama.cpp that listens."""

    def __init__(self, port: int) -> None:
        self._port = port

    def ask(self, method: str, path: str, body: Any = None) -> tuple[str, bytes]:
        """The type of the answer's content, and its body."""
        connection = HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            assert answer.status == 200
            return answer.getheader("Content-Type") or "", answer.read()
        finally:
            connection.close()

    def is_ready(self) -> bool:
        try:
            self.ask("GET", "/health")
        except (OSError, AssertionError):
            return False
        return True

    def counted(self) -> Counted:
        families = read(self.ask("GET", "/metrics")[1].decode())
        prompt, generated = (
            families[f"llamacpp:{name}"].samples[0].value for name in ("prompt_tokens", "tokens_predicted")
        )
        return Counted(int(prompt), int(generated))


def start(folder: Path, *, embeds: bool = False) -> Iterator[Server]:
    from tests.e2e.tiny_gguf import Shape, write_model  # noqa: PLC0415 - gguf may be missing

    write_model(folder / "tiny.gguf", Shape(1, is_embedder=embeds))
    ports = PortBlock()
    launcher = Path(__file__).with_name("llama_launcher.py")
    command = [sys.executable, str(launcher), str(folder / "tiny.gguf"), str(ports.first), "embeddings" * embeds]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        server = Server(ports.first)
        wait_until(server.is_ready, "llama.cpp is ready")
        yield server
    finally:
        process.terminate()
        process.wait()
        ports.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from start(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from start(tmp_path_factory.mktemp("embedder"), embeds=True)


def row_for(path: str, content_type: str, body: bytes) -> Row:
    sample = Sample(body, b"", len(body), first_at=0.1, last_at=0.9)
    return row_of(Record(0.0, 1.0, "tiny", path, "POST", 200, Ended.COMPLETE, content_type, sample=sample))


@pytest.mark.parametrize(
    ("path", "asked"), KINDS, ids=lambda value: value if isinstance(value, str) else str(len(value))
)
def test_a_row_says_what_the_server_counts(server: Server, path: str, asked: dict[str, Any]) -> None:
    for _ in range(2):  # the second one finds the prompt in the cache
        before = server.counted()
        content_type, body = server.ask("POST", path, asked)
        after = server.counted()
        row = row_for(path, content_type, body)
        assert row.output_tokens == after.generated - before.generated > 0, body
        read_tokens = after.prompt - before.prompt
        if path == "/v1/responses" and "stream" not in asked:  # which counts those of the cache too
            assert row.input_tokens == read_tokens + row.cache_tokens
        else:
            assert row.input_tokens == read_tokens
    assert row.cache_tokens > 0


def test_embeddings_are_counted(embedder: Server) -> None:
    content_type, body = embedder.ask("POST", "/v1/embeddings", {"input": ["hello", "the model loads"]})
    row = row_for("/v1/embeddings", content_type, body)
    assert row.input_tokens == json.loads(body)["usage"]["prompt_tokens"] > 1
    assert (row.output_tokens, row.cache_tokens, row.tokens_per_second) == (0, -1, -1)
