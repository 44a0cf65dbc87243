"""A swap between two real tiny llama.cpp servers, over starting and stopping them by hand: below 1.5 times.

By hand: end one, wait for its exit, start the other, ask its health every millisecond, send one request. Needs the
extra `llama` (`pip install -e '.[llama]'`).
"""

from __future__ import annotations

import operator
import shlex
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.bench.rig import ROOT, free_port, is_ok, llamaswap, median, report, running, wait_until_ok
from tests.e2e.tiny_gguf import Shape, write_model

ROUNDS = 8
BODY = '{"model":"%s","max_tokens":1,"messages":[{"role":"user","content":"hi"}]}'


def command(file: Path) -> list[str]:
    return [sys.executable, str(ROOT / "tests" / "e2e" / "llama_launcher.py"), str(file)]


def ask(address: str, model: str) -> None:
    assert is_ok(f"{address}/v1/chat/completions", (BODY % model).encode())


def by_hand(file: Path) -> float:
    """Seconds for one life: start, ready, one answer, and the exit."""
    port = free_port()
    started = time.monotonic()
    with running([*command(file), str(port)]):
        wait_until_ok(f"http://127.0.0.1:{port}/health")
        ask(f"http://127.0.0.1:{port}", "x")
    return time.monotonic() - started


def swap(address: str, model: str) -> float:
    """Seconds until `model`, which does not run, has answered: the exit of the other one is in it."""
    started = time.monotonic()
    ask(address, model)
    return time.monotonic() - started


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{name}.gguf" for name in ("one", "two")}
        for seed, file in enumerate(files.values(), 1):
            write_model(file, Shape(seed))
        models = "".join(f"\n  {name}:\n    cmd: {shlex.join(command(file))} ${{PORT}}" for name, file in files.items())
        with llamaswap(f"models:{models}\n") as (address, _):
            ask(address, "two")
            ours, own = [], []
            for _ in range(ROUNDS):
                for name, file in files.items():
                    ours.append(swap(address, name))
                    own.append(by_hand(file))
    ratio = median(ours) / median(own)
    figures = f"{ratio:.2f} times by hand ({median(ours) * 1000:.0f} ms against {median(own) * 1000:.0f})"
    return report("swap of llama.cpp", figures, (ratio, operator.lt, 1.5))


if __name__ == "__main__":
    sys.exit(main())
