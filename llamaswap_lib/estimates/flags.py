"""The options of llama-server that move how much memory it takes, as its words and variables say them. Pure.

Names and defaults: https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md. An option wins over a
variable, and the last one over those before it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

ALL = 1 << 30  # layers
FALSE = ("false", "0", "off", "disabled")

# What is said -> its options, those that say no, and its variables. A word follows all options but those of SWITCHES.
OPTIONS: Mapping[str, tuple[str, str, str]] = {
    "model": ("-m --model", "", "LLAMA_ARG_MODEL"),
    "repository": ("-hf -hfr --hf-repo", "", "LLAMA_ARG_HF_REPO"),
    "repository_file": ("-hff --hf-file", "", "LLAMA_ARG_HF_FILE"),
    "layers": ("-ngl --gpu-layers --n-gpu-layers", "", "LLAMA_ARG_N_GPU_LAYERS"),
    "context": ("-c --ctx-size", "", "LLAMA_ARG_CTX_SIZE"),
    "type_k": ("-ctk --cache-type-k", "", "LLAMA_ARG_CACHE_TYPE_K"),
    "type_v": ("-ctv --cache-type-v", "", "LLAMA_ARG_CACHE_TYPE_V"),
    "parallel": ("-np --parallel", "", "LLAMA_ARG_N_PARALLEL"),
    "batch": ("-ub --ubatch-size", "", "LLAMA_ARG_UBATCH"),
    "attention": ("-fa --flash-attn", "", "LLAMA_ARG_FLASH_ATTN"),
    "projector": ("-mm --mmproj", "", "LLAMA_ARG_MMPROJ"),
    "draft": ("-md --model-draft --spec-draft-model", "", "LLAMA_ARG_SPEC_DRAFT_MODEL LLAMA_ARG_MODEL_DRAFT"),
    "draft_repository": ("-hfd -hfrd --hf-repo-draft --spec-draft-hf", "", "LLAMA_ARG_SPEC_DRAFT_HF_REPO"),
    "draft_layers": (
        "-ngld --gpu-layers-draft --n-gpu-layers-draft --spec-draft-ngl",
        "",
        "LLAMA_ARG_N_GPU_LAYERS_DRAFT",
    ),
    "draft_context": ("-cd --ctx-size-draft", "", "LLAMA_ARG_CTX_SIZE_DRAFT"),
    "draft_type_k": ("-ctkd --cache-type-k-draft --spec-draft-type-k", "", "LLAMA_ARG_SPEC_DRAFT_CACHE_TYPE_K"),
    "draft_type_v": ("-ctvd --cache-type-v-draft --spec-draft-type-v", "", "LLAMA_ARG_SPEC_DRAFT_CACHE_TYPE_V"),
    "shares": ("-ts --tensor-split", "", "LLAMA_ARG_TENSOR_SPLIT"),
    "split": ("-sm --split-mode", "", "LLAMA_ARG_SPLIT_MODE"),
    "main_gpu": ("-mg --main-gpu", "", "LLAMA_ARG_MAIN_GPU"),
    "device": ("-dev --device", "", "LLAMA_ARG_DEVICE"),
    "override": ("-ot --override-tensor", "", "LLAMA_ARG_OVERRIDE_TENSOR"),
    "cpu_experts": ("-ncmoe --n-cpu-moe", "", "LLAMA_ARG_N_CPU_MOE"),
    "cpu_feed_forward": ("-ncffn --n-cpu-ffn", "", "LLAMA_ARG_N_CPU_FFN"),
    "load_mode": ("-lm --load-mode", "", "LLAMA_ARG_LOAD_MODE"),
    "fit": ("-fit --fit", "", "LLAMA_ARG_FIT"),
    "least_context": ("-fitc --fit-ctx", "", "LLAMA_ARG_FIT_CTX"),
    "all_experts": ("-cmoe --cpu-moe", "", "LLAMA_ARG_CPU_MOE"),
    "offloads_cache": ("-kvo --kv-offload", "-nkvo --no-kv-offload", "LLAMA_ARG_KV_OFFLOAD"),
    "whole_window": ("--swa-full", "", "LLAMA_ARG_SWA_FULL"),
    "unified": ("-kvu --kv-unified", "-no-kvu --no-kv-unified", "LLAMA_ARG_KV_UNIFIED"),
    "repacks": ("--repack", "-nr --no-repack", "LLAMA_ARG_REPACK"),
    "maps": ("--mmap", "--no-mmap", "LLAMA_ARG_MMAP"),
    "offloads_projector": ("--mmproj-offload", "--no-mmproj-offload", "LLAMA_ARG_MMPROJ_OFFLOAD"),
    "finds_projector": ("--mmproj-auto", "--no-mmproj --no-mmproj-auto", "LLAMA_ARG_MMPROJ_AUTO"),
}
SWITCHES = frozenset(
    (
        *("all_experts", "offloads_cache", "whole_window", "unified", "repacks", "maps"),
        *("offloads_projector", "finds_projector"),
    )
)
MAY_BE_ALONE = frozenset(("attention",))  # `-fa` alone is on, as it was once
# Each option -> what it says, and whether it says yes.
WORDS = {
    word: (said, number == 0)
    for said, options in OPTIONS.items()
    for number, words in enumerate(options[:2])
    for word in words.split()
}


class Flags(NamedTuple):
    """What is said. None: nothing is. `layers` of the GPUs: ALL, or a number."""

    model: str | None = None
    repository: str | None = None
    repository_file: str | None = None
    layers: int | None = None
    context: int | None = None
    type_k: str = "f16"
    type_v: str = "f16"
    parallel: int | None = None
    batch: int = 512
    attention: str = "auto"
    projector: str | None = None
    draft: str | None = None
    draft_repository: str | None = None
    draft_layers: int | None = None
    draft_context: int | None = None
    draft_type_k: str = "f16"
    draft_type_v: str = "f16"
    shares: tuple[float, ...] = ()
    split: str = "layer"
    main_gpu: int = 0
    device: str = ""
    override: str = ""
    cpu_experts: int = 0
    cpu_feed_forward: int = 0
    load_mode: str = "auto"
    fit: str = "on"
    least_context: int = 4096
    all_experts: bool = False
    offloads_cache: bool = True
    whole_window: bool = False
    unified: bool | None = None
    repacks: bool = True
    maps: bool = True
    offloads_projector: bool = True
    finds_projector: bool = True

    @property
    def maps_files(self) -> bool:
        return self.maps and self.load_mode in ("auto", "mmap", "mmap+mlock", "mlock")


def flags_of(words: Sequence[str], env: Mapping[str, str]) -> Flags:
    """Of the words behind the program's name, and the variables of the process. What makes no sense is not said."""
    said: dict[str, object] = {}
    for name, (_, _, variables) in OPTIONS.items():
        for variable in variables.split():
            if variable in env:
                _note(said, name, env[variable] if name not in SWITCHES else str(env[variable].lower() not in FALSE))
            elif name in SWITCHES and variable.replace("_ARG_", "_ARG_NO_") in env:
                said[name] = False
    place = 0
    while place < len(words):
        name, is_yes = WORDS.get(_usual(words[place]), ("", True))
        place += 1
        if name in SWITCHES:
            said[name] = is_yes
        elif name in MAY_BE_ALONE and (place == len(words) or words[place].startswith("-")):
            said[name] = "on"
        elif name and place < len(words):
            _note(said, name, words[place])
            place += 1
    return Flags(**said)  # type: ignore[arg-type]


def _usual(word: str) -> str:
    """As the documentation has it; llama-server takes `--ctx_size`, too."""
    return word.replace("_", "-") if word.startswith("--") else word


def _note(said: dict[str, object], name: str, word: str) -> None:
    default = Flags._field_defaults[name]
    if name in SWITCHES:
        said[name] = word == "True"
    elif name in ("layers", "draft_layers"):
        number = _number(word)
        said[name] = ALL if word == "all" else None if number is None or number < 0 else number
    elif name == "shares":
        said[name] = tuple(float(share) for share in re.findall(r"\d{1,9}(?:\.\d{1,9})?", word))
    elif name == "override":
        said[name] = f"{said.get(name, '')},{word}".strip(",")
    elif isinstance(default, int) or name in ("context", "parallel", "draft_context"):
        number = _number(word)
        if default is None and number is not None:
            said[name] = max(0, number) or None
        elif number is not None and number >= 0:
            said[name] = number
    else:
        said[name] = word


def _number(word: str) -> int | None:
    return int(word) if re.fullmatch(r"-?\d{1,9}", word, re.ASCII) else None
