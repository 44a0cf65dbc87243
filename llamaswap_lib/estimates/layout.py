"""What a GGUF model has for each of its layers, and what it keeps there for each token. Pure.

The keys: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. What is not said counts as what needs more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from llamaswap_lib.model_files.gguf import Header, Tensor, Value
from llamaswap_lib.model_files.opening import Unreadable

MOST_LAYERS = 2000
LAYER = re.compile(r"blk\.(\d{1,9})\.")
# Of these each so many-th layer sees all of the context and the others a window of it, where the header says no more.
WINDOWED = {
    **dict.fromkeys(("gemma2", "gpt-oss"), 2),
    **dict.fromkeys(("cohere2", "llama4", "exaone4", "olmo2"), 4),
    "gemma3n": 5,
    "gemma3": 6,
}


class Kept(NamedTuple):
    """Of one layer: values of K and V for each token; of how many tokens, 0 is all; bytes for each sequence besides."""

    k: int
    v: int
    window: int
    state: int


class Layout(NamedTuple):
    """A model. `files` has the tensors of each file; `kept` is by layer; `context` in tokens, as it was trained."""

    files: tuple[tuple[Tensor, ...], ...]
    kept: tuple[Kept, ...]
    context: int
    tokens: int
    width: int
    feed_forward: int
    heads: int

    @property
    def layers(self) -> int:
        return len(self.kept)

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.size for tensors in self.files for tensor in tensors)


def layer_of(tensor: str) -> int | None:
    """The number of the layer that it belongs to; None for what comes before and after them."""
    found = LAYER.match(tensor)
    return None if found is None else int(found[1])


def layout_of(headers: Sequence[Header]) -> Layout:
    """Of all parts of a model, the first one first; raises Unreadable if the header lacks what is needed."""
    keys = _Keys(headers[0].values)
    layers = keys.number("block_count")
    if not 0 < layers <= MOST_LAYERS:
        raise Unreadable("does not say how many layers it has")
    files = tuple(header.tensors for header in headers)
    counts = headers[0].counts
    experts = keys.number("expert_feed_forward_length") * (keys.number("expert_used_count") + 1)
    return Layout(
        files,
        _kept(keys, layers),
        keys.number("context_length"),
        counts.get("tokenizer.ggml.tokens", keys.number("vocab_size")),
        keys.number("embedding_length"),
        max(*keys.numbers("feed_forward_length", layers), experts),
        max(keys.numbers("attention.head_count", layers)),
    )


class _Keys:
    """Those of the model's architecture, without its name."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        self._values = values
        self.architecture = str(values.get("general.architecture", ""))

    def value(self, name: str) -> Value | None:
        return self._values.get(f"{self.architecture}.{name}")

    def number(self, name: str, default: int = 0) -> int:
        """What is no number, or below 0, is not said."""
        found = self.value(name)
        return int(found) if isinstance(found, (int, float)) and 0 <= found < 1 << 40 else default

    def numbers(self, name: str, layers: int, default: int = 0) -> list[int]:
        """One for each layer, whether the header has a number for each or one for all."""
        found = self.value(name)
        if isinstance(found, tuple):
            known = [int(one) if 0 <= one < 1 << 40 else default for one in found[:layers]]
            return known + [max(known, default=default)] * (layers - len(known))
        return [self.number(name, default)] * layers


def _kept(keys: _Keys, layers: int) -> tuple[Kept, ...]:
    if keys.value("attention.causal") is False:
        return (Kept(0, 0, 0, 0),) * layers  # it reads each text at once
    heads = keys.numbers("attention.head_count", layers)
    heads_kv = keys.numbers("attention.head_count_kv", layers, max(heads))
    width = keys.number("embedding_length")
    usual = width // max(1, *heads)
    k, v = keys.number("attention.key_length", usual), keys.number("attention.value_length", usual)
    k_window, v_window = keys.number("attention.key_length_swa", k), keys.number("attention.value_length_swa", v)
    window, sees_all = keys.number("attention.sliding_window"), _sees_all(keys, layers)
    attends, state = _attends(keys, heads_kv), _state(keys)
    shared = keys.number("attention.shared_kv_layers")  # the last ones use what others keep
    found = []
    for layer in range(layers):
        is_kept = attends[layer] and layer < layers - shared
        has_window = bool(window) and not sees_all[layer]
        found.append(
            Kept(
                heads_kv[layer] * (k_window if has_window else k) if is_kept else 0,
                heads_kv[layer] * (v_window if has_window else v) if is_kept else 0,
                window if has_window else 0,
                0 if attends[layer] and not all(attends) else state,
            )
        )
    return tuple(found)


def _sees_all(keys: _Keys, layers: int) -> list[bool]:
    """Which layers see all of the context."""
    pattern = keys.value("attention.sliding_window_pattern")
    if isinstance(pattern, tuple):
        return [not (layer < len(pattern) and pattern[layer]) for layer in range(layers)]
    every = keys.number("attention.sliding_window_pattern", WINDOWED.get(keys.architecture, 1))
    return [every < 2 or layer % every == every - 1 for layer in range(layers)]


def _attends(keys: _Keys, heads_kv: Sequence[int]) -> list[bool]:
    """Which layers keep something for each token; the others keep a state of a fixed size."""
    interval = keys.number("full_attention_interval")
    if interval:
        return [(layer + 1) % interval == 0 for layer in range(len(heads_kv))]
    return [heads > 0 for heads in heads_kv]


def _state(keys: _Keys) -> int:
    """Bytes that one layer of Mamba, RWKV and their like keeps for each sequence."""
    inner, state = keys.number("ssm.inner_size"), keys.number("ssm.state_size")
    convolved = max(0, keys.number("ssm.conv_kernel") - 1) * (inner + 2 * keys.number("ssm.group_count") * state)
    width = keys.number("embedding_length")
    return 4 * (convolved + inner * state + width * (keys.number("wkv.head_size") and keys.number("wkv.head_size") + 2))
