"""The checks that take hours: `.ci/long [STEP ...]`, all of them in order without a name.

Each step runs commands of its own, goes on after one that fails, and comes to one line of figures; the lines are
printed once more at the end, and the exit code is 1 if any step failed. What is random follows `--seed`, which is told,
so that a failure can be made again.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "long"  # which git ignores
QUICK_PART_SECONDS = 60.0  # at most, on two cores
END_SECONDS = 60.0  # for a command that is to end because we are
OLDEST = (3, 10)
PYTEST = (sys.executable, "-m", "pytest", "-q")
BENCHMARKS: tuple[tuple[str, ...], ...] = (
    ("table",), ("matrix",), ("swap",), ("swap_llama",), ("slow_readers", "--seconds", "120"), ("store",),
    ("questions",), ("listeners",), ("activity",), ("looks",), ("hop",), ("spreading",),
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """What one command of a step came to."""

    is_good: bool
    figures: str


@dataclass(frozen=True)
class Ended:
    """A command that has ended, and what it said."""

    code: int
    output: str
    seconds: float
    cpu_seconds: float  # of it and its children, which tell more than `seconds` on a machine that others use

    @property
    def last_line(self) -> str:
        return ([line.strip() for line in self.output.splitlines() if line.strip()] or ["said nothing"])[-1]

    def failed_tests(self) -> list[str]:
        return re.findall(r"^(?:FAILED|ERROR) (\S+)", self.output, re.MULTILINE)


@dataclass(frozen=True)
class Plan:
    """How much is done, and with what."""

    seed: int
    scale: float = 1.0
    pythons: Sequence[str] = ()  # beginnings of versions; none stands for all
    paths: Sequence[str] = ("tests/e2e",)  # what every Python has to pass, of the end-to-end tests

    def count(self, whole: int) -> int:
        return max(1, round(whole * self.scale))

    def run(self, *words: str, env: Mapping[str, str] | None = None) -> Ended:
        """Run it in the root of the clone, and show what it says as it says it.

        It gets a session of its own, with all that it starts, and ends when we are ended.
        """
        print(f"$ {shlex.join(words)}", flush=True)
        begun, worked, said = time.monotonic(), children_cpu_seconds(), []
        with subprocess.Popen(
            words, cwd=ROOT, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
        ) as process:  # fmt: skip
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    said.append(line)
                    print(line, end="", flush=True)
            except BaseException:
                os.killpg(process.pid, signal.SIGINT)  # on which pytest ends what its tests have started
                try:
                    process.wait(END_SECONDS)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                raise
        seconds, cpu_seconds = time.monotonic() - begun, children_cpu_seconds() - worked
        return Ended(process.returncode, "".join(said), seconds, cpu_seconds)


def children_cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def tested(label: str, ended: Ended) -> Result:
    """Of a run of pytest."""
    failed = "".join(f", {name}" for name in ended.failed_tests())
    return Result(ended.code == 0, f"{label}{ended.last_line.strip('= ')}{failed}")


def said(ended: Ended, pattern: str) -> Result:
    """Of a run that says its figures in lines of its own."""
    lines = re.findall(pattern, ended.output, re.MULTILINE)
    return Result(ended.code == 0, "; ".join(lines) or ended.last_line)


# -- the steps --


def repeated(plan: Plan, count: int, *words: str) -> tuple[Result, list[float]]:
    """The same tests so many times in a row, with what failed by name and how often; the seconds of each run."""
    runs = [plan.run(*PYTEST, *words) for _ in range(count)]
    seconds = [run.seconds for run in runs]
    failed = Counter(name for run in runs for name in run.failed_tests())
    unsound = sum(run.code != 0 for run in runs)
    told = "".join(f", {name} {times} times" for name, times in failed.most_common())
    work = median(run.cpu_seconds for run in runs)
    spread = f"{min(seconds):.0f} to {max(seconds):.0f} s, median {median(seconds):.0f}, of CPU {work:.0f}"
    return Result(not unsound, f"{len(runs)} runs of {spread}, {unsound} failed{told}"), seconds


def inner_loop(plan: Plan) -> Iterator[Result]:
    """`pytest` alone, 20 times in a row: no test fails now and then, and the fastest run takes a minute at most"""
    result, seconds = repeated(plan, plan.count(20))
    yield result
    if min(seconds) > QUICK_PART_SECONDS:
        yield Result(False, f"even the fastest took more than {QUICK_PART_SECONDS:.0f} s")


def everything(plan: Plan) -> Iterator[Result]:
    """Every test, three times in a row: none fails now and then"""
    yield repeated(plan, plan.count(3), "-n", "auto", "tests")[0]


def simulation(plan: Plan) -> Iterator[Result]:
    """Thousands of random worlds for the scheduler, of each flavour"""
    script = "tests/core/simulation.py"
    known = re.search(r"--flavour \{(.*?)\}", plan.run(sys.executable, script, "-h").output.replace("\n", ""))
    assert known is not None, f"{script} -h does not name its flavours"
    flavours = re.sub(r"\s", "", known[1]).split(",")
    asked = plan.count(5_000)
    words = ("--worlds", str(asked), "--seed", str(plan.seed), "--keep-going")
    broken, longest, is_good = 0, 0, True
    for flavour in flavours:
        ended = plan.run(sys.executable, script, *words, "--flavour", flavour)
        is_good = is_good and ended.code == 0
        figures = re.search(r"(\d+) broken, longest wait (\d+)%", ended.last_line)
        assert figures is not None, f"{flavour or 'any flavour'}: {ended.last_line}"
        broken, longest = broken + int(figures[1]), max(longest, int(figures[2]))
    told = f"{asked} worlds of each of {len(flavours)} flavours, {broken} broken"
    yield Result(is_good, f"{told}, longest wait {longest}% of the bound")


def fuzz(plan: Plan) -> Iterator[Result]:
    """Millions of broken inputs for the parsers, and thousands for a live server"""
    for script, inputs in (("fuzz_wire.py", 2_000_000), ("fuzz_live.py", 50_000)):
        words = ("--inputs", str(plan.count(inputs)), "--seed", str(plan.seed))
        ended = plan.run(sys.executable, f"tests/web/{script}", *words)
        yield Result(ended.code == 0, f"{script}: {ended.last_line}")


def examples(plan: Plan) -> Iterator[Result]:
    """The tests by examples of Hypothesis, with a hundred times as many as in CI"""
    words = ("-n", "auto", "-m", "hypothesis", "--hypothesis-profile=long", f"--hypothesis-seed={plan.seed}", "tests")
    yield tested("", plan.run(*PYTEST, *words))


def values(plan: Plan) -> Iterator[Result]:
    """Every wrong value at every place of a configuration, alone"""
    words = ("-n", "auto", "tests/config/test_wrong_values.py")
    yield tested("", plan.run(*PYTEST, *words, env={"LLAMASWAP_WRONG_VALUES": "all"}))


def soak(plan: Plan) -> Iterator[Result]:
    """Fifty clients over three models for ten minutes"""
    env = {"LLAMASWAP_SOAK_SECONDS": str(plan.count(600))}
    yield said(plan.run(*PYTEST, "-s", "tests/e2e/test_soak.py", env=env), r"^\d+ s: .*")


def crowds(plan: Plan) -> Iterator[Result]:
    """Honest clients beside 9,000 bad ones, and beside 200 slow readers on 500 connections, two minutes each"""
    env = {"LLAMASWAP_CROWD_SECONDS": str(plan.count(120)), "LLAMASWAP_CROWD_CLIENTS": str(plan.count(9_000))}
    yield said(plan.run(*PYTEST, "-s", "tests/e2e/test_large_crowds.py", env=env), r"^\d+ s, .*")


def page(plan: Plan) -> Iterator[Result]:
    """Pages that are open for an hour at 20 events and 50 log lines a second: they do not grow, and cost little"""
    env = {"LLAMASWAP_PAGE_SECONDS": str(plan.count(3_600))}
    yield said(plan.run(*PYTEST, "-s", "tests/ui/test_page_soak.py", env=env), r"^\d+ s: .*")


def churn(plan: Plan) -> Iterator[Result]:
    """64 clients over eight models whose servers and guardians are killed, twice for ten minutes"""
    env = {"LLAMASWAP_CHURN_SECONDS": str(plan.count(600)), "LLAMASWAP_CHURN_SEED": str(plan.seed)}
    yield said(plan.run(*PYTEST, "-s", "tests/e2e/test_churn.py", env=env), r"^\d+ s, seed .*")


def reloads(plan: Plan) -> Iterator[Result]:
    """200 reloads with random edits under 32 clients with streams: no request fails that should not"""
    env = {
        "LLAMASWAP_RELOADS": str(plan.count(200)),
        "LLAMASWAP_RELOAD_CLIENTS": "32",
        "LLAMASWAP_RELOAD_SEED": str(plan.seed),
    }
    yield said(plan.run(*PYTEST, "-s", "tests/e2e/test_reload_storm.py", env=env), r"^\d+ reloads, .*")


def upgrades(plan: Plan) -> Iterator[Result]:
    """50 upgrades under 32 clients with streams and WebSockets: no request fails, no model is stopped"""
    env = {
        "LLAMASWAP_UPGRADES": str(plan.count(50)),
        "LLAMASWAP_UPGRADE_CLIENTS": "32",
        "LLAMASWAP_UPGRADE_SEED": str(plan.seed),
    }
    yield said(plan.run(*PYTEST, "-s", "tests/e2e/test_upgrade_storm.py", env=env), r"^\d+ upgrades, .*")


def fleet(plan: Plan) -> Iterator[Result]:
    """100 times a box of a fleet is killed, frozen, started again or reloaded under 64 clients: all are answered"""
    env = {
        "LLAMASWAP_FLEET_TROUBLES": str(plan.count(100)),
        "LLAMASWAP_FLEET_CLIENTS": "64",
        "LLAMASWAP_FLEET_SEED": str(plan.seed),
    }
    yield said(plan.run(*PYTEST, "-s", "tests/e2e/test_fleet_storm.py", env=env), r"^\d+ troubles .*")


def choice(plan: Plan) -> Iterator[Result]:
    """A played fleet of 50 boxes and 500 models: what the choice among them is worth, beside round robin"""
    ended = plan.run(sys.executable, "tests/fleet/simulation.py", "--seed", str(plan.seed))
    yield said(ended, r"^(?:round robin|spread.*?) +loads .*")


def kills(plan: Plan) -> Iterator[Result]:
    """300 times kill -9 at any moment of a start: nothing is left"""
    count = plan.count(300)
    env = {"LLAMASWAP_KILLS": str(count), "LLAMASWAP_KILLS_SEED": str(plan.seed)}
    test = "tests/e2e/test_guardian.py::test_a_kill_at_any_moment_of_a_start_leaves_nobody"
    yield tested(f"{count} kills: ", plan.run(*PYTEST, test, env=env))


def rows(plan: Plan) -> Iterator[Result]:
    """200 times kill -9 at 2,000 rows of activity a second: the file is sound, a second is lost at most"""
    count = plan.count(200)
    env = {"LLAMASWAP_STORE_KILLS": str(count), "LLAMASWAP_STORE_KILLS_SEED": str(plan.seed)}
    yield said(plan.run(*PYTEST, "-s", "tests/activity/test_killed.py", env=env), r"^\d+ kills, .*")


def pythons(plan: Plan) -> Iterator[Result]:
    """The end-to-end tests with every CPython on this machine, in an environment of its own"""
    for python in found_pythons(plan):
        folder = BUILD / f"python-{python.version}"
        own = str(folder / "bin" / "python")
        made = plan.run(python.path, "-m", "venv", "--without-pip", "--clear", str(folder))
        if made.code == 0:
            pip = (sys.executable, "-m", "pip", "--python", own, "install", "--quiet", "--disable-pip-version-check")
            made = plan.run(*pip, "-e", ".[test]")
        if made.code:
            yield Result(False, f"{python.version}: {made.last_line}")
            continue
        yield tested(f"{python.version}: ", plan.run(own, "-m", "pytest", "-q", "-n", "auto", *plan.paths))


def single_file(plan: Plan) -> Iterator[Result]:
    """They with dist/llamaswap.pyz as the program, on every bare CPython: no environment, `-I`, a read-only folder"""
    built = plan.run(sys.executable, "tools/build_pyz.py")
    if built.code:
        yield Result(False, built.last_line)
        return
    folder = BUILD / "a read-only folder"
    if folder.exists():
        folder.chmod(0o755)
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    program = Path(shutil.copy(ROOT / "dist" / "llamaswap.pyz", folder))
    content = program.read_bytes()
    folder.chmod(0o555)
    for python in found_pythons(plan):
        command = shlex.join((python.path, "-I", str(program)))
        env = {"LLAMASWAP_TEST_COMMAND": command, "LLAMASWAP_TEST_ENVIRONMENT": "empty"}
        yield tested(f"{python.version}: ", plan.run(*PYTEST, "-n", "auto", *plan.paths, env=env))
    # Root writes where it may not, so it is not enough that the folder forbids it.
    if [*folder.iterdir()] != [program] or program.read_bytes() != content:
        yield Result(False, f"something was written into {folder}")


def benchmarks(plan: Plan) -> Iterator[Result]:
    """The benchmarks of tests/bench with their bounds, which hold on an idle machine"""
    for name, *arguments in BENCHMARKS:
        ended = plan.run(sys.executable, f"tests/bench/{name}.py", *arguments)
        yield Result(ended.code == 0, ended.last_line)


STEPS: tuple[tuple[str, Callable[[Plan], Iterator[Result]]], ...] = (
    ("inner-loop", inner_loop),
    ("everything", everything),
    ("simulation", simulation),
    ("fuzz", fuzz),
    ("examples", examples),
    ("values", values),
    ("soak", soak),
    ("crowds", crowds),
    ("page", page),
    ("churn", churn),
    ("reloads", reloads),
    ("upgrades", upgrades),
    ("fleet", fleet),
    ("choice", choice),
    ("kills", kills),
    ("rows", rows),
    ("single-file", single_file),
    ("pythons", pythons),
    ("benchmarks", benchmarks),
)


# -- the Pythons of this machine --


@dataclass(frozen=True, order=True)
class Python:
    key: tuple[int, ...] = field(repr=False)
    version: str
    path: str


def found_pythons(plan: Plan) -> list[Python]:
    """Every CPython that is new enough, under pyenv and along PATH, one for each version; the oldest first."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    places = [*sorted(pyenv.glob("*/bin/python"))]
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        if folder and not Path(folder).is_relative_to(sys.prefix):  # this clone's own has packages
            places += sorted(
                path for path in Path(folder).glob("python3*") if re.fullmatch(r"python3(\.\d+)?", path.name)
            )
    found: dict[str, Python] = {}
    for path in places:
        python = looked_at(path)
        if python and python.key >= OLDEST and any(map(python.version.startswith, plan.pythons or ("",))):
            found.setdefault(python.version, python)
    return sorted(found.values())


def looked_at(path: Path) -> Python | None:
    """None if it is no CPython, or only stands for one that is not there, as pyenv's shims do."""
    ask = "import platform; print(platform.python_implementation(), platform.python_version())"
    try:
        done = subprocess.run((path, "-Ic", ask), capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    kind, _, version = done.stdout.strip().partition(" ")
    numbers = tuple(map(int, re.findall(r"\d+", version)[:3]))
    return Python(numbers, version, str(path)) if done.returncode == 0 and kind == "CPython" else None


# -- all of it --


def perform(steps: Sequence[tuple[str, Callable[[Plan], Iterator[Result]]]], plan: Plan) -> int:
    """Run the steps, each whatever became of those before; 1 if any failed. The last lines are one for each step."""
    lines, is_good = [], True
    for name, step in steps:
        print(f"== {name}", flush=True)
        begun = time.monotonic()
        results: list[Result] = []
        try:
            results.extend(step(plan))
        except Exception as error:  # noqa: BLE001 - whatever it is, the other steps are still to be run
            results.append(Result(False, f"{type(error).__name__}: {error}"))
        is_step_good = all(result.is_good for result in results)
        is_good = is_good and is_step_good
        verdict = "ok    " if is_step_good else "FAILED"
        figures = " | ".join(result.figures for result in results)
        lines.append(f"{name:11} {verdict} {(time.monotonic() - begun) / 60:5.1f} min: {figures}")
        print(lines[-1], flush=True)
    print("== figures", *lines, sep="\n", flush=True)
    return 0 if is_good else 1


def catch_signals() -> None:
    """A signal to end ends the command that runs, too. One that we are to ignore is still none for what we start."""

    def end(number: int, _: object) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        is_ignored = signal.getsignal(number) is signal.SIG_IGN
        signal.signal(number, (lambda *_: None) if is_ignored else end)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog=".ci/long", description="The checks that take hours.")
    names = [name for name, _ in STEPS]
    parser.add_argument("steps", nargs="*", metavar="STEP", help="which ones; all without a name")
    parser.add_argument("--list", action="store_true", help="the names of the steps, and what they do")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of what is random; by default the time")
    parser.add_argument("--scale", type=float, default=1.0, help="0.1 does a tenth of the runs, inputs and seconds")
    parser.add_argument(
        "--python", action="append", default=[], metavar="3.X", help="only this version of Python; may be repeated"
    )
    parser.add_argument(
        "--tests",
        action="append",
        default=[],
        metavar="PATH",
        help="only these tests with each Python; may be repeated",
    )
    chosen = parser.parse_args(arguments)
    if unknown := [step for step in chosen.steps if step not in names]:
        parser.error(f"no step {', '.join(unknown)}; there are {', '.join(names)}")
    if chosen.list:
        for name, step in STEPS:
            print(f"{name:11} {' '.join((step.__doc__ or '').split())}")
        return 0
    catch_signals()
    print(f"seed {chosen.seed}, scale {chosen.scale}", flush=True)
    plan = Plan(chosen.seed, chosen.scale, chosen.python, chosen.tests or Plan.paths)
    return perform([(name, step) for name, step in STEPS if name in (chosen.steps or names)], plan)


if __name__ == "__main__":
    sys.exit(main())
