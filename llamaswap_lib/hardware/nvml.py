"""NVIDIA's GPUs, by its library NVML, which the driver brings: `libnvidia-ml.so.1`, called by ctypes.

Thread `hardware`. Each function may be missing or not be supported by a device; then its figure is None. A device that
MIG has divided stands here as its parts. Numbers and structures: https://docs.nvidia.com/deploy/nvml-api, version 12.

NVML tells of processes by the pids of the host. In a container these may be somebody else's here, so a process counts
there only if it has a device of NVIDIA open.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from llamaswap_lib.hardware import files
from llamaswap_lib.hardware.files import is_suspended
from llamaswap_lib.hardware.readings import Gpu, Held, SourceLost
from llamaswap_lib.printable import printable

LIBRARY = "libnvidia-ml.so.1"
SUCCESS, NOT_SUPPORTED, INSUFFICIENT_SIZE = 0, 3, 7
NO_DRIVER, NO_LIBRARY = 9, 12
UNKNOWN = 2**64 - 1  # NVML_VALUE_NOT_AVAILABLE
_ARCHITECTURES = {
    2: "Kepler", 3: "Maxwell", 4: "Pascal", 5: "Volta", 6: "Turing", 7: "Ampere", 8: "Ada", 9: "Hopper",
    10: "Blackwell",
}  # fmt: skip
_MEMORY_TEMPERATURE = 82  # NVML_FI_DEV_MEMORY_TEMP
_HOST_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO in the kernel's proc_ns.h
_ROOM = 16  # more processes than were counted that may have come meanwhile


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_uint64), ("free", ctypes.c_uint64), ("used", ctypes.c_uint64))


class _Utilization(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class _ProcessV1(ctypes.Structure):
    _fields_ = (("pid", ctypes.c_uint), ("used", ctypes.c_uint64))


class _ProcessV2(ctypes.Structure):
    _fields_ = (*_ProcessV1._fields_, ("gpu_instance", ctypes.c_uint), ("compute_instance", ctypes.c_uint))


class _Pci(ctypes.Structure):
    _fields_ = (
        *(("legacy", ctypes.c_char * 16), ("domain", ctypes.c_uint), ("bus", ctypes.c_uint)),
        *(("device", ctypes.c_uint), ("ids", ctypes.c_uint), ("subsystem", ctypes.c_uint)),
        ("bus_id", ctypes.c_char * 32),
    )


class _FieldValue(ctypes.Structure):
    _fields_ = (
        *(("field", ctypes.c_uint), ("scope", ctypes.c_uint), ("timestamp", ctypes.c_longlong)),
        *(("latency", ctypes.c_longlong), ("type", ctypes.c_uint), ("status", ctypes.c_int)),
        ("value", ctypes.c_ubyte * 8),
    )


class Unsupported(Exception):
    """This device or this library does not tell."""


def open_nvml(proc: str = "/proc", sys_folder: str = "/sys") -> Nvml | None:
    """None where there is no driver of NVIDIA; raises SourceLost where there is one that does not work."""
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        return None
    nvml = Nvml(library, proc, sys_folder)
    code = nvml.begin()
    if code in (NO_DRIVER, NO_LIBRARY):
        return None
    if code != SUCCESS:
        raise SourceLost(nvml.explain(code))
    return nvml


def is_host_namespace(proc: str = "/proc") -> bool:
    """Whether pids mean here what they mean to the driver."""
    try:
        return os.readlink(f"{proc}/self/ns/pid") == _HOST_NAMESPACE
    except OSError:
        return False


class Nvml:
    """The library, once it is loaded."""

    name = "nvml"
    pause = 0.0

    def __init__(self, library: Any, proc: str = "/proc", sys_folder: str = "/sys") -> None:
        self._library = library
        self._proc = proc
        self._sys = sys_folder
        self._is_host = is_host_namespace(proc)
        self._fixed: dict[int, dict[str, Any]] = {}  # by handle: what does not change
        self._processes: dict[str, dict[int, int | None]] = {}  # by device
        self._users: dict[int, bool] = {}  # pids in a container: whether they have a device open
        self._driver = ""

    def begin(self) -> int:
        """The code of success or failure."""
        init = self._function("nvmlInit_v2", "nvmlInit")
        if init is None:
            return NO_LIBRARY
        code = int(init())
        if code == SUCCESS:
            self._driver = self._text("nvmlSystemGetDriverVersion", None, 96)
        return code

    def close(self) -> None:
        if (end := self._function("nvmlShutdown")) is not None:
            end()

    def explain(self, code: int) -> str:
        function = self._function("nvmlErrorString")
        if function is None:
            return f"error {code}"
        function.restype = ctypes.c_char_p
        return printable((function(code) or b"").decode(errors="replace")) or f"error {code}"

    def read(self) -> list[Gpu]:
        count = ctypes.c_uint()
        function = self._function("nvmlDeviceGetCount_v2", "nvmlDeviceGetCount")
        code = SUCCESS if function is None else function(ctypes.byref(count))
        if code != SUCCESS:
            raise SourceLost(self.explain(code))
        self._processes = {}
        return [gpu for index in range(count.value) for gpu in self._read_device(index)]

    def _read_device(self, index: int) -> Iterator[Gpu]:
        """The device, or its parts; nothing for one that has gone."""
        handle = ctypes.c_void_p()
        function = self._function("nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetHandleByIndex")
        if function is None or function(ctypes.c_uint(index), ctypes.byref(handle)) != SUCCESS:
            return
        fixed = self._fixed_of(handle)
        if not fixed["uuid"]:
            self._fixed.pop(handle.value or 0, None)
            return  # it is lost: nothing can be asked of it
        if fixed["pci"] and is_suspended(f"{self._sys}/bus/pci/devices/{fixed['pci']}"):
            yield self._bare(fixed)  # to ask it would wake it up
            return
        whole = self._read_state(handle, fixed)
        parts = list(self._parts(handle))
        if not parts:
            yield from self._with_memory(handle, whole)
        for part in parts:
            uuid = self._text("nvmlDeviceGetUUID", part, 96)
            name = self._text("nvmlDeviceGetName", part, 96) or whole.name
            if uuid:
                yield from self._with_memory(part, whole._replace(key=uuid, uuid=uuid, name=name))

    def _fixed_of(self, handle: ctypes.c_void_p) -> dict[str, Any]:
        known = self._fixed.get(handle.value or 0)
        if known is None:
            known = {
                "uuid": self._text("nvmlDeviceGetUUID", handle, 96),
                "name": self._text("nvmlDeviceGetName", handle, 96),
                "pci": self._pci(handle),
                "power_limit": _watts(self._number("nvmlDeviceGetEnforcedPowerLimit", handle)),
                "architecture": _ARCHITECTURES.get(self._number("nvmlDeviceGetArchitecture", handle) or 0, ""),
            }
            self._fixed[handle.value or 0] = known
        return known

    def _read_state(self, handle: ctypes.c_void_p, fixed: Mapping[str, Any]) -> Gpu:
        """All but its memory."""
        busy = self._filled("nvmlDeviceGetUtilizationRates", handle, _Utilization)
        fan, power = self._number("nvmlDeviceGetFanSpeed", handle), self._number("nvmlDeviceGetPowerUsage", handle)
        return self._bare(fixed)._replace(
            temperature=self._number("nvmlDeviceGetTemperature", handle, ctypes.c_uint(0)),
            memory_temperature=self._memory_temperature(handle),
            utilization=None if busy is None else float(busy.gpu),
            memory_utilization=None if busy is None else float(busy.memory),
            fan=None if fan is None else float(fan),
            power=_watts(power),
        )

    def _bare(self, fixed: Mapping[str, Any]) -> Gpu:
        """What does not change."""
        return Gpu(
            *(fixed["uuid"], "nvidia", fixed["name"], fixed["uuid"], fixed["pci"]),
            power_limit=fixed["power_limit"],
            architecture=fixed["architecture"],
            driver="nvidia",
            driver_version=self._driver,
        )

    def _with_memory(self, handle: ctypes.c_void_p, gpu: Gpu) -> Iterator[Gpu]:
        """With it; one that has none of its own (GB10) shares that of the machine.

        Nothing for one that fails to say: it must not be taken for one that shares.
        """
        memory, function = _Memory(), self._function("nvmlDeviceGetMemoryInfo")
        code = NOT_SUPPORTED if function is None else function(handle, ctypes.byref(memory))
        if code not in (SUCCESS, NOT_SUPPORTED):
            return
        has_own = code == SUCCESS and memory.total > 0
        held = self._held(handle)
        self._processes[gpu.key] = held or {}
        yield gpu._replace(
            used_bytes=int(memory.used) if has_own else None,
            total_bytes=int(memory.total) if has_own else None,
            is_shared=not has_own,
            shows_processes=held is not None and self._is_host,
        )

    # -- processes --

    def held_by(self, pids: Collection[int]) -> Mapping[str, Held]:
        found = {}
        for key, processes in self._processes.items():
            known = [processes[pid] for pid in pids if pid in processes and self._is_ours(pid)]
            if known:
                told = [size for size in known if size is not None]
                found[key] = Held(sum(told) if len(told) == len(known) else None, "nvml")
        return found

    def pids(self) -> set[int]:
        """Everybody who holds something, as the driver names them."""
        return {pid for processes in self._processes.values() for pid in processes}

    def _is_ours(self, pid: int) -> bool:
        """Whether the pid means here what it means to the driver."""
        if self._is_host:
            return True
        if pid not in self._users:
            if len(self._users) > 1000:
                self._users.clear()
            self._users[pid] = _has_device_open(pid, self._proc)
        return self._users[pid]

    def _held(self, handle: ctypes.c_void_p) -> dict[int, int | None] | None:
        """Bytes by pid; None where no kind of process is told.

        A process may compute and draw, and so stand in two lists with the same figure.
        """
        held: dict[int, int | None] = {}
        is_told = False
        for kind in ("Compute", "Graphics", "MPSCompute"):
            try:
                processes = self._list(f"nvmlDeviceGet{kind}RunningProcesses", handle)
            except Unsupported:
                continue
            is_told = True
            for pid, used in processes:
                before = held.get(pid)
                held[pid] = used if before is None else max(before, used or 0)
        return held if is_told else None

    def _list(self, name: str, handle: ctypes.c_void_p) -> list[tuple[int, int | None]]:
        for suffix, structure in (("_v3", _ProcessV2), ("_v2", _ProcessV2), ("", _ProcessV1)):
            function = self._function(name + suffix)
            if function is not None:
                return self._filled_list(function, handle, structure)
        raise Unsupported

    def _filled_list(self, function: Any, handle: ctypes.c_void_p, structure: Any) -> list[tuple[int, int | None]]:
        """It is asked how many there are, and then for them; more may have come meanwhile."""
        count = ctypes.c_uint(0)
        code = function(handle, ctypes.byref(count), None)
        for _ in range(3):
            if code == SUCCESS and not count.value:
                return []
            if code not in (SUCCESS, INSUFFICIENT_SIZE):
                raise Unsupported
            room = count.value + _ROOM
            count, infos = ctypes.c_uint(room), (structure * room)()
            code = function(handle, ctypes.byref(count), infos)
            if code == SUCCESS:
                return [(info.pid, None if info.used == UNKNOWN else int(info.used)) for info in infos[: count.value]]
        raise Unsupported

    # -- MIG --

    def _parts(self, handle: ctypes.c_void_p) -> Iterator[ctypes.c_void_p]:
        current, pending = ctypes.c_uint(), ctypes.c_uint()
        mode = self._function("nvmlDeviceGetMigMode")
        if mode is None or mode(handle, ctypes.byref(current), ctypes.byref(pending)) or current.value != 1:
            return
        find = self._function("nvmlDeviceGetMigDeviceHandleByIndex")
        most = self._number("nvmlDeviceGetMaxMigDeviceCount", handle) or 0
        for index in range(most if find is not None else 0):
            part = ctypes.c_void_p()
            if find(handle, ctypes.c_uint(index), ctypes.byref(part)) == SUCCESS:
                yield part

    # -- calls --

    def _function(self, *names: str) -> Any:
        """The first of these that the library has, or None."""
        return next((found for name in names if (found := getattr(self._library, name, None)) is not None), None)

    def _number(self, name: str, handle: ctypes.c_void_p, *arguments: Any) -> int | None:
        value, function = ctypes.c_uint(), self._function(name)
        if function is None or function(handle, *arguments, ctypes.byref(value)) != SUCCESS:
            return None
        return value.value

    def _filled(self, name: str, handle: ctypes.c_void_p, structure: Any) -> Any:
        value, function = structure(), self._function(name)
        return value if function is not None and function(handle, ctypes.byref(value)) == SUCCESS else None

    def _text(self, name: str, handle: ctypes.c_void_p | None, size: int) -> str:
        value, function = ctypes.create_string_buffer(size), self._function(name)
        before = () if handle is None else (handle,)
        if function is None or function(*before, value, ctypes.c_uint(size)) != SUCCESS:
            return ""
        return printable(value.value.decode(errors="replace"))

    def _pci(self, handle: ctypes.c_void_p) -> str:
        function, value = self._function("nvmlDeviceGetPciInfo_v3", "nvmlDeviceGetPciInfo_v2"), _Pci()
        if function is None or function(handle, ctypes.byref(value)) != SUCCESS:
            return ""
        return f"{value.domain:04x}:{value.bus:02x}:{value.device:02x}.0"

    def _memory_temperature(self, handle: ctypes.c_void_p) -> int | None:
        value, function = _FieldValue(field=_MEMORY_TEMPERATURE), self._function("nvmlDeviceGetFieldValues")
        if function is None or function(handle, ctypes.c_int(1), ctypes.byref(value)) != SUCCESS or value.status:
            return None
        kind = {1: ctypes.c_uint, 3: ctypes.c_uint64, 5: ctypes.c_int}.get(value.type)
        if kind is None:
            return None
        return int(kind.from_buffer_copy(value.value).value) or None  # what has no sensor is 0


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1000


def _has_device_open(pid: int, proc: str) -> bool:
    return any(target.startswith("/dev/nvidia") for _, target in files.links(f"{proc}/{pid}/fd"))
