"""What vLLM and SGLang take: a share of each GPU, for they fill it with what they keep of tokens. Pure.

https://docs.vllm.ai/en/latest/configuration/engine_args.html, https://docs.sglang.io/advanced_features/server_arguments.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

GB = 1 << 30
SHARES = {"vllm": 0.92, "sglang": 0.9}  # of a GPU, where nobody says how much
BEYOND = 1 * GB  # on each GPU: the context of the driver and recorded graphs, which the share leaves out
PROCESS = 4 * GB  # of the machine, for each process that computes
CACHE_ON_CPU = 4 * GB  # without a GPU, unless the variable says how many GB
CACHE_VARIABLE = "VLLM_CPU_KVCACHE_SPACE"
OPTIONS = {
    **dict.fromkeys(("--gpu-memory-utilization", "--gpu_memory_utilization", "--mem-fraction-static"), "share"),
    **dict.fromkeys(("--tensor-parallel-size", "--tp-size", "--tp", "-tp"), "tensor"),
    **dict.fromkeys(("--pipeline-parallel-size", "--pp-size", "-pp"), "pipeline"),
    **dict.fromkeys(("--data-parallel-size", "--dp-size", "-dp"), "data"),
    **dict.fromkeys(("--model", "--model-path"), "model"),
}
BOUNDS = (
    "--kv-cache-memory-bytes",
    "--kv-cache-memory",
    "--config",
)  # with one of them it is not the share that counts

_is_count = re.compile(r"\d{1,9}", re.ASCII).fullmatch


class Asked(NamedTuple):
    """What the words say: which model, which share of each GPU, and how many processes compute, each on a GPU."""

    model: str = ""
    share: float | None = None
    processes: int = 1
    is_told: bool = True  # False: something else says how much, or says it elsewhere
    cache_on_cpu: int = CACHE_ON_CPU  # bytes


def asked_of(words: Sequence[str], env: Mapping[str, str]) -> Asked:
    """Of all words of the command, and the variables of the process. The model may stand behind `serve`."""
    said: dict[str, str] = {}
    before = ""
    for word in words:
        name, _, value = word.partition("=")
        if before in OPTIONS:
            said[OPTIONS[before]] = word
        elif name in OPTIONS and value:
            said[OPTIONS[name]] = value
        elif before == "serve" and not word.startswith("-"):
            said["model"] = word
        before = word
    counts = [int(found[0]) for name in ("tensor", "pipeline", "data") if (found := _is_count(said.get(name, "")))]
    processes = 1
    for count in counts:
        processes *= max(1, min(count, 64))
    is_told = not any(word.partition("=")[0] in BOUNDS for word in words)
    cache = _is_count(env.get(CACHE_VARIABLE, ""))
    cache_on_cpu = GB * int(cache[0]) if cache else 0
    return Asked(said.get("model", ""), _share(said.get("share", "")), processes, is_told, cache_on_cpu or CACHE_ON_CPU)


def _share(word: str) -> float | None:
    try:
        share = float(word)
    except ValueError:
        return None
    return share if 0 < share <= 1 else None


def need(asked: Asked, server: str, gpus: Mapping[str, int], weights: int | None) -> dict[str, int] | None:
    """Bytes by GPU, and of `ram`; None where they cannot be told.

    `gpus`: bytes that models may have of each that it sees, in their order. `weights`: of its tensors; None if not
    found.
    """
    if not asked.is_told or (not gpus and weights is None):
        return None
    if not gpus:
        return {"ram": (weights or 0) + asked.cache_on_cpu + PROCESS}
    share = SHARES[server] if asked.share is None else asked.share
    used = dict(list(gpus.items())[: asked.processes])
    part = (weights or 0) // len(used)
    sizes = {name: max(min(int(share * size) + BEYOND, size), part + BEYOND) for name, size in used.items()}
    return {**sizes, "ram": PROCESS * len(used)}
