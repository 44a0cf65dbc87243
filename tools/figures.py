"""Measures what a swap costs and runs the single benchmarks, and writes what came out into docs.

    python tools/figures.py measure     measures on this machine (some four minutes), then draws
    python tools/figures.py draw        draws again from docs/figures/measured.json

What is drawn is a function of measured.json alone, so a test can tell whether a page or a figure was changed by hand.
What a request costs is another table: tests/bench/table.py measures and writes it.
Measuring needs what the benchmarks of tests/bench need: the extras `bench` and `llama`. Let nothing else run meanwhile.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from llamaswap_lib import __version__  # noqa: E402 - the path comes first
from tests.bench.rendering import QUIET, with_block  # noqa: E402
from tests.bench.rig import machine  # noqa: E402

FOLDER = ROOT / "docs" / "figures"
MEASURED = FOLDER / "measured.json"
PAGE = ROOT / "docs" / "benchmarks.md"
MAKER = "tools/figures.py"
SCRIPTS = ("slow_readers", "swap", "swap_llama", "matrix", "choosing")
LOADS = (0.4, 0.8, 2.4)  # seconds that models take to load

Measured = Mapping[str, Any]
"""`machine`, `date`, `version` and `python` as text; `load` average before the start; `swap` in seconds: (what a model
is told to take to load, what it takes when started by hand, a request that swaps to it); `lines`: what each benchmark
printed."""


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
    """Some four minutes. Raises SystemExit where a benchmark cannot run; one that misses its bound is told as it is."""
    return {
        "machine": machine(),
        "load": round(os.getloadavg()[0], 1),
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "version": __version__,
        "python": platform.python_version(),
        "swap": measure_swaps(),
        "lines": {name: line_of(name) for name in SCRIPTS},
    }


def measure_swaps() -> list[tuple[float, float, float]]:
    """Each a load, by hand and by a request that swaps, until the first answer; seconds."""
    from tests.bench import swap  # noqa: PLC0415 - drawing does without
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
        "swap": ("Seconds until a model answers, started by hand and swapped to", swap_bars(measured)),
    }
    files = {FOLDER / f"{name}.svg": svg(title, bars, where) for name, (title, bars) in figures.items()}
    return {**files, PAGE: with_block(page, MAKER, table(measured, where))}


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
    return "\n".join([f"Measured on {where}.", "", "| benchmark | what it printed |", "|---|---|", *rows])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
