"""How the demo fails on demand, and that it notices who left."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import threading

import pytest

from tests.demo.child import DEADLINE, ENDLESS, HELLO, DemoChild, read_all

# -- clients that leave --


def test_a_client_that_leaves_during_prefill_is_counted_and_said() -> None:
    with DemoChild("--prompt-seconds", "60") as demo:
        demo.loaded()
        client = demo.open_stream()
        demo.stats_until(in_progress=1)
        client.close()
        assert demo.says("POST").endswith("/v1/chat/completions cancelled after 0 tokens")
        assert demo.stats_until(in_progress=0)["cancelled"] == 1


def test_a_client_that_leaves_between_two_tokens_is_counted_and_said() -> None:
    with DemoChild("--tokens-per-second", "0.01") as demo:
        demo.loaded()
        client = demo.open_stream()
        assert client.recv(65536)
        client.close()
        assert demo.says("POST").endswith("cancelled after 1 tokens")
        assert demo.stats_until(in_progress=0)["cancelled"] == 1


def test_a_client_that_leaves_a_stream_at_full_speed_is_counted() -> None:
    with DemoChild() as demo:
        demo.loaded()
        client = demo.open_stream()
        assert client.recv(100)
        client.close()
        assert demo.stats_until(cancelled=1, in_progress=0)["tokens"] < 90_000


def test_a_client_that_leaves_while_it_waits_for_a_whole_answer_is_counted() -> None:
    with DemoChild("--tokens-per-second", "0.1") as demo:
        demo.loaded()
        client = demo.open_stream(dict(HELLO))
        demo.stats_until(in_progress=1)
        client.close()
        assert demo.stats_until(cancelled=1, in_progress=0)["tokens"] == 0


def test_a_client_that_reads_nothing_does_not_stop_the_others() -> None:
    with DemoChild() as demo:
        demo.loaded()
        with demo.open_stream():
            demo.stats_until(in_progress=1)
            assert demo.post("/v1/chat/completions", HELLO)[0] == 200
        demo.stats_until(cancelled=1)


def test_many_streams_flow_side_by_side() -> None:
    with DemoChild("--tokens-per-second", "100", "--quiet") as demo:
        demo.loaded()
        clients = [demo.open_stream({**ENDLESS, "max_tokens": 30}) for _ in range(50)]
        for client in clients:
            with client:
                data = b""
                while not data.endswith(b"0\r\n\r\n"):
                    data += client.recv(65536)
                assert data.count(b"data: ") == 30 + 3
        assert demo.stats_until(in_progress=0)["tokens"] == 1500


# -- loading --


@pytest.mark.parametrize("seconds", ["9999999", "inf"])
def test_a_model_may_load_for_longer_than_the_system_waits(seconds: str) -> None:
    with DemoChild("--load-seconds", seconds) as demo:
        assert demo.listening().get("/health")[0] == 503


def test_all_routes_are_503_while_loading() -> None:
    with DemoChild("--never-ready") as demo:
        demo.listening()
        expected = {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}}
        for path in ("/health", "/v1/models", "/props", "/echo"):
            assert demo.get(path) == (503, expected)
        assert demo.post("/v1/chat/completions", HELLO) == (503, expected)
        assert demo.stats_until()["requests"] == 4


def test_it_says_that_it_loads_then_that_it_has() -> None:
    with DemoChild("--load-seconds", "0.2", "--model", "tiny") as demo:
        demo.listening()
        assert demo.says("loading") == "loading model tiny"
        assert demo.says("model ") == "model tiny loaded in 0.2 s"
        assert demo.get("/health")[0] == 200


def test_bind_late_opens_the_port_only_when_loaded() -> None:
    with DemoChild("--bind-late", "--load-seconds", "0.1") as demo:
        assert demo.read_to(b"listening on ") == b"loading model demo\nmodel demo loaded in 0.1 s\nlistening on "


def test_exit_at_start_gives_its_code_and_a_reason() -> None:
    with DemoChild("--exit-at-start", "7") as demo:
        assert demo.exit_code() == 7
        assert demo.read_to_the_end().startswith(b"error: ")


def test_die_while_loading_ends_it_with_code_1() -> None:
    with DemoChild("--die-while-loading", "0.05") as demo:
        assert demo.exit_code() == 1
        assert b"could not be loaded" in demo.read_to_the_end()


def test_health_status_is_what_it_is_told_to_be() -> None:
    with DemoChild("--health-status", "500") as demo:
        assert demo.loaded().get("/health")[0] == 500
        assert demo.post("/v1/chat/completions", HELLO)[0] == 200


# -- serving --


def test_cut_stream_after_closes_in_mid_stream_without_an_end() -> None:
    with DemoChild("--cut-stream-after", "2") as demo:
        demo.loaded()
        with demo.open_stream() as client:
            data = read_all(client)
        assert data.count(b"data: ") == 3
        assert b"[DONE]" not in data
        assert not data.endswith(b"\r\n0\r\n\r\n")
        assert demo.stats_until(in_progress=0)["cancelled"] == 0


@pytest.mark.parametrize("idle_ms", ["0", "30"])
def test_close_kept_alive_promises_keep_alive_and_closes(idle_ms: str) -> None:
    with DemoChild("--close-kept-alive", idle_ms) as demo:
        demo.loaded()
        with demo.raw(b"GET /health HTTP/1.1\r\n\r\n") as client:
            answer = read_all(client)
        assert answer.endswith(b'{"status": "ok"}')
        assert b"close" not in answer.lower()


def test_close_kept_alive_counts_from_the_last_answer_and_spares_a_request_in_progress() -> None:
    body = json.dumps(HELLO).encode()
    request = b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    with DemoChild("--close-kept-alive", "50", "--prompt-seconds", "0.2") as demo:
        demo.loaded()
        with demo.raw(request * 2) as client:
            assert read_all(client).count(b"HTTP/1.1 200 ") == 2


def test_without_it_connections_are_kept() -> None:
    with DemoChild() as demo:
        demo.loaded()
        connection = demo.connect()
        for _ in range(5):
            connection.request("GET", "/health")
            response = connection.getresponse()
            assert response.read()
            assert not response.will_close
        connection.close()


def test_crash_after_answers_so_many_then_dies_in_the_middle_of_a_stream() -> None:
    with DemoChild("--crash-after", "2") as demo:
        demo.loaded()
        for _ in range(2):
            assert demo.post("/v1/chat/completions", HELLO)[0] == 200
        with demo.open_stream() as client:
            assert read_all(client).count(b"data: ") == 2
        assert demo.exit_code() == -signal.SIGKILL


def test_crash_exit_dies_by_exit_before_a_whole_answer() -> None:
    with DemoChild("--crash-after", "0", "--crash-exit", "3") as demo:
        demo.loaded()
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            demo.post("/v1/chat/completions", HELLO)
        assert demo.exit_code() == 3


# -- ending --


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_at_once_with_code_0_also_in_the_middle_of_a_stream(number: signal.Signals) -> None:
    with DemoChild("--tokens-per-second", "1") as demo:
        demo.loaded()
        with demo.open_stream() as client:
            assert client.recv(65536)
            demo.process.send_signal(number)
            assert demo.exit_code() == 0
        assert demo.says("got") == f"got {number.name}"


def test_stop_seconds_delays_the_exit_and_lets_streams_flow() -> None:
    with DemoChild("--stop-seconds", "0.3", "--tokens-per-second", "50") as demo:
        demo.loaded()
        with demo.open_stream() as client:
            assert client.recv(65536)
            demo.process.terminate()
            demo.says("got SIGTERM")
            assert read_all(client).count(b"data: ") >= 2
            assert demo.exit_code() == 0


def test_a_second_signal_ends_a_slow_stop_with_code_1() -> None:
    with DemoChild("--stop-seconds", "60") as demo:
        demo.loaded()
        for _ in range(2):
            demo.process.terminate()
            demo.says("got SIGTERM")
        assert demo.exit_code() == 1


def test_hang_on_sigterm_closes_the_port_and_stays() -> None:
    with DemoChild("--hang-on-sigterm") as demo:
        demo.loaded()
        for _ in range(2):
            demo.process.terminate()
            demo.says("got SIGTERM")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", demo.port), DEADLINE)
        assert demo.process.poll() is None


def test_ignore_sigterm_goes_on_serving() -> None:
    with DemoChild("--ignore-sigterm") as demo:
        demo.loaded()
        demo.process.terminate()
        assert demo.post("/v1/chat/completions", HELLO)[0] == 200
        assert demo.process.poll() is None


@pytest.mark.parametrize("flag", ["--fork-grandchild", "--grandchild-ignores-sigterm"])
def test_a_grandchild_keeps_the_pipe_when_the_leader_is_gone(flag: str) -> None:
    with DemoChild(flag) as demo:
        demo.listening()
        grandchild = int(demo.says("grandchild ").split()[1])
        assert os.getpgid(grandchild) == demo.process.pid
        demo.says("model ")
        demo.process.terminate()
        assert demo.exit_code() == 0
        demo.says("bye")
        assert demo.is_pipe_open()
        if flag == "--grandchild-ignores-sigterm":
            os.kill(grandchild, signal.SIGTERM)
            assert demo.is_pipe_open()
        demo.kill_group()
        assert demo.read_to_the_end() == b""


def test_a_grandchild_dies_of_a_sigterm_to_the_group() -> None:
    with DemoChild("--fork-grandchild") as demo:
        demo.loaded()
        os.killpg(demo.process.pid, signal.SIGTERM)
        demo.read_to_the_end()
        assert demo.exit_code() == 0


# -- output --


def test_log_spam_floods_the_pipe_with_whole_lines_and_does_not_stop_the_server() -> None:
    with DemoChild("--log-spam", "20", "--quiet") as demo:
        demo.loaded()
        lines = [demo.read_to(b"\n") for _ in range(10_000)]
        assert lines == [b"%099d\n" % number for number in range(int(lines[0]), int(lines[0]) + len(lines))]
        stop = threading.Event()
        reader = threading.Thread(target=lambda: [demo.read_bytes(100_000) for _ in iter(stop.is_set, True)])
        reader.start()
        try:
            assert demo.get("/health")[0] == 200
        finally:
            stop.set()
            reader.join(DEADLINE)


def test_progress_bar_is_drawn_with_carriage_returns_and_ends_without_a_newline() -> None:
    with DemoChild("--progress-bar", "--load-seconds", "0.1") as demo:
        demo.listening()
        demo.read_to(b"loading model demo\n")
        bar = demo.read_to(b"]" + b"model")
        assert bar.count(b"\r") == 21
        assert b"\n" not in bar
        assert b"100 %" in bar
