"""Measures the program, and writes what came out: docs/figures and the tables of docs/benchmarks.md.

    python tools/figures.py measure     measures on this machine (some five minutes), then draws
    python tools/figures.py draw        draws again from docs/figures/measured.json

What is drawn is a function of measured.json alone, so a test can tell whether a page or a figure was changed by hand.
Measuring needs what the benchmarks of tests/bench need: the extras `bench` and `llama`. Let nothing else run meanwhile.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from llamaswap_lib import __version__  # noqa: E402 - the path comes first

FOLDER = ROOT / "docs" / "figures"
MEASURED = FOLDER / "measured.json"
PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- made by tools/figures.py -->", "<!-- until here -->"
SCRIPTS = ("one_client", "eight_clients", "configured", "streams", "slow_readers", "swap", "swap_llama", "memory",
           "start", "matrix")  # fmt: skip
ROUNDS = 5
REQUESTS = (10_000, 50_000)  # after which the memory is looked at
QUIET = 1.0  # load average up to which nothing else seems to run
LOADS = (0.4, 0.8, 2.4)  # seconds that models take to load

Measured = Mapping[str, Any]
"""`machine`, `date`, `version` and `python` as text; `load` average before the start; `requests` by number of clients:
requests a second `direct` and `through`, and the microseconds `added` to the median; `memory` in MB; `swap` in seconds:
(what a model is told to take to load, what it takes when started by hand, a request that swaps to it); `lines`: what
each benchmark printed."""


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    if list(arguments) not in (["measure"], ["draw"]):
        sys.stderr.write(__doc__ or "")
        return 1
    if arguments[0] == "measure":
        FOLDER.mkdir(exist_ok=True)
        MEASURED.write_text(json.dumps(measure(), indent=2) + "\n")
    for path, text in drawn(json.loads(MEASURED.read_text()), PAGE.read_text()).items():
        path.write_text(text)
    return 0


# -- measuring --


def measure() -> Measured:
    """Some five minutes. Raises SystemExit where a benchmark cannot run; one that misses its bound is told as it is."""
    return {
        "machine": machine(),
        "load": round(os.getloadavg()[0], 1),
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "version": __version__,
        "python": platform.python_version(),
        "requests": {clients: measure_requests(clients) for clients in (1, 8)},
        "memory": measure_memory(),
        "swap": measure_swaps(),
        "lines": {name: line_of(name) for name in SCRIPTS},
    }


def machine() -> str:
    """Processor, cores, memory, system."""
    info = Path("/proc/cpuinfo").read_text()
    found = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    kind = "virtual cores" if re.search(r"^flags\s*:.*\bhypervisor\b", info, re.MULTILINE) else "cores"
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    name = found[1].strip() if found else platform.machine()
    return f"{name}, {os.cpu_count()} {kind}, {gigabytes:.0f} GB, {platform.system()}"


def measure_requests(clients: int) -> dict[str, float]:
    """Kept-alive clients that send small chats, directly to the model's server and through llamaswap in turns."""
    from tests.bench.rig import median, rig  # noqa: PLC0415 - drawing does without

    with rig() as bench:
        pairs = list(bench.in_turns(ROUNDS, "-c", clients, "-d", "2s"))
    return {
        "direct": round(median([direct["rps"] for direct, _ in pairs])),
        "through": round(median([through["rps"] for _, through in pairs])),
        "added": round(median([through["lat_us p50"] - direct["lat_us p50"] for direct, through in pairs])),
    }


def measure_memory() -> dict[str, float]:
    """Resident MB of the program after its start and after so many requests, and of its guardian."""
    from tests.bench.rig import rig  # noqa: PLC0415 - as above

    done, found = 0.0, {}
    with rig() as bench:
        found["at the start"] = bench.resident_mb()
        for count in REQUESTS:
            while done < count:
                done += bench.load(bench.through, "-c", 8, "-d", "1s")["ok"]
            found[f"after {count:,} requests"] = bench.resident_mb()
        found["its guardian"] = max(map(resident_mb, children_named("python", bench.server.pid)))
    return {name: round(megabytes, 1) for name, megabytes in found.items()}


def children_named(name: str, parent: int) -> Iterator[int]:
    """The pids of the program's children that are such a program, whichever of its threads started them."""
    for thread in Path(f"/proc/{parent}/task").iterdir():
        for pid in map(int, (thread / "children").read_text().split()):
            if name in Path(f"/proc/{pid}/comm").read_text():
                yield pid


def resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure_swaps() -> list[tuple[float, float, float]]:
    """Each a load, by hand and by a request that swaps, until the first answer; seconds."""
    from tests.bench import swap  # noqa: PLC0415 - as above
    from tests.bench.rig import llamaswap, median  # noqa: PLC0415

    models = "".join(swap.MODEL.format(name=f"m{load}", command=swap.command(), load=load) for load in LOADS)
    models += swap.MODEL.format(name="other", command=swap.command(), load=0)
    found = []
    with llamaswap(f"models:{models}") as (address, _):
        for load in LOADS:
            own, ours = [], []
            for _ in range(swap.ROUNDS):
                own.append(swap.own_load(load))
                swap.swap(address, "other")
                ours.append(swap.swap(address, f"m{load}"))
            found.append((load, round(median(own), 3), round(median(ours), 3)))
    return found


def line_of(name: str) -> str:
    """What the benchmark prints, without its name."""
    argv = (sys.executable, str(ROOT / "tests" / "bench" / f"{name}.py"))
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    if not ended.stdout.strip():
        raise SystemExit(f"{name}: {ended.stderr}")
    return ended.stdout.strip().partition(": ")[2].replace("  MISSED", " (missed)")


# -- drawing --


class Bar(NamedTuple):
    """One bar: what it is, how long, the words behind it, and whether it is what the bars are measured against."""

    name: str
    value: float
    text: str
    is_reference: bool


def drawn(measured: Measured, page: str) -> dict[Path, str]:
    """Every file that is made of the measurements: the figures, and the page with its table."""
    where = f"{measured['machine']}; llamaswap {measured['version']}, Python {measured['python']}, {measured['date']}"
    where += f"; a busy machine, load average {measured['load']:g}" if measured["load"] > QUIET else ""
    figures = {
        "requests": ("Small requests a second, directly and through llamaswap", request_bars(measured)),
        "memory": ("Resident memory of llamaswap, in MB", memory_bars(measured)),
        "swap": ("Seconds until a model answers, started by hand and swapped to", swap_bars(measured)),
    }
    files = {FOLDER / f"{name}.svg": svg(title, bars, where) for name, (title, bars) in figures.items()}
    begin, end = page.index(BEGIN) + len(BEGIN), page.index(END)
    return {**files, PAGE: f"{page[:begin]}\n\n{table(measured, where)}\n{page[end:]}"}


def request_bars(measured: Measured) -> Iterator[Bar]:
    for clients, found in measured["requests"].items():
        who = "1 client" if clients == "1" else f"{clients} clients"
        yield Bar(f"{who}, directly", found["direct"], f"{found['direct']:,.0f}", is_reference=True)
        added = f"{found['through']:,.0f} ({found['added'] / 1000:.2f} ms more for each)"
        yield Bar("through llamaswap", found["through"], added, is_reference=False)


def memory_bars(measured: Measured) -> Iterator[Bar]:
    for name, megabytes in measured["memory"].items():
        yield Bar(name, megabytes, f"{megabytes:.1f}", is_reference=name == "its guardian")


def swap_bars(measured: Measured) -> Iterator[Bar]:
    for load, own, ours in measured["swap"]:
        yield Bar(f"loads for {load} s: by hand", own, f"{own:.2f}", is_reference=True)
        yield Bar("swapped to", ours, f"{ours:.2f}", is_reference=False)


STYLE = """text { font: 13px sans-serif; fill: #1f2328 } .small { font-size: 11px; fill: #59636e }
.title { font-weight: bold } .ours { fill: #0969da } .reference { fill: #b1bac4 }
@media (prefers-color-scheme: dark) { text { fill: #f0f6fc } .small { fill: #9198a1 } .reference { fill: #656c76 } }"""
WIDTH, LEFT, ROOM, STEP, TOP = 760, 190, 330, 24, 40  # pixels; ROOM is the longest bar


def svg(title: str, bars: Iterator[Bar], where: str) -> str:
    """A chart of horizontal bars from nothing up, with the machine below."""
    rows = list(bars)
    longest = max(bar.value for bar in rows)
    height = TOP + STEP * len(rows) + 34
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<text class="title" x="10" y="22">{escape(title)}</text>',
    ]
    for number, bar in enumerate(rows):
        y, length = TOP + STEP * number, max(1, round(ROOM * bar.value / longest))
        kind = "reference" if bar.is_reference else "ours"
        lines.append(f'<text x="{LEFT - 8}" y="{y + 14}" text-anchor="end">{escape(bar.name)}</text>')
        lines.append(f'<rect class="{kind}" x="{LEFT}" y="{y + 2}" width="{length}" height="{STEP - 8}"/>')
        lines.append(f'<text x="{LEFT + length + 8}" y="{y + 14}">{escape(bar.text)}</text>')
    lines.append(f'<text class="small" x="10" y="{height - 10}">{escape(where)}</text>')
    return "\n".join([*lines, "</svg>", ""])


def table(measured: Measured, where: str) -> str:
    """What each benchmark printed."""
    rows = [f"| [`{name}`](../tests/bench/{name}.py) | {line} |" for name, line in measured["lines"].items()]
    return "\n".join([f"Measured on {where}.", "", "| benchmark | what it printed |", "|---|---|", *rows, ""])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
