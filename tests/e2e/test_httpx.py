"""`httpx`: a client that keeps its connections, reads along, and leaves when its time is over."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.conftest import RunProgram
from tests.e2e.program import ENDLESS, HELLO, Program, demo, models, upstream, wait_until
from tests.e2e.talk import TIMEOUT

httpx = pytest.importorskip("httpx", reason="httpx is not installed")

SHORT = {"max_tokens": 20, "ignore_eos": True}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    config = models(paced=demo("--tokens-per-second", "100"), echo=upstream())
    groups = {"all": {"swap": False, "members": ["paced", "echo"]}}
    with Program(tmp_path_factory.mktemp("httpx"), {**config, "groups": groups}) as running:
        yield running


@pytest.fixture
def client(program: Program) -> Iterator[Any]:
    with httpx.Client(base_url=f"http://127.0.0.1:{program.port}", timeout=TIMEOUT) as client:
        yield client


def connection_of(answer: Any) -> tuple[str, int]:
    """The client's end of the connection that an answer came on."""
    address: tuple[str, int] = answer.extensions["network_stream"].get_extra_info("client_addr")
    return address


def test_one_connection_serves_requests_of_all_kinds(client: Any) -> None:
    used = set()
    for _ in range(3):
        for path in ("/health", "/running", "/nothing", "/upstream/echo/x", "/props?model=echo"):
            used.add(connection_of(client.get(path)))
        used.add(connection_of(client.post("/v1/embeddings", json={"model": "echo"})))
        with client.stream("POST", "/v1/chat/completions", json={"model": "paced", **ENDLESS, **SHORT}) as answer:
            used.add(connection_of(answer))
            assert list(answer.iter_lines())[-2:] == ["data: [DONE]", ""]
        used.add(connection_of(client.post("/v1/chat/completions", json={"model": "none"})))
    assert len(used) == 1


def test_a_body_from_a_generator_arrives_whole(client: Any) -> None:
    body = json.dumps({"model": "echo", "x": "y" * 100_000}).encode()
    pieces = (body[at : at + 1000] for at in range(0, len(body), 1000))
    answer = client.post("/v1/embeddings", content=pieces, headers={"Content-Type": "application/json"})
    assert answer.json()["body"].encode() == body


def test_an_answer_that_is_closed_in_the_middle_ends_the_upstreams_work(client: Any, program: Program) -> None:
    assert client.post("/v1/chat/completions", json={"model": "paced", **HELLO, "max_tokens": 1}).status_code == 200
    program.await_stats("paced", in_progress=0)
    before = program.stats("paced")["cancelled"]
    with client.stream("POST", "/v1/chat/completions", json={"model": "paced", **ENDLESS}) as answer:
        next(answer.iter_lines())
    program.await_stats("paced", in_progress=0, cancelled=before + 1)


def test_many_at_once_in_one_async_client(program: Program) -> None:
    async def talk() -> list[int]:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{program.port}", timeout=TIMEOUT) as client:
            asked = [client.post("/v1/chat/completions", json={"model": "paced", **HELLO}) for _ in range(40)]
            return [answer.status_code for answer in await asyncio.gather(*asked)]

    assert asyncio.run(talk()) == [200] * 40


def test_a_client_that_gives_up_in_the_queue_leaves_it(run_program: RunProgram) -> None:
    config = models(busy=demo("--tokens-per-second", "100"), wanted=demo())
    with run_program(config) as program, program.stream("busy") as stream:
        stream.read_head_and_first_chunk()
        with httpx.Client(base_url=f"http://127.0.0.1:{program.port}", timeout=TIMEOUT) as client:
            with pytest.raises(httpx.ReadTimeout):
                client.post("/v1/chat/completions", json={"model": "wanted", **HELLO}, timeout=0.3)
            wait_until(lambda: program.queue() == [], "its ticket is gone")
            assert client.get("/running").json()["running"][0]["model"] == "busy"
        assert program.starts("wanted") == 0


def test_tasks_that_are_cancelled_leave_the_queue_at_once(run_program: RunProgram) -> None:
    config = models(busy=demo("--tokens-per-second", "100"), wanted=demo())

    async def ask_and_cancel(program: Program) -> None:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{program.port}", timeout=TIMEOUT) as client:
            asked = client.post("/v1/chat/completions", json={"model": "wanted", **HELLO})
            tasks = [asyncio.create_task(asked)]
            asked = client.post("/v1/chat/completions", json={"model": "wanted", **HELLO})
            tasks.append(asyncio.create_task(asked))
            while len(await asyncio.to_thread(program.queue)) < len(tasks):
                pass
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await asyncio.to_thread(wait_until, lambda: program.queue() == [], "the tickets are gone")

    with run_program(config) as program, program.stream("busy") as stream:
        stream.read_head_and_first_chunk()
        asyncio.run(ask_and_cancel(program))
