"""TLS, from the flags to real clients."""

from __future__ import annotations

import shutil
import signal
import ssl
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import openai
import pytest
import trustme

from tests.e2e.fleet import Box
from tests.e2e.held import Held
from tests.e2e.program import COMMAND, DEADLINE, Program, demo, environment, models, wait_until

AUTHORITY = trustme.CA()


@pytest.fixture
def flags(tmp_path: Path) -> tuple[str, ...]:
    issued = AUTHORITY.issue_cert("localhost", "127.0.0.1")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "certificate.pem")
    AUTHORITY.cert_pem.write_to_path(tmp_path / "authority.pem")
    return "-tls-cert-file", str(tmp_path / "certificate.pem"), "--tls-key-file", str(tmp_path / "key.pem")


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


def test_sdk_and_curl_speak_tls_with_it(tmp_path: Path, flags: tuple[str, ...]) -> None:
    config = models(m=demo("--tokens-per-second", "500"))
    with Program(tmp_path, config, flags=flags, context=trusting()) as program:
        url = f"https://localhost:{program.port}"
        listening = f"listening on https://127.0.0.1:{program.port}"
        wait_until(lambda: listening in program.stdout, "the log tells where it listens")
        with (
            httpx.Client(verify=trusting()) as http_client,
            openai.OpenAI(api_key="x", base_url=f"{url}/v1", http_client=http_client) as client,
        ):
            stream = client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "Hello"}], stream=True, max_tokens=40
            )
            assert sum(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in stream) > 1
        curl = shutil.which("curl")
        assert curl is not None
        command = (curl, "-sS", "--cacert", str(tmp_path / "authority.pem"), f"{url}/health")
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "OK"


def test_client_that_leaves_within_a_stream_ends_it(tmp_path: Path, flags: tuple[str, ...]) -> None:
    config = models(m=demo("--tokens-per-second", "100"))
    with Program(tmp_path, config, flags=flags, context=trusting()) as program:
        body = {"model": "m", "messages": [], "stream": True, "max_tokens": 10_000, "ignore_eos": True}
        with (
            httpx.Client(verify=trusting()) as client,
            client.stream("POST", f"https://localhost:{program.port}/v1/chat/completions", json=body) as answer,
        ):
            next(answer.iter_bytes())
        program.await_stats("m", cancelled=1)
        wait_until(lambda: program.thread_count() <= 20, "its thread has ended")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("-tls-cert-file", "a.pem"), "give both, or neither"),
        (("-tls-key-file", "a.pem"), "give both, or neither"),
        (("-tls-cert-file", "no.pem", "-tls-key-file", "no.pem"), "cannot use the certificate no.pem"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line(tmp_path: Path, given: tuple[str, ...], told: str) -> None:
    (tmp_path / "config.yaml").write_text("models: {}\n")
    command = (*COMMAND, "-c", "config.yaml", "-listen", "127.0.0.1:0", *given)
    ended = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert told in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_at_the_end_newcomers_are_told_so_over_tls_too(tmp_path: Path, flags: tuple[str, ...]) -> None:
    held = Held(tmp_path)
    config = {**models(m=held.command), "shutdownTimeout": 60}
    context = trusting()
    with Program(tmp_path, config, flags=flags, context=context) as program, ThreadPoolExecutor() as pool:
        busy = pool.submit(program.chat, "m")
        wait_until(lambda: any(run["in_flight"] for run in program.get("/running").json()["running"]), "it is served")
        program.signal(signal.SIGTERM)
        wait_until(lambda: program.get("/health").status == 503, "nobody is let in")
        held.end()
        assert busy.result(DEADLINE).status == 200
        assert program.wait() == 0


def test_a_reload_refuses_a_certificate_that_cannot_be_used_and_goes_on_with_the_old_one(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    config = models(m=demo())
    with Program(tmp_path, config, flags=flags, context=trusting()) as program:
        good = (tmp_path / "certificate.pem").read_bytes()
        (tmp_path / "certificate.pem").write_bytes(good[:200])
        answer = program.post("/api/config/reload", None)
        assert answer.status == 400
        assert f"cannot use the certificate {tmp_path / 'certificate.pem'}" in answer.message
        (tmp_path / "certificate.pem").write_bytes(good)
        assert program.reload(config)["changed"] is False


def test_each_worker_speaks_it(tmp_path: Path, flags: tuple[str, ...]) -> None:
    (tmp_path / "front").mkdir()
    with closing(Box(tmp_path / "box", models(m=demo()))) as box:
        config = {"peers": {"box1": {"proxy": box.url, "models": ["m"]}}}
        workers = ("-workers", "3")
        with Program(tmp_path / "front", config, flags=(*flags, *workers), context=trusting()) as front:
            assert [front.chat("m", max_tokens=1).status for _ in range(12)] == [200] * 12
            rows = "/api/metrics/activity"
            wait_until(lambda: len(front.get(rows).json()["data"]) == 12, "each has its row")
