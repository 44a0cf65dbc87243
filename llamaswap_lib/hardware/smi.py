"""NVIDIA's GPUs by its program: `nvidia-smi -q -x`. Only where the library cannot be loaded (another libc).

Thread `hardware`. The program takes up to a second, so it is asked twice a minute, and given ten seconds.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Collection, Iterator, Mapping
from xml.etree import ElementTree

from llamaswap_lib.hardware.nvml import is_host_namespace
from llamaswap_lib.hardware.readings import Gpu, Held, SourceLost
from llamaswap_lib.printable import printable

PROGRAM = "nvidia-smi"
TIMEOUT = 10.0
_TOTAL = "fb_memory_usage/total"
_NONE = ("", "N/A", "[N/A]", "Not Supported")  # what is said where there is none

Processes = dict[int, "int | None"]


def open_smi(proc: str = "/proc") -> NvidiaSmi | None:
    """None where there is no such program."""
    program = shutil.which(PROGRAM)
    return None if program is None else NvidiaSmi(program, proc)


class NvidiaSmi:
    """`program`: where it lies."""

    name = PROGRAM
    pause = 30.0

    def __init__(self, program: str, proc: str = "/proc") -> None:
        self._argv = (program, "-q", "-x")
        self._is_host = is_host_namespace(proc)
        self._processes: dict[str, Processes] = {}

    def read(self) -> list[Gpu]:
        try:
            done = subprocess.run(
                self._argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT, check=True
            )
            found = list(read_xml(done.stdout.decode(errors="replace"), self._is_host))
        except subprocess.TimeoutExpired as error:
            raise SourceLost(f"{PROGRAM} did not answer in {TIMEOUT:g} s") from error
        except (OSError, subprocess.SubprocessError, ElementTree.ParseError) as error:
            raise SourceLost(f"{PROGRAM} failed: {error}") from error
        self._processes = {gpu.key: processes for gpu, processes in found}
        return [gpu for gpu, _ in found]

    def held_by(self, pids: Collection[int]) -> Mapping[str, Held]:
        found = {}
        for key, processes in self._processes.items():
            known = [processes[pid] for pid in pids if pid in processes and self._is_host]
            if known:
                told = [size for size in known if size is not None]
                found[key] = Held(sum(told) if len(told) == len(known) else None, PROGRAM)
        return found

    def close(self) -> None: ...


def read_xml(text: str, is_host: bool = True) -> Iterator[tuple[Gpu, Processes]]:
    """Each GPU, or each part of one that MIG has divided, with the bytes of its processes by pid.

    Raises ElementTree.ParseError. `is_host`: whether pids mean here what they mean to the driver.
    """
    root = ElementTree.fromstring(text)  # noqa: S314 - of the driver's own program
    version = _text(root, "driver_version")
    for node in root.iterfind("gpu"):
        whole = _gpu(node, version, is_host)
        processes = list(node.iterfind("processes/process_info"))
        parts = list(node.iterfind("mig_devices/mig_device"))
        if not parts and _is_told(node):
            yield _with_memory(whole, node), _held(processes)
        for part in filter(_is_told, parts):
            yield _part(whole, part), _held([one for one in processes if _is_in(one, part)])


def _gpu(node: ElementTree.Element, version: str, is_host: bool) -> Gpu:
    uuid, pci = _text(node, "uuid"), node.get("id", "").lower()
    return Gpu(
        key=uuid or pci,
        vendor="nvidia",
        name=_text(node, "product_name"),
        uuid=uuid,
        pci=re.sub(r"\A0000(?=[0-9a-f]{4}:)", "", pci),
        temperature=_whole(_number(node, "temperature/gpu_temp")),
        memory_temperature=_whole(_number(node, "temperature/memory_temp")),
        utilization=_number(node, "utilization/gpu_util"),
        memory_utilization=_number(node, "utilization/memory_util"),
        fan=_number(node, "fan_speed"),
        power=_first(node, "gpu_power_readings/instant_power_draw", "gpu_power_readings/power_draw")
        or _first(node, "power_readings/power_draw"),
        power_limit=_first(node, "gpu_power_readings/current_power_limit", "power_readings/enforced_power_limit")
        or _first(node, "power_readings/power_limit"),
        architecture=_text(node, "product_architecture"),
        driver="nvidia",
        driver_version=version,
        shows_processes=is_host,
    )


def _part(whole: Gpu, part: ElementTree.Element) -> Gpu:
    key = f"{whole.key}/{_text(part, 'gpu_instance_id')}/{_text(part, 'compute_instance_id')}"
    return _with_memory(whole._replace(key=key, uuid=""), part)


def _is_in(process: ElementTree.Element, part: ElementTree.Element) -> bool:
    return all(_text(process, name) == _text(part, name) for name in ("gpu_instance_id", "compute_instance_id"))


def _is_told(node: ElementTree.Element) -> bool:
    """Whether its memory is, or that it has none of its own; not where it could not be read."""
    total = _text(node, _TOTAL)
    return total in _NONE or _bytes(total) is not None


def _with_memory(gpu: Gpu, node: ElementTree.Element) -> Gpu:
    total, used = _bytes(_text(node, _TOTAL)), _bytes(_text(node, "fb_memory_usage/used"))
    return gpu._replace(total_bytes=total, used_bytes=used if total else None, is_shared=not total)


def _held(processes: Collection[ElementTree.Element]) -> Processes:
    """One that computes and draws may stand there twice with the same figure."""
    held: Processes = {}
    for process in processes:
        pid, used = _text(process, "pid"), _bytes(_text(process, "used_memory"))
        if pid.isdigit():
            before = held.get(int(pid))
            held[int(pid)] = used if before is None else max(before, used or 0)
    return held


def _bytes(text: str) -> int | None:
    """Of `1005 MiB`; None for N/A."""
    found = re.fullmatch(r"(\d+) MiB", text)
    return int(found[1]) << 20 if found else None


def _first(node: ElementTree.Element, *paths: str) -> float | None:
    return next((value for path in paths if (value := _number(node, path)) is not None), None)


def _number(node: ElementTree.Element, path: str) -> float | None:
    """Of `45 C`, `27 %`, `66.51 W`."""
    found = re.match(r"\d+(?:\.\d+)?(?= |\Z)", _text(node, path))
    return float(found[0]) if found else None


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _text(node: ElementTree.Element, path: str) -> str:
    return printable((node.findtext(path) or "").strip())
