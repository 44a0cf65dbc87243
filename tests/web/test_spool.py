"""What clients have still to read of answers: its order, its bounds, its file, and who is told that somebody waits."""

from __future__ import annotations

import os
import random
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from llamaswap_lib.net.loop import Loop
from llamaswap_lib.net.spool import ALL_MEMORY_BYTES, MEMORY_BYTES, Spool, Spools
from tests.batches import batches
from tests.shortage import no_descriptor_left

MB = 1 << 20
PIECE = 65_536
SLOW = "its client reads slowly while others wait for the model: "  # what each line of the log begins with


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    loop.start()
    yield loop
    loop.stop()


@pytest.fixture
def spools(loop: Loop) -> Spools:
    return Spools(loop)


def new_spool(
    spools: Spools, told: list[str] | None = None, all_mb: int = 64, stream_bytes: int | None = None
) -> Spool:
    return Spool(spools, 1, ([] if told is None else told).append, all_mb * MB, stream_bytes)


def taken(spool: Spool) -> bytes:
    """All that it holds."""
    pieces = []
    while piece := spool.take():
        pieces.append(piece)
    return b"".join(pieces)


@contextmanager
def disk_of(size_bytes: int) -> Iterator[None]:
    """No file may be longer: EFBIG stands in for ENOSPC."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("seed", batches(20))
def test_bytes_come_out_in_their_order_however_they_are_put_in_and_taken(spools: Spools, seed: int) -> None:
    dice, spool = random.Random(seed), new_spool(spools, all_mb=16)
    source = dice.randbytes(MB) * 24
    got, at_bytes = bytearray(), 0
    while at_bytes < len(source):
        for _ in range(dice.randrange(80)):
            if spool.has_room():
                size_bytes = dice.randrange(1, PIECE)
                spool.append(source[at_bytes : at_bytes + size_bytes])
                at_bytes = min(len(source), at_bytes + size_bytes)
        for _ in range(dice.randrange(80)):
            got += spool.take()
        assert spool.size_bytes == at_bytes - len(got)
    got += taken(spool)
    assert got == source
    assert (spool.size_bytes, spools.size_bytes, spools.memory_bytes) == (0, 0, 0)
    spool.close()


def test_what_is_put_back_comes_first(spools: Spools) -> None:
    spool = new_spool(spools)
    spool.append(b"second")
    spool.append(b"")
    spool.append(b"third")
    spool.put_back(b"first")
    assert [spool.take() for _ in range(4)] == [b"first", b"second", b"third", b""]
    spool.close()


def test_one_answer_may_have_a_fourth_of_what_all_may_have_and_the_log_is_told_once(spools: Spools) -> None:
    told: list[str] = []
    spool = new_spool(spools, told, all_mb=16)
    while spool.has_room():
        spool.append(b"x" * PIECE)
    assert spool.size_bytes == 4 * MB
    assert not spool.has_room()
    assert told == [f"{SLOW}4 MB of its answer are stored, which is the limit (limits.spoolMB)"]
    spool.take()
    assert spool.has_room()
    spool.close()


def test_a_stream_of_events_may_have_less(spools: Spools) -> None:
    told: list[str] = []
    spool = new_spool(spools, told, stream_bytes=MB)
    while spool.has_room():
        spool.append(b"x" * PIECE)
    assert spool.size_bytes == MB
    assert "1 MB of its event stream are stored" in told[0]
    spool.close()


def test_all_answers_share_one_bound_and_give_their_part_back(spools: Spools) -> None:
    told: list[str] = []
    all_spools = [new_spool(spools, told, all_mb=8) for _ in range(5)]
    for spool in all_spools:
        while spool.has_room():
            spool.append(b"x" * PIECE)
    assert spools.size_bytes == 8 * MB
    assert all_spools[4].size_bytes == 0
    assert "8 MB of all answers are stored" in told[-1]
    all_spools[0].close()
    assert all_spools[4].has_room()
    for spool in all_spools:
        spool.close()
        spool.close()
    assert (spools.size_bytes, spools.memory_bytes) == (0, 0)


def test_memory_has_a_bound_for_one_answer_and_one_for_all(spools: Spools) -> None:
    all_spools = [new_spool(spools, all_mb=256) for _ in range(20)]
    for spool in all_spools:
        for _ in range(2 * MB // PIECE):
            spool.append(b"x" * PIECE)
        assert spool._memory_bytes <= MEMORY_BYTES
    assert spools.size_bytes == 40 * MB
    assert spools.memory_bytes <= ALL_MEMORY_BYTES
    for spool in all_spools:
        spool.close()


def test_its_file_is_for_its_owner_alone_has_no_name_and_stays_within_the_bound(spools: Spools) -> None:
    spool = new_spool(spools, all_mb=16)
    for _ in range(10):
        while spool.has_room():
            spool.append(b"x" * PIECE)
        for _ in range(30):
            spool.take()
    assert spool._file is not None
    status = os.fstat(spool._file.fileno())
    assert (stat.S_IMODE(status.st_mode), status.st_nlink) == (0o600, 0)
    assert status.st_size <= 5 * MB
    spool.close()


def test_on_a_full_disk_nothing_is_lost_and_there_is_no_room_from_then_on(spools: Spools) -> None:
    told: list[str] = []
    spool, source = new_spool(spools, told), random.Random(1).randbytes(8 * MB)
    at_bytes = 0
    with disk_of(MB):
        while spool.has_room():
            spool.append(source[at_bytes : at_bytes + PIECE])
            at_bytes += PIECE
    assert 2 * MB <= at_bytes < 3 * MB
    assert "the answer cannot be stored" in told[0]
    assert "File too large" in told[0]
    assert taken(spool) == source[:at_bytes]
    assert not spool.has_room()
    assert len(told) == 1
    spool.close()


def test_without_a_descriptor_nothing_is_lost(spools: Spools) -> None:
    told: list[str] = []
    spool = new_spool(spools, told)
    count = 0
    with no_descriptor_left():
        while spool.has_room():
            spool.append(b"%016d" % count * (PIECE // 16))
            count += 1
    assert "Too many open files" in told[0]
    assert taken(spool) == b"".join([b"%016d" % number * (PIECE // 16) for number in range(count)])
    spool.close()


def test_those_who_listen_are_told_when_somebody_begins_to_wait_for_their_run_and_when_that_ends(
    loop: Loop, spools: Spools
) -> None:
    told: list[str] = []

    def tell_first() -> None:
        told.append("first")

    def tell_second() -> None:
        told.append("second")

    def note(*run_ids: int) -> list[str]:
        told.clear()
        spools.note_awaited(frozenset(run_ids))
        loop.ask(lambda: None)
        loop.ask(lambda: None)  # behind what the first turn has asked for
        return sorted(told)

    loop.ask(lambda: spools.listen(1, tell_first))
    loop.ask(lambda: spools.listen(2, tell_second))
    assert note(1) == ["first"]
    assert note(1, 2, 3) == ["second"]
    assert note(2) == ["first"]
    loop.ask(lambda: spools.forget(2, tell_second))
    assert note() == []
    loop.ask(lambda: spools.forget(1, tell_first))
    assert note(1) == []
    assert new_spool(spools).is_awaited
