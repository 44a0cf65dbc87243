"""What the allocator reserves for the threads of a process, and what it gives back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.shortage import HAS_ARENAS, count_arenas

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import resource, sys, threading
from llamaswap_lib.runtime.heap import share_arena

resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]), resource.RLIM_INFINITY))
share_arena()
held, all_hold = [], threading.Barrier(5)

def hold():
    held.append(bytes(5_000))
    all_hold.wait(30)

threads = [threading.Thread(target=hold) for _ in range(4)]
for thread in threads:
    thread.start()
all_hold.wait(30)
print(open("/proc/self/smaps").read())
"""

RUSH = """
from llamaswap_lib.runtime.heap import give_back

def resident_kb():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))

give_back()  # imports what it needs
before = resident_kb()
blocks = [bytes([1]) * 50_000 for _ in range(400)]
kept = blocks[::20]  # the last one too, so that nothing is free at the end
kept.append(bytes([1]) * 50_000)
at_most = resident_kb()
del blocks
give_back()
print(at_most - before, resident_kb() - before)
"""


def reserved_arenas(address_space_bytes: int) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(address_space_bytes)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return count_arenas(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not HAS_ARENAS, reason="arenas of glibc")
@pytest.mark.parametrize("address_space_bytes", [4 << 30, -1])
def test_threads_share_one_arena(address_space_bytes: int) -> None:
    assert reserved_arenas(address_space_bytes) == 0


@pytest.mark.skipif(not HAS_ARENAS, reason="memory of glibc")
def test_what_is_free_in_the_middle_is_given_back() -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUSH], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    at_most, after = map(int, done.stdout.split())
    assert at_most > 15_000
    assert after < at_most / 4
