"""The GPUs of this machine and their memory, as far as a driver tells without being loaded for it.

NVIDIA's by `nvidia-smi`, AMD's by sysfs, Apple's by `sysctl` (its memory is that of the machine). A driver that does
not answer in time has no GPUs.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

TIMEOUT = 5.0  # seconds; a hung driver must not hold up a first configuration
DRM = Path("/sys/class/drm")
MIB = 1 << 20

Run = Callable[[Sequence[str]], str]


class Gpu(NamedTuple):
    """Its name, and its memory in bytes."""

    name: str
    memory_bytes: int


def find(*, drm: Path = DRM, platform: str = sys.platform) -> list[Gpu]:
    """All that are found."""
    if platform == "darwin":
        return list(_apple(output_of))
    return [*nvidia(output_of), *amd(drm)]


def nvidia(run: Run) -> Iterator[Gpu]:
    """By one line each of `name, MiB`; a card that shares the machine's memory says `[N/A]` and is left out."""
    for line in run(("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits")).splitlines():
        name, _, size = line.rpartition(",")
        if size.strip().isdigit():
            yield Gpu(name.strip(), int(size) * MIB)


def amd(drm: Path) -> Iterator[Gpu]:
    """By the files that the driver amdgpu keeps for each card; bytes, decimal."""
    for path in sorted(drm.glob("card*/device/mem_info_vram_total")):
        with suppress(OSError, ValueError):
            name = path.with_name("product_name")
            yield Gpu((name.read_text().strip() if name.exists() else "") or "AMD GPU", int(path.read_text()))


def _apple(run: Run) -> Iterator[Gpu]:
    size = run(("sysctl", "-n", "hw.memsize")).strip()
    if size.isdigit():
        yield Gpu("Apple GPU", int(size))


def output_of(argv: Sequence[str]) -> str:
    """What a program prints; '' where there is none, or it fails or hangs."""
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace")
