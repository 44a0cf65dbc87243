"""A real llama.cpp behind the real program, with tiny models that these tests write themselves."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import RunProgram
from tests.e2e.program import HELLO, Program, models, wait_until
from tests.e2e.talk import Cut, Wire, events

missing = [name for name in ("xllamacpp", "gguf", "numpy") if find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}: pip install -e '.[llama]'")

LONG = {**HELLO, "stream": True, "max_tokens": 900, "ignore_eos": True}
SHORT = {"max_tokens": 8, "seed": 1, "ignore_eos": True}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two small models, one that embeds, one of 50 to 150 tokens a second."""
    from tests.e2e.tiny_gguf import Shape, write_model  # noqa: PLC0415 - gguf may be missing

    folder = tmp_path_factory.mktemp("models")
    slow = Shape(seed=4, layers=12, width=512, heads=8, feed_forward=2048)
    shapes = {"one": Shape(1), "two": Shape(2), "embed": Shape(3, is_embedder=True), "slow": slow}
    for name, shape in shapes.items():
        write_model(folder / f"{name}.gguf", shape)
    return {name: folder / f"{name}.gguf" for name in shapes}


def llama(file: Path, *more: str) -> str:
    """The command of a server for a model file."""
    launcher = Path(__file__).with_name("llama_launcher.py")
    return shlex.join((sys.executable, str(launcher), str(file))) + " ${PORT} " + " ".join(more)


@pytest.fixture
def program(files: dict[str, Path], run_program: RunProgram) -> Iterator[Program]:
    commands = {name: llama(file, "embeddings" * (name == "embed")) for name, file in files.items()}
    entries = {name: {"cmd": command, "unloadTimeout": 3} for name, command in commands.items()}
    with run_program({**models(**entries), "shutdownTimeout": 5}) as running:
        yield running


def slots(program: Program, model: str) -> list[bool]:
    """Which are busy."""
    return [slot["is_processing"] for slot in program.get(f"/upstream/{model}/slots").json()]


def begin_stream(program: Program, model: str, **more: object) -> Wire:
    """A stream of which the first chunk has come."""
    wire = program.wire()
    wire.request("POST", "/v1/chat/completions", {"model": model, **LONG, **more})
    wire.read_head_and_first_chunk()
    return wire


def test_two_models_swap(program: Program) -> None:
    texts: dict[str, str] = {}
    for name in ("one", "two", "one", "two"):
        answer = program.chat(name, **SHORT)
        assert answer.status == 200, answer.body
        text = answer.json()["choices"][0]["message"]["content"]
        assert answer.json()["timings"]["predicted_n"] == 8
        assert texts.setdefault(name, text) == text
        assert program.states() == {name: "ready"}
    assert texts["one"] != texts["two"]


def test_it_streams(program: Program) -> None:
    with program.wire() as wire:
        wire.request("POST", "/v1/chat/completions", {"model": "slow", **LONG, "max_tokens": 30})
        assert wire.status() == 200
        chunks = list(wire.chunks())
    told = events(b"".join(chunks))
    assert told[-1] == "[DONE]"
    assert told[-2]["timings"]["predicted_n"] == 30
    assert len(chunks) >= 30


def test_a_client_that_leaves_in_mid_stream_frees_its_slot(program: Program) -> None:
    wire = begin_stream(program, "slow")
    assert slots(program, "slow").count(True) == 1
    wire.close()
    wait_until(lambda: True not in slots(program, "slow"), "the slot is free")
    assert program.chat("slow", **SHORT).status == 200


def test_a_swap_waits_for_the_stream_and_llama_cpp_ends_at_once(program: Program) -> None:
    with program.wire() as wire:
        wire.request("POST", "/v1/chat/completions", {"model": "slow", **LONG, "max_tokens": 100})
        wire.read_head_and_first_chunk()
        with program.wire() as other:
            other.request("POST", "/v1/chat/completions", {"model": "one", **HELLO, **SHORT})
            assert events(b"".join(wire.chunks()))[-1] == "[DONE]"
            assert other.answer()[0] == 200


def test_facts_about_a_model(program: Program) -> None:
    props = program.get("/upstream/one/props").json()
    assert props["total_slots"] == 2
    assert "one.gguf" in json.dumps(props)
    assert program.get("/props?model=one").json()["total_slots"] == 2
    assert slots(program, "one") == [False, False]
    assert program.states() == {"one": "ready"}


CONVERSATION = {"messages": [{"role": "user", "content": "Hello there"}]}


OWN_ROUTES: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("/tokenize", {"content": "Hello there"}, "tokens"),
    ("/detokenize", {"tokens": [10, 11, 12]}, "content"),
    ("/apply-template", CONVERSATION, "prompt"),
    ("/chat/completions", {**CONVERSATION, **SHORT}, "choices"),
    ("/completions", {"prompt": "The server", **SHORT}, "content"),
    ("/responses", {"input": "Hello there", "max_output_tokens": 3}, "output"),
    ("/v1/chat/completions/input_tokens", CONVERSATION, "input_tokens"),
    ("/chat/completions/input_tokens", CONVERSATION, "input_tokens"),
    ("/v1/responses/input_tokens", {"input": "Hello there"}, "input_tokens"),
    ("/responses/input_tokens", {"input": "Hello there"}, "input_tokens"),
)


def test_its_own_routes_lead_to_it(program: Program) -> None:
    for path, asked, key in OWN_ROUTES:
        answer = program.post(path, {"model": "one", **asked})
        assert answer.status == 200, (path, answer.body)
        assert key in answer.json(), path
    assert program.states() == {"one": "ready"}
    for path in ("/embedding", "/embeddings"):
        answer = program.post(path, {"model": "embed", "content": "a text", "input": "a text"})
        assert answer.status == 200, (path, answer.body)
    assert program.states() == {"embed": "ready"}


def test_its_state_is_asked_without_a_model_where_one_runs(program: Program) -> None:
    assert program.get("/slots").status == 404
    assert program.states() == {}
    assert len(program.get("/slots?model=one").json()) == 2
    assert len(program.get("/slots").json()) == 2
    assert program.get("/props").json()["total_slots"] == 2
    assert program.get("/lora-adapters?model=one").json() == []
    assert "llamacpp:" in program.get("/metrics?model=one").text
    assert 'llamaswap_model_state{model="one",state="ready"} 1' in program.get("/metrics").text


def test_embeddings(program: Program) -> None:
    answer = program.post("/v1/embeddings", {"model": "embed", "input": ["one text", "another text"]})
    assert answer.status == 200, answer.body
    vectors: list[Any] = [item["embedding"] for item in answer.json()["data"]]
    assert [len(vector) for vector in vectors] == [64, 64]
    assert vectors[0] != vectors[1]


def test_its_errors_pass_through(program: Program) -> None:
    refused = program.post("/v1/embeddings", {"model": "one", "input": "x"})
    assert refused.status == 501
    assert "does not support embeddings" in refused.message
    assert program.post("/v1/chat/completions", {"model": "one"}).status == 400


def test_an_unload_with_a_stream_open_is_bounded(program: Program) -> None:
    with begin_stream(program, "slow") as wire:
        assert program.post("/api/models/unload/slow", {}).status == 200
        with pytest.raises(Cut):
            list(wire.chunks())
    assert program.states() == {}
    assert program.chat("one", **SHORT).status == 200


def test_the_end_with_a_stream_open_is_bounded(program: Program) -> None:
    with begin_stream(program, "slow") as wire:
        program.signal(15)
        assert program.wait() == 0
        data = wire.rest()
    assert not data.endswith(b"0\r\n\r\n") or b"[DONE]" in data
    assert program.relatives() == {}


def test_a_file_that_is_no_model_is_502_with_its_log(run_program: RunProgram, tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"GGUF nonsense")
    with run_program(models(bad=llama(tmp_path / "bad.gguf"))) as program:
        refused = program.chat("bad")
        assert refused.status == 502
        assert "model bad could not be loaded" in refused.message
        assert "bad.gguf" in refused.message


def test_a_reload_leaves_a_stream_alone_and_the_next_request_gets_the_changed_server(
    files: dict[str, Path], run_program: RunProgram
) -> None:
    with run_program(models(slow=llama(files["slow"]), one=llama(files["one"]))) as program:
        with begin_stream(program, "slow", max_tokens=300) as wire:  # for as long as the reloads, and read to its end
            pid = program.running("slow")["pid"]
            told = program.reload(models(slow={"cmd": llama(files["slow"]), "ttl": 60}, two=llama(files["two"])))
            assert (told["models"]["updated"], told["models"]["removed"]) == (["slow"], ["one"])
            assert program.running("slow")["pid"] == pid
            told = program.reload(models(slow=llama(files["one"]), two=llama(files["two"])))
            assert told["models"]["replaced"] == ["slow"]
            assert events(b"".join(wire.chunks()))[-1] == "[DONE]"
        assert program.chat("slow", **SHORT).status == 200
        assert program.running("slow")["pid"] != pid
        assert program.chat("two", **SHORT).status == 200
        assert program.chat("one", **SHORT).status == 404


@pytest.mark.skipif(sys.platform == "darwin", reason="ps does not tell files apart")
def test_the_file_of_a_model_is_told_apart_from_the_rest_of_its_memory(
    program: Program, files: dict[str, Path]
) -> None:
    assert program.chat("slow", **SHORT).status == 200

    def memory() -> dict[str, Any]:
        return {row["device"]: row for row in program.running("slow")["memory"] or ()}

    size = files["slow"].stat().st_size
    wait_until(lambda: memory().get("ram", {}).get("mapped_bytes", 0) > 0.8 * size, "its file is in memory")
    ram = memory()["ram"]
    assert ram["mapped_bytes"] < size + (200 << 20)  # with the libraries
    assert 0 < ram["bytes"] < 500 << 20
    wait_until(lambda: program.get("/api/performance").json()["sys_stats"], "the first sample")
    assert program.get("/api/performance").json()["sys_stats"][-1]["disks"][0]["path"] == str(files["slow"].parent)
