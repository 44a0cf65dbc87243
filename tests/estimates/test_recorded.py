"""Loads of real models on real GPUs, as llama-server of 2026 told of them in logs that people have published.

Of each the figures of the model as its authors publish them, and in MiB what was kept of tokens, what was kept for each
sequence besides, and the buffers of the GPU. Weights are left out: their size stands in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest

from llamaswap_lib.estimates import llama
from llamaswap_lib.estimates.flags import flags_of
from llamaswap_lib.estimates.layout import layout_of
from llamaswap_lib.estimates.llama import CONTEXT_OF_DRIVER, Files, Room
from tests.estimates.models import MB, header


class Load(NamedTuple):
    """`most`: how many times the estimate may be what was taken."""

    options: str
    kept: float
    work: float
    most: float


class Shape(NamedTuple):
    """Of a model; `kv` is one number of heads, or one for each layer."""

    layers: int
    width: int
    feed_forward: int
    heads: int
    kv: int | tuple[int, ...]


def model(architecture: str, tokens: int, shape: Shape, more: Mapping[str, Any]) -> Files:
    values = {
        "block_count": shape.layers,
        "embedding_length": shape.width,
        "feed_forward_length": shape.feed_forward,
        "attention.head_count": shape.heads,
        "attention.head_count_kv": shape.kv,
        **more,
    }
    return Files(layout_of([header(architecture, tensors=(), tokens=tokens, **values)]))


QWEN = {
    "full_attention_interval": 4,
    "attention.key_length": 256,
    "attention.value_length": 256,
    "ssm.state_size": 128,
    "ssm.conv_kernel": 4,
    "ssm.group_count": 16,
}
GEMMA = {
    "attention.key_length": 512,
    "attention.value_length": 512,
    "attention.sliding_window": 1024,
    "attention.key_length_swa": 256,
    "attention.value_length_swa": 256,
    "attention.sliding_window_pattern": tuple(layer % 6 != 5 for layer in range(48)),
}
QWEN_9B = model("qwen35", 248_320, Shape(32, 4096, 12_288, 16, 4), {**QWEN, "ssm.inner_size": 4096})
QWEN_27B = model("qwen35", 248_320, Shape(64, 5120, 17_408, 24, 4), {**QWEN, "ssm.inner_size": 6144})
LLAMA_3B = model("llama", 128_256, Shape(28, 3072, 8192, 24, 8), {})
GEMMA_HEADS = tuple(1 if layer % 6 == 5 else 8 for layer in range(48))
GEMMA_12B = model("gemma4", 262_144, Shape(48, 3840, 15_360, 16, GEMMA_HEADS), GEMMA)

LOADS = [
    (QWEN_9B, Load("-c 262144 -np 2 -kvu -ctk q8_0 -ctv q8_0", 4352 + 100.5, 808.02, 1.02)),
    (QWEN_9B, Load("-c 32768 -np 2 -kvu -ctk q8_0 -ctv q8_0", 544 + 100.5, 501, 1.08)),
    (QWEN_27B, Load("-c 200192 -np 1 -ctk q8_0 -ctv q8_0", 6647 + 149.62, 654.78, 1.01)),
    (LLAMA_3B, Load("-c 2048 -np 1", 224, 284.9, 1.08)),
]


@pytest.mark.parametrize(("files", "load"), LOADS)
def test_what_was_taken_is_less_than_the_estimate_and_not_by_much(files: Files, load: Load) -> None:
    found = llama.need(files, flags_of(f"-ngl 99 {load.options}".split(), {}), Room(1, 1 << 40)).gpu - CONTEXT_OF_DRIVER
    taken = load.kept + load.work
    assert 1 <= found / MB / taken < load.most, f"{found / MB:.0f} MiB estimated, {taken:.0f} taken"


@pytest.mark.parametrize(
    ("files", "options", "kept"),
    [
        *((files, load.options, load.kept) for files, load in LOADS),
        (GEMMA_12B, "-c 8192 -ctk q8_0 -ctv q8_0", 68 + 765),
        (GEMMA_12B, "-c 8192 -np 1 -ctk q8_0 -ctv q8_0", 68 + 255),
    ],
)
def test_what_is_kept_of_tokens_and_sequences_is_told_exactly(files: Files, options: str, kept: float) -> None:
    inside = llama.need(files, flags_of(f"-ngl 99 {options}".split(), {}), Room(1, 1 << 40))
    outside = llama.need(files, flags_of(f"-ngl 99 -nkvo {options}".split(), {}), Room(1, 1 << 40))
    assert (inside.gpu - outside.gpu) / MB == pytest.approx(kept, abs=0.1)
