"""What our own machine refuses us is told to the client and to the log, and never taken for a client that left."""

from __future__ import annotations

import errno
import json
import os
import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llamaswap_lib.errors import HttpError, InsufficientStorage, MachineFault, OutOfResources, fault_of
from tests.web.world import OK, World, answers, chat, get

BIG = b'{"model":"m","x":"' + b"a" * 6_000_000 + b'"}'
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def chunked(body: bytes, piece_bytes: int = 50_000) -> bytes:
    pieces = [body[at : at + piece_bytes] for at in range(0, len(body), piece_bytes)]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"


@contextmanager
def lowered(limit: int, to: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(limit)
    resource.setrlimit(limit, (to, hard))
    try:
        yield
    finally:
        resource.setrlimit(limit, (soft, hard))


def lowest_free_descriptor() -> int:
    descriptor = os.dup(0)
    os.close(descriptor)
    return descriptor


@contextmanager
def no_temporary_folder() -> Iterator[None]:
    """As where /tmp and all that stands for it are missing or full of rights that we lack."""
    before, tempfile.tempdir = tempfile.tempdir, "/nowhere/at/all"
    try:
        yield
    finally:
        tempfile.tempdir = before


@pytest.mark.parametrize("request_", [chat(BIG), chunked(BIG)], ids=["with-a-length", "chunked"])
def test_a_body_for_which_there_is_no_room_is_answered_and_the_log_says_why(request_: bytes) -> None:
    with World(answers(OK)) as world:
        with world.connect() as client, lowered(resource.RLIMIT_FSIZE, 2_000_000):
            client.send(request_)  # all of it, as most clients do before they read
            head, body = client.read_message()
        assert head.startswith(b"HTTP/1.1 507"), head
        error = json.loads(body)["error"]
        assert error["code"] == "insufficient_storage"
        assert error["message"].endswith(os.strerror(errno.EFBIG))
        assert world.log.count("[WARN]") == 1
        assert f"stored in {tempfile.gettempdir()}: {os.strerror(errno.EFBIG)}" in world.log
        assert world.ask(chat())[1] == b"ok"


def test_a_body_that_nowhere_may_be_put_is_answered_and_small_ones_go_on() -> None:
    with World(answers(OK)) as world, no_temporary_folder():
        with world.connect() as client:
            client.send(chat(BIG))
            head, body = client.read_message()
        assert head.startswith(b"HTTP/1.1 500"), head
        assert os.strerror(errno.ENOENT) in json.loads(body)["error"]["message"]
        assert "/nowhere/at/all" in world.log
        assert world.ask(chat())[1] == b"ok"


@pytest.mark.parametrize("size", [10, 2_000_000], ids=["for-the-upstream", "for-the-file"])
def test_a_request_for_which_no_descriptor_is_left_is_told_so(size: int) -> None:
    body = b'{"model":"m","x":"' + b"a" * size + b'"}'
    with World(answers(OK)) as world, world.connect() as client:
        client.send(get("/health"))
        client.read_message()
        with lowered(resource.RLIMIT_NOFILE, lowest_free_descriptor()):
            client.send(chat(body))
            head, answer = client.read_message()
            assert head.startswith(b"HTTP/1.1 503"), head
            assert json.loads(answer)["error"]["code"] == "out_of_resources"
            assert os.strerror(errno.EMFILE) in world.log


def test_a_client_that_leaves_within_its_body_is_no_fault_of_ours() -> None:
    with World(answers(OK)) as world:
        with world.connect() as client:
            client.send(chat(BIG)[:3_000_000])
        world.wait_for_log("POST /v1/chat/completions")
        assert "[WARN]" not in world.log
        assert "[ERROR]" not in world.log


@pytest.mark.parametrize(
    ("number", "kind", "status"),
    [
        (errno.ENOSPC, InsufficientStorage, 507),
        (errno.EDQUOT, InsufficientStorage, 507),
        (errno.EFBIG, InsufficientStorage, 507),
        (errno.EMFILE, OutOfResources, 503),
        (errno.ENFILE, OutOfResources, 503),
        (errno.EIO, MachineFault, 500),
        (errno.EACCES, MachineFault, 500),
    ],
)
def test_the_status_says_whether_there_is_no_room_or_nothing_left_or_something_broken(
    number: int, kind: type[HttpError], status: int
) -> None:
    fault = fault_of(OSError(number, os.strerror(number)), "it cannot be done")
    assert (type(fault), fault.status) == (kind, status)
    assert fault.message == f"it cannot be done: {os.strerror(number)}"


def test_files_of_bodies_are_gone_when_the_request_is(tmp_path: Path) -> None:
    before, tempfile.tempdir = tempfile.tempdir, str(tmp_path)
    try:
        with World(answers(OK)) as world, lowered(resource.RLIMIT_FSIZE, 2_000_000), world.connect() as client:
            client.send(chat(BIG))
            client.read_message()
    finally:
        tempfile.tempdir = before
    assert not list(tmp_path.iterdir())
