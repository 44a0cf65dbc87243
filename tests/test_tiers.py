"""The three tiers of the tests: the quick part that `pytest` alone runs, what CI runs, and the steps of `.ci/long`."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tools.long_checks import STEPS, Ended, Plan, Result, found_pythons, main, perform

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
SLOW = "test_each_mutant_is_noticed"  # of tests/core/test_mutants.py
QUICK = "test_each_promise_has_mutants"


def collected(*arguments: str) -> str:
    """What pytest would run, if the folder of the core were all that there is."""
    argv = (sys.executable, "-m", "pytest", "--collect-only", "-q", "-o", "testpaths=tests/core", *arguments)
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True).stdout


@pytest.mark.slow
def test_pytest_alone_leaves_out_what_is_slow() -> None:
    told = collected()
    assert QUICK in told
    assert SLOW not in told


@pytest.mark.slow
@pytest.mark.parametrize(
    "named", [("tests/core",), ("tests/core/test_mutants.py",), ("-k", "mutant"), ("-m", "slow or not slow")]
)
def test_what_is_named_runs_whole(named: tuple[str, ...]) -> None:
    told = collected(*named)
    assert QUICK in told
    assert SLOW in told


@pytest.mark.slow
def test_of_the_end_to_end_tests_pytest_alone_runs_those_of_smoke() -> None:
    told = collected("-o", "testpaths=tests/e2e")
    assert {line.partition("::")[0] for line in told.splitlines() if "::" in line} == {"tests/e2e/test_smoke.py"}


@pytest.mark.slow
def test_processes_of_xdist_leave_out_the_same(tmp_path: Path) -> None:
    """Only a run shows what they do; it is one of tests that do nothing, beside the rules of ours."""
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "test_it.py").write_text(
        "import pytest\n\ndef test_quick(worker_id):\n    assert worker_id == 'gw0'\n\n"
        "@pytest.mark.slow\ndef test_slow():\n    assert False\n"
    )
    argv = (sys.executable, "-m", "pytest", "-q", "-n", "1", "-c", str(ROOT / "pyproject.toml"), "--rootdir", ".")
    alone = (*argv, "-o", "testpaths=.", "-p", "no:cacheprovider")
    for named, passed in ((), True), (("test_it.py",), False):
        ended = subprocess.run((*alone, *named), cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
        assert "1 passed" in ended.stdout, ended.stdout
        assert (ended.returncode == 0) == passed, ended.stdout


def test_ci_runs_the_command_of_the_readme() -> None:
    [command] = re.findall(r"^    .*&& (\S+ -m pytest .*)$", README, re.MULTILINE)
    for place in (".ci/run", "docs/CONTRIBUTING.md"):
        assert command in (ROOT / place).read_text().splitlines(), place


def test_the_readme_names_the_three_tiers() -> None:
    section = README.partition("\n## Development\n")[2]
    for words in ("`pytest` alone", "within a minute", "`.ci/run`", "25 minutes", "`.ci/long`", "hours"):
        assert words in section
    named = re.findall(r"`\.ci/long ([a-z -]+)`", section)
    assert {word for words in named for word in words.split()} <= {"--list", *(name for name, _ in STEPS)}


def test_a_step_that_fails_does_not_stop_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    def raising(_: Plan) -> Iterator[Result]:
        yield Result(True, "begun")
        raise ValueError("no such thing")

    def failing(_: Plan) -> Iterator[Result]:
        yield Result(False, "3 lost")
        yield Result(True, "4 found")

    def working(plan: Plan) -> Iterator[Result]:
        yield Result(True, f"{plan.count(20)} done")

    steps = (("raising", raising), ("failing", failing), ("working", working))
    assert perform(steps, Plan(seed=1, scale=0.1)) == 1
    told = capsys.readouterr().out.partition("== figures\n")[2].splitlines()
    assert [re.sub(r" +\d+\.\d min", "", line) for line in told] == [
        "raising     FAILED: begun | ValueError: no such thing",
        "failing     FAILED: 3 lost | 4 found",
        "working     ok: 2 done",
    ]
    assert perform(steps[2:], Plan(seed=1)) == 0


def test_what_fails_now_and_then_is_named_with_how_often() -> None:
    runs = iter(
        (
            Ended(1, "FAILED tests/a.py::test_x - 1 == 2\nFAILED tests/b.py::test_y[z] - lost\n2 failed", 60.0, 100.0),
            Ended(0, "2 passed", 70.0, 102.0),
            Ended(1, "FAILED tests/a.py::test_x - 1 == 2\n1 failed, 1 passed", 80.0, 101.0),
        )
    )

    class Replayed(Plan):
        def run(self, *words: str, env: Mapping[str, str] | None = None) -> Ended:
            assert words[-3:] == ("-n", "auto", "tests")
            return next(runs)

    [result] = dict(STEPS)["everything"](Replayed(seed=1))
    assert not result.is_good
    assert result.figures.startswith("3 runs of 60 to 80 s, median 70, of CPU 101, 2 failed, ")
    assert result.figures.endswith(", tests/a.py::test_x 2 times, tests/b.py::test_y[z] 1 times")


def test_steps_are_listed_with_what_they_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [name for name, _ in STEPS]
    assert all(len(line.split()) > 4 for line in lines)
    with pytest.raises(SystemExit):
        main(["fuzz", "no-such-step"])
    assert "no step no-such-step" in capsys.readouterr().err


@pytest.mark.slow
def test_each_python_of_this_machine_is_found_once() -> None:
    found = found_pythons(Plan(seed=1))
    ours = ".".join(map(str, sys.version_info[:3]))
    assert len({python.version for python in found}) == len(found)
    assert all(python.key >= (3, 10) for python in found)
    assert found_pythons(Plan(seed=1, pythons=["2."])) == []
    assert ours in {python.version for python in found} or not found
