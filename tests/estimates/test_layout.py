"""What a model keeps for each token in each of its layers, by what its header says."""

from __future__ import annotations

from typing import Any

import pytest

from llamaswap_lib.estimates.layout import Kept, layer_of
from llamaswap_lib.model_files.opening import Unreadable
from tests.estimates.models import LAYERS, model


def kept(architecture: str = "llama", /, **values: Any) -> list[Kept]:
    return list(model(architecture, **values).kept)


def windows(architecture: str, /, **values: Any) -> list[int]:
    return [one.window for one in kept(architecture, **values)]


def test_heads_for_k_and_v_by_their_width() -> None:
    assert kept() == [Kept(8 * 128, 8 * 128, 0, 0)] * LAYERS
    wide = {"attention__key_length": 192, "attention__value_length": 64}
    assert kept(**wide) == [Kept(8 * 192, 8 * 64, 0, 0)] * LAYERS
    assert kept(**{"attention.head_count_kv": None}) == [Kept(32 * 128, 32 * 128, 0, 0)] * LAYERS


def test_each_layer_may_have_another_number_of_heads() -> None:
    found = kept(block_count=3, **{"attention.head_count_kv": (8, 4, 2)})
    assert [one.k for one in found] == [8 * 128, 4 * 128, 2 * 128]
    short = kept(block_count=3, **{"attention.head_count_kv": (8,)})  # what is not said counts as the most
    assert [one.k for one in short] == [8 * 128] * 3


@pytest.mark.parametrize(
    ("architecture", "pattern", "seen"),
    [
        ("gemma3", None, [512] * 5 + [0]),
        ("gpt-oss", None, [512, 0, 512, 0, 512, 0]),
        ("phi3", None, [0] * 6),  # nothing is known of it
        ("new", 3, [512, 512, 0, 512, 512, 0]),
        ("new", (True, False, True), [512, 0, 512, 0, 0, 0]),
    ],
)
def test_layers_that_see_a_window(architecture: str, pattern: Any, seen: list[int]) -> None:
    values = {"attention.sliding_window": 512, "attention.sliding_window_pattern": pattern}
    assert windows(architecture, block_count=6, **values) == seen


def test_layers_that_see_a_window_may_have_heads_of_another_width() -> None:
    values = {"attention.sliding_window": 512, "attention.key_length_swa": 256, "attention.value_length_swa": 64}
    assert kept("gemma2", block_count=2, **values) == [Kept(8 * 256, 8 * 64, 512, 0), Kept(8 * 128, 8 * 128, 0, 0)]


def test_a_state_is_kept_in_place_of_tokens() -> None:
    ssm = {"ssm.inner_size": 4096, "ssm.state_size": 128, "ssm.conv_kernel": 4, "ssm.group_count": 16}
    state = 4 * (3 * (4096 + 2 * 16 * 128) + 4096 * 128)
    mixed = kept("qwen3next", block_count=4, full_attention_interval=4, **ssm)
    assert mixed == [Kept(0, 0, 0, state)] * 3 + [Kept(8 * 128, 8 * 128, 0, 0)]
    by_heads = kept("jamba", block_count=2, **{**ssm, "attention.head_count_kv": (0, 8)})
    assert by_heads == [Kept(0, 0, 0, state), Kept(8 * 128, 8 * 128, 0, 0)]
    pure = kept("mamba", block_count=1, **{**ssm, "attention.head_count_kv": 0})
    assert pure == [Kept(0, 0, 0, state)]
    both = kept("falcon-h1", block_count=1, **ssm)
    assert both == [Kept(8 * 128, 8 * 128, 0, state)]


def test_layers_that_use_what_others_keep_keep_nothing() -> None:
    found = kept("gemma3n", block_count=3, **{"attention.shared_kv_layers": 1})
    assert [one.k for one in found] == [8 * 128, 8 * 128, 0]


def test_what_reads_a_text_at_once_keeps_nothing() -> None:
    assert kept("bert", **{"attention.causal": False}) == [Kept(0, 0, 0, 0)] * LAYERS


@pytest.mark.parametrize("layers", [None, 0, -5, 100_000, "many", (1, 2)])
def test_a_header_without_a_number_of_layers_tells_nothing(layers: Any) -> None:
    with pytest.raises(Unreadable, match="does not say how many layers it has"):
        model(block_count=layers)


@pytest.mark.parametrize("odd", [-1, "x", 1 << 50, True, (), ("a",), float("nan"), float("inf"), (-1, -2)])
def test_odd_values_of_other_keys_are_no_crash(odd: Any) -> None:
    for name in ("embedding_length", "attention.head_count", "attention.head_count_kv", "feed_forward_length"):
        if odd != ("a",):  # a list of texts is never kept
            model("gemma3", **{name: odd, "attention.sliding_window": odd, "ssm.inner_size": odd})


def test_the_number_of_a_layer_stands_in_the_name() -> None:
    assert layer_of("blk.12.attn_q.weight") == 12
    assert layer_of("output.weight") is None


@pytest.mark.parametrize("name", ["blk." + "9" * 5000 + ".attn_q.weight", "blk..attn_q.weight", "output.weight"])
def test_what_has_no_number_of_a_layer_is_of_none(name: str) -> None:
    assert layer_of(name) is None
