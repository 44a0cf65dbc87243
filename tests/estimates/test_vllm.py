"""vLLM and SGLang take a share of each GPU that they use."""

from __future__ import annotations

import pytest

from llamaswap_lib.estimates.vllm import BEYOND, CACHE_ON_CPU, GB, PROCESS, Asked, asked_of, need

CARDS = {"A": 24 * GB, "B": 48 * GB}


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("serve org/m --gpu-memory-utilization 0.5", Asked("org/m", 0.5)),
        ("serve --gpu-memory-utilization=0.5 --model m", Asked("m", 0.5)),
        ("-m vllm.entrypoints.openai.api_server --model m -tp 2 -pp 2", Asked("m", None, 4)),
        ("-m sglang.launch_server --model-path m --mem-fraction-static 0.7 --tp 2", Asked("m", 0.7, 2)),
        ("serve m --gpu-memory-utilization lots -tp x -dp 0", Asked("m")),
        ("serve m --kv-cache-memory-bytes 1G", Asked("m", is_told=False)),
        ("serve --config c.yaml", Asked(is_told=False)),
        ("serve", Asked()),
        ("", Asked()),
    ],
)
def test_what_is_asked(words: str, asked: Asked) -> None:
    assert asked_of(words.split(), {}) == asked


@pytest.mark.parametrize(("value", "size"), [("40", 40 * GB), ("0", CACHE_ON_CPU), ("much", CACHE_ON_CPU)])
def test_a_variable_says_how_large_the_cache_is_without_a_gpu(value: str, size: int) -> None:
    asked = asked_of(["serve", "m"], {"VLLM_CPU_KVCACHE_SPACE": value})
    assert need(asked, "vllm", {}, 8 * GB) == {"ram": 8 * GB + size + PROCESS}


def test_a_share_of_the_first_gpu_unless_more_are_asked_for() -> None:
    assert need(Asked("m", 0.5), "vllm", CARDS, None) == {"A": 12 * GB + BEYOND, "ram": PROCESS}
    both = need(Asked("m", 0.5, 2), "vllm", CARDS, None)
    assert both == {"A": 12 * GB + BEYOND, "B": 24 * GB + BEYOND, "ram": 2 * PROCESS}
    assert need(Asked("m"), "sglang", {"A": 20 * GB}, None) == {"A": 18 * GB + BEYOND, "ram": PROCESS}
    assert need(Asked("m", 1.0), "vllm", {"A": 20 * GB}, None) == {"A": 20 * GB, "ram": PROCESS}


def test_weights_that_are_more_than_the_share_count() -> None:
    part = 50 * GB + BEYOND
    assert need(Asked("m", 0.5, 2), "vllm", CARDS, 100 * GB) == {"A": part, "B": part, "ram": 2 * PROCESS}


def test_without_a_gpu_the_weights_and_a_cache_count() -> None:
    assert need(Asked("m"), "vllm", {}, 8 * GB) == {"ram": 8 * GB + CACHE_ON_CPU + PROCESS}
    assert need(Asked("m"), "vllm", {}, None) is None


def test_what_goes_by_something_else_is_not_told() -> None:
    assert need(Asked("m", is_told=False), "vllm", CARDS, 8 * GB) is None
