"""Where downloaded models lie, and which of their files llama-server takes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llamaswap_lib.model_files import hub

REPOSITORY = "unsloth/Qwen3-4B-GGUF"
NAMES = ("Qwen3-4B-Q4_K_M.gguf", "Qwen3-4B-Q8_0.gguf", "mmproj-F16.gguf", "README.md")


def hugging_face(place: Path) -> Path:
    folder = place / "models--unsloth--Qwen3-4B-GGUF" / "snapshots" / "abc"
    folder.mkdir(parents=True)
    for name in NAMES:
        (folder / name).write_text("")
    return folder


def llama_cpp(place: Path) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        (place / f"unsloth_Qwen3-4B-GGUF_{name}").write_text("")
    (place / "unsloth_Qwen3-8B-GGUF_other.gguf").write_text("")
    return place


@pytest.mark.parametrize("lay_out", [hugging_face, llama_cpp])
def test_files_are_found_in_both_layouts(tmp_path: Path, lay_out: object) -> None:
    assert callable(lay_out)
    folder, prefix = lay_out(tmp_path), "" if lay_out is hugging_face else "unsloth_Qwen3-4B-GGUF_"
    found = hub.gguf_files(REPOSITORY, [tmp_path / "missing", tmp_path])
    assert found == [folder / (prefix + name) for name in NAMES if name.endswith(".gguf")]
    assert hub.model_of(found, "", None) == folder / (prefix + NAMES[0])
    assert hub.model_of(found, "q8_0", None) == folder / (prefix + NAMES[1])
    assert hub.model_of(found, "IQ2_XS", None) is None
    assert hub.model_of(found, "", NAMES[1]) == folder / (prefix + NAMES[1])
    assert hub.model_of(found, "", "other.gguf") is None
    assert hub.projector_of(found) == folder / (prefix + NAMES[2])


def test_the_first_one_is_taken_where_none_is_of_the_usual_kind(tmp_path: Path) -> None:
    assert hub.model_of([tmp_path / "mmproj.gguf", tmp_path / "a-F16.gguf"], "", None) == tmp_path / "a-F16.gguf"
    assert hub.model_of([], "", None) is None


@pytest.mark.parametrize("name", ["", "model", "../../etc", "a/b/c", "/a", "a/", "..", "a b/c", "user/\n"])
def test_what_is_no_name_of_a_repository_leads_nowhere(tmp_path: Path, name: str) -> None:
    assert hub.gguf_files(name, [tmp_path]) == []
    assert hub.snapshot(name, [tmp_path]) is None


def test_the_newest_snapshot_counts(tmp_path: Path) -> None:
    folder = tmp_path / "models--a--b" / "snapshots"
    for time, name in enumerate(("aaa", "zzz", "mmm")):
        (folder / name).mkdir(parents=True)
        (folder / name / "m.gguf").write_text("")
        os.utime(folder / name, (time, time))
    assert hub.snapshot("a/b", [tmp_path / "missing", tmp_path]) == folder / "mmm"
    assert hub.gguf_files("a/b", [tmp_path]) == [folder / "mmm" / "m.gguf"]


def test_the_caches_are_where_the_environment_says(tmp_path: Path) -> None:
    env = {"LLAMA_CACHE": "/l", "HF_HOME": "/h", "XDG_CACHE_HOME": "/c"}
    assert hub.caches(env, tmp_path)[:2] == [Path("/l"), Path("/c/llama.cpp")]
    assert Path("/h/hub") in hub.caches(env, tmp_path)
    assert tmp_path / ".cache" / "huggingface" / "hub" in hub.caches({}, tmp_path)
