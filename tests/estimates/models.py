"""Models as headers of GGUF files: of sizes that are known, without weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llamaswap_lib.estimates.layout import Layout, layout_of
from llamaswap_lib.model_files.gguf import Header, Tensor

MB = 1 << 20
F16, Q4_K = 1, 12
LAYERS = 32
DENSE, EXPERTS = 100 * MB, 300 * MB  # of each layer
TABLE, OUTPUT = 200 * MB, 250 * MB
# As of Llama 3 8B.
VALUES: dict[str, Any] = {
    "block_count": LAYERS,
    "context_length": 131072,
    "embedding_length": 4096,
    "feed_forward_length": 14336,
    "attention.head_count": 32,
    "attention.head_count_kv": 8,
}
KEPT = 2 * 2 * 8 * 128 * LAYERS  # bytes for each token, K and V as f16


def header(
    architecture: str = "llama", /, *, tensors: Sequence[Tensor] | None = None, tokens: int = 128_000, **values: Any
) -> Header:
    """`values` by key, without the architecture; None: it is not there."""
    said = {**VALUES, **{name.replace("__", "."): one for name, one in values.items()}}
    keys = {f"{architecture}.{name}": one for name, one in said.items() if one is not None}
    found = all_tensors() if tensors is None else tuple(tensors)
    return Header({"general.architecture": architecture, **keys}, {"tokenizer.ggml.tokens": tokens}, tuple(found))


def all_tensors(*, kind: int = F16, experts: bool = False, output: bool = True) -> tuple[Tensor, ...]:
    found = [Tensor("token_embd.weight", kind, TABLE)]
    for layer in range(LAYERS):
        found.append(Tensor(f"blk.{layer}.attn_q.weight", kind, DENSE // 2))
        found.append(Tensor(f"blk.{layer}.ffn_up.weight", kind, DENSE // 2))
        if experts:
            found.append(Tensor(f"blk.{layer}.ffn_up_exps.weight", kind, EXPERTS))
    return (*found, *((Tensor("output.weight", kind, OUTPUT),) if output else ()))


def model(architecture: str = "llama", /, **values: Any) -> Layout:
    return layout_of([header(architecture, **values)])
