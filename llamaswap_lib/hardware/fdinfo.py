"""What the kernel's graphics drivers tell of a process: /proc/PID/fdinfo, one file for each descriptor of a GPU.

Thread `hardware`. Works for every driver of the kernel and every way to compute (ROCm, Vulkan, SYCL). A process has
mostly several descriptors of one client: a client counts once, whichever processes have it open. Keys and units:
https://docs.kernel.org/gpu/drm-usage-stats.html. The files of other users' processes cannot be read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from llamaswap_lib.hardware import files

_DEVICES = ("/dev/dri/", "/dev/accel/")
_UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
# Of one region the first of these counts that is there. What is resident takes memory; what is only allocated may not.
_KINDS = ("resident", "memory", "total")
_LOCAL, _SYSTEM = ("vram", "local"), ("gtt", "system")  # how regions begin: memory of the card; of the machine


class Client(NamedTuple):
    """One client of one GPU: bytes of the card's own memory, and of the machine's; None where that is not told."""

    pci: str
    number: str
    local: int | None
    system: int | None


def clients_of(pids: Collection[int], proc: str = "/proc") -> list[Client]:
    """Each once, of all these processes."""
    found: dict[tuple[str, str], Client] = {}
    for pid in pids:
        for client in _clients(pid, proc):
            before = found.get((client.pci, client.number))
            if before is None or (client.local or 0) + (client.system or 0) > (before.local or 0) + (
                before.system or 0
            ):
                found[client.pci, client.number] = client
    return list(found.values())


def _clients(pid: int, proc: str) -> Iterator[Client]:
    for name, target in files.links(f"{proc}/{pid}/fd"):
        if target.startswith(_DEVICES):
            client = parse(files.text(f"{proc}/{pid}/fdinfo/{name}"))
            if client is not None:
                yield client


def parse(fdinfo: str) -> Client | None:
    """None for what is no client of a GPU, or tells of no memory and has no number."""
    said = dict(_pairs(fdinfo))
    pci, number = said.get("drm-pdev") or said.get("pdev", ""), said.get("drm-client-id", "")
    if not pci or not number:
        return None
    regions = _regions(said)
    return Client(pci.lower(), number, _sum(regions, _LOCAL), _sum(regions, _SYSTEM))


def _pairs(fdinfo: str) -> Iterator[tuple[str, str]]:
    for line in fdinfo.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            yield name.strip(), value.strip()


def _regions(said: Mapping[str, str]) -> dict[str, int]:
    regions: dict[str, int] = {}
    for kind in _KINDS:
        prefix = f"drm-{kind}-"
        for name, value in said.items():
            if name.startswith(prefix) and (size := _bytes(value)) is not None:
                regions.setdefault(name.removeprefix(prefix), size)
    for region in ("vram", "gtt"):  # kernels before 5.19
        if (size := _bytes(said.get(f"{region} mem", ""))) is not None:
            regions.setdefault(region, size)
    return regions


def _sum(regions: Mapping[str, int], beginnings: tuple[str, ...]) -> int | None:
    """Of vram0, vram1 and the like."""
    sizes = [size for region, size in regions.items() if region.startswith(beginnings)]
    return sum(sizes) if sizes else None


def _bytes(value: str) -> int | None:
    words = value.split()
    if not words or not words[0].isdigit() or len(words) > 2:
        return None
    unit = _UNITS.get(words[1] if len(words) == 2 else "")
    return None if unit is None else int(words[0]) * unit
