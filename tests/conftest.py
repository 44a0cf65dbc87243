"""What every test is held to: it leaves no thread, no child process and no descriptor behind."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# The time of one example says more about the machine than about the code; a slow CI is no failure.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")

_GRACE = 3.0  # a thread that was told to end may need a moment
_PROC = Path("/proc")
_DESCRIPTORS = Path("/proc/self/fd") if Path("/proc/self/fd").exists() else Path("/dev/fd")


@pytest.fixture(autouse=True)
def _nothing_leaks() -> Iterator[None]:
    """Fail the test that leaves more than it found.

    What fixtures of a wider scope made before the test is found, not left. Threads that Python did not start (those of
    xdist) are nobody's here.
    """
    found = _belongings()
    yield
    deadline = time.monotonic() + _GRACE
    while left := _belongings() - found:
        if time.monotonic() > deadline:
            pytest.fail("left behind: " + "; ".join(sorted(left)), pytrace=False)
        gc.collect()  # a caught exception's traceback is a cycle that holds on to locals, which is no leak
        threading.Event().wait(0.01)


def _belongings() -> set[str]:
    return _threads() | _children() | _descriptors()


def _threads() -> set[str]:
    started_by_python = (thread for thread in threading.enumerate() if not thread.name.startswith("Dummy-"))
    return {f"thread {thread.name} ({thread.ident})" for thread in started_by_python}


def _children() -> set[str]:
    """Children that run and zombies that nobody collected; without /proc nobody tells."""
    ours = str(os.getpid()).encode()
    children: set[str] = set()
    if not _PROC.exists() or not _has_children():
        return children
    names = os.listdir(_PROC)  # noqa: PTH208 - `glob` looks at what has ended, and raises
    for pid in filter(str.isdigit, names):
        try:
            name, fields = (_PROC / pid / "stat").read_bytes().rsplit(b")", 1)
        except OSError:
            continue  # it ended meanwhile
        if fields.split()[1] == ours:
            children.add(f"child {name.decode(errors='replace')})")
    return children


def _has_children() -> bool:
    """Of any state. One system call, where a look through all processes takes milliseconds for each test."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _descriptors() -> set[str]:
    descriptors = set()
    for descriptor in list(_DESCRIPTORS.iterdir()):
        try:
            target = descriptor.readlink() if _DESCRIPTORS.is_relative_to("/proc") else ""
            os.fstat(int(descriptor.name))
        except OSError:
            continue  # the listing's own
        descriptors.add(f"descriptor {descriptor.name} {target}")
    return descriptors
