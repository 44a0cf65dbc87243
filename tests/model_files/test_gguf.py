"""Headers of GGUF files: what is read of them, how much, and that whatever else a file holds is a reason, no crash."""

from __future__ import annotations

import os
import random
import struct
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest

from llamaswap_lib.model_files import opening
from llamaswap_lib.model_files.gguf import LONGEST_LIST, MOST_INNER_LISTS, part_of, parts, read_header
from llamaswap_lib.model_files.opening import Unreadable
from tests.model_files.written import F32, Q4_0, gguf_bytes, text, value, write_gguf

VALUES = {
    "general.architecture": "llama",
    "llama.block_count": 2,
    "llama.rope.freq_base": 0.5,
    "llama.attention.head_count_kv": [4, 8],
    "tokenizer.ggml.tokens": ["a", "", "bcd" * 100],
    "tokenizer.ggml.add_bos_token": True,
    "tokenizer.chat_template": "x" * 1000,
    "nested": [[1, 2], [3]],
}
TENSORS = [("token_embd.weight", F32, 4096), ("blk.0.ffn_up.weight", Q4_0, 18), ("output.weight", F32, 64)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


def reason(file: Path) -> str:
    with pytest.raises(Unreadable) as found:
        read_header(str(file))
    return str(found.value)


@pytest.mark.parametrize("version", [2, 3])
def test_keys_and_tensors_are_read_and_long_texts_and_lists_are_not_kept(file: Path, version: int) -> None:
    file.write_bytes(gguf_bytes(VALUES, TENSORS, version))
    header = read_header(str(file))
    assert header.values == {
        "general.architecture": "llama",
        "llama.block_count": 2,
        "llama.rope.freq_base": 0.5,
        "llama.attention.head_count_kv": (4, 8),
        "tokenizer.ggml.add_bos_token": True,
    }
    assert header.counts == {"llama.attention.head_count_kv": 2, "tokenizer.ggml.tokens": 3, "nested": 2}
    assert header.tensors == (
        ("token_embd.weight", F32, 4096),
        ("blk.0.ffn_up.weight", Q4_0, 32),  # with what fills it up
        ("output.weight", F32, 64),
    )


def test_a_list_of_numbers_that_is_too_long_for_layers_is_only_counted(file: Path) -> None:
    write_gguf(file, {"types": [1] * (LONGEST_LIST + 1)})
    header = read_header(str(file))
    assert (header.values, header.counts) == ({}, {"types": LONGEST_LIST + 1})


@pytest.mark.skipif(find_spec("gguf") is None or find_spec("numpy") is None, reason="needs gguf: .[llama]")
def test_what_the_package_of_llama_cpp_writes_is_read(file: Path) -> None:
    from tests.e2e.tiny_gguf import Shape, write_model  # noqa: PLC0415 - gguf may be missing

    write_model(file, Shape(layers=3, width=64, heads=4))
    header = read_header(str(file))
    assert header.values["llama.block_count"] == 3
    assert header.counts["tokenizer.ggml.tokens"] == header.values["llama.vocab_size"]
    assert len(header.tensors) == 3 + 9 * 3
    sizes = {tensor.name: tensor.size for tensor in header.tensors}
    assert sizes["blk.2.attn_q.weight"] == 64 * 64 * 4
    assert 0 < file.stat().st_size - sum(sizes.values()) < 64 << 10


def test_what_is_no_such_file_says_so(file: Path) -> None:
    assert reason(file) == "cannot be read: No such file or directory"
    assert reason(file.parent) == "is no file"
    file.write_bytes(b"")
    assert reason(file) == "ends within its header"
    file.write_bytes(b"<html>a page of a download that failed</html>")
    assert reason(file) == "is no GGUF file"
    assert reason(file.with_name("x" * 5000)).startswith("cannot be read: ")
    assert reason(file.with_name("a\0b")).startswith("cannot be read: ")


def test_a_pipe_is_not_waited_for(file: Path) -> None:
    os.mkfifo(file)
    assert reason(file) == "is no file"


def test_links_are_followed(file: Path) -> None:
    real = write_gguf(file.with_name("blob"), VALUES, TENSORS)
    file.symlink_to(real)
    assert read_header(str(file)) == read_header(str(real))
    file.unlink()
    file.symlink_to(file)
    assert reason(file).startswith("cannot be read: ")


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (1, "has version 1 of GGUF; known are 2 and 3"),
        (4, "has version 4 of GGUF; known are 2 and 3"),
        (0x03000000, "is big-endian, for another kind of machine"),
    ],
)
def test_other_versions_and_the_other_order_of_bytes_are_named(file: Path, version: int, words: str) -> None:
    file.write_bytes(gguf_bytes(VALUES, TENSORS, version))
    assert reason(file) == words


def test_each_beginning_of_a_file_is_too_short(file: Path) -> None:
    data = gguf_bytes(VALUES, TENSORS)
    for length in range(4, len(data) - 128 - 4096, 5):
        file.write_bytes(data[:length])
        assert reason(file) in ("ends within its header", "is shorter than its header says")


def test_a_download_that_is_not_whole_is_noticed(file: Path) -> None:
    data = gguf_bytes(VALUES, TENSORS)
    file.write_bytes(data[: -64 - 32])
    assert reason(file) == "is shorter than its header says"


HEAD = b"GGUF" + struct.pack("<I", 3)
HUGE = [
    HEAD + struct.pack("<QQ", 2**63, 0),
    HEAD + struct.pack("<QQ", 0, 2**64 - 1),
    HEAD + struct.pack("<QQ", 0, 1) + struct.pack("<Q", 2**64 - 1),
    HEAD + struct.pack("<QQ", 0, 1) + text("a") + struct.pack("<IQ", 8, 2**64 - 1),
    HEAD + struct.pack("<QQ", 0, 1) + text("a") + struct.pack("<IIQ", 9, 8, 2**64 - 1),
    HEAD + struct.pack("<QQ", 0, 1) + text("a") + struct.pack("<IIQQ", 9, 8, 2**62, 2**64 - 1),
    HEAD + struct.pack("<QQ", 0, 1) + text("a") + struct.pack("<IIQ", 9, 4, 2**62),
    HEAD + struct.pack("<QQ", 0, 1) + text("a") + struct.pack("<IIQ", 9, 9, 2**64 - 1),
    HEAD + struct.pack("<QQ", 0, 1) + text("a") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 50,
    HEAD + struct.pack("<QQ", 0, 1) + text("a") + struct.pack("<I", 13),
    HEAD + struct.pack("<QQ", 0, 1) + text("a") + struct.pack("<IIQ", 9, 77, 1),
    HEAD + struct.pack("<QQ", 1, 0) + text("a") + struct.pack("<I", 2**32 - 1),
    HEAD + struct.pack("<QQ", 1, 0) + text("a") + struct.pack("<IIQ", 0, 0, 2**64 - 1),
    HEAD + struct.pack("<QQ", 1, 1) + text("general.alignment") + value(0) + text("a") + struct.pack("<IIQ", 0, 0, 0),
]


@pytest.mark.parametrize("data", HUGE, ids=range(len(HUGE)))
def test_counts_that_cannot_be_are_a_reason_at_once(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    assert reason(file)


class Counted:
    """A file of zeros without an end, which counts what is read of it."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.given = 0

    def read(self, count: int) -> bytes:
        found = (self.data[self.given : self.given + count]).ljust(count, b"\0")
        self.given += count
        return found


def test_no_more_is_read_than_there_may_be_of_a_header() -> None:
    source = Counted(b"")
    beginning = opening.Beginning(source)  # type: ignore[arg-type]
    beginning.reach(100)
    assert source.given == opening.CHUNK
    with pytest.raises(Unreadable, match="has a header of more than 32 MB"):
        beginning.reach(opening.MOST_BYTES + 1)
    assert source.given == opening.CHUNK


@pytest.mark.slow
def test_empty_texts_without_an_end_are_given_up_at_the_limit(file: Path) -> None:
    data = HEAD + struct.pack("<QQ", 0, 1) + text("a") + struct.pack("<IIQ", 9, 8, 2**40)
    with file.open("wb") as writing:
        writing.write(data)
        writing.truncate(1 << 30)
    assert reason(file) == "has a header of more than 32 MB"


@pytest.mark.parametrize("count", [MOST_INNER_LISTS, MOST_INNER_LISTS + 1])
def test_lists_in_lists_are_given_up_where_there_are_too_many(file: Path, count: int) -> None:
    head = HEAD + struct.pack("<QQ", 0, 2) + text("a") + struct.pack("<IIQ", 9, 9, 1) + struct.pack("<IQ", 0, 0)
    file.write_bytes(head + text("b") + struct.pack("<IIQ", 9, 9, count - 1) + struct.pack("<IQ", 0, 0) * (count - 1))
    if count > MOST_INNER_LISTS:
        assert reason(file) == "has more than 65536 lists in lists"
    else:
        assert read_header(str(file)).counts == {"a": 1, "b": count - 1}


def test_rubbish_behind_the_magic_is_always_a_reason_or_a_header(file: Path) -> None:
    data = bytearray(gguf_bytes(VALUES, TENSORS))
    choice = random.Random(1)
    for _ in range(200):
        broken = bytearray(data)
        for _ in range(choice.randint(1, 8)):
            broken[choice.randrange(4, 600)] = choice.choice((0, 1, 8, 9, 127, 255))
        file.write_bytes(bytes(broken))
        with suppress(Unreadable):
            read_header(str(file))


def test_parts_are_known_by_their_names() -> None:
    first = Path("/m/big-00001-of-00003.gguf")
    assert part_of(first) == (1, 3)
    assert part_of(Path("/m/big.gguf")) is None
    assert [one.name for one in parts(first)] == [f"big-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    assert parts(Path("/m/big.gguf")) == [Path("/m/big.gguf")]
    assert len(parts(Path("/m/big-00001-of-99999.gguf"))) == 1000
    assert parts(Path("/m/big-00001-of-00000.gguf")) == [Path("/m/big-00001-of-00000.gguf")]
