"""A first configuration: what is looked for, what is found, and that what is written of it loads and is meant."""

from __future__ import annotations

import os
import threading
from functools import partial
from pathlib import Path

import pytest

from llamaswap_lib.config import check
from llamaswap_lib.config.load import load
from llamaswap_lib.init import gguf, gpus
from llamaswap_lib.init.gguf import ModelFile
from llamaswap_lib.init.gpus import Gpu
from llamaswap_lib.init.text import config_text
from tests.estimates.models import VALUES
from tests.hardware.machines import Cards, gpu
from tests.model_files.written import F16, write_gguf

GB = 10**9


def model(path: Path, size_bytes: int = 4) -> Path:
    """A file that looks like a model; its size is made up without taking room."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(b"GGUF")
        file.truncate(size_bytes)
    return path


def written(folder: Path, models: list[ModelFile], *cards: Gpu) -> Path:
    path = folder / "config.yaml"
    path.write_text(config_text("config.yaml", "/usr/bin/llama-server", models, cards))
    return path


# -- files --


def test_models_are_found_in_folders_below_and_each_once(tmp_path: Path) -> None:
    real = model(tmp_path / "hub" / "blobs" / "abc.gguf")
    linked = tmp_path / "hub" / "snapshots" / "1" / "good-name.gguf"
    linked.parent.mkdir(parents=True)
    linked.symlink_to(real)
    other = model(tmp_path / "models" / "Other.GGUF")
    found = gguf.find([tmp_path / "missing", tmp_path / "hub", tmp_path / "models", tmp_path])
    assert [one.path for one in found] == [real, other]


def test_what_only_looks_like_a_model_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_text("a page of a download that failed")
    (tmp_path / "folder.gguf").mkdir()
    (tmp_path / "nowhere.gguf").symlink_to(tmp_path / "missing")
    (tmp_path / "circle.gguf").symlink_to(tmp_path / "circle.gguf")
    os.mkfifo(tmp_path / "pipe.gguf")  # nobody writes into it
    model(tmp_path / ".hidden" / "a.gguf")
    assert gguf.find([tmp_path]) == []


def test_a_model_in_parts_is_one_of_their_whole_size(tmp_path: Path) -> None:
    first = model(tmp_path / "big-00001-of-00003.gguf", 100)
    model(tmp_path / "big-00002-of-00003.gguf", 200)
    assert gguf.find([tmp_path]) == [ModelFile(first, 300, None)]


def test_a_projector_goes_with_the_model_beside_it(tmp_path: Path) -> None:
    seeing = model(tmp_path / "a" / "seeing.gguf")
    projector = model(tmp_path / "a" / "mmproj-F16.gguf")
    blind = model(tmp_path / "b" / "blind.gguf")
    assert gguf.find([tmp_path]) == [ModelFile(seeing, 4, projector), ModelFile(blind, 4, None)]


def test_a_projector_does_not_go_with_other_models_of_the_same_folder(tmp_path: Path) -> None:
    names = ("org_gemma-GGUF_gemma-Q4.gguf", "org_gemma-GGUF_mmproj-f16.gguf", "org_qwen-GGUF_qwen-Q4.gguf")
    gemma, projector, qwen = (model(tmp_path / name) for name in names)
    assert gguf.find([tmp_path]) == [ModelFile(gemma, 4, projector), ModelFile(qwen, 4, None)]
    other = model(tmp_path / "mmproj-any.gguf")
    assert gguf.find([tmp_path]) == [ModelFile(gemma, 4, projector), ModelFile(qwen, 4, other)]


def test_the_look_ends_at_a_depth_and_a_number(tmp_path: Path) -> None:
    model(tmp_path / "/".join("abcdefgh") / "deep.gguf")
    assert gguf.find([tmp_path]) == []
    for number in range(gguf.MOST_FILES + 5):
        model(tmp_path / f"{number}.gguf")
    assert len(gguf.find([tmp_path])) == gguf.MOST_FILES


def test_the_caches_are_where_the_environment_says(tmp_path: Path) -> None:
    env = {"LLAMA_CACHE": "/l", "HF_HOME": "/h", "XDG_CACHE_HOME": "/c"}
    places = gguf.folders(env, tmp_path, Path("/here"))
    assert {Path("/l"), Path("/h/hub"), Path("/c/llama.cpp"), Path("/here"), tmp_path / "models"} <= set(places)
    assert tmp_path / ".cache" / "huggingface" / "hub" in gguf.folders({}, tmp_path, Path("/here"))


# -- GPUs --


def test_cards_of_all_drivers_are_found_with_their_memory() -> None:
    first, second = Cards(gpu("a", name="Radeon RX 7900", total=24 * GB)), Cards(gpu("b", name="Card", total=GB))
    assert gpus.find([partial(given, first), lambda: None, partial(given, second)]) == [
        Gpu("Radeon RX 7900", 24 * GB),
        Gpu("Card", GB),
    ]
    assert (first.ends, second.ends) == (1, 1)


def test_a_card_whose_memory_is_not_known_is_left_out() -> None:
    assert gpus.find([partial(given, Cards(gpu(total=None)))]) == []


def test_a_driver_that_fails_or_hangs_has_none_and_the_others_count() -> None:
    lost, may_end = Cards(gpu()), threading.Event()
    lost.lost = "no answer"
    found = gpus.find([partial(given, lost), partial(given, Cards(gpu(total=GB))), partial(wait_for, may_end)], 0.5)
    may_end.set()
    assert found == [Gpu("Card", GB)]


def given(cards: Cards) -> Cards:
    return cards


def wait_for(event: threading.Event) -> None:
    """A driver that does not answer."""
    event.wait(30.0)


# -- the file --


def test_a_machine_without_anything_gets_models_that_work(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(config_text("config.yaml", None, [], []))
    assert list(load([path]).models) == ["small", "large"]
    report = check.check([path])
    assert (report.errors, report.warnings) == ((), ())
    assert "not on PATH" in path.read_text()


def test_each_model_gets_a_command_for_its_file(tmp_path: Path) -> None:
    files = [
        ModelFile(Path("/models/Qwen3-30B-A3B-Q4_K_M.gguf"), 18 * GB, None),
        ModelFile(Path("/models/it's here/Vision 2.gguf"), 9 * GB, Path("/models/it's here/mmproj.gguf")),
        ModelFile(Path("/a/nomic-embed-text.gguf"), GB, None),
        ModelFile(Path("/a/bge-reranker-v2.gguf"), GB, None),
        ModelFile(Path("/huge-00001-of-00009.gguf"), 200 * GB, None),
        ModelFile(Path("/b/vision-2.gguf"), GB, None),
    ]
    config = load([written(tmp_path, files, Gpu("card", 24 * GB))])
    assert list(config.models) == [
        *("qwen3-30b-a3b-q4_k_m", "vision-2", "nomic-embed-text", "bge-reranker-v2", "huge", "vision-2-2")
    ]
    commands = {name: one.argv for name, one in config.models.items()}
    assert commands["vision-2"][3:] == (
        *("-m", "/models/it's here/Vision 2.gguf", "--mmproj", "/models/it's here/mmproj.gguf", "-ngl", "99"),
    )
    assert "--embeddings" in commands["nomic-embed-text"]
    assert "--reranking" in commands["bge-reranker-v2"]
    assert "-ngl" not in commands["huge"]
    assert all(command[0] == "llama-server" for command in commands.values())


def real_model(path: Path, context: int, size_bytes: int) -> ModelFile:
    """As Llama 3 8B, made for another context; its last tensor is as large as it takes."""
    values = {"general.architecture": "llama", **{f"llama.{key}": one for key, one in VALUES.items()}}
    tensors = [("token_embd.weight", F16, 64), ("output.weight", F16, 0)]
    write_gguf(path, {**values, "llama.context_length": context}, tensors, size_bytes)
    return ModelFile(path, size_bytes, None)


@pytest.mark.parametrize(
    ("context", "gigabytes", "cards", "flags"),
    [
        (131_072, 8, [24], "-ngl 99 -c 32768"),
        (131_072, 8, [13], "-ngl 99 -c 16384"),
        (131_072, 8, [11], "-ngl 99 -c 8192"),
        (131_072, 8, [8], "-c 8192"),
        (131_072, 8, [8, 8], "-ngl 99 -c 32768"),
        (131_072, 8, [], "-c 8192"),
        (20_000, 8, [24], "-ngl 99"),
        (20_000, 8, [11], "-ngl 99 -c 8192"),
        (2048, 8, [24], "-ngl 99"),
        (2048, 8, [], ""),
    ],
)
def test_a_model_gets_as_much_context_as_fits(
    tmp_path: Path, context: int, gigabytes: int, cards: list[int], flags: str
) -> None:
    found = real_model(tmp_path / "m.gguf", context, gigabytes * GB)
    path = written(tmp_path, [found], *(Gpu("card", size * GB) for size in cards))
    assert " ".join(load([path]).models["m"].argv[5:]) == flags
    assert (f"made for a context of {context} tokens" in path.read_text()) is ("-c" in flags)


def test_models_stay_as_long_as_they_fit_and_those_of_the_demo_swap(tmp_path: Path) -> None:
    assert load([written(tmp_path, [ModelFile(Path("/x/good.gguf"), 1, None)])]).routing.router == "memory"
    assert load([written(tmp_path, [])]).routing.router == "group"


def test_a_path_that_cannot_stand_in_a_command_is_left_out(tmp_path: Path) -> None:
    bad = [ModelFile(Path(f"/x/{name}.gguf"), 1, None) for name in ("a\nb", "${PORT}", "back\\slash", "\x1b[1m")]
    config = load([written(tmp_path, [*bad, ModelFile(Path("/x/good.gguf"), 1, None)])])
    assert list(config.models) == ["good"]


def test_a_card_with_a_strange_name_breaks_no_line(tmp_path: Path) -> None:
    path = written(tmp_path, [], Gpu("a\nmodels: 1", 1))
    assert list(load([path]).models) == ["small", "large"]


@pytest.mark.parametrize("name", ["a\nb: c.yaml", "\udcff.yaml"], ids=["line end", "no UTF-8"])
def test_a_strange_name_of_the_configuration_itself_breaks_no_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(config_text(name, None, [], []), encoding="utf-8")
    assert sorted(load([path]).models) == ["large", "small"]
