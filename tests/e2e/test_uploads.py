"""Large uploads, byte for byte: forms in bounded memory, and JSON in memory of its own size."""

from __future__ import annotations

import gzip
import http.client
import json
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.program import Program, demo, models, upstream
from tests.e2e.sdks import openai, openai_client
from tests.web.zstd_frames import compressed, needs_zstd, zeros

MIB = 1 << 20
PIECE = bytes(range(256)) * 4096  # 1 MiB
MULTIPART = "multipart/form-data; boundary=BB"
END = b'\r\n--BB\r\nContent-Disposition: form-data; name="model"\r\n\r\necho\r\n--BB--\r\n'
BEGIN = (
    b'--BB\r\nContent-Disposition: form-data; name="file"; filename="model"\r\nContent-Type: audio/wav\r\n'
    b'\r\nname="model"\r\n\r\nnone\r\n--B'
)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    filters = {"setParams": {"top_k": 5, "list.1": "new"}, "stripParams": "seed, list.-1, more.a"}
    filtered = {"cmd": upstream(), "useModelName": "real", "filters": filters}
    config = models(small=demo(), echo=upstream(), filtered=filtered)
    groups = {"all": {"swap": False, "members": ["small", "echo", "filtered"]}}
    with Program(tmp_path_factory.mktemp("uploads"), {**config, "groups": groups}) as running:
        yield running


def parts(count: int) -> Iterator[bytes]:
    """A form with `count` MiB in a file that looks like a form, then the model."""
    yield BEGIN
    for _ in range(count):
        yield PIECE
    yield END


def size_of(count: int) -> int:
    return len(BEGIN) + count * MIB + len(END)


def upload(program: Program, count: int, *, is_chunked: bool) -> dict[str, int]:
    """What the upstream tells of a form that it got."""
    connection = http.client.HTTPConnection("127.0.0.1", program.port, timeout=60)
    headers = {"Content-Type": MULTIPART, "X-Count": "1"}
    if not is_chunked:
        headers["Content-Length"] = str(size_of(count))
    try:
        connection.request("POST", "/v1/audio/transcriptions", parts(count), headers, encode_chunked=is_chunked)
        answer = connection.getresponse()
        told = answer.read()
        assert answer.status == 200, told
    finally:
        connection.close()
    counted = json.loads(told)
    assert isinstance(counted, dict)
    return counted


def expected(count: int) -> dict[str, int]:
    checksum = 0
    for part in parts(count):
        checksum = zlib.crc32(part, checksum)
    return {"size": size_of(count), "crc32": checksum}


def test_the_sdk_uploads_a_recording(program: Program) -> None:
    with openai_client(program.port) as client:
        recording = ("a recording.wav", PIECE * 5, "audio/wav")
        answer = client.audio.transcriptions.create(model="small", file=recording, language="de")
        assert answer.text == f"small heard {5 * MIB} bytes in a recording.wav."
        with pytest.raises(openai.NotFoundError):
            client.audio.transcriptions.create(model="none", file=recording)


@pytest.mark.parametrize("is_chunked", [False, True])
def test_the_model_is_found_after_a_file_of_5_mb_in_a_form(program: Program, is_chunked: bool) -> None:
    assert upload(program, 5, is_chunked=is_chunked) == expected(5)


def test_200_mb_pass_in_bounded_memory(program: Program) -> None:
    upload(program, 5, is_chunked=False)
    before = program.measure_peak()
    assert upload(program, 200, is_chunked=False) == expected(200)
    assert program.peak_resident_bytes() - before < 12 * MIB
    assert upload(program, 100, is_chunked=True) == expected(100)
    assert program.peak_resident_bytes() - before < 12 * MIB


@pytest.mark.parametrize("coding", ["gzip", "deflate", pytest.param("zstd", marks=needs_zstd)])
def test_an_encoded_upload_is_sent_on_decoded(program: Program, coding: str) -> None:
    encoders: dict[str, Callable[[bytes], bytes]] = {
        "gzip": gzip.compress,
        "deflate": zlib.compress,
        "zstd": compressed,
    }
    body = b"".join(parts(5))
    told = program.ask(
        *("POST", "/v1/audio/transcriptions", encoders[coding](body)),
        content_type=MULTIPART,
        content_encoding=coding,
        x_count="1",
    )
    assert (told.status, told.json()) == (200, expected(5))


@needs_zstd
def test_what_comes_out_of_little_is_sent_on_or_refused_in_bounded_memory(program: Program) -> None:
    before = program.measure_peak()
    size = 200 * MIB
    for coding, encoded in (("zstd", zeros(size)), ("gzip", b"".join(gzipped_zeros(size)))):
        form = program.ask(
            *("POST", "/v1/audio/transcriptions?model=echo", encoded),
            content_type="application/octet-stream",
            content_encoding=coding,
            x_count="1",
        )
        assert form.status == 200
        assert size <= form.json()["size"] <= size + MIB
        too_long = program.ask(
            *("POST", "/v1/chat/completions", encoded), content_type="application/json", content_encoding=coding
        )
        assert too_long.status == 413
        assert "a JSON body may have 134217728 bytes at most" in too_long.message
    assert program.peak_resident_bytes() - before < 12 * MIB


def gzipped_zeros(size_bytes: int) -> Iterator[bytes]:
    encoder = zlib.compressobj(9, wbits=31)
    for _ in range(size_bytes // MIB):
        yield encoder.compress(bytes(MIB))
    yield encoder.flush()


@pytest.mark.parametrize("unit", [b"0,", b"[],", b'"\\u00e9 ",'])
def test_many_small_values_are_filtered_beside_other_requests_in_memory_of_their_size(
    program: Program, unit: bytes
) -> None:
    """As Python objects the body would take 20 times its size."""
    ready = program.post("/v1/chat/completions", {"model": "filtered"}, x_count="1")
    assert ready.status == 200
    many = unit * (6 * MIB // len(unit))
    body = b'{"list":[%b1],"seed" : 7, "model":"filtered","more":{"a":[%b0],"b":[%b0]}}' % (
        many[: 4 * len(unit)],
        many,
        many,
    )
    first, second = unit.rstrip(b","), many[2 * len(unit) : 4 * len(unit)]
    wanted = b'{"list":[%b,"new",%b], "model":"real","more":{"b":[%b0]},"top_k":5}' % (first, second.rstrip(b","), many)
    before, served = program.measure_peak(), 0
    with ThreadPoolExecutor(1) as others:
        asked = others.submit(
            program.ask,
            *("POST", "/v1/chat/completions", body),
            content_type="application/json",
            x_count="1",
        )
        while not asked.done():
            assert program.get("/health").status == 200
            served += 1
    told = asked.result()
    assert told.status == 200, told.body
    assert json.loads(told.body) == {"size": len(wanted), "crc32": zlib.crc32(wanted)}
    assert served
    assert program.peak_resident_bytes() - before < 2 * len(body)
