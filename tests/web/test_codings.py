"""Content codings: what was encoded comes out as it was, however it is cut; what is broken is told; all is bounded."""

from __future__ import annotations

import random
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from llamaswap_lib.errors import BadRequest, ContentTooLarge, HttpError, UnsupportedMediaType
from llamaswap_lib.wire.content_coding import (
    MOST_CODINGS,
    MOST_MEMBERS,
    PIECE_BYTES,
    Coding,
    decode,
    find_codings,
    longest_coded,
)
from llamaswap_lib.wire.zstd import Zstandard, find_zstandard, of_python, of_system
from tests.web.gzipped import gzipped
from tests.web.zstd_frames import (
    CHECKSUM,
    MAGIC,
    block,
    compressed,
    frame,
    needs_zstd,
    run,
    skippable,
    stored,
    window,
    zeros,
)

ROOT = Path(__file__).parents[2]
TOO_LONG = ContentTooLarge("too long")
MANY = 1 << 40
TEXT = b'{"model":"m","messages":[{"role":"user","content":"' + b"Hello, hello. " * 200 + b'"}]}'


def raw_deflate(data: bytes) -> bytes:
    encoder = zlib.compressobj(wbits=-15)
    return encoder.compress(data) + encoder.flush()


def members(data: bytes) -> bytes:
    return gzipped(data[:7]) + gzipped(b"") + gzipped(data[7:])


def frames(data: bytes) -> bytes:
    return b"".join(frames_of(data))


def frames_of(data: bytes) -> list[bytes]:
    return [skippable(b"x"), stored(data[:7]), stored(b""), skippable(b""), stored(data[7:]), skippable(b"end")]


ENCODERS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzipped),
    ("X-GZip", gzipped),
    ("gzip", members),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("deflate", lambda data: zlib.compress(data, 0)),
]
WITH_ZSTD = [("zstd", stored), ("ZSTD", frames), ("zstd", compressed)]
if find_zstandard():
    ENCODERS += WITH_ZSTD
encoders = pytest.mark.parametrize(("name", "encode"), ENCODERS)


def cut(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def decoded_of(data: bytes, *values: str, size: int = 1 << 20, most: int = MANY) -> bytes:
    return b"".join(decode(cut(data, size), find_codings(values), most, TOO_LONG))


def refusal_of(data: bytes, *values: str, size: int = 1 << 20, most: int = MANY) -> HttpError:
    with pytest.raises(HttpError) as refused:
        decoded_of(data, *values, size=size, most=most)
    return refused.value


# -- what comes out --


@encoders
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize("text", [b"", b"x", TEXT], ids=["nothing", "a-byte", "text"])
def test_what_was_encoded_comes_out_as_it_was(
    name: str, encode: Callable[[bytes], bytes], size: int, text: bytes
) -> None:
    assert decoded_of(encode(text), name, size=size) == text


@given(
    st.lists(st.binary(max_size=50) | st.just(b"a" * 200_000), max_size=4).map(b"".join),
    st.lists(st.sampled_from(ENCODERS), max_size=MOST_CODINGS),
    st.lists(st.integers(0, 300), max_size=5),
)
def test_any_codings_one_upon_the_other_cut_anywhere(
    data: bytes, chain: list[tuple[str, Callable[[bytes], bytes]]], cuts: list[int]
) -> None:
    encoded = data
    for _, encode in chain:
        encoded = encode(encoded)
    marks = sorted(min(cut, len(encoded)) for cut in cuts)
    pieces = [encoded[start:end] for start, end in zip([0, *marks], [*marks, len(encoded)], strict=True)]
    codings = find_codings([", ".join(name for name, _ in chain)])
    decoded = list(decode(pieces, codings, len(data), TOO_LONG))
    assert b"".join(decoded) == data
    if codings:
        assert all(0 < len(piece) <= PIECE_BYTES for piece in decoded)


@encoders
@pytest.mark.slow
def test_what_is_large_comes_out_whole(name: str, encode: Callable[[bytes], bytes]) -> None:
    chance = random.Random(5)
    data = chance.randbytes(700_001) + b"a" * 1_000_000 + chance.randbytes(300_000)
    for size in (977, 65_536, 1 << 22):
        assert decoded_of(encode(data), name, size=size) == data


@encoders
@given(st.data())
def test_a_body_cut_off_anywhere_is_not_complete(
    name: str, encode: Callable[[bytes], bytes], data: st.DataObject
) -> None:
    whole = encode(b"some text")
    length = data.draw(st.integers(1, len(whole) - 1))
    assume(length not in ends_of(encode))
    refused = refusal_of(whole[:length], name, size=3)
    assert isinstance(refused, BadRequest)
    name, is_first = name.lower().removeprefix("x-"), length < min(ends_of(encode), default=len(whole))
    assert refused.message == (
        f"the body is not complete: its {name} has no end"
        if is_first
        else f"the body has more bytes after the end of its {name}, which are no complete {name}"
    )


def ends_of(encode: Callable[[bytes], bytes]) -> Iterator[int]:
    """Where one of several streams in `some text` ends."""
    for parts in (
        (members, [gzipped(part) for part in (b"some te", b"", b"xt")]),
        (frames, frames_of(b"some text")),
    ):
        if encode is parts[0]:
            yield from accumulate(map(len, parts[1]))


@encoders
@pytest.mark.parametrize("size", [1, 1 << 20])
@pytest.mark.parametrize("surplus", [b"\0", b"\n", b"rubbish", b"\x1f\x8c", MAGIC[::-1]])
def test_bytes_behind_the_end_are_refused(
    name: str, encode: Callable[[bytes], bytes], size: int, surplus: bytes
) -> None:
    refused = refusal_of(encode(TEXT) + surplus, name, size=size)
    name = name.lower().removeprefix("x-")
    assert isinstance(refused, BadRequest)
    says = "the body has more bytes after the end of its "
    assert refused.message == says + ("deflate" if name == "deflate" else f"{name}, which are no complete {name}")


def test_a_second_deflate_stream_is_surplus() -> None:
    for encode in (zlib.compress, raw_deflate):
        assert isinstance(refusal_of(encode(b"a") + encode(b"b"), "deflate"), BadRequest)


@encoders
@pytest.mark.parametrize("size", [1, 5, 1 << 20])
def test_what_is_not_in_that_coding_is_415(name: str, encode: Callable[[bytes], bytes], size: int) -> None:
    for data in (TEXT, b"\xff" * 30, b"model=m"):
        refused = refusal_of(data, name, size=size)
        name = name.lower().removeprefix("x-")
        assert isinstance(refused, UnsupportedMediaType)
        assert refused.message.startswith(f"the body has the Content-Encoding {name}, but cannot be decoded: ")
        assert not refused.message.endswith(": ")
        assert refused.headers["Accept-Encoding"].startswith("gzip, deflate")


def end_of(data: bytes, name: str, size: int) -> bytes | int:
    try:
        return decoded_of(data, name, size=size)
    except HttpError as refused:
        return refused.status


# libzstd does not always look at the size that a frame promises where its last block is empty, as one of `frames` is.
@pytest.mark.parametrize(("name", "encode"), [each for each in ENCODERS if each[1] is not frames])
@given(st.data())
def test_any_damage_comes_to_the_same_end_however_it_is_cut(
    name: str, encode: Callable[[bytes], bytes], data: st.DataObject
) -> None:
    damaged = bytearray(encode(b"some text, some text"))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    ends = [end_of(bytes(damaged), name, size) for size in (1, 4, 1 << 20)]
    assert ends[0] == ends[1] == ends[2]


def test_a_wrong_checksum_is_noticed() -> None:
    for name, data in (("gzip", gzipped(TEXT)), ("deflate", zlib.compress(TEXT))):
        broken = data[:-6] + bytes([data[-6] ^ 1]) + data[-5:] if name == "gzip" else data[:-1] + b"\0"
        assert "incorrect data check" in refusal_of(broken, name).message


def test_deflate_with_a_dictionary_is_not_understood() -> None:
    encoder = zlib.compressobj(zdict=b"model")
    assert refusal_of(encoder.compress(TEXT) + encoder.flush(), "deflate").status == 415


# -- bounds --


@encoders
def test_no_more_comes_out_than_may(name: str, encode: Callable[[bytes], bytes]) -> None:
    data = b"a" * 300_000
    assert decoded_of(encode(data), name, most=300_000) == data
    with pytest.raises(ContentTooLarge) as refused:
        decoded_of(encode(data), name, most=299_999)
    assert refused.value is TOO_LONG


@cache
def deflated() -> bytes:
    encoder = zlib.compressobj(9, wbits=31)
    return b"".join([encoder.compress(bytes(1 << 20)) for _ in range(256)]) + encoder.flush()


BOMBS: dict[str, Callable[[], bytes]] = {
    "gzip": deflated,
    "gzip, gzip": lambda: gzipped(deflated()),
    "gzip, deflate": lambda: zlib.compress(deflated()),
}
if find_zstandard():
    BOMBS["zstd"] = lambda: zeros(1 << 28)
    BOMBS["zstd, zstd"] = lambda: stored(zeros(1 << 28))
    BOMBS["zstd, gzip"] = lambda: gzipped(zeros(1 << 28))


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_takes_no_memory_and_stops_at_the_bound(name: str) -> None:
    bomb = BOMBS[name]()
    tracemalloc.start()
    try:
        sizes: list[int] = []
        with pytest.raises(ContentTooLarge):
            sizes.extend(len(piece) for piece in decode([bomb], find_codings([name]), 1 << 24, TOO_LONG))
        assert 0 < sum(sizes) <= 1 << 24
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("inner", [gzipped(b""), b"\0\0\0\xff\xff" * 100], ids=["members", "blocks"])
def test_what_comes_out_of_a_step_on_the_way_is_bounded_too(inner: bytes) -> None:
    """Of what says nothing, however much there is: the outer coding can make any amount of it."""
    bomb = zlib.compress(inner * 2_000)
    name = "gzip" if inner.startswith(b"\x1f") else "deflate"
    with pytest.raises(ContentTooLarge):
        decoded_of(bomb, f"{name}, deflate", most=100 - longest_coded(0) + len(inner) * 1_000)


@pytest.mark.slow
def test_what_cannot_be_compressed_may_be_as_long_as_what_can() -> None:
    for size in (0, 1, 1000, 200_000, 3_000_000):
        data = random.Random(size).randbytes(size)
        for _, encode in ENCODERS:
            assert len(encode(data)) <= longest_coded(size)


@pytest.mark.parametrize(
    ("name", "stream"), [("gzip", gzipped(b"a")), pytest.param("zstd", stored(b"a"), marks=needs_zstd)]
)
@pytest.mark.slow
def test_streams_one_behind_the_other_have_a_bound(name: str, stream: bytes) -> None:
    codings = find_codings([name])
    assert sum(map(len, decode([stream * MOST_MEMBERS], codings, MANY, TOO_LONG))) == MOST_MEMBERS
    with pytest.raises(BadRequest, match=f"the body has more than 10000 {name} streams, one after the other"):
        b"".join(decode([stream * (MOST_MEMBERS + 1)], codings, MANY, TOO_LONG))


# -- names --


@pytest.mark.parametrize("values", [[], [""], ["identity"], [" , Identity\t", "utf-8"], ["UTF8"]])
def test_no_coding_at_all(values: list[str]) -> None:
    assert list(find_codings(values)) == []


@pytest.mark.parametrize("values", [["gzip, deflate"], ["gzip", "deflate"], ["X-GZIP ,,identity", "\tDeflate "]])
def test_codings_are_named_in_the_order_in_which_they_were_applied(values: list[str]) -> None:
    assert [coding.name for coding in find_codings(values)] == ["gzip", "deflate"]
    assert decoded_of(zlib.compress(gzipped(TEXT)), *values) == TEXT


@pytest.mark.parametrize("name", ["br", "compress", "x-deflate", "gzip;q=1", "x-x-gzip", "*", "gzip deflate", "\xff"])
def test_a_coding_that_is_not_understood_is_415_and_says_which_ones_are(name: str) -> None:
    with pytest.raises(UnsupportedMediaType) as refused:
        find_codings([f"gzip, {name}"])
    known = ["gzip", "deflate", *(["zstd"] if find_zstandard() else [])]
    assert refused.value.headers["Accept-Encoding"] == ", ".join(known)
    offer = " or ".join(known)
    assert refused.value.message == (
        f"the Content-Encoding {name!r} is not understood; send the body without one, or in {offer}"
    )


def test_a_name_made_to_harm_is_shown_harmlessly() -> None:
    for name in ("x" * 60_000, "\x80\x9b[2J", "a\tb"):
        with pytest.raises(UnsupportedMediaType) as refused:
            find_codings([name])
        assert len(refused.value.message) < 200
        assert refused.value.message.isprintable()


def test_there_is_a_bound_to_how_many_codings_one_body_may_have() -> None:
    assert len(find_codings(["gzip,identity"] * MOST_CODINGS)) == MOST_CODINGS
    with pytest.raises(UnsupportedMediaType, match=r"the body has 4 content codings; at most 3 are allowed"):
        find_codings(["gzip"] * (MOST_CODINGS + 1))


# -- Zstandard --

WAYS = [
    pytest.param(way, marks=pytest.mark.skipif(way() is None, reason="there is none")) for way in (of_python, of_system)
]


@pytest.fixture(params=WAYS)
def zstd(request: pytest.FixtureRequest) -> Sequence[Coding]:
    """The coding, in each way in which it can be had here."""
    way: Zstandard = request.param()
    return [Coding("zstd", *way)]


@pytest.mark.parametrize("size", [1, 3, 1 << 20])
def test_frames_of_all_kinds(zstd: Sequence[Coding], size: int) -> None:
    random_bytes = random.Random(1).randbytes(20_000)
    checked = compressed(TEXT, [CHECKSUM])
    for data, want in (
        (frames(TEXT), TEXT),
        (frame(run(b"a", 5), block(b"bc"), run(b"d", 100_000)), b"aaaaabc" + b"d" * 100_000),
        (compressed(random_bytes), random_bytes),
        (checked + skippable(b"x" * 100) + checked, TEXT * 2),
        (b"", b""),
        (skippable(b"x"), b""),
        (stored(b""), b""),
    ):
        assert b"".join(decode(cut(data, size), zstd, MANY, TOO_LONG)) == want


@pytest.mark.parametrize("size", [1, 1 << 20])
def test_a_window_of_more_than_8_mb_is_refused(zstd: Sequence[Coding], size: int) -> None:
    block_of_text = frame(block(TEXT), window_log=23)
    assert b"".join(decode(cut(block_of_text, size), zstd, MANY, TOO_LONG)) == TEXT
    for log in (24, 27, 31, 41):
        with pytest.raises(UnsupportedMediaType, match=r"cannot be decoded: \w.{5}"):
            b"".join(decode(cut(block_of_text.replace(window(23), window(log), 1), size), zstd, MANY, TOO_LONG))


@pytest.mark.parametrize(
    "data",
    [
        frame(block(b"x"), descriptor=b"\x08"),  # a bit that has no meaning yet
        frame(block(b"x"), descriptor=b"\x01", dictionary=b"\7"),
        frame(run(b"x", 200_000)),  # a block that is too large
        frame((1 << 3 | 6).to_bytes(3, "little") + b"x"),  # a kind that there is not
        bytes.fromhex("1eb52ffd") + TEXT,  # an older version
    ],
    ids=["reserved", "dictionary", "large", "kind", "old"],
)
def test_frames_that_are_broken(zstd: Sequence[Coding], data: bytes) -> None:
    refused_as_zstd(data, zstd)


def test_a_frame_with_a_wrong_checksum(zstd: Sequence[Coding]) -> None:
    refused_as_zstd(compressed(TEXT, [CHECKSUM])[:-1] + b"\0", zstd)


def refused_as_zstd(data: bytes, zstd: Sequence[Coding]) -> None:
    for size in (1, 1 << 20):
        with pytest.raises(UnsupportedMediaType, match=r"Content-Encoding zstd, but cannot be decoded: \w.{5}"):
            b"".join(decode(cut(data, size), zstd, MANY, TOO_LONG))


def test_where_neither_python_nor_the_system_has_it_zstd_is_415() -> None:
    program = """
import sys
sys.modules["compression.zstd"] = sys.modules["_ctypes"] = None
from llamaswap_lib.errors import UnsupportedMediaType
from llamaswap_lib.wire.content_coding import find_codings
try:
    find_codings(["zstd"])
except UnsupportedMediaType as refused:
    print(refused.message, refused.headers["Accept-Encoding"], sep="|")
"""
    command = (sys.executable, "-c", program)
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300).stdout
    message = "the Content-Encoding 'zstd' is not understood; send the body without one, or in gzip or deflate"
    assert said == f"{message}|gzip, deflate\n"


def test_a_library_that_is_too_old_is_as_good_as_none() -> None:
    program = """
import ctypes, sys
sys.modules["compression.zstd"] = None
ctypes.CDLL = lambda name: ctypes.PyDLL(None)  # a library without any function of Zstandard
from llamaswap_lib.wire.zstd import find_zstandard
print(find_zstandard())
"""
    command = (sys.executable, "-c", program)
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300).stdout
    assert said == "None\n"


@needs_zstd
def test_decompressors_that_are_given_up_in_the_middle_give_their_memory_back() -> None:
    before = resident_kb()
    for _ in range(400):
        pieces = decode([stored(bytes(1_000_000))], find_codings(["zstd"]), MANY, TOO_LONG)
        assert next(pieces)
    assert resident_kb() - before < 100_000


def resident_kb() -> int:
    with open("/proc/self/status") as status:  # noqa: PTH123 - a file of the system
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
