"""Large uploads, byte for byte: forms in bounded memory, and JSON in memory of its own size."""

from __future__ import annotations

import http.client
import json
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.program import Program, demo, models, upstream
from tests.e2e.sdks import openai, openai_client

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
def test_the_model_is_found_behind_a_file_of_5_mb(program: Program, is_chunked: bool) -> None:
    assert upload(program, 5, is_chunked=is_chunked) == expected(5)


def test_200_mb_pass_in_bounded_memory(program: Program) -> None:
    upload(program, 5, is_chunked=False)
    before = program.resident_bytes()
    assert upload(program, 200, is_chunked=False) == expected(200)
    assert program.peak_resident_bytes() - before < 12 * MIB
    assert upload(program, 100, is_chunked=True) == expected(100)
    assert program.peak_resident_bytes() - before < 12 * MIB


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
    before, served = program.resident_bytes(), 0
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
    assert served > 5
    assert program.peak_resident_bytes() - before < 2 * len(body)
