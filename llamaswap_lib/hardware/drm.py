"""AMD's and Intel's GPUs, by the files of their drivers: /sys/class/drm, /sys/class/kfd, and fdinfo of processes.

Thread `hardware`. No tool is started and no right is needed. A card that the system has switched off to save power is
left so. An APU of AMD has all the memory that its driver may take of the machine (GTT) beside what the firmware has set
aside (VRAM); on a card of its own GTT is only what did not fit, and does not count.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from llamaswap_lib.hardware import files
from llamaswap_lib.hardware.readings import UNREADABLE, Gpu, Held
from llamaswap_lib.printable import printable

AMD, INTEL = "0x1002", "0x8086"
_VENDORS = {AMD: "amd", INTEL: "intel"}
_LABELS = {AMD: "AMD", INTEL: "Intel"}
_is_card = re.compile(r"card\d+").fullmatch
_APU_METRICS = (2, 3)  # format_revision in gpu_metrics (kgd_pp_interface.h): 1 is a card of its own
_DEVICES = ("/dev/dri/", "/dev/accel/")
_SIZE_UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
# Of one region the first of these counts that is there. What is resident takes memory; what is only allocated may not.
_REGION_KINDS = ("resident", "memory", "total")
_LOCAL, _SYSTEM = ("vram", "local"), ("gtt", "system")  # how regions begin: memory of the card; of the machine


class _Card(NamedTuple):
    """What does not change of one."""

    folder: str  # /sys/class/drm/card0
    pci: str
    vendor: str
    name: str
    uuid: str
    is_integrated: bool
    driver: str


def open_drm(sys: str = "/sys", proc: str = "/proc") -> Drm | None:
    """None where there is no card of AMD or Intel."""
    cards = list(_cards(sys))
    return Drm(cards, sys, proc) if cards else None


class Drm:
    """All cards of the kernel's own drivers that compute."""

    name = "drm"
    pause = 0.0

    def __init__(self, cards: list[_Card], sys: str, proc: str) -> None:
        self._cards = cards
        self._sys = sys
        self._proc = proc
        self._kfd = dict(kfd_devices(sys))  # gpu_id -> PCI address
        self._version = files.text(f"{proc}/sys/kernel/osrelease")

    def read(self) -> list[Gpu]:
        return [self._read(card) for card in self._cards if os.path.exists(card.folder)]

    def _read(self, card: _Card) -> Gpu:
        device = f"{card.folder}/device"
        bare = Gpu(
            *(card.pci, card.vendor, card.name, card.uuid, card.pci),
            is_shared=card.is_integrated,
            driver=card.driver,
            driver_version=self._version,
        )
        if files.is_suspended(device):
            return bare  # to ask it would wake it up
        total, used = _memory(card)
        hwmon = next((f"{device}/hwmon/{name}" for name in files.names(f"{device}/hwmon")), "")
        sensors = _sensors(hwmon)
        return Gpu(
            *(card.pci, card.vendor, card.name, card.uuid, card.pci),
            used_bytes=used,
            total_bytes=total,
            is_shared=card.is_integrated,
            temperature=sensors.get("edge", sensors.get("pkg", sensors.get(""))),
            memory_temperature=sensors.get("mem", sensors.get("vram")),
            utilization=_percent(f"{device}/gpu_busy_percent"),
            memory_utilization=_percent(f"{device}/mem_busy_percent"),
            fan=_fan(hwmon),
            power=_watts(hwmon, "power1_average", "power1_input"),
            power_limit=_watts(hwmon, "power1_cap"),
            driver=card.driver,
            driver_version=self._version,
        )

    def held_by(self, pids: Collection[int]) -> Mapping[str, Held]:
        by_fdinfo = self._by_fdinfo(pids)
        by_kfd = self._by_kfd(pids)
        found = dict(by_fdinfo)
        for pci, size in by_kfd.items():  # each is blind to something: to Vulkan, or in old kernels to ROCm
            seen = by_fdinfo.get(pci)
            if seen is None or size > (seen.bytes or 0):
                found[pci] = Held(size, "kfd")
        return found

    def _by_fdinfo(self, pids: Collection[int]) -> dict[str, Held]:
        clients, found = clients_of(pids, self._proc), dict[str, Held]()
        for card in self._cards:
            sizes = [_size_of(client, card) for client in clients if client.pci == card.pci]
            if sizes:
                told = [size for size in sizes if size is not None]
                found[card.pci] = Held(sum(told) if told else None, "fdinfo")
        unseen = [card.pci for card in self._cards if card.pci not in found]
        if unseen and any(files.is_closed(f"{self._proc}/{pid}/fd") for pid in pids):
            found |= dict.fromkeys(unseen, UNREADABLE)
        return found

    def _by_kfd(self, pids: Collection[int]) -> dict[str, int]:
        """Bytes of VRAM by PCI address; a file of it may go at any moment."""
        found: dict[str, int] = {}
        for pid in pids if self._kfd else ():
            folder = f"{self._sys}/class/kfd/kfd/proc/{pid}"
            for name in files.names(folder):
                pci = self._kfd.get(name.removeprefix("vram_")) if name.startswith("vram_") else None
                size = files.number(f"{folder}/{name}") if pci else None
                if pci and size:
                    found[pci] = found.get(pci, 0) + size
        return found

    def close(self) -> None: ...


def _size_of(client: GpuClient, card: _Card) -> int | None:
    if not card.is_integrated:
        return client.local
    sizes = [size for size in (client.local, client.system) if size is not None]
    return sum(sizes) if sizes else None


# -- which cards there are --


def _cards(sys: str) -> Iterator[_Card]:
    for name in files.names(f"{sys}/class/drm"):
        folder = f"{sys}/class/drm/{name}"
        vendor = files.text(f"{folder}/device/vendor") if _is_card(name) else ""
        if vendor in _VENDORS:
            yield _card(folder, vendor)


def _card(folder: str, vendor: str) -> _Card:
    device = f"{folder}/device"
    said = dict(line.partition("=")[::2] for line in files.text(f"{device}/uevent").splitlines())
    pci = said.get("PCI_SLOT_NAME", "").lower() or os.path.basename(os.path.realpath(device))
    known = printable(files.text(f"{device}/product_name"))
    unique = files.text(f"{device}/unique_id")
    return _Card(
        folder,
        pci,
        _VENDORS[vendor],
        known or f"{_LABELS[vendor]} GPU",
        f"GPU-{unique}" if unique else "",
        _is_integrated(device, vendor),
        said.get("DRIVER", ""),
    )


def _is_integrated(device: str, vendor: str) -> bool:
    """Whether its memory is that of the machine."""
    if vendor == INTEL:
        return _intel_memory(device) is None
    metrics = files.read(f"{device}/gpu_metrics")
    return len(metrics) > 2 and metrics[2] in _APU_METRICS


def kfd_devices(sys: str) -> Iterator[tuple[str, str]]:
    """The gpu_id of each node, and its PCI address."""
    nodes = f"{sys}/class/kfd/kfd/topology/nodes"
    for node in files.names(nodes):
        gpu = files.number(f"{nodes}/{node}/gpu_id")
        said = dict(line.partition(" ")[::2] for line in files.text(f"{nodes}/{node}/properties").splitlines())
        location, domain = said.get("location_id", ""), said.get("domain", "0")
        if gpu and location.isdigit() and domain.isdigit():
            place = int(location)
            yield str(gpu), f"{int(domain):04x}:{place >> 8 & 0xFF:02x}:{place >> 3 & 0x1F:02x}.{place & 7:x}"


# -- figures --


def _memory(card: _Card) -> tuple[int | None, int | None]:
    """Total and used."""
    device = f"{card.folder}/device"
    if card.vendor == "intel":
        return _intel_memory(device), None
    regions = ("vram", "gtt") if card.is_integrated else ("vram",)
    total = [files.number(f"{device}/mem_info_{region}_total") for region in regions]
    used = [files.number(f"{device}/mem_info_{region}_used") for region in regions]
    return _sum(total) or None, _sum(used)


def _sum(sizes: list[int | None]) -> int | None:
    known = [size for size in sizes if size is not None]
    return sum(known) if known else None


def _intel_memory(device: str) -> int | None:
    """Of a card of its own: xe tells by tile, i915 in newer versions."""
    tiles = [
        files.number(f"{device}/{name}/physical_vram_size_bytes") for name in files.names(device) if "tile" in name
    ]
    told = _sum(tiles)
    if told:
        return told
    drm = files.names(f"{device}/drm")
    return next((size for name in drm if (size := files.number(f"{device}/drm/{name}/lmem_total_bytes"))), None)


def _sensors(hwmon: str) -> dict[str, int]:
    """Degrees by label; '' for one without."""
    found: dict[str, int] = {}
    for name in files.names(hwmon) if hwmon else ():
        if name.startswith("temp") and name.endswith("_input"):
            value = files.number(f"{hwmon}/{name}")
            if value is not None:
                found.setdefault(files.text(f"{hwmon}/{name.removesuffix('input')}label"), round(value / 1000))
    return found


def _percent(path: str) -> float | None:
    value = files.number(path)
    return None if value is None else float(value)


def _fan(hwmon: str) -> float | None:
    """Percent, of what pulse width the fan gets."""
    width, most = files.number(f"{hwmon}/pwm1"), files.number(f"{hwmon}/pwm1_max")
    return round(100 * width / (most or 255), 1) if hwmon and width is not None else None


def _watts(hwmon: str, *names: str) -> float | None:
    values = (files.number(f"{hwmon}/{name}") for name in names if hwmon)
    return next((value / 1e6 for value in values if value is not None), None)


# -- what a process holds: /proc/PID/fdinfo, one file for each descriptor of a GPU --
#
# Works for every driver of the kernel and every way to compute (ROCm, Vulkan, SYCL). Keys and units:
# https://docs.kernel.org/gpu/drm-usage-stats.html. A process has mostly several descriptors of one client: a client
# counts once, whichever processes have it open. The files of other users' processes cannot be read.


class GpuClient(NamedTuple):
    """One client of one GPU: bytes of the card's own memory, and of the machine's; None where that is not told."""

    pci: str
    number: str
    local: int | None
    system: int | None


def clients_of(pids: Collection[int], proc: str = "/proc") -> list[GpuClient]:
    """Each once, of all these processes."""
    found: dict[tuple[str, str], GpuClient] = {}
    for pid in pids:
        for client in _clients(pid, proc):
            before = found.get((client.pci, client.number))
            if before is None or (client.local or 0) + (client.system or 0) > (before.local or 0) + (
                before.system or 0
            ):
                found[client.pci, client.number] = client
    return list(found.values())


def _clients(pid: int, proc: str) -> Iterator[GpuClient]:
    for name, target in files.links(f"{proc}/{pid}/fd"):
        if target.startswith(_DEVICES):
            client = parse_fdinfo(files.text(f"{proc}/{pid}/fdinfo/{name}"))
            if client is not None:
                yield client


def parse_fdinfo(fdinfo: str) -> GpuClient | None:
    """None for what is no client of a GPU, or tells of no memory and has no number."""
    said = dict(_pairs(fdinfo))
    pci, number = said.get("drm-pdev") or said.get("pdev", ""), said.get("drm-client-id", "")
    if not pci or not number:
        return None
    regions = _regions(said)
    return GpuClient(pci.lower(), number, _sum_of(regions, _LOCAL), _sum_of(regions, _SYSTEM))


def _pairs(fdinfo: str) -> Iterator[tuple[str, str]]:
    for line in fdinfo.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            yield name.strip(), value.strip()


def _regions(said: Mapping[str, str]) -> dict[str, int]:
    regions: dict[str, int] = {}
    for kind in _REGION_KINDS:
        prefix = f"drm-{kind}-"
        for name, value in said.items():
            if name.startswith(prefix) and (size := _bytes(value)) is not None:
                regions.setdefault(name.removeprefix(prefix), size)
    for region in ("vram", "gtt"):  # kernels before 5.19
        if (size := _bytes(said.get(f"{region} mem", ""))) is not None:
            regions.setdefault(region, size)
    return regions


def _sum_of(regions: Mapping[str, int], beginnings: tuple[str, ...]) -> int | None:
    """Of vram0, vram1 and the like."""
    sizes = [size for region, size in regions.items() if region.startswith(beginnings)]
    return sum(sizes) if sizes else None


def _bytes(value: str) -> int | None:
    words = value.split()
    if not words or not words[0].isdigit() or len(words) > 2:
        return None
    unit = _SIZE_UNITS.get(words[1] if len(words) == 2 else "")
    return None if unit is None else int(words[0]) * unit
