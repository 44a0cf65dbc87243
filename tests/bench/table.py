"""The table of costs: every row several times, directly, through the rivals that are installed and through llamaswap.

    python tests/bench/table.py                              all rows, five runs each; 1 if a bound is missed
    python tests/bench/table.py --rows one,eight --quick     some rows, shorter
    python tests/bench/table.py --tree ../before --tree .    two checkouts beside each other
    python tests/bench/table.py --write                      and writes the tables of README.md and docs/benchmarks.md
    python tests/bench/table.py --draw                       writes these again from docs/figures/costs.json

Within a run all subjects take their turns, each time in another order, so that a machine that slows down slows all of
them. Ratios are taken within a run. Let nothing else run meanwhile.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.bench import rendering
from tests.bench.results import Results, Took
from tests.bench.rig import ROOT, LoadFailedError, free_port, load_tool, machine, paced_upstream
from tests.bench.rows import ROWS, Row
from tests.bench.subjects import Place, Setup, Subject, subjects

COSTS = ROOT / "docs" / "figures" / "costs.json"
MAKER = "tests/bench/table.py"
RUNS, QUICK_RUNS, QUICK_SCALE = 5, 2, 0.3


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    chosen = command_line(arguments)
    if chosen.draw:
        return write(Results.from_json(COSTS.read_text()))
    table = Table(*subjects([Path(tree).resolve() for tree in chosen.tree or [ROOT]]), chosen.runs)
    print(rendering.heading(table.results), flush=True)
    with place() as here:
        table.start_all(here)
        for row in ROWS:
            if row.name in chosen.rows:
                table.measure(row, here, chosen.scale)
                print(rendering.block(table.results, row), flush=True)
    if chosen.write:
        COSTS.write_text(table.results.to_json())
        write(table.results)
    print(rendering.verdict(table.results))
    return 1 if table.results.failures or any(table.results.missed()) else 0


def write(results: Results) -> int:
    """The tables of the pages."""
    for path, text in pages(results).items():
        path.write_text(text)
    return 0


def pages(results: Results) -> dict[Path, str]:
    """The pages with the tables of these results."""
    tables = {ROOT / "README.md": rendering.short_table, ROOT / "docs" / "benchmarks.md": rendering.full_table}
    return {path: rendering.with_block(path.read_text(), MAKER, table(results)) for path, table in tables.items()}


def command_line(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = [row.name for row in ROWS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, epilog=f"rows: {', '.join(names)}"
    )
    parser.add_argument("--rows", type=lambda text: text.split(","), default=names, metavar="A,B", help="only these")
    parser.add_argument("--runs", type=int, help=f"of each row; {RUNS}, or {QUICK_RUNS} with --quick")
    parser.add_argument("--quick", action="store_true", help="short runs: to see that it works, not to compare")
    parser.add_argument("--tree", action="append", metavar="PATH", help="a checkout of llamaswap; may be repeated")
    parser.add_argument("--write", action="store_true", help="all rows: write the tables of the pages")
    parser.add_argument("--draw", action="store_true", help="measure nothing, write the tables from the last figures")
    chosen = parser.parse_args(arguments)
    if unknown := [name for name in chosen.rows if name not in names]:
        parser.error(f"no row {', '.join(unknown)}; there are {', '.join(names)}")
    if chosen.write and (chosen.rows != names or len(chosen.tree or []) > 1):
        parser.error("--write is for all rows and one tree")
    chosen.runs = chosen.runs or (QUICK_RUNS if chosen.quick else RUNS)
    chosen.scale = QUICK_SCALE if chosen.quick else 1.0
    return chosen


@contextmanager
def place() -> Iterator[Place]:
    """The upstream runs, without and with TLS; all files are in one folder that goes with the block."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([str(load_tool()), "certificate", "-folder", name], check=True)
        address = f"127.0.0.1:{free_port()}"
        tls = ("-tls", address, "-certificate", f"{folder}/certificate.pem", "-key", f"{folder}/key.pem")
        with paced_upstream(*tls) as plain:
            yield Place(folder, plain, f"https://{address}")


class Table:
    """Measures row by row into `results`."""

    def __init__(self, taking: Sequence[Subject], missing: Sequence[str], runs: int) -> None:
        self._subjects = taking
        self._values: dict[str, dict[str, dict[str, list[float]]]] = {}
        self._failures: dict[str, dict[str, str]] = {}
        self.results = Results(
            machine(), platform.python_version(), today(), round(os.getloadavg()[0], 1), runs,
            [Took(each.name, each.kind, each.version) for each in self._subjects], missing,
            self._values, self._failures,
        )  # fmt: skip

    def start_all(self, here: Place) -> None:
        """Each once, which compiles what Python compiles at its first start. Who cannot start is told in each row."""
        for subject in self._subjects:
            with suppress(AssertionError), subject.start(here, Setup()):
                pass

    def measure(self, row: Row, here: Place, scale: float) -> None:
        """All runs of a row. Who fails takes no part in its further runs."""
        figures = self._values[row.name] = {figure.key: {} for figure in row.figures}
        taking = [each for each in self._subjects if each.kind in row.kinds]
        for number in range(self.results.runs):
            turn = number % len(taking)
            for subject in [*taking[turn:], *taking[:turn]]:
                if subject.name in self._failures.get(row.name, {}):
                    continue
                try:
                    found = measured(row, subject, here, scale)
                except (LoadFailedError, AssertionError, OSError) as error:
                    self._failures.setdefault(row.name, {})[subject.name] = f"failed: {error}"
                    continue
                for key in figures.keys() & found.keys():
                    figures[key].setdefault(subject.name, []).append(found[key])


def measured(row: Row, subject: Subject, here: Place, scale: float) -> Mapping[str, float]:
    with subject.start(here, row.setup) as target:
        return row.measure(target, scale)


def today() -> str:
    return datetime.datetime.now(datetime.timezone.utc).date().isoformat()


if __name__ == "__main__":
    sys.exit(main())
