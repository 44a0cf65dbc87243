"""What `use: memory` goes by, checked on your GPU: is what it measures true, and does it evict exactly when it has to?

    python tests/gpu/check.py                                         small processes that take memory (CUDA, HIP)
    python tests/gpu/check.py --server llama-server --model FILE.gguf      a real server, with several contexts

It starts a llamaswap of its own, in a temporary folder, and loads three models one by one: what each is said to need is
compared with what the driver says of the whole device, and it is timed how long memory takes to become free after a
stop. Then all three get room, and then a little less. Nothing else should use the GPU meanwhile. Exit code 0: all is
as it should be; 1: something is not; 2: it could not be tried.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from llamaswap_lib.hardware.readings import Gpu
from tests.gpu.program import MB, Failed, Meter, Model, Program, pause, wait_for

CLOSE, CLOSE_BYTES = 0.05, 200 * MB  # how far apart the two figures may be: the larger of these
FREEING, MEASURING = 10.0, 30.0  # seconds that memory may take to become free, and a need to be measured
NOTICED = 6.0  # seconds until llamaswap has seen that it is free: the next model is compared with that
CONTEXTS = (2048, 8192, 16384)
SHARES = (2, 3, 4)  # of a twelfth of what is free, but of 1 GB at most


@dataclass(frozen=True, slots=True)
class Measured:
    """Of one model: what it is said to need, the device's own change, and seconds until that was free again."""

    model: str
    need: int
    change: int
    freeing: float | None

    @property
    def is_close(self) -> bool:
        return abs(self.need - self.change) <= max(CLOSE * self.change, CLOSE_BYTES)


@dataclass(slots=True)
class Report:
    """What is told as it goes on."""

    wrong: list[str] = field(default_factory=list)
    undone: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    def judge(self, what: str, is_so: bool) -> None:
        self.say(f"{'ok   ' if is_so else 'WRONG'}  {what}")
        if not is_so:
            self.wrong.append(what)

    def leave(self, what: str) -> None:
        self.say(f"--     not tried: {what}")
        self.undone.append(what)

    def end(self) -> int:
        """The exit code."""
        parts = [f"{len(self.wrong)} wrong" if self.wrong else "all is as it should be"]
        parts += [f"{len(self.undone)} not tried"] * bool(self.undone)
        self.say(f"\n{', '.join(parts)}")
        return 1 if self.wrong else 0


@dataclass(frozen=True, slots=True)
class Bench:
    """The GPU that is checked, the models, and where all of it happens."""

    meter: Meter
    gpu: Gpu
    models: Sequence[Model]
    env: Sequence[str]
    folder: Path
    report: Report

    def program(self, capacity: int) -> Program:
        return Program(self.folder, list(self.models), list(self.env), self.gpu.key, capacity)

    def used(self) -> int:
        return self.meter.settled(self.gpu.key)


def main(arguments: Sequence[str] | None = None) -> int:
    said = parsed(arguments)
    report, meter = Report(), Meter()
    try:
        found = chosen(report, meter, said.gpu)
        if found is None:
            return 2
        number, gpu = found
        with tempfile.TemporaryDirectory(prefix="llamaswap-gpu-") as folder:
            bench = Bench(meter, gpu, models(said, gpu), environment(number, gpu), Path(folder), report)
            check(bench)
    except Failed as failed:
        report.say(f"WRONG  {failed}")
        return 2 if not report.wrong else 1
    finally:
        meter.close()
    return report.end()


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", default="", help="number, or UUID, of the GPU to check; the first one by default")
    parser.add_argument("--server", default="", help="a llama-server; needs --model")
    parser.add_argument("--model", type=Path, help="its GGUF file")
    parser.add_argument("--contexts", type=int, nargs="+", default=CONTEXTS, help="one model for each, in tokens")
    parser.add_argument("--flags", default="-ngl 99", help="more flags of the server")
    said = parser.parse_args(arguments)
    if bool(said.server) != bool(said.model):
        parser.error("--server and --model belong together")
    if len(set(said.contexts)) < 2:
        parser.error("--contexts: two or more, each another one")
    return said


# -- what there is --


def chosen(report: Report, meter: Meter, name: str) -> tuple[int, Gpu] | None:
    """The GPU to check; None, after it was said why, if there is none."""
    gpus = meter.read()
    for number, gpu in gpus:
        report.say(f"GPU {number}: {described(gpu)}")
    for problem in meter.problems:
        report.say(f"problem: {problem}")
    if not gpus:
        report.say("no GPU: no driver answers (NVIDIA's NVML or nvidia-smi, /sys/class/drm, ioreg)")
        return None
    own = [(number, gpu) for number, gpu in gpus if not gpu.is_shared and None not in (gpu.total_bytes, gpu.used_bytes)]
    fitting = [(number, gpu) for number, gpu in own if name in ("", str(number), gpu.uuid, gpu.key)]
    if not fitting:
        report.say(f"no GPU {name} that has memory of its own" if name else "no GPU that has memory of its own")
        return None
    return fitting[0]


def described(gpu: Gpu) -> str:
    parts = [gpu.name, gpu.key]
    if gpu.total_bytes is not None and gpu.used_bytes is not None:
        parts.append(f"{gpu.used_bytes // MB} of {gpu.total_bytes // MB} MB in use")
    if gpu.is_shared:
        parts.append("shares the machine's memory")
    if not gpu.shows_processes:
        parts.append("its driver does not tell what each process takes")
    return ", ".join(parts)


def models(said: argparse.Namespace, gpu: Gpu) -> list[Model]:
    if said.server:
        command = shlex.join((said.server, "-m", str(said.model.resolve())))
        return [Model(f"context-{n}", f"{command} --port ${{PORT}} -c {n} {said.flags}") for n in said.contexts]
    free = (gpu.total_bytes or 0) - (gpu.used_bytes or 0)
    unit = min(1024 * MB, free // 12)
    holder = shlex.join((sys.executable, str(Path(__file__).with_name("holder.py"))))
    return [Model(f"holds-{share * unit // MB}-MB", f"{holder} {share * unit} ${{PORT}}") for share in SHARES]


def environment(number: int, gpu: Gpu) -> list[str]:
    """In which a server sees this GPU alone."""
    if gpu.vendor == "nvidia":
        return [f"CUDA_VISIBLE_DEVICES={gpu.uuid}"]
    return [f"HIP_VISIBLE_DEVICES={number}"] if gpu.vendor == "amd" else []


# -- the check --


def check(bench: Bench) -> None:
    rows = measure(bench)
    if rows is None:
        return
    table(bench.report, rows)
    for row in rows:
        bench.report.judge(f"{row.model}: the need and the device's own change are close", row.is_close)
        is_free = row.freeing is not None
        bench.report.judge(f"{row.model}: its memory is free within {FREEING:.0f} s after the stop", is_free)
    needs = {row.model: row.need for row in rows}
    total = sum(needs.values())
    free = (bench.gpu.total_bytes or 0) - bench.used()
    if total * 1.05 + 64 * MB > free:
        bench.report.leave(f"eviction: all of them need {total // MB} MB, and {free // MB} are free")
        return
    everybody_stays(bench, needs)
    one_goes(bench, needs)


def measure(bench: Bench) -> list[Measured] | None:
    """Each model, loaded alone. None, after it was said, if nothing tells what it takes."""
    rows = []
    with bench.program(bench.gpu.total_bytes or 0) as program:
        for model in bench.models:
            row = measure_one(bench, program, model.name)
            if row is None:
                bench.report.judge(f"{model.name}: what it takes of the GPU is measured", is_so=False)
                return None
            rows.append(row)
    return rows


def measure_one(bench: Bench, program: Program, model: str) -> Measured | None:
    device, before = bench.gpu.key, bench.used()
    program.load(model)
    if wait_for(lambda: program.need(model, device) is not None, MEASURING) is None:
        return None
    change = bench.used() - before
    need = program.need(model, device) or 0
    program.unload(model)
    freeing = wait_for(lambda: is_back(bench, before), FREEING)
    pause(NOTICED)
    return Measured(model, need, change, freeing)


def is_back(bench: Bench, before: int) -> bool:
    return bench.meter.used(bench.gpu.key) <= before + max(0.02 * before, 32 * MB)


def table(report: Report, rows: Sequence[Measured]) -> None:
    report.say(f"\n{'model':24} {'need, MB':>10} {'of the device, MB':>18} {'apart':>8} {'free after':>11}")
    for row in rows:
        apart = f"{100 * abs(row.need - row.change) / max(1, row.change):.1f} %"
        after = "never" if row.freeing is None else f"{row.freeing:.2f} s"
        report.say(f"{row.model:24} {row.need // MB:10} {row.change // MB:18} {apart:>8} {after:>11}")
    report.say("")


def everybody_stays(bench: Bench, needs: Mapping[str, int]) -> None:
    """They are known from before the restart, and get as much as they need."""
    capacity = int(sum(needs.values()) * 1.03) + 32 * MB
    with bench.program(capacity) as program:
        is_known = all(program.need(name, bench.gpu.key) is not None for name in needs)
        bench.report.judge("what was measured is known after a restart", is_known)
        for name in needs:
            program.load(name)
        bench.report.judge(f"all stay where {capacity // MB} MB are for them", program.running() == {*needs})


def one_goes(bench: Bench, needs: Mapping[str, int]) -> None:
    """They get half of the smallest one less than they need."""
    before = bench.used()
    capacity = sum(needs.values()) - min(needs.values()) // 2
    *first, last = needs
    with bench.program(capacity) as program:
        for name in first:
            program.load(name)
        bench.report.judge(
            f"all but the last stay where {capacity // MB} MB are for them", program.running() == {*first}
        )
        goes = program.row(last)["load"]["evicts"]
        bench.report.judge(f"for the last one goes, and no more: {', '.join(goes) or 'nobody'}", len(goes) == 1)
        program.load(last)
        bench.report.judge("just that one has gone", program.running() == {*needs} - {*goes})
        used = bench.used() - before
        is_kept = used <= capacity + CLOSE_BYTES
        bench.report.judge(f"together they have no more than that: {used // MB} MB", is_kept)


if __name__ == "__main__":
    sys.exit(main())
