"""Files of safetensors: how many bytes of weights, and that whatever else a file holds is a reason and no crash."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from llamaswap_lib.model_files import safetensors
from llamaswap_lib.model_files.opening import Unreadable


def write(path: Path, header: Any, weights: int = 0) -> Path:
    data = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(data)) + data + bytes(weights))
    return path


def tensor(start: int, end: int) -> dict[str, Any]:
    return {"dtype": "F16", "shape": [1], "data_offsets": [start, end]}


def test_the_weights_of_all_files_of_a_folder_are_counted(tmp_path: Path) -> None:
    header = {"__metadata__": {"format": "pt"}, "a": tensor(0, 10), "b": tensor(10, 30)}
    write(tmp_path / "model-00001-of-00002.safetensors", header, 30)
    write(tmp_path / "model-00002-of-00002.safetensors", {"c": tensor(0, 4)}, 4)
    (tmp_path / "config.json").write_text("{}")
    found = safetensors.files(str(tmp_path))
    assert [Path(path).name for path in found] == [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    assert [safetensors.weights(path) for path in found] == [30, 4]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "ends within its header"),
        (struct.pack("<Q", 2**64 - 1), "is no file of safetensors"),
        (struct.pack("<Q", 100) + b"{}", "ends within its header"),
        (struct.pack("<Q", 2) + b"[]", "is no file of safetensors"),
        (struct.pack("<Q", 4) + b"\xff\xfe{}", "is no file of safetensors"),
        (struct.pack("<Q", 9) + b'{"a":"b"}', "is no file of safetensors"),
        (struct.pack("<Q", 28) + b'{"a":{"data_offsets":[0,9]}}', "is shorter than its header says"),
        (struct.pack("<Q", 30) + b'{"a":{"data_offsets":[0,"9"]}}', "is no file of safetensors"),
        (struct.pack("<Q", 20_000) + b"[" * 20_000, "is no file of safetensors"),
    ],
)
def test_what_is_no_such_file_says_so(tmp_path: Path, data: bytes, words: str) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(data)
    with pytest.raises(Unreadable, match=words):
        safetensors.weights(str(file))


def test_a_folder_without_such_files_says_so(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="has 0 files of safetensors"):
        safetensors.files(str(tmp_path))
    with pytest.raises(Unreadable, match="cannot be read: No such file"):
        safetensors.files(str(tmp_path / "missing"))
