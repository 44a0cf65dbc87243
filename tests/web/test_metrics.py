"""GET /metrics: what runs and who waits, the machine, and the metrics of the models' own servers."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from llamaswap_lib.activity.exposition import written
from llamaswap_lib.activity.machine import machine_families, memory_families
from llamaswap_lib.activity.merged_metrics import merged
from llamaswap_lib.core.failures import ModelFailure
from llamaswap_lib.core.snapshot import TicketView
from llamaswap_lib.endpoints.metrics import prefers_open_metrics
from llamaswap_lib.hardware.history import LatestSample
from llamaswap_lib.hardware.readings import RunMemory, Usage
from llamaswap_lib.hardware.sampler import Hardware
from llamaswap_lib.proxy.scraping import Result, Scraped, scrape
from llamaswap_lib.runtime.control.board import RunDetail
from llamaswap_lib.runtime.control.live_run import Upstream as RunAddress
from llamaswap_lib.runtime.forward_proxies import ForwardProxies
from llamaswap_lib.server.limits import Limits
from tests.activity.answers import in_chunks
from tests.web.world import DEADLINE, MODELS, OK, Peer, Running, Upstream, World, answers, get, sized

PATIENT = Limits(scrape_timeout=DEADLINE)
INCLUDED = MODELS + "\nmetrics: {includeUpstreams: true}\n"
OPEN = b"Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1\r\n"
OF_LLAMA_CPP = b"""# HELP llamacpp:prompt_tokens_total Number of prompt tokens processed
# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total 95
# HELP llamacpp:predicted_tokens_seconds Average generation throughput in tokens/s
# TYPE llamacpp:predicted_tokens_seconds gauge
llamacpp:predicted_tokens_seconds nan
# TYPE llamacpp:requests_processing gauge
llamacpp:requests_processing 1
"""
SYSTEM: dict[str, Any] = {
    "cpu_util_per_core": [1.5, 99.0],
    "mem_total_mb": 2,
    "mem_used_mb": 1,
    "mem_free_mb": None,
    "swap_total_mb": 0,
    "swap_used_mb": 0,
    "load_avg_1": 0.5,
    "load_avg_5": 1.5,
    "load_avg_15": None,
    "net_io": [{"name": "eth0", "bytes_recv": 7, "bytes_sent": 9}],
}
GPU: dict[str, Any] = {
    "id": 0,
    "name": 'RTX "9"',
    "uuid": "GPU-1",
    "temp_c": 41,
    "vram_temp_c": None,
    "gpu_util_pct": 87.5,
    "mem_util_pct": 3,
    "mem_used_mb": 1024,
    "mem_total_mb": 24564,
    "fan_speed_pct": 30,
    "power_draw_w": 120.5,
}


def usage(device: str, kind: str, size: int | None) -> Usage:
    return Usage(device, device, kind, size, None, None, kind)


class MadeHardware(Hardware):
    """A machine with one GPU, and a run that takes memory of it."""

    def latest(self) -> LatestSample:
        return LatestSample(SYSTEM, [GPU])

    def memory_of_models(self) -> dict[int, RunMemory]:
        return {1: RunMemory("m", (usage("gpu0", "gpu", 7), usage("ram", "ram", 5)))}


def lines(body: bytes) -> set[str]:
    return {line for line in body.decode().splitlines() if not line.startswith("#")}


def ready(*models: str) -> list[Running]:
    return [Running(model, number, "ready", 1.0, 2.0) for number, model in enumerate(models, 1)]


def asked(world: World, extra: bytes = b"") -> tuple[bytes, bytes]:
    head, body = world.ask(get("/metrics", extra=extra))
    assert head.startswith(b"HTTP/1.1 200 "), head
    return head, body


def test_what_runs_and_who_waits_is_told() -> None:
    with World(answers(OK)) as world:
        running = Running("m", 1, "ready", 1.0, 2.0)
        world.controller.running = [running]
        world.controller.doing = {"m": RunDetail(running, in_flight=3)}
        world.controller.queue = [TicketView(1, "m", 1, 0.0, "x"), TicketView(2, "m", 2, 0.0, "x")]
        world.controller.failures = {"m": ModelFailure("x", 0.0, 2, 0.0)}
        told = lines(asked(world)[1])
        assert {
            'llamaswap_in_flight{model="m"} 3',
            'llamaswap_queue_waiting{model="m"} 2',
            'llamaswap_model_state{model="m",state="ready"} 1',
            'llamaswap_model_state{model="m",state="stopped"} 0',
            'llamaswap_model_failing{model="m"} 2',
            'llamaswap_build_info{version="1.2",commit="unknown"} 1',
            'llamaswap_config_reloads_total{result="failure"} 0',
        } <= told
        assert world.controller.leased == []


def test_a_model_that_has_no_process_is_stopped() -> None:
    with World(answers(OK)) as world:
        told = lines(asked(world)[1])
        assert {'llamaswap_model_state{model="m",state="stopped"} 1', 'llamaswap_in_flight{model="m"} 0'} <= told


@pytest.mark.parametrize("config", [MODELS, INCLUDED], ids=["plain", "merged"])
def test_others_read_both_formats(config: str) -> None:
    with World(answers(sized(OF_LLAMA_CPP)), config=config) as world:
        world.controller.running = ready("m")
        head, body = asked(world)
        assert b"\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n" in head
        assert {family.name for family in parse_plain(body.decode())} >= {"llamaswap_in_flight"}
        head, body = asked(world, OPEN)
        assert b"\r\nContent-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n" in head
        families = parse_open(body.decode())  # type: ignore[no-untyped-call]
        assert {family.name for family in families} >= {"llamaswap_in_flight"}
        assert body.endswith(b"# EOF\n")


@pytest.mark.parametrize(
    ("accept", "is_open"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("application/openmetrics-text", True),
        ("Application/OpenMetrics-Text; Version=1.0.0; Q=0.2, text/plain;q=0.1", True),
        ("application/openmetrics-text;q=0.1,text/plain;q=0.2", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=x", False),
        ("application/openmetrics-text;q=nan", False),
        (";;,,=", False),
    ],
)
def test_the_format_is_the_one_that_the_client_likes_better(accept: str, is_open: bool) -> None:
    assert prefers_open_metrics(accept) is is_open


# -- the machine --


def test_the_machine_has_the_names_of_llama_swap() -> None:
    text = written(machine_families((SYSTEM, [GPU, {**GPU, "id": 1, "uuid": ""}])), is_open=False)
    assert {
        'llamaswap_cpu_util_percent{core="1"} 99.0',
        "llamaswap_memory_total_bytes 2097152",
        "llamaswap_swap_used_bytes 0",
        'llamaswap_load_average{interval="5m"} 1.5',
        'llamaswap_network_bytes_total{interface="eth0",direction="sent"} 9',
        'llamaswap_gpu_temperature_celsius{id="0",name="RTX \\"9\\"",uuid="GPU-1"} 41',
        'llamaswap_gpu_temperature_celsius{id="1",name="RTX \\"9\\""} 41',
        'llamaswap_gpu_memory_used_bytes{id="0",name="RTX \\"9\\"",uuid="GPU-1"} 1073741824',
        'llamaswap_gpu_power_draw_watts{id="0",name="RTX \\"9\\"",uuid="GPU-1"} 120.5',
    } <= lines(text)
    assert b"vram_temperature" not in text
    assert b"llamaswap_memory_free_bytes" not in text
    assert b'interval="15m"' not in text
    assert written(machine_families((None, [])), is_open=False) == b""


def test_the_memory_of_a_model_is_summed_up_over_its_runs() -> None:
    memories = [
        RunMemory("a", (usage("gpu0", "gpu", 5), usage("ram", "ram", None))),
        RunMemory("a", (usage("gpu0", "gpu", 7), usage("gpu1", "gpu", 1))),
    ]
    assert lines(written(memory_families(memories), is_open=False)) == {
        'llamaswap_model_memory_bytes{model="a",device="gpu0",kind="gpu"} 12',
        'llamaswap_model_memory_bytes{model="a",device="gpu1",kind="gpu"} 1',
    }


@pytest.mark.parametrize("is_disabled", [False, True])
def test_without_samples_of_the_machine_our_own_counts_stay(is_disabled: bool) -> None:
    config = MODELS + f"\nperformance: {{disabled: {str(is_disabled).lower()}}}\n"
    with World(answers(OK), config=config, hardware=MadeHardware()) as world:
        body = asked(world)[1]
        assert (b"llamaswap_gpu_power_draw_watts" in body) is not is_disabled
        assert b"llamaswap_in_flight" in body


# -- the models' own servers --


def test_the_metrics_of_a_ready_model_are_told_with_its_name() -> None:
    with World(answers(sized(OF_LLAMA_CPP)), config=INCLUDED, limits=PATIENT) as world:
        world.controller.running = ready("m")
        _, body = asked(world)
        told = lines(body)
        assert {
            'llamacpp:prompt_tokens_total{model="m"} 95.0',
            'llamaswap_upstream_scrapes_total{model="m",result="success"} 1',
        } <= told
        assert not [line for line in told if "nan" in line.lower()]
        assert world.controller.leased == []  # it is neither loaded nor kept


def test_no_model_is_asked_unless_the_configuration_says_so() -> None:
    with World(answers(sized(OF_LLAMA_CPP))) as world:
        world.controller.running = ready("m")
        assert b"llamacpp" not in asked(world)[1]
        assert world.upstream.accepted == 0


@pytest.mark.parametrize("state", ["starting", "stopping"])
def test_a_model_that_is_not_ready_is_not_asked(state: str) -> None:
    with World(answers(sized(OF_LLAMA_CPP)), config=INCLUDED) as world:
        world.controller.running = [Running("m", 1, state)]
        asked(world)
        assert world.upstream.accepted == 0


def scraped(*upstreams: Upstream, seconds: float = DEADLINE) -> list[Scraped]:
    """What they say, of models that are called 0, 1 and so on."""
    asked = {str(number): RunAddress(number, str(number), upstream.proxy) for number, upstream in enumerate(upstreams)}
    found = scrape(asked, ForwardProxies({}), seconds)
    assert list(found) == list(asked)
    return list(found.values())


@pytest.mark.parametrize(
    "answer",
    [
        sized(OF_LLAMA_CPP),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + in_chunks(OF_LLAMA_CPP, 50),
        b"HTTP/1.0 200 OK\r\n\r\n" + OF_LLAMA_CPP,
        b"HTTP/1.1 200 OK\nContent-Length: %d\n\n%b" % (len(OF_LLAMA_CPP), OF_LLAMA_CPP),
    ],
    ids=["sized", "chunked", "closed", "lenient"],
)
def test_an_answer_is_read_however_it_ends(answer: bytes) -> None:
    upstream = Upstream(answers(answer))
    try:
        assert scraped(upstream) == [Scraped(Result.SUCCESS, OF_LLAMA_CPP.decode())]
    finally:
        upstream.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf of it",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"rubbish\r\n\r\n",
    ],
)
def test_an_answer_that_is_of_no_use_is_a_failure(answer: bytes) -> None:
    upstream = Upstream(answers(answer))
    try:
        assert scraped(upstream) == [Scraped(Result.FAILURE)]
    finally:
        upstream.close()


def test_a_server_that_cannot_be_reached_is_a_failure() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        gone = RunAddress(1, "gone", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        assert scrape({"gone": gone}, ForwardProxies({}), DEADLINE) == {"gone": Scraped(Result.FAILURE)}


@pytest.mark.slow
def test_a_slow_server_is_left_out_and_holds_up_no_other() -> None:
    is_over = threading.Event()

    def drip(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
        assert is_over.wait(DEADLINE)

    slow, good = Upstream(drip), Upstream(answers(sized(OF_LLAMA_CPP)))
    try:
        found = scraped(slow, good, slow, seconds=5.0)
        assert [answer.result for answer in found] == [Result.TIMEOUT, Result.SUCCESS, Result.TIMEOUT]
    finally:
        is_over.set()
        slow.close()
        good.close()


def test_all_servers_are_asked_at_the_same_time() -> None:
    meet = threading.Barrier(3)

    def together(peer: Peer) -> None:
        peer.read_until(b"\r\n\r\n")
        meet.wait(DEADLINE)
        peer.send(sized(OF_LLAMA_CPP))

    upstreams = [Upstream(together) for _ in range(3)]
    try:
        assert {answer.result for answer in scraped(*upstreams)} == {Result.SUCCESS}
    finally:
        for upstream in upstreams:
            upstream.close()


def test_a_slow_server_is_counted() -> None:
    is_over = threading.Event()

    def hang(_peer: Peer) -> None:
        assert is_over.wait(DEADLINE)

    with World(hang, config=INCLUDED, limits=Limits(scrape_timeout=0.1)) as world:
        world.controller.running = ready("m")
        assert 'llamaswap_upstream_scrapes_total{model="m",result="timeout"} 1' in lines(asked(world)[1])
        is_over.set()
    assert Limits().scrape_timeout == 1.0


def test_a_family_of_several_servers_stands_there_once() -> None:
    text = written(merged({"b": OF_LLAMA_CPP.decode(), "a": OF_LLAMA_CPP.decode()}), is_open=False).decode()
    assert text.count("# TYPE llamacpp:prompt_tokens_total counter") == text.count("# HELP llamacpp:prompt_tokens") == 1
    assert lines(text.encode()) >= {
        'llamacpp:prompt_tokens_total{model="a"} 95.0',
        'llamacpp:prompt_tokens_total{model="b"} 95.0',
    }


def test_what_cannot_be_merged_is_left_out_or_renamed() -> None:
    one = '# TYPE x gauge\nx{model="inner",a="b"} 1\nx{model="inner",a="b"} 2\nllamaswap_in_flight 9\n'
    other = '# TYPE x counter\nx 5\n# TYPE h histogram\nh_count 2\nh_sum 1\nh_bucket{le="1"} 2\nh_bucket{le="+Inf"} 2\n'
    text = written(merged({"one": one, "other": other}), is_open=True).decode()
    assert lines(text.encode()) == {
        'x{model="one",exported_model="inner",a="b"} 1.0',
        'h_bucket{model="other",le="1.0"} 2.0',
        'h_bucket{model="other",le="+Inf"} 2.0',
        'h_count{model="other"} 2.0',
        'h_sum{model="other"} 1.0',
    }
    assert list(parse_open(text))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("name", "typed"),
    [
        ("x_total", "# TYPE x counter\nx_total 1\n"),
        ("x_count", '# TYPE x histogram\nx_bucket{le="+Inf"} 1\nx_count 1\nx_sum 1\n'),
    ],
)
def test_a_name_that_two_families_have_is_that_of_the_first_model(name: str, typed: str) -> None:
    for is_typed_first in (True, False):
        texts = {"a": typed, "b": f"{name} 5\n"} if is_typed_first else {"a": f"{name} 5\n", "b": typed}
        text = written(merged(texts), is_open=True).decode()
        assert list(parse_open(text))  # type: ignore[no-untyped-call]
        assert lines(text.encode()) >= {f'{name}{{model="a"}} {1.0 if is_typed_first else 5.0}'}
        assert 'model="b"' not in text


@pytest.mark.parametrize("labels", ['a="b",a="c"', 'model="x",exported_model="y"', '__name__="y"'])
def test_a_sample_that_would_cost_all_others_is_left_out(labels: str) -> None:
    text = written(merged({"m": f'x{{{labels}}} 1\nx{{a="b"}} 2\n'}), is_open=True).decode()
    assert lines(text.encode()) == {'x{model="m",a="b"} 2.0'}
    assert list(parse_open(text))  # type: ignore[no-untyped-call]
