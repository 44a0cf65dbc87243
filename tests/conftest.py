"""Which tests run, and what each is held to: it leaves no thread, no child process and no descriptor behind.

`pytest` alone is what a developer runs between two edits: all but what is marked `slow`, and of the end-to-end tests
`tests/e2e/test_smoke.py`, on all cores. What is named on the command line, be it a folder, a file, a test, `-k`, `-m`
or `--lf`, runs whole, slow or not: `pytest tests` is every test.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# How long examples take says more about the machine than about the code; a slow CI is no failure. They are the same
# each time: what is random, `.ci/long` looks for.
_ANY_SPEED = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("tests", _ANY_SPEED, derandomize=True, max_examples=50)
hypothesis.settings.register_profile("quick", _ANY_SPEED, derandomize=True, max_examples=10)
hypothesis.settings.register_profile("long", _ANY_SPEED, derandomize=False, max_examples=5_000)
hypothesis.settings.load_profile("tests")

_MOST_QUICK_CASES = 4  # of one test in the quick part: each costs milliseconds, and there are thousands
_PROC = Path("/proc")
_TESTS = Path(__file__).parent
_END_TO_END = _TESTS / "e2e"
_COMMANDS = _TESTS / "commands"
_PAGE = _TESTS / "ui"
_SDKS = _TESTS / "fleet" / "test_long_waits_sdks.py"
_SMOKE = _END_TO_END / "test_smoke.py"
_HAS_TARGETS = Path("/proc/self/fd").exists()
_DESCRIPTORS = "/proc/self/fd" if _HAS_TARGETS else "/dev/fd"


def pytest_addoption(parser: pytest.Parser) -> None:
    told = "seconds for what a test has told to end: a thread may need a moment, of a busy machine a long one"
    parser.addini("grace", told, default="15")


@pytest.hookimpl(tryfirst=True)  # before xdist reads how many processes are wanted
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Decide once, in the process that was started; those of xdist are told what was decided."""
    if os.getpid() == 1:
        _go_on_in_a_child()
    option = config.option
    if hasattr(config, "workerinput"):
        option.is_quick_part = config.workerinput["is_quick_part"]
        return
    is_named = config.args_source == config.ArgsSource.ARGS or option.keyword or option.markexpr
    is_named = is_named or getattr(option, "lf", False)  # an option of a plugin that may be switched off
    option.is_quick_part = not is_named
    is_watched = option.usepdb or option.capture == "no" or option.collectonly
    if option.is_quick_part and not is_watched and getattr(option, "numprocesses", 0) is None:
        option.numprocesses = config.hook.pytest_xdist_auto_num_workers(config=config)
    if getattr(option, "numprocesses", None) and option.dist == "no":  # not asked for by name
        option.dist = "worksteal"  # else one process runs the last of the slow tests alone, for minutes


@pytest.hookimpl(wrapper=True, optionalhook=True)  # of xdist
def pytest_xdist_auto_num_workers(config: pytest.Config) -> Generator[None, int, int]:
    """Of `-n auto`, and of the quick part: more than there are cores, for the tests wait more than they compute.

    Each reads all tests first, which takes 2 s of processor time in the quick part, and otherwise 4.
    """
    cores = yield
    return cores + (2 if config.option.is_quick_part else 4)


def _go_on_in_a_child() -> None:
    """Be the init of a container that has none: orphans of the tests come to process 1, which has to collect them.

    Only the child returns.
    """
    tests = os.fork()
    if not tests:
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: os.kill(tests, number))
    while True:
        pid, status = os.wait()
        if pid == tests:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


@pytest.hookimpl(optionalhook=True)  # of xdist
def pytest_configure_node(node: Any) -> None:
    node.workerinput["is_quick_part"] = node.config.option.is_quick_part


def pytest_configure(config: pytest.Config) -> None:
    """The quick part tries fewer examples of each property.

    What `nohup` or a script's background made us ignore, every program under test would ignore too.

    A handler that does nothing is as good to us, and a program that is started does not inherit it.

    Hundreds of programs are started, each of which would compile the package anew where nothing compiled is kept.
    """
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if config.option.is_quick_part and not getattr(config.option, "hypothesis_profile", None):
        hypothesis.settings.load_profile("quick")
    for number in (signal.SIGHUP, signal.SIGINT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Other end-to-end tests are not even read by the quick part: SDKs that some import take seconds, and browsers.

    Each process of xdist reads all the others, and so would import them.
    """
    is_end_to_end = collection_path.parent == _END_TO_END and collection_path.name.startswith("test_")
    is_left_out = collection_path in (_COMMANDS, _PAGE, _SDKS) or (is_end_to_end and collection_path != _SMOKE)
    return True if config.option.is_quick_part and is_left_out else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.option.is_quick_part:
        quick = set(_quick_part(items))
        config.hook.pytest_deselected(items=[item for item in items if item not in quick])
        items[:] = [item for item in items if item in quick]


def _quick_part(items: Sequence[pytest.Item]) -> Iterator[pytest.Item]:
    """All that is not slow, but of a test with many cases the first, the last and some between them.

    Those beside this file have a case for each page or file of ours, any of which may have been edited.
    """
    tests: dict[tuple[pytest.Collector | None, str], list[pytest.Item]] = {}
    for item in items:
        if not item.get_closest_marker("slow"):
            tests.setdefault((item.parent, getattr(item, "originalname", item.name)), []).append(item)
    for cases in tests.values():
        count = len(cases) if cases[0].path.parent == _TESTS else min(len(cases), _MOST_QUICK_CASES)
        yield from (cases[number * (len(cases) - 1) // max(1, count - 1)] for number in range(count))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected stays until the end: no search for garbage goes through it, then or later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(autouse=True)
def _nothing_leaks(pytestconfig: pytest.Config) -> Iterator[None]:
    """Fail the test that leaves more than it found.

    What fixtures of a wider scope made before the test is found, not left. Threads that Python did not start (those of
    xdist) are nobody's here.
    """
    found = _belongings()
    yield
    deadline = time.monotonic() + float(pytestconfig.getini("grace"))
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
    for name in os.listdir(_DESCRIPTORS):  # noqa: PTH208 - before and after each test: a Path for each costs ten times more
        try:
            if _HAS_TARGETS:
                target = os.readlink(f"{_DESCRIPTORS}/{name}")  # noqa: PTH115
            else:
                target = ""
                os.fstat(int(name))
        except OSError:
            continue  # the listing's own
        descriptors.add(f"descriptor {name} {target}")
    return descriptors
