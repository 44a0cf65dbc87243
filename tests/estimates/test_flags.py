"""The options of llama-server: by their names, by variables, and what wins."""

from __future__ import annotations

import pytest

from llamaswap_lib.estimates.flags import ALL, OPTIONS, Flags, flags_of


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("-m a.gguf -c 4096 -ngl 20", {"model": "a.gguf", "context": 4096, "layers": 20}),
        ("--model a --ctx-size 1 --n-gpu-layers all", {"model": "a", "context": 1, "layers": ALL}),
        ("--gpu-layers auto", {"layers": None}),
        ("-ngl -1", {"layers": None}),
        ("-ngl 0", {"layers": 0}),
        ("-c 0", {"context": None}),
        ("-c 4k", {}),
        ("-c 1 -c 2", {"context": 2}),
        ("-np 4 -ub 1024", {"parallel": 4, "batch": 1024}),
        ("-np -1", {"parallel": None}),
        ("-ctk q8_0 --cache-type-v q4_0", {"type_k": "q8_0", "type_v": "q4_0"}),
        ("-fa", {"attention": "on"}),
        ("-fa -c 5", {"attention": "on", "context": 5}),
        ("-fa off -c 5", {"attention": "off", "context": 5}),
        ("--no-kv-offload", {"offloads_cache": False}),
        ("-nkvo --kv-offload", {"offloads_cache": True}),
        ("-cmoe", {"all_experts": True}),
        ("--n-cpu-moe 7", {"cpu_experts": 7}),
        ("-ts 3,1 -sm none -mg 1", {"shares": (3.0, 1.0), "split": "none", "main_gpu": 1}),
        ("-ts 0.5/0.25", {"shares": (0.5, 0.25)}),
        ("--mmproj p.gguf --no-mmproj-offload", {"projector": "p.gguf", "offloads_projector": False}),
        ("-md d.gguf -ngld 3 -cd 100", {"draft": "d.gguf", "draft_layers": 3, "draft_context": 100}),
        ("-hfd a/b:Q8_0", {"draft_repository": "a/b:Q8_0"}),
        ("-hf a/b:Q8_0 -hff c.gguf", {"repository": "a/b:Q8_0", "repository_file": "c.gguf"}),
        ("-ot a=CPU -ot b=CUDA0", {"override": "a=CPU,b=CUDA0"}),
        ("--ctx_size 4096 --n_gpu_layers 7 --no_mmap", {"context": 4096, "layers": 7, "maps": False}),
        ("--model a_b.gguf --alias --ctx_size", {"model": "a_b.gguf"}),
        ("--port 1 --unknown -x y", {}),
        ("-m", {}),
        ("--no-mmap --no-repack --swa-full", {"maps": False, "repacks": False, "whole_window": True}),
    ],
)
def test_words_say_it(words: str, said: dict[str, object]) -> None:
    assert flags_of(words.split(), {}) == Flags(**said)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"LLAMA_ARG_CTX_SIZE": "100", "LLAMA_ARG_N_GPU_LAYERS": "5"}, {"context": 100, "layers": 5}),
        ({"LLAMA_ARG_KV_OFFLOAD": "off"}, {"offloads_cache": False}),
        ({"LLAMA_ARG_KV_OFFLOAD": "enabled"}, {"offloads_cache": True}),
        ({"LLAMA_ARG_NO_MMAP": "1"}, {"maps": False}),
        ({"LLAMA_ARG_CPU_MOE": "true"}, {"all_experts": True}),
        ({"LLAMA_ARG_MODEL_DRAFT": "d"}, {"draft": "d"}),
        ({"LLAMA_ARG_CTX_SIZE": "much"}, {}),
    ],
)
def test_variables_say_it_too(env: dict[str, str], said: dict[str, object]) -> None:
    assert flags_of([], env) == Flags(**said)  # type: ignore[arg-type]


def test_a_word_wins_over_a_variable() -> None:
    assert flags_of(["-c", "5"], {"LLAMA_ARG_CTX_SIZE": "7"}).context == 5
    assert flags_of(["--mmap"], {"LLAMA_ARG_NO_MMAP": "1"}).maps is True


def test_whatever_can_be_said_has_its_place() -> None:
    assert OPTIONS.keys() == set(Flags._fields)


@pytest.mark.parametrize(("mode", "maps"), [("auto", True), ("mmap+mlock", True), ("none", False), ("dio", False)])
def test_how_files_are_loaded_says_whether_they_are_mapped(mode: str, maps: bool) -> None:
    assert flags_of(["-lm", mode], {}).maps_files is maps
