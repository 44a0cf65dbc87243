"""`Estimator`: from the command of a model to bytes by device, or to why that cannot be told."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from pathlib import Path

import pytest

from llamaswap_lib.config.load import load_text
from llamaswap_lib.config.schema import Model
from llamaswap_lib.estimates.estimator import Estimate, Estimator
from llamaswap_lib.estimates.vllm import GB, PROCESS
from tests.estimates.models import LAYERS, VALUES
from tests.model_files import test_hub, test_safetensors
from tests.model_files.written import F16, write_gguf
from tests.shortage import no_descriptor_left

MB = 1 << 20
CARD = {"GPU-1": 24 * GB}
TENSORS = [("token_embd.weight", F16, 32 * 64), *((f"blk.{n}.ffn_up.weight", F16, 32 * 64) for n in range(LAYERS))]


def model(cmd: str, *env: str) -> Model:
    return load_text(f"models: {{m: {{cmd: '{cmd} --port ${{PORT}}', env: {list(env)}}}}}", environment={}).models["m"]


def weights(path: Path, size: int = 500 * MB) -> Path:
    """A model whose last tensor is so large."""
    values = {"general.architecture": "llama", **{f"llama.{key}": one for key, one in VALUES.items()}}
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_gguf(path, values, [*TENSORS, ("output.weight", F16, 0)], size)


@pytest.fixture
def estimator(tmp_path: Path) -> Estimator:
    return Estimator({}, tmp_path)


def sizes(found: Estimate) -> Mapping[str, int]:
    assert found.sizes is not None, found.reason
    return found.sizes


def test_a_file_and_the_options_make_a_need(estimator: Estimator, tmp_path: Path) -> None:
    file = weights(tmp_path / "m.gguf")
    for program in (
        "llama-server",
        "/opt/llama.cpp/build/bin/llama-server",
        "nice -n 5 llama-server",
        "env A=b llama-server",
    ):
        found = sizes(estimator.estimate(model(f"{program} -m {file} -c 4096 -ngl 99"), CARD))
        assert 1000 * MB < found["gpu"] < 3000 * MB
        assert 0 < found["ram"] < 1000 * MB
    without = sizes(estimator.estimate(model(f"llama-server -m {file} -c 4096"), {}))
    assert without.keys() == {"ram"}
    assert without["ram"] > 500 * MB


def test_variables_of_the_model_and_those_that_it_inherits_count(tmp_path: Path) -> None:
    file = weights(tmp_path / "m.gguf")
    estimator = Estimator({"LLAMA_ARG_CTX_SIZE": "65536", "LLAMA_ARG_MODEL": str(file)}, tmp_path)
    large = sizes(estimator.estimate(model("llama-server"), CARD))["gpu"]
    small = sizes(estimator.estimate(model("llama-server", "LLAMA_ARG_CTX_SIZE=4096"), CARD))["gpu"]
    assert large - small > 7 * GB


def test_gpus_that_the_options_name_have_it(estimator: Estimator, tmp_path: Path) -> None:
    file, cards = weights(tmp_path / "m.gguf"), {"GPU-1": 24 * GB, "GPU-2": 24 * GB}
    base = f"llama-server -m {file} -c 4096 -ngl 99"
    whole = sizes(estimator.estimate(model(base), cards))["gpu"]
    shared = sizes(estimator.estimate(model(f"{base} -ts 3,1"), cards))
    assert shared.keys() == {"GPU-1", "GPU-2", "ram"}
    assert shared["GPU-1"] == pytest.approx(0.75 * whole)
    assert sizes(estimator.estimate(model(f"{base} -ts 0,1,5"), cards)).keys() == {"GPU-2", "ram"}
    assert sizes(estimator.estimate(model(f"{base} -sm none -mg 1"), cards)).keys() == {"GPU-2", "ram"}
    assert sizes(estimator.estimate(model(f"{base} -sm none -mg 7"), cards)).keys() == {"gpu", "ram"}


def test_only_the_gpus_that_the_command_names_are_counted_on(estimator: Estimator, tmp_path: Path) -> None:
    file, cards = weights(tmp_path / "m.gguf", 5000 * MB), dict.fromkeys(("GPU-1", "GPU-2", "GPU-3"), 24 * GB)
    base = f"llama-server -m {file} -c 4096 -ngl 99"
    alone, ram = sizes(estimator.estimate(model(base), {"GPU-2": 24 * GB})), "ram"
    assert sizes(estimator.estimate(model(f"{base} -dev CUDA1"), cards)) == {"GPU-2": alone["gpu"], ram: alone[ram]}
    two = sizes(estimator.estimate(model(f"{base} --device CUDA2,CUDA0"), cards))
    assert two.keys() == {"GPU-1", "GPU-3", ram}
    assert two["GPU-1"] == two["GPU-3"] > alone["gpu"] / 2
    assert sizes(estimator.estimate(model(f"{base} -dev CUDA2,CUDA0 -sm none -mg 0"), cards)).keys() == {"GPU-3", ram}
    for unknown in ("CUDA7", "RPC[host:50052]", "CUDA0,BLAS"):
        assert sizes(estimator.estimate(model(f"{base} -dev {unknown}"), cards)).keys() == {"gpu", ram}


def test_a_draft_model_that_was_downloaded_counts(estimator: Estimator, tmp_path: Path) -> None:
    file = weights(tmp_path / "m.gguf", 1000 * MB)
    command = f"llama-server -m {file} -c 4096 -ngl 99"
    asked = model(f"{command} --hf-repo-draft {test_hub.REPOSITORY}:Q8_0")
    missing = estimator.estimate(asked, CARD)
    assert (missing.sizes, missing.reason) == (None, f"{test_hub.REPOSITORY} has not been downloaded yet")
    weights(test_hub.hugging_face(tmp_path / ".cache" / "huggingface" / "hub") / test_hub.NAMES[1], 400 * MB)
    alone, both = (sizes(estimator.estimate(one, CARD)) for one in (model(command), asked))
    assert both["gpu"] - alone["gpu"] > 400 * MB
    assert both == sizes(estimator.estimate(model(f"{command} -md {_downloaded(tmp_path)}"), CARD))


def _downloaded(home: Path) -> Path:
    return next(home.glob(f".cache/huggingface/hub/*/snapshots/*/{test_hub.NAMES[1]}"))


def test_all_parts_of_a_model_count(estimator: Estimator, tmp_path: Path) -> None:
    first = weights(tmp_path / "m-00001-of-00002.gguf", 300 * MB)
    command = model(f"llama-server -m {first} -c 4096")
    assert "No such file" in estimator.estimate(command, {}).reason
    second = write_gguf(tmp_path / "m-00002-of-00002.gguf", {}, [("blk.1.attn_q.weight", F16, 0)], 400 * MB)
    assert sizes(estimator.estimate(command, {}))["ram"] > 700 * MB
    assert "is not the first part" in estimator.estimate(model(f"llama-server -m {second}"), {}).reason


def test_a_file_whose_name_says_that_there_are_no_parts_counts_as_it_is(estimator: Estimator, tmp_path: Path) -> None:
    file = weights(tmp_path / "big-00001-of-00000.gguf")
    assert sizes(estimator.estimate(model(f"llama-server -m {file} -c 4096"), CARD))["gpu"] > 500 * MB


def test_a_projector_counts_and_a_draft_too(estimator: Estimator, tmp_path: Path) -> None:
    file, draft = weights(tmp_path / "m.gguf"), weights(tmp_path / "d.gguf", 200 * MB)
    projector = write_gguf(tmp_path / "p.gguf", {}, [], 100 * MB)
    base = f"llama-server -m {file} -c 4096 -ngl 99"
    alone = sizes(estimator.estimate(model(base), CARD))["gpu"]
    assert sizes(estimator.estimate(model(f"{base} --mmproj {projector}"), CARD))["gpu"] - alone == 612 * MB
    assert sizes(estimator.estimate(model(f"{base} -md {draft}"), CARD))["gpu"] - alone > 200 * MB
    assert "No such file" in estimator.estimate(model(f"{base} -md {tmp_path}/none.gguf"), CARD).reason


def test_a_repository_counts_once_it_is_downloaded(estimator: Estimator, tmp_path: Path) -> None:
    command = model(f"llama-server -hf {test_hub.REPOSITORY} -c 4096 -ngl 99")
    assert estimator.estimate(command, CARD).reason == "unsloth/Qwen3-4B-GGUF has not been downloaded yet"
    folder = test_hub.hugging_face(tmp_path / ".cache" / "huggingface" / "hub")
    weights(folder / test_hub.NAMES[0])
    (folder / "mmproj-F16.gguf").unlink()
    alone = sizes(estimator.estimate(command, CARD))["gpu"]
    write_gguf(folder / "mmproj-F16.gguf", {}, [], 100 * MB)
    assert sizes(estimator.estimate(command, CARD))["gpu"] - alone == 612 * MB
    blind = model(f"llama-server -hf {test_hub.REPOSITORY} -c 4096 -ngl 99 --no-mmproj")
    assert sizes(estimator.estimate(blind, CARD))["gpu"] == alone


@pytest.mark.parametrize(
    ("cmd", "reason"),
    [
        ("python3 server.py -m a.gguf", "the options of python3 are not known"),
        ("docker run -v /m:/m llama-server -m /m/a.gguf", "what its command starts is not seen here"),
        ('sh -c "llama-server -m a.gguf"', "what its command starts is not seen here"),
        ("llama-server", "its command names no file of a model"),
        ("llama-server -m /missing/a.gguf", "/missing/a.gguf cannot be read: No such file or directory"),
        ("vllm serve m --config c.yaml", "its options do not say how much vllm takes"),
    ],
)
def test_what_cannot_be_told_says_why(estimator: Estimator, cmd: str, reason: str) -> None:
    assert estimator.estimate(model(cmd), CARD) == Estimate(None, reason)


def test_a_file_that_is_none_says_why_and_is_looked_at_again_when_it_has_changed(
    estimator: Estimator, tmp_path: Path
) -> None:
    file = tmp_path / "m.gguf"
    file.write_text("not yet")
    command = model(f"llama-server -m {file} -c 4096")
    for _ in range(2):
        assert estimator.estimate(command, {}).reason == f"{file} is no GGUF file"
    weights(file)
    assert estimator.estimate(command, {}).sizes is not None


def test_a_file_is_read_once_until_its_size_or_its_time_changes(estimator: Estimator, tmp_path: Path) -> None:
    file = weights(tmp_path / "m.gguf")
    command = model(f"llama-server -m {file} -c 4096")
    found, look = estimator.estimate(command, {}), file.stat()
    with file.open("r+b") as writing:
        writing.write(b"XXXX")
    os.utime(file, ns=(look.st_atime_ns, look.st_mtime_ns))
    assert estimator.estimate(command, {}) == found
    os.utime(file, (1, 1))
    assert estimator.estimate(command, {}).reason == f"{file} is no GGUF file"


def test_reading_stops_after_a_while_and_goes_on_in_the_next_round(tmp_path: Path) -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += 1.0  # each look at the clock takes a second
        return now[0]

    estimator = Estimator({}, tmp_path, clock, patience=2.5)
    commands = [model(f"llama-server -m {weights(tmp_path / f'{n}.gguf')} -c 4096") for n in range(5)]
    known = []
    for _ in range(4):
        estimator.begin()
        known.append((sum(estimator.estimate(one, {}).sizes is not None for one in commands), estimator.is_behind))
    assert known == [(2, True), (4, True), (5, False), (5, False)]


def test_vllm_takes_a_share_and_its_weights_are_found(estimator: Estimator, tmp_path: Path) -> None:
    for cmd in ("vllm serve org/m", "python3 -m vllm.entrypoints.openai.api_server --model org/m"):
        found = sizes(estimator.estimate(model(f"{cmd} --gpu-memory-utilization 0.5"), CARD))
        assert found == {"GPU-1": 13 * GB, "ram": PROCESS}
    folder = tmp_path / "hub" / "models--org--m" / "snapshots" / "1"
    folder.mkdir(parents=True)
    test_safetensors.write(folder / "model.safetensors", {"a": test_safetensors.tensor(0, 100)}, 100)
    for named, env in (("org/m", f"HF_HUB_CACHE={tmp_path}/hub"), (str(folder), "A=b")):
        found = sizes(estimator.estimate(model(f"vllm serve {named}", env), {}))
        assert found == {"ram": 100 + 8 * GB}


def test_whatever_a_header_says_there_is_a_figure_or_a_reason(estimator: Estimator, tmp_path: Path) -> None:
    file, choice = weights(tmp_path / "m.gguf", 1 * MB), random.Random(1)
    command = model(f"llama-server -m {file} -ngl 20 -ot ffn=CPU")
    head, outcomes = file.read_bytes()[:2500], set()
    for number in range(300):
        broken = bytearray(head)
        for _ in range(choice.randint(1, 6)):
            broken[choice.randrange(24, len(head))] = choice.choice((0, 1, 4, 6, 127, 128, 255))
        with file.open("r+b") as writing:
            writing.write(broken)
        os.utime(file, (number, number))
        found = estimator.estimate(command, CARD)
        assert found.reason or sizes(found)
        outcomes.add(bool(found.reason))
    assert outcomes == {True, False}


@pytest.mark.parametrize(
    "options",
    [f"-ts {'9' * 400},1", "-ts 0.0", f"-c {'9' * 5000}", "-ub -100000", "-ncmoe -1", "-mg -1 -sm none", "-np -1"],
)
def test_whatever_an_option_says_there_is_a_figure(estimator: Estimator, tmp_path: Path, options: str) -> None:
    file = weights(tmp_path / "m.gguf")
    cards = {"GPU-1": 24 * GB, "GPU-2": 24 * GB}
    found = sizes(estimator.estimate(model(f"llama-server -m {file} {options}"), cards))
    assert min(found.values()) > 0


def test_a_count_of_very_many_digits_is_none(estimator: Estimator) -> None:
    found = sizes(estimator.estimate(model(f"vllm serve m --tensor-parallel-size {'9' * 5000}"), CARD))
    assert found["ram"] == PROCESS


def test_an_entry_of_env_that_is_no_variable_is_no_crash(estimator: Estimator, tmp_path: Path) -> None:
    file = weights(tmp_path / "m.gguf")
    assert estimator.estimate(model(f"llama-server -m {file}", "NO_VALUE", "=x"), {}).sizes is not None


def test_a_file_that_the_system_could_not_open_once_is_read_the_next_time(estimator: Estimator, tmp_path: Path) -> None:
    file = weights(tmp_path / "m.gguf")
    with no_descriptor_left():
        found = estimator.estimate(model(f"llama-server -m {file}"), CARD)
    assert (found.sizes, found.reason) == (None, f"{file} cannot be read: Too many open files")
    assert sizes(estimator.estimate(model(f"llama-server -m {file}"), CARD))
