"""What a measured need belongs to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llamaswap_lib.config.load import load_text
from llamaswap_lib.config.schema import Model
from llamaswap_lib.memory.identity import digest_of


def model(cmd: str, *env: str) -> Model:
    written = f"models: {{m: {{cmd: '{cmd}', proxy: 'http://localhost:9000', env: {list(env)}}}}}"
    if "${PORT}" in cmd:
        written = written.replace("proxy: 'http://localhost:9000', ", "")
    return load_text(written, environment={}).models["m"]


BASE = model("server --port ${PORT} -c 4096", "A=1", "HF_TOKEN=one")


@pytest.mark.parametrize(
    "same",
    [
        BASE.at_port(1234),
        model("server --port ${PORT} -c 4096", "HF_TOKEN=two", "A=1"),
    ],
    ids=["port", "token and order of variables"],
)
def test_ports_and_secrets_move_nothing(same: Model) -> None:
    assert digest_of(same, ["ram"]) == digest_of(BASE, ["ram"])


def test_a_port_of_its_own_moves_nothing_either() -> None:
    one, other = model("server --port 9000 -c 4096"), model("server --port 9001 -c 4096")
    assert digest_of(one, ["ram"]) == digest_of(other, ["ram"])
    assert digest_of(model("server --port=9000"), []) == digest_of(model("server --port=9001"), [])


@pytest.mark.parametrize(
    "other",
    [
        model("server --port ${PORT} -c 8192", "A=1", "HF_TOKEN=one"),
        model("server --port ${PORT} -c 4096", "A=2", "HF_TOKEN=one"),
        model("server --port ${PORT} -c 4096", "A=1", "CUDA_VISIBLE_DEVICES=1"),
    ],
)
def test_all_else_does(other: Model) -> None:
    assert digest_of(other, ["ram"]) != digest_of(BASE, ["ram"])


def test_so_do_the_devices_and_the_model_s_file(tmp_path: Path) -> None:
    assert digest_of(BASE, ["ram", "GPU-1"]) == digest_of(BASE, ["GPU-1", "ram"]) != digest_of(BASE, ["ram"])
    file = tmp_path / "m.gguf"
    named = model(f"server --port ${{PORT}} -m {file}")
    found = [digest_of(named, [])]
    for text, time in (("a", 1), ("ab", 1), ("ab", 2)):
        file.write_text(text)
        os.utime(file, (time, time))
        found.append(digest_of(named, []))
    assert len(set(found)) == 4
