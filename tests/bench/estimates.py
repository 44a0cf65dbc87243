"""What is estimated of models against what a real llama.cpp takes of them: `python tests/bench/estimates.py`.

Writes models of several kinds, starts each, asks it once with a long prompt, and reads its share of the memory (PSS).
The table is for docs/memory.md. No estimate may be below what is taken, or more than half above it. Needs the extra
`llama` (`pip install -e '.[llama]'`), Linux, 1 GB on the disk and 4 GB of memory.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from llamaswap_lib.config.load import load_text
from llamaswap_lib.estimates.estimator import Estimator
from tests.bench.rig import free_port, is_ok, running, wait_until_ok
from tests.e2e import llama_server
from tests.e2e.tiny_gguf import Shape, write_model

MB = 1 << 20
BODY = b'{"max_tokens":4,"messages":[{"role":"user","content":"%s"}]}' % (b"hello " * 100)
SMALL = Shape(1, 8, 512, 8, 2048, 8192)
EIGHT = Shape(1, 8, 1024, 8, 4096, 8192, kind="Q8_0")
FOUR = Shape(1, 8, 1024, 8, 4096, 8192, kind="Q4_0")
TOKENS = Shape(1, 4, 256, 4, 1024, 8192, kind="Q8_0", more_tokens=128_000)
LONG = Shape(1, 24, 512, 8, 1024, 32_768, kind="F16")
CASES = [
    ("F32", SMALL, "-c 2048"),
    ("F32", SMALL, "-c 2048 --no-mmap"),
    ("Q8_0", EIGHT, "-c 512"),
    ("Q8_0", EIGHT, "-c 8192"),
    ("Q4_0", FOUR, "-c 4096"),
    ("Q8_0, 128,000 tokens", TOKENS, "-c 4096"),
    ("F16, 24 layers, made for 32,768 tokens", LONG, "-c 4096"),
    ("the same", LONG, ""),
    ("the same", LONG, "-ctk q8_0 -ctv q8_0"),
    ("the same", LONG, "-c 16384 -np 4"),
]


class Row(NamedTuple):
    """Sizes in bytes; `ready` and `asked`: what it takes when it is ready, and after one request."""

    name: str
    options: str
    file: int
    estimate: int
    ready: int
    asked: int

    @property
    def error(self) -> float:
        return self.estimate / self.asked - 1

    def __str__(self) -> str:
        sizes = (self.file, self.estimate, self.ready, self.asked)
        cells = (self.name, f"`{self.options}`" if self.options else "", *(f"{size / MB:,.0f}" for size in sizes))
        return f"| {' | '.join(cells)} | {self.error:+.0%} |"


def rows(folder: Path) -> Iterator[Row]:
    server = llama_server.install(folder)
    for name, shape, options in CASES:
        file, port = folder / "model.gguf", free_port()
        write_model(file, shape)
        command = f"{server} -m {file} {options}"
        model = load_text(f"models: {{m: {{cmd: '{command} --port ${{PORT}}'}}}}", environment={}).models["m"]
        found = Estimator({}, folder).estimate(model, {})
        assert found.sizes is not None, found.reason
        with running([*command.split(), "--port", str(port)]) as process:
            address = f"http://127.0.0.1:{port}"
            wait_until_ok(f"{address}/health")
            ready = share_of(process.pid)
            assert is_ok(f"{address}/v1/chat/completions", BODY)
            sizes = (file.stat().st_size, found.sizes["ram"], ready, share_of(process.pid))
            yield Row(name, options, *sizes)


def share_of(pid: int) -> int:
    """Its PSS in bytes."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))


def main() -> int:
    print("| model | options | file | estimated | ready | after a request | error |\n|---|---|---|---|---|---|---|")
    errors = []
    with tempfile.TemporaryDirectory() as folder:
        for row in rows(Path(folder)):
            print(row, flush=True)
            errors.append(row.error)
    return 0 if min(errors) >= 0 and max(errors) < 0.5 else 1


if __name__ == "__main__":
    raise SystemExit(main())
